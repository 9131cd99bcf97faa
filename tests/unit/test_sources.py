"""The record of the files of a data set that results were made from."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tag2mask.artifacts import (
    SOURCES_NAME,
    changed_sources,
    keep_sources,
    note_sources,
    recall_sources,
    sha256_file,
    sources,
)
from tag2mask.core import UserError


@pytest.fixture
def record(tmp_path: Path) -> Path:
    for name in "ab":
        (tmp_path / f"{name}.jpg").write_bytes(name.encode() * 4)
    note_sources(tmp_path / "cam" / SOURCES_NAME, [tmp_path / "a.jpg", tmp_path / "b.jpg"])
    return tmp_path / "cam" / SOURCES_NAME


def _write(path: Path, content: bytes, time: int = 0) -> None:
    path.write_bytes(content)
    os.utime(path, ns=(time, time))


def test_other_content_is_found_and_another_time_is_not(record: Path, tmp_path: Path) -> None:
    assert changed_sources(record) == []
    _write(tmp_path / "a.jpg", b"aaaa")
    assert changed_sources(record) == []
    _write(tmp_path / "a.jpg", b"aaaA", 1)
    assert changed_sources(record) == [str(tmp_path / "a.jpg")]
    _write(tmp_path / "b.jpg", b"bbbbb")
    assert changed_sources(record) == [str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")]
    (tmp_path / "a.jpg").unlink()
    assert changed_sources(record) == [str(tmp_path / "b.jpg")]
    assert changed_sources(tmp_path / "walk" / SOURCES_NAME) == []


def test_an_image_under_another_ending_is_another_image(record: Path, tmp_path: Path) -> None:
    """`a.jpg` was deleted and `a.png` put in its place, which has its id: finished steps did not notice."""
    (tmp_path / "a.jpg").rename(tmp_path / "A.JPEG")
    assert changed_sources(record) == []  # a new name, and the same image
    (tmp_path / "A.JPEG").unlink()
    for other in ("a.txt", "ab.png", "b.png"):
        (tmp_path / other).write_bytes(b"other")
    assert changed_sources(record) == []
    (tmp_path / "a.png").write_bytes(b"other")
    assert changed_sources(record) == [str(tmp_path / "a.png")]
    note_sources(record, [tmp_path / "a.png"], replace=True)
    assert changed_sources(record) == []
    moved = (str(tmp_path), str(tmp_path / "new"))
    (tmp_path / "new").mkdir()
    assert changed_sources(record, moved) == []
    (tmp_path / "new" / "b.tif").write_bytes(b"other")
    assert changed_sources(record, moved) == [str(tmp_path / "new" / "b.tif")]


def test_what_inputs_noted_is_not_read_again(record: Path, tmp_path: Path) -> None:
    # same size and time, so that only reading it would tell
    before = (tmp_path / "a.jpg").stat().st_mtime_ns
    _write(tmp_path / "a.jpg", b"AAAA", before)
    walk = tmp_path / "walk" / SOURCES_NAME
    note_sources(walk, [tmp_path / "a.jpg"], known=[record, tmp_path / "none.json"])
    assert json.loads(walk.read_text()).items() <= json.loads(record.read_text()).items()


def test_a_step_goes_on_with_the_same_files_only(record: Path, tmp_path: Path) -> None:
    (tmp_path / "c.jpg").write_bytes(b"c")
    note_sources(record, [tmp_path / "c.jpg"])
    assert len(json.loads(record.read_text())) == 3
    _write(tmp_path / "a.jpg", b"another")
    with pytest.raises(UserError, match=r"a\.jpg has changed since .*cam was begun"):
        note_sources(record, [tmp_path / "c.jpg"])
    note_sources(record, [tmp_path / "b.jpg"], replace=True)
    assert changed_sources(record) == [str(tmp_path / "a.jpg")]
    note_sources(record, [tmp_path / "a.jpg"], replace=True)
    assert changed_sources(record) == []


def test_files_that_were_only_touched_are_hashed_once(
    record: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy without times made each start of a finished run read the whole data set."""
    before, kept, read = record.read_bytes(), tmp_path / "run.json", list[str]()
    monkeypatch.setattr(sources, "sha256_file", lambda path: read.append(str(path)) or sha256_file(path))
    for name in "ab":
        os.utime(tmp_path / f"{name}.jpg", ns=(5, 5))
    for start in range(2):
        monkeypatch.setattr(sources, "_hashed", {})  # as in a new process
        recall_sources(kept)
        assert changed_sources(record) == [] and len(read) == 2, start
        keep_sources(kept)
        assert record.read_bytes() == before  # it belongs to a finished step
    other = tmp_path / "other.json"
    recall_sources(other)
    keep_sources(other)
    assert not other.exists()  # another run of this process has hashed nothing
    _write(tmp_path / "a.jpg", b"aaaA", 6)
    assert changed_sources(record) == [str(tmp_path / "a.jpg")]
    kept.write_text("[]")
    with pytest.raises(UserError, match=str(kept)):
        recall_sources(kept)


def test_missing_files_and_broken_records_are_named(record: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"z\.jpg does not exist"):
        note_sources(record, [tmp_path / "z.jpg"])
    record.write_text('{"/dev/zero": [0, 0, ""]}')
    assert changed_sources(record) == []  # no file of bytes: it is not read
    for broken in ('{"a.jpg": [1, 2]}', '{"a.jpg": "x"}', '{"a.jpg": [1, 2, 3]}', "[]", "{"):
        record.write_text(broken)
        with pytest.raises(UserError, match=str(record)):
            changed_sources(record)


@pytest.mark.parametrize("before", ["ABOVE/old", "old", "old/"])
def test_files_are_read_below_the_root_of_now(tmp_path: Path, before: str) -> None:
    record = tmp_path / "sources.json"
    for root in ("old", "new"):
        (tmp_path / root).mkdir()
        _write(tmp_path / root / "a.jpg", b"aaaa")
    _write(tmp_path / "behold.txt", b"aaaa")
    note_sources(record, [tmp_path / "old" / "a.jpg", tmp_path / "behold.txt"])
    moved = (before.replace("ABOVE", str(tmp_path)), str(tmp_path / "new"))
    assert changed_sources(record, moved) == []
    _write(tmp_path / "new" / "a.jpg", b"aaaA", 1)
    assert changed_sources(record) == []
    assert changed_sources(record, moved) == [str(tmp_path / "new" / "a.jpg")]
    _write(tmp_path / "behold.txt", b"bbbb", 1)
    assert changed_sources(record, moved)[1:] == [str(tmp_path / "behold.txt")]
