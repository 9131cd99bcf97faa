"""Which image each label map in the folder of ``tag2mask predict`` was made from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from tag2mask.artifacts.names import SOURCES_NAME
from tag2mask.artifacts.sources import changed_sources, has_content, read_sources
from tag2mask.core.errors import UserError


class PredictedImages:
    """The images that a folder's record of sources names, beside those that are given now.

    Args:
        folder: the folder.
        images: name of each image that is given, relative and without ending -> its file.
    """

    def __init__(self, folder: Path, images: Mapping[str, Path]) -> None:
        self._record = folder / SOURCES_NAME
        self._facts = read_sources(self._record)
        self._images = {name: os.path.abspath(image) for name, image in images.items()}
        self._named: dict[str, list[str]] = {}
        for path in self._facts:
            self._named.setdefault(os.path.basename(_stem(path)), []).append(path)

    def others(self, name: str) -> list[str]:
        """Files of the record, not the one that is given, whose label maps had this name, too."""
        found = self._named.get(os.path.basename(name), [])
        return [path for path in found if path != self._images[name] and _stem(path).endswith(f"/{name}")]

    def replaced(self, names: list[str]) -> list[str]:
        """The names whose label map was made from an image that is gone or has other content now.

        Raises:
            UserError: a label map was made from an image of another folder, which is still there.
        """
        changed = set(changed_sources(self._record))
        return [name for name in names if self._is_replaced(name, changed)]

    def _is_replaced(self, name: str, changed: set[str]) -> bool:
        image, others = self._images[name], self.others(name)
        if image in self._facts:
            return image in changed
        # without others an earlier version made the label map, and with the same content the image has moved
        if not others or any(has_content(image, self._facts[other]) for other in others):
            return False
        for other in others:
            if os.path.isfile(other) and other not in changed:
                raise UserError(
                    f"{self._record.parent / name}.png was made from {other}, and {image} is another image: "
                    "choose another folder as --out, or give --overwrite"
                )
        return True


def _stem(path: str) -> str:
    return os.path.splitext(path)[0]
