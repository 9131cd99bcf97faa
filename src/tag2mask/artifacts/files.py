"""Files that are either whole or not there, and names that stay in their folder."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tag2mask.artifacts.trouble import closed_file, disk_trouble
from tag2mask.core.errors import DAMAGE, UserError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

_CHUNK = 1 << 20
_TEMPORARY = ".tmp"

# mkstemp makes files that only their owner may read, but results are shared like any other file.
# The mask can only be read by setting it, hence once, at import.
_UMASK = os.umask(0)
os.umask(_UMASK)


def atomic_write_bytes(path: str | Path, data: Buffer, keep: str | Path | None = None) -> None:
    """Write a file so that readers see the old content or the new one, never a part.

    Missing folders are made. The bytes go to a temporary file in the same folder, are flushed to
    the disk and renamed, which also holds when the process is killed half-way.

    Args:
        path: the file.
        data: its bytes.
        keep: name for the file that was there before; None drops it.

    Raises:
        UserError: the folder cannot be made or written to, or the disk is full.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=_TEMPORARY, dir=target.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, shared(0o666))
            if keep is not None and target.exists():
                os.replace(target, keep)
            os.replace(temporary, target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UserError(f"cannot write {target}: {disk_trouble(error)}") from error


def shared(mode: int) -> int:
    """The mode of what is made here, without what the user's mask takes away."""
    return mode & ~_UMASK


def remove_tree(path: str | Path) -> None:
    """Delete a folder, or the link to one: what a link leads to may be anything."""
    if Path(path).is_symlink():
        Path(path).unlink()
    else:
        shutil.rmtree(path)


def remove_temporaries(folder: str | Path, deep: bool = True) -> None:
    """Delete what killed processes have left half-written in a folder; nothing may write there now.

    Args:
        folder: the folder.
        deep: also in the folders below it.
    """
    for place, below, names in os.walk(folder):
        for name in names:
            if name.startswith(".") and name.endswith(_TEMPORARY):
                Path(place, name).unlink(missing_ok=True)
        if not deep:
            below.clear()


def atomic_write_text(path: str | Path, text: str) -> None:
    """`atomic_write_bytes` for text, in UTF-8.

    Raises:
        UserError: also if the text names a file whose name is not in UTF-8, as old archives leave them.
    """
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        line = text.rfind("\n", 0, error.start) + 1
        near = text[max(line, error.start - 30) : error.end + 10].partition("\n")[0]
        shown = near.encode("ascii", "backslashreplace").decode()
        raise UserError(
            f"cannot write {path}: the name of a file is not in UTF-8, near '{shown}'; rename the file"
        ) from error
    atomic_write_bytes(path, data)


def atomic_write_json(path: str | Path, obj: Any) -> None:
    """`atomic_write_bytes` for a plain object, as indented JSON.

    Raises:
        ValueError: a number is NaN or infinite, which JSON does not have.
        TypeError: something in the object is not plain.
    """
    atomic_write_text(path, json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def require_absent(path: Path) -> None:
    """Refuse to write over a file that the user has named.

    Raises:
        UserError: it is there.
    """
    if path.exists():
        raise UserError(f"{path} is there already: name another file, or delete it")


def require_own(path: str | Path, start: str) -> None:
    """Refuse to write over a file that this program did not write.

    Args:
        path: a file that the user named as output.
        start: how a file of this program begins; leading blanks do not count.

    Raises:
        UserError: there is another file or a folder.
    """
    target = Path(path)
    if not target.exists():
        return
    if target.is_file():
        with open(target, "rb") as file:
            if file.read(_CHUNK).lstrip().startswith(start.encode()):
                return
    raise UserError(f"{path} is there already and was not written by this command: choose another --out")


def require_writable(folder: str | Path, way: str = "") -> None:
    """Make a folder, and refuse one that nothing can be written to: before the work, not after it.

    Args:
        folder: the folder.
        way: a further way out, for the message.

    Raises:
        UserError: it cannot be made, or no file in it.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_CHUNK))  # a full disk makes files, too, but empty ones
            file.flush()
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {disk_trouble(error)}{way}") from error


def read_json(path: str | Path) -> dict[str, Any] | None:
    """The object that a JSON file of a run holds, or None if there is no such file.

    Raises:
        UserError: the file cannot be read or holds no object.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        plain = json.loads(text, parse_constant=_no_number)
    except FileNotFoundError:
        return None
    except NotADirectoryError as error:
        raise UserError(f"{_lowest_there(Path(path))} is a file: give a folder in its place") from error
    except PermissionError as error:
        raise closed_file(error) from error
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot read {path}: {error}; delete it and run the step again") from error
    if not isinstance(plain, dict):
        raise UserError(f"{path} does not hold an object; delete it and run the step again")
    return plain


def _lowest_there(path: Path) -> Path:
    return next(place for place in (path, *path.parents) if os.path.lexists(place))


def _no_number(constant: str) -> NoReturn:
    # as `atomic_write_json`, through which many of these values go again
    raise ValueError(f"it holds {constant}, which is no number of JSON")


@contextmanager
def reading(path: str | Path, what: str) -> Iterator[None]:
    """Turn what can go wrong while a step's file is read into one sentence for the user.

    Args:
        path: the file.
        what: what it holds, in the plural.

    Raises:
        UserError: the file is missing or broken, or holds something else.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"no {what} at {path}: run the step that makes them") from error
    except PermissionError as error:
        raise closed_file(error) from error
    except DAMAGE as error:
        raise UserError(
            f"cannot read {what} from {path}: {error}; delete it and run its step again"
        ) from error


def safe_join(folder: str | Path, name: str) -> Path:
    """``folder/name``, for names that come from lists and tables.

    Raises:
        UserError: the name is empty, absolute, or leads out of the folder.
    """
    parts = Path(name).parts
    if not parts or Path(name).is_absolute() or ".." in parts or "\0" in name or "\\" in name:
        raise UserError(
            f"{name!r} is not a file name inside {folder}: names may not be empty, absolute or contain '..'"
        )
    return Path(folder) / name
