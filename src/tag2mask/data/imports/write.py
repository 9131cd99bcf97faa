"""The table of tags of an imported data set, and whether it may be written."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from tag2mask.artifacts.files import atomic_write_text
from tag2mask.core import UserError
from tag2mask.data.imports.source import Item
from tag2mask.data.tag_columns import are_zeros_and_ones

CSV_NAME, YAML_NAME, PAGE_NAME, MASKS_NAME = "labels.csv", "data.yaml", "samples.html", "masks"
MARK = "Written by tag2mask data import"
"""Begins the comment in the first line of a configuration that a later import may replace."""
_TAGS = "labels"
_SEPARATORS = (";", "|", ",", "/")


def require_free(out: Path, masks: bool) -> None:
    """Refuse a folder with files of these names that no import has written.

    Args:
        out: the folder.
        masks: masks may be written there, too.

    Raises:
        UserError: something would be overwritten.
    """
    ours = is_ours(out)
    for name in (CSV_NAME, YAML_NAME, PAGE_NAME, *([MASKS_NAME] if masks else [])):
        if (out / name).exists() and not ours:
            raise UserError(
                f"{out / name} is there already, and no import has written it: give another --out"
            )


def is_ours(out: Path) -> bool:
    """Whether an earlier import has written the data set in a folder."""
    path = out / YAML_NAME
    return path.is_file() and path.read_text("utf-8", errors="replace").startswith(f"# {MARK}")


def write_table(out: Path, text: str) -> None:
    """Write the CSV, between a note in place of the configuration and the configuration, which comes next.

    A call that is stopped here leaves a folder that the next one knows for its own, and that no run takes
    for a data set, such as a new table beside an old configuration.
    """
    atomic_write_text(out / YAML_NAME, f"# {MARK}, which was stopped: give the command again.\n")
    atomic_write_text(out / CSV_NAME, text)


def table_text(items: Sequence[Item]) -> tuple[str, dict[str, str]]:
    """The text of the CSV, and the arguments of `Table` that say how to read it.

    Raises:
        UserError: the names hold every character that could separate them.
    """
    names = {name for item in items for name in item.names}
    separator = next((s for s in _SEPARATORS if not any(s in name for name in names)), None)
    if separator is None:
        raise UserError(
            f"class names hold all of {' '.join(_SEPARATORS)}: rename some, to have a separator left"
        )
    with_split = any(item.split for item in items)
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["image", _TAGS, *(["split"] if with_split else [])])
    for item in items:
        writer.writerow([item.image, separator.join(item.names), *([item.split] if with_split else [])])
    # a column that is named is not asked whether its 0 and 1 are names
    column = {"tags_column": _TAGS} if are_zeros_and_ones(names) else {}
    return stream.getvalue(), {"separator": separator} | column
