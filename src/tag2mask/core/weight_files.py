"""Files of weights: what their endings and first bytes say, before torch reads them."""

from __future__ import annotations

from pathlib import Path

from tag2mask.core.errors import UserError

ENDINGS = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".pth.tar", ".pt.tar")
"""Endings of files that are read, in small letters."""

NO_FILE = (None, "imagenet", "none")
"""Weights that lie in no file which the user names."""

_OTHERS = (".params", ".caffemodel")
"""Endings of files that ``tag2mask weights convert`` reads."""

_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_PAGE, _POINTER = (b"<!doctype", b"<html", b"<?xml"), b"version https://git-lfs"


def check_weight_file(path: Path) -> None:
    """Refuse a file that cannot hold weights, without reading more than its beginning.

    Raises:
        UserError: there is no such file, its ending is none of `ENDINGS`, or it begins as no file of
            torch or safetensors does.
    """
    if not path.is_file():
        raise UserError(f"weights {path}: no such file; give imagenet, none or the path of a weight file")
    name = path.name.lower()
    if name.endswith(_OTHERS):
        raise UserError(f"weights {path}: convert it first: tag2mask weights convert {path} NAME.safetensors")
    if not name.endswith(ENDINGS):
        raise UserError(f"weights {path}: unknown file type; use one of {', '.join(ENDINGS)}")
    start = _start(path)
    if not (start.startswith((_ZIP, _PICKLE)) or _is_safetensors(start)):
        raise UserError(f"weights {path}: cannot be read: {_what(start)}")


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as one of safetensors, whatever its ending."""
    return _is_safetensors(_start(path))


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(64)
    except OSError as error:
        raise UserError(f"weights {path}: cannot be read: {error.strerror}") from None


def _is_safetensors(start: bytes) -> bool:
    """Eight bytes are the length of the header, which is JSON; a zip's names may hold a brace there, too."""
    return start[8:9] == b"{" and not start.startswith(_ZIP)


def _what(start: bytes) -> str:
    if not start:
        return "it is empty; is the download complete?"
    if start.lstrip().lower().startswith(_PAGE):
        return "it is a web page, which came in place of the file; download the file itself"
    if start.startswith(_POINTER):
        return "it is a pointer of Git LFS and not the file; get that with git lfs pull"
    return f"it begins with {start[:16]!r}, as no file of torch or safetensors does; is it another file?"
