"""What every reader of a source gives, and the images that lie in its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from tag2mask.artifacts.labels import PICTURE_DAMAGE
from tag2mask.core import UserError
from tag2mask.data.image_folder import ImageFolder, file_stem, plain_name, walk_linked
from tag2mask.data.tag_columns import is_image_name


@dataclass(frozen=True)
class Item:
    """One image of a source.

    Attributes:
        image: its name, as the source writes it.
        names: the distinct class names; none if nothing says what it shows.
        split: train, val, ..., or "" where the source does not say.
        where: file and line or entry, for messages.
    """

    image: str
    names: tuple[str, ...]
    split: str = ""
    where: str = ""


@dataclass
class Source:
    """All that a reader found.

    Attributes:
        form: what the source was taken for, in words.
        items: the images.
        classes: class names in the order of their ids, or none for the order of the alphabet.
        notes: what was left out, and why.
        outlines: JSON files of COCO's form, whose outlines can be drawn as masks.
    """

    form: str
    items: list[Item]
    classes: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    outlines: tuple[Path, ...] = ()


class ImageIndex:
    """The images below a folder, found by path, by path below any sub-folder, or by name.

    Args:
        root: the folder.
        without: folders below it that hold other pictures (masks, earlier results).
    """

    def __init__(self, root: Path, without: Sequence[Path] = ()) -> None:
        self.root = root
        self._folder = ImageFolder(root)
        self.paths = sorted(_walk(root, {p.resolve() for p in without}))
        self._by_end: dict[str, list[str]] = {}
        for path in self.paths:
            parts = plain_name(path).split("/")
            for start in range(len(parts)):
                end = "/".join(parts[start:])
                for key in {end, file_stem(end)}:
                    self._by_end.setdefault(key, []).append(path)

    def find(self, name: str) -> str | None:
        """The path below the root of the image that a source names, or None.

        Raises:
            UserError: the name leads out of the folder, or several images fit equally well.
        """
        wanted = plain_name(self._folder.relative(name))
        # COCO's names may begin with the folder that was given as the root
        fitting = self._by_end.get(wanted) or self._by_end.get(
            wanted.removeprefix(f"{plain_name(self.root.name)}/"), []
        )
        whole = [path for path in fitting if wanted in (plain_name(path), plain_name(file_stem(path)))]
        chosen = whole or fitting
        if len(chosen) > 1:
            raise UserError(
                f"{name!r} could be {' or '.join(chosen[:3])} in {self.root}: write the path from that folder"
            )
        return chosen[0] if chosen else None


def _walk(root: Path, without: set[Path]) -> list[str]:
    found = []
    for here, folders, files in walk_linked(root):
        folders[:] = [f for f in folders if not f.startswith(".") and (here / f).resolve() not in without]
        found += [
            (here / f).relative_to(root).as_posix()
            for f in files
            if not f.startswith(".") and _is_image(here / f)
        ]
    return found


def _is_image(path: Path) -> bool:
    """By the ending; a file without any is opened."""
    if path.suffix:
        return is_image_name(path.name)
    try:
        with Image.open(path):
            return True
    except PICTURE_DAMAGE:
        return False
