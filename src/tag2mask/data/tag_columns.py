"""Which columns of a table hold the images, the tags and the split."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tag2mask.artifacts.names import IMAGE_SUFFIXES
from tag2mask.core import UserError, unknown_name
from tag2mask.data.separators import Names

_IMAGE = (
    "image", "images", "filename", "file", "filepath", "path", "imagepath", "imagefile", "imagename", "img",
    "imgname", "imgpath", "photo", "picture", "imageid", "imgid", "name", "id",
)  # fmt: skip
"""Headings of the images, without case, spaces and underscores; the first that occurs is taken."""
_SINGULAR = ("label", "tag", "class", "classname", "category", "categoryname", "target", "labelname")
_PLURAL = ("labels", "tags", "classes", "classnames", "categories", "targets")
_SPLIT = ("split", "set", "subset", "partition")
_NUMBERED = re.compile(rf"({'|'.join((*_SINGULAR, *_PLURAL))})\d+")
_YES = frozenset(("1", "true", "t", "yes", "y", "x"))
_NO = frozenset(("0", "-1", "false", "f", "no", "n", ""))
_DECIMALS = re.compile(r"(-?[01])[.,]0+")
"""Zeros and ones as programs write numbers, in German tables with a comma."""
_WAY = "with --tags-column of tag2mask data import, or tags_column in the data set's YAML"

Line = tuple[int, list[str]]
"""Number of a line in the file, and its cells."""


@dataclass(frozen=True)
class Columns:
    """Where in a row to look.

    Attributes:
        names: the headings.
        image: column of the image.
        tags: columns of names, or of zeros and ones.
        split: column of the split, or None.
        one_hot: `tags` hold zeros and ones, and their headings are the classes.
        open_end: cells beyond the last heading are tags too.
        holds: how many names a cell should hold.
        unused: headings of columns that are not read.
    """

    names: tuple[str, ...]
    image: int
    tags: tuple[int, ...]
    split: int | None = None
    one_hot: bool = False
    open_end: bool = False
    holds: Names = "many"
    unused: tuple[str, ...] = ()


def plain_heading(text: str) -> str:
    """A heading without case, spaces, underscores and dashes."""
    return re.sub(r"[\s_-]", "", text).lower()


def is_image_heading(text: str) -> bool:
    """Whether a column of this heading usually holds image names."""
    return plain_heading(text) in _IMAGE


def is_tag_heading(text: str) -> bool:
    """Whether a column of this heading usually holds tags."""
    return plain_heading(text) in (*_SINGULAR, *_PLURAL)


def is_split_heading(text: str) -> bool:
    """Whether a column of this heading usually holds the split."""
    return plain_heading(text) in _SPLIT


def is_image_name(text: str) -> bool:
    """Whether a cell ends as image files do."""
    return text.strip().lower().endswith(IMAGE_SUFFIXES)


def is_yes(cell: str) -> bool:
    """Whether a cell of a column of zeros and ones says that the class is there."""
    return _plain_cell(cell) in _YES


def _plain_cell(cell: str) -> str:
    text = cell.strip().lower()
    return _DECIMALS.sub(r"\1", text) if _DECIMALS.fullmatch(text) else text


def find_columns(path: str, header: Sequence[str], lines: Sequence[Line], tags_column: str | None) -> Columns:
    """What the columns of a table are, by their headings and what is in them.

    Args:
        path: the file, for messages.
        header: the headings.
        lines: the rows.
        tags_column: heading of the column of tags, or None to find it.

    Raises:
        UserError: no column of images or tags, or more than one that could be it.
    """
    while header and not header[-1].strip():
        header = header[:-1]  # spreadsheets fill the first line up with empty headings
    plain = [plain_heading(h) for h in header]
    image = _image_column(path, header, plain, lines)
    split = next((i for i, name in enumerate(header) if is_split_heading(name) and i != image), None)
    rest = [i for i in range(len(header)) if i not in (image, split) and not _is_row_number(plain[i])]
    tags, one_hot = _tag_columns(path, header, rest, lines, tags_column)
    longest = max((_length(cells) for _, cells in lines), default=0)
    open_end = longest > len(header) and not one_hot and max(tags) == len(header) - 1
    if longest > len(header) and not open_end:
        number = next(n for n, cells in lines if _length(cells) > len(header))
        raise UserError(
            f"{path}, line {number} has {longest} cells but the first line only {len(header)} headings: "
            "put names that belong to one image into quotes or separate them with ';'"
        )
    holds: Names = "perhaps one" if plain[tags[0]] in _SINGULAR else "many"
    return Columns(
        names=tuple(h.strip() for h in header),
        image=image,
        tags=tuple(tags),
        split=split,
        one_hot=one_hot,
        open_end=open_end,
        holds="one" if len(tags) > 1 or open_end else holds,
        unused=tuple(header[i] for i in rest if i not in tags),
    )


def headless(lines: Sequence[Line]) -> Columns:
    """The columns of a table without headings: the image, then tags."""
    longest = max(len(cells) for _, cells in lines)
    return Columns(("image", "labels"), 0, (1,), open_end=longest > 2, holds="one" if longest > 2 else "many")


def _image_column(path: str, header: Sequence[str], plain: Sequence[str], lines: Sequence[Line]) -> int:
    for name in _IMAGE:
        if name in plain:
            return plain.index(name)
    by_cells = [
        i for i in range(len(header)) if lines and all(is_image_name(cell) for cell in _column(lines, i))
    ]
    if len(by_cells) == 1:
        return by_cells[0]
    raise UserError(
        f"{path} has no column of images (the cells of its first line are {_shown(header)}): "
        "the first line must hold headings, such as image,labels"
    )


def _tag_columns(
    path: str, header: Sequence[str], rest: Sequence[int], lines: Sequence[Line], given: str | None
) -> tuple[list[int], bool]:
    """The columns of tags, and whether they hold zeros and ones."""
    if given is not None:
        if given not in [h.strip() for h in header]:
            raise unknown_name("column", given, [h.strip() for h in header], f"(tags_column, {path})")
        return [[h.strip() for h in header].index(given)], False
    named = [i for i in rest if is_tag_heading(header[i])]
    numbered = [i for i in rest if _NUMBERED.fullmatch(plain_heading(header[i]))]
    if len(named) == 1 and not numbered:
        _refuse_numbers(path, header[named[0]], _column(lines, named[0]))
        return named, False
    if len(named) > 1:
        raise UserError(
            f"{path} has several columns that could hold the tags, {_shown(header[i] for i in named)}: "
            f"name one {_WAY}"
        )
    if numbered:
        return numbered, False
    return _unnamed_tags(path, header, rest, lines)


def _unnamed_tags(
    path: str, header: Sequence[str], rest: Sequence[int], lines: Sequence[Line]
) -> tuple[list[int], bool]:
    hot = [i for i in rest if _is_one_hot(_column(lines, i))]
    if rest and len(hot) == len(rest):
        return list(rest), True
    if len(rest) == 1:
        return list(rest), False
    if not rest:
        raise UserError(
            f"{path} has no column of tags (its columns are {_shown(header)}): "
            "the first line must be like image,labels, and names are separated by ';'"
        )
    raise UserError(
        f"{path} has several columns that could hold the tags, {_shown(header[i] for i in rest)}: "
        f"name one 'labels', or say which {_WAY}; a column for each class holds only 0 and 1"
    )


def _is_one_hot(cells: Iterable[str]) -> bool:
    values = {_plain_cell(cell) for cell in cells}
    return bool(values & _YES) and values <= _YES | _NO


def are_zeros_and_ones(cells: Iterable[str]) -> bool:
    """Whether cells hold only what says that a class is there or not, and no name."""
    values = {_plain_cell(cell) for cell in cells} - {""}
    return bool(values) and values <= (_YES | _NO) - {"x"}


def _refuse_numbers(path: str, heading: str, cells: Sequence[str]) -> None:
    if are_zeros_and_ones(cells):
        values = {cell.strip().lower() for cell in cells} - {""}
        raise UserError(
            f"the column {heading!r} of {path} holds only {', '.join(sorted(values))}, which name no class: "
            "if they say whether a class is there, make it the heading (image,defect); "
            "else write the names of the classes"
        )


def _is_row_number(heading: str) -> bool:
    """Whether a heading is that of pandas' row numbers."""
    return not heading or heading.startswith("unnamed:")


def _length(cells: Sequence[str]) -> int:
    """The number of cells up to the last one that is not empty."""
    return max((i for i, cell in enumerate(cells, 1) if cell.strip()), default=0)


def _column(lines: Sequence[Line], index: int) -> list[str]:
    return [cells[index] if index < len(cells) else "" for _, cells in lines]


def _shown(headings: Iterable[str]) -> str:
    return ", ".join(repr(h) for h in headings)
