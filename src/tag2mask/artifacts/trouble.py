"""What is wrong with a file or folder, in the words of the operating system or of its form."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from pydantic import ValidationError

from tag2mask.core.errors import UserError


def first_fault(error: ValidationError) -> str:
    """The first field of a file that is not as it must be, and why."""
    first = error.errors()[0]
    field = ".".join(map(str, first["loc"]))
    return f"{field}: {first['msg']}" if field else first["msg"]


def named_trouble(error: OSError) -> str:
    """`disk_trouble` behind the name of the file or folder, if the error has one."""
    return f"{error.filename}: {disk_trouble(error)}" if error.filename else disk_trouble(error)


def disk_trouble(error: OSError) -> str:
    """What the operating system says, and the way out."""
    way = "choose a folder you may write to"
    if isinstance(error, FileExistsError) and error.filename and os.path.islink(error.filename):
        target = os.path.realpath(error.filename)
        return (
            f"{error.filename} is a link to {target}, which is not there; make that folder or remove the link"
        )
    if isinstance(error, PermissionError) and _is_closed(error.filename):
        way = "ask its owner to let you read it"
    elif error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        way = "make room, then the same command goes on"
    elif error.errno == errno.ENAMETOOLONG:
        way = "give a shorter one"
    return f"{error.strerror or error}; {way}"


def _is_closed(name: object) -> bool:
    """Whether a file is there, or may be, that we may not read."""
    if not isinstance(name, str | Path):
        return False
    path = Path(name)
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    # a folder whose names may be read but not what lies in it hides the file, too
    return not os.access(path, os.R_OK | os.X_OK if path.is_dir() else os.R_OK)


def closed_file(error: PermissionError) -> UserError:
    """The message for a file of a run that belongs to someone else: it is not broken."""
    return UserError(f"cannot read {error.filename}: {error.strerror}; ask its owner to let you read it")
