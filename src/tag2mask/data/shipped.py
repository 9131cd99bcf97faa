"""Where the shipped configurations lie, for data sets that name one and for ``tag2mask data``."""

from __future__ import annotations

import os
from pathlib import Path

import tag2mask
from tag2mask.core import UserError


def conf_folder() -> Path:
    """``$TAG2MASK_CONF``, or the installed package's own ``conf``, or the checkout's.

    Raises:
        UserError: there is none.
    """
    package = Path(tag2mask.__file__).resolve().parent
    given = os.environ.get("TAG2MASK_CONF")
    for folder in [Path(given)] if given else [package / "_conf", package.parent.parent / "conf"]:
        if (folder / "data").is_dir():
            return folder
    raise UserError("no folder of configurations found: set TAG2MASK_CONF to the 'conf' folder of a checkout")


def shipped_file(path: str) -> Path:
    """The file itself, or for ``conf/...`` outside a checkout the one that ships with the package."""
    plain = Path(path)
    if plain.exists() or plain.parts[:1] != ("conf",):
        return plain
    return conf_folder().joinpath(*plain.parts[1:])
