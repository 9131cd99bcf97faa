"""Text files that list images."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tag2mask.core import UserError
from tag2mask.data.id_lists import read_ids


def test_first_words_are_the_ids(tmp_path: Path) -> None:
    path = tmp_path / "val.txt"
    path.write_text("a  1\n\n b -1\n")
    assert read_ids(path) == ["a", "b"]
    path.write_text("/x/a.jpg y\n", encoding="utf-8-sig")
    assert read_ids(path, lambda word: word[3:-4]) == ["a"]


def test_lists_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    path = tmp_path / "val.txt"
    path.write_text("\n")
    with pytest.raises(UserError, match="lists no images"):
        read_ids(path)
    path.write_bytes("Größe\n".encode("latin-1"))
    with pytest.raises(UserError, match=f"{path} cannot be read as a list"):
        read_ids(path)
    with pytest.raises(UserError, match="cannot be read as a list"):
        read_ids(tmp_path / "none.txt")
    for outside in (".", "../a", "a\0"):
        path.write_text(f"a\n{outside}\n")
        with pytest.raises(UserError, match=f"{path}: .* is not a file name"):
            read_ids(path)
    many = [f"image{n}" for n in range(100_000)]
    path.write_text("\n".join([*many, many[-1]]))
    started = time.monotonic()
    with pytest.raises(UserError, match="lists image99999 twice; keep one line"):
        read_ids(path)
    assert time.monotonic() - started < 60  # one look at each, not one for each other
