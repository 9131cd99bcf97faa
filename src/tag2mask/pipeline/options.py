"""Settings among the options of a LightningCLI, those in the files of ``--config`` included."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from tag2mask.core.layers import Setting, flatten
from tag2mask.core.pages import Page, read_page, yaml_value

_CLASS_PLACES = (
    "model", "data", "trainer.logger", "trainer.callbacks", "trainer.strategy", "trainer.plugins",
    "trainer.profiler",
)  # fmt: skip
"""Where a text may be a class in place of a mapping with ``class_path``."""
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


def config_pages(words: Sequence[str]) -> Iterator[Page]:
    """The files that ``--config`` names, in order.

    Args:
        words: the options, as a step gets them.

    Raises:
        UserError: a file is missing or broken.
    """
    for option, value in _pairs(words):
        if option == "config" and not isinstance(yaml_value(value), Mapping):
            yield read_page(Path(value))


def option_settings(words: Sequence[str]) -> Iterator[tuple[str, Setting]]:
    """Path and value of every setting that options give, those in files and in mappings included.

    Args:
        words: the options, as a step gets them.

    Raises:
        UserError: a file is missing or broken.
    """
    for page in config_pages(words):
        yield from page.settings(page.plain, "").items()
    for option, value in _pairs(words):
        read, origin = yaml_value(value), f"--{option} (behind --)"
        prefix = "" if option == "config" else option
        if isinstance(read, Mapping):
            named = flatten(read, f"{prefix}." if prefix else "")
            yield from ((path, Setting(item, origin)) for path, item in named)
        elif prefix:
            yield prefix, Setting(read, origin)


def class_names(path: str, value: object) -> Iterator[str]:
    """The classes that a setting names.

    Example:
        >>> list(class_names("model.class_path", "nets.Mine")), list(class_names("trainer.logger", True))
        (['nets.Mine'], [])
        >>> list(class_names("trainer.callbacks", ["mine.Stop", {"class_path": "an entry of its own"}]))
        ['mine.Stop']
    """
    if path.endswith(".class_path"):
        yield str(value)
    elif path in _CLASS_PLACES:
        entries = value if isinstance(value, list) else [value]
        yield from (entry for entry in entries if isinstance(entry, str) and _DOTTED.fullmatch(entry))


def _pairs(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Name and value of each option that has a value; ``+``, which adds to a list, is no part of the name."""
    for word, following in pairwise([*words, ""]):
        option, equals, value = word.partition("=")
        option = "--config" if option == "-c" else option
        given = value if equals else following
        if option.startswith("--") and given and not given.startswith("--"):
            yield option.removeprefix("--").removesuffix("+"), given
