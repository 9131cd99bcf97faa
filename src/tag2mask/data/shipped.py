"""Files of the shipped configurations that a data set names."""

from __future__ import annotations

from pathlib import Path

from tag2mask.core.library import find_conf


def shipped_file(path: str) -> Path:
    """The file itself, or for ``conf/...`` outside a checkout the one that ships with the package.

    Raises:
        UserError: there is no folder of configurations.
    """
    plain = Path(path)
    if plain.exists() or plain.parts[:1] != ("conf",):
        return plain
    return find_conf().joinpath(*plain.parts[1:])
