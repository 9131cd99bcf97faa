"""Run folders as they are on clusters: parts of them on a scratch disk, purged, full, or of other users."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from pathlib import Path

import pytest

from tag2mask.artifacts import drafts, files, trouble
from tag2mask.core import UserError
from tag2mask.pipeline import process
from tests.pipeline.toy_recipe import ALL, Bench


def move_to_scratch(bench: Bench, step: str) -> Path:
    """Let a step's folder be a link to another disk."""
    there = bench.run_dir.with_name("scratch") / step
    shutil.copytree(bench.run_dir / step, there, dirs_exist_ok=True)
    shutil.rmtree(bench.run_dir / step)
    (bench.run_dir / step).symlink_to(there)
    return there


def test_a_linked_step_is_set_aside_twice(bench: Bench) -> None:
    """The second time ended in a traceback: shutil.rmtree takes no links."""
    assert bench.run(stages=(1,)) == 0
    for rate in (2, 3):
        there = move_to_scratch(bench, "cam")
        bench.calls()
        bench.set("cam", lr=rate)
        assert bench.run(stages=(1,)) == 0
        assert bench.started() == ALL[:2]
        # what the link led to is left alone
        assert (bench.run_dir / "cam.previous").readlink() == there and (there / "manifest.json").is_file()
    assert not (bench.run_dir / "cam").is_symlink()


def test_links_to_what_was_purged_are_named(bench: Bench) -> None:
    """They were "File exists"."""
    assert bench.run(stages=(1,)) == 0
    shutil.rmtree(move_to_scratch(bench, "cam"))
    with pytest.raises(
        UserError, match=r"run/cam is a link to .*/scratch/cam, which is not there; make that"
    ):
        bench.run(stages=(1,))
    other = bench.run_dir.with_name("other")
    other.symlink_to("/nowhere/at/all")
    with pytest.raises(UserError, match=r"other is a link to /nowhere/at/all, which is not there"):
        bench.run(stages=(1,), run_dir=other)


def test_a_step_that_cannot_be_copied_is_one_message(bench: Bench) -> None:
    """Also on a full disk: shutil.copytree joins all that it meets in an error without a number."""
    assert bench.run(stages=(1,)) == 0
    bench.calls()
    run_dir, lost = bench.run_dir.with_name("other"), bench.run_dir / "cam" / "out" / "b.npz"
    lost.symlink_to("/nowhere")
    with pytest.raises(UserError, match=r"cannot copy .*/cam/out/b\.npz to .*: .*No such file.*--reuse"):
        bench.run(stages=(1,), run_dir=run_dir, reuse=(bench.run_dir,))
    lost.unlink()
    assert bench.run(stages=(1,), run_dir=run_dir, reuse=(bench.run_dir,)) == 0
    assert bench.started() == []


@pytest.mark.parametrize("option", ["data_root", "weights", "tags"])
def test_a_home_that_nobody_has_is_no_traceback(bench: Bench, option: str) -> None:
    """As in containers, whose users mostly have none."""
    if option == "data_root":
        assert bench.run(asked={option: "~no-such-user/x"}, dry_run=True) == 0
    else:
        with pytest.raises(UserError, match=r"no (weights|file) ~no-such-user/x"):
            bench.run(asked={option: "~no-such-user/x"})


@pytest.mark.parametrize(("mask", "mode"), [(0o077, 0o700), (0o002, 0o775)])
def test_folders_have_the_users_mode(
    mask: int, mode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were open to everybody, and closed to one's group."""
    monkeypatch.setattr(files, "_UMASK", mask)
    with drafts.draft_of(tmp_path / "made") as draft:
        assert draft.stat().st_mode & 0o777 == mode


def test_files_of_another_user_are_not_called_broken(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """People were told to delete them, or to choose a folder that they may write to."""
    assert bench.run(stages=(1,)) == 0

    def deny(path: Path, *_: object, **__: object) -> str:
        if path.name == closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return as_before(path)

    for method, names in (("read_text", ("run.json", "sources.json")), ("read_bytes", ("manifest.json",))):
        as_before = getattr(Path, method)
        for closed in names:
            with monkeypatch.context() as patched:
                patched.setattr(Path, method, deny)
                with pytest.raises(UserError, match=rf"cannot read .*{closed}: .*; ask its owner"):
                    bench.run(stages=(1,))
    # root may read all: what the system says of a user is put in its place
    error = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "run" / "none" / "x"))
    assert trouble.disk_trouble(error) == "Permission denied; choose a folder you may write to"
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path / "run" or not mode & os.X_OK)
    assert trouble.disk_trouble(error) == "Permission denied; ask its owner to let you read it"


def test_a_run_whose_lock_was_deleted_leaves_the_folder_to_the_next(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second runner got in, and both wrote the same files until the end."""
    monkeypatch.setattr(process, "WATCH", 0.1)
    monkeypatch.setenv("FAKE_HANG", "cam:fit")

    def take_over() -> None:
        while not (bench.run_dir / "cam" / "checkpoints" / "count").is_file():
            time.sleep(0.05)
        other = bench.run_dir / "other"
        other.write_text('{"pid": 12, "host": "elsewhere"}')
        other.replace(bench.run_dir / ".lock")
        taken.append(time.monotonic())

    taken = list[float]()
    thread = threading.Thread(target=take_over, daemon=True)
    thread.start()
    with pytest.raises(UserError, match=r"\.lock was deleted, .* in use by process 12 on elsewhere"):
        bench.run()
    thread.join()
    assert time.monotonic() - taken[0] < 50  # the step itself hangs for 60
    assert bench.started() == ["cam:fit"]
