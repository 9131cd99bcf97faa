"""What every data set offers: images, tags, and masks where they exist (for scoring only)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import numpy.typing as npt

from tag2mask.artifacts.labels import load_labels
from tag2mask.core import ClassList, UserError, map_threads
from tag2mask.data.class_names import require_texts
from tag2mask.data.described import class_of, make_described
from tag2mask.data.images import check_image, check_mask, read_rgb, require_same_size
from tag2mask.data.problems import problems_error

Untagged = Literal["error", "negative"]
"""What an image without tags is: a mistake, or an image that shows none of the classes."""


class ImageSet(ABC):
    """Images with image tags, cut into named splits.

    Tags are the only supervision; masks are read for scoring (and for the upper bound trained on
    true masks) and never turned into tags. Nothing is read before it is asked for.

    Args:
        untagged: what an image without tags is.
        skip: ids of images that no split has, although its list names them.
    """

    renamed: ClassVar[Mapping[str, str]] = {}
    """Former name of an argument -> its name today, for descriptions in manifests of earlier runs."""

    def __init__(self, untagged: Untagged = "error", skip: Sequence[str] | None = None) -> None:
        if untagged not in get_args(Untagged):
            raise UserError(f"untagged must be {' or '.join(get_args(Untagged))}, got {untagged!r}")
        self.untagged = untagged
        require_texts(skip, "skip")
        self.skip = frozenset(skip or ())
        self._checked: dict[str, None] = {}

    @property
    @abstractmethod
    def classes(self) -> ClassList:
        """The K foreground classes and their mask ids."""

    @property
    def mask_classes(self) -> ClassList:
        """The classes whose ids masks may hold; more than `classes` where a data set uses some of them."""
        return self.classes

    @abstractmethod
    def ids(self, split: str) -> list[str]:
        """The image ids of a split; a `UserError` if the data set has no such split."""

    def scored_ids(self, split: str) -> list[str] | None:
        """The images of a split on whose masks results are scored; None, the default, for all of them."""
        return None

    @abstractmethod
    def image_path(self, image_id: str) -> Path:
        """The image's file (which may be missing)."""

    @abstractmethod
    def mask_path(self, image_id: str) -> Path | None:
        """The file of the true mask, or None if the image has none."""

    @abstractmethod
    def tag_names(self, image_id: str) -> tuple[str, ...]:
        """The image's tags that are in the class list.

        Raises:
            UserError: nobody has tagged the image, or a tag is not a class of this data set.
        """

    @abstractmethod
    def _init_args(self) -> dict[str, Any]:
        """The plain constructor arguments, with absolute paths."""

    def tags(self, image_id: str) -> npt.NDArray[np.float32]:
        """Multi-hot tags (K,). Raises `UserError` as `tag_names` does."""
        return self.classes.encode(self.tag_names(image_id))

    def read_image(self, image_id: str) -> npt.NDArray[np.uint8]:
        """The image as RGB uint8 (H, W, 3), turned upright as its EXIF data says.

        Raises:
            UserError: the file is missing or cannot be decoded.
        """
        return read_rgb(self.image_path(image_id))

    def read_mask(self, image_id: str) -> npt.NDArray[np.uint8] | None:
        """The true mask (H, W) as index 0..K or 255, or None if the image has none.

        Raises:
            UserError: the mask cannot be read or has another size than its image.
        """
        path = self.mask_path(image_id)
        if path is None:
            return None
        mask = load_labels(path)
        require_same_size(path, (mask.shape[0], mask.shape[1]), self.image_path(image_id))
        return self.classes.to_index(mask)

    def check(self, split: str, need_tags: bool = True) -> None:
        """Look at every file of a split without decoding it: quick, and before any training.

        Args:
            split: name of the split.
            need_tags: also ask for the tags of each image.

        Raises:
            UserError: what is wrong, with the files' names.
        """
        self.check_ids(self.ids(split), need_tags)

    def check_ids(self, image_ids: Sequence[str], need_tags: bool = True) -> None:
        """As `check`, for some images."""
        bad = self.problems(image_ids, need_tags)
        if bad:
            raise problems_error(list(bad.values()))
        self._checked |= dict.fromkeys(image_ids)

    def sources(self, masks: bool = False) -> list[Path]:
        """The files that decide on the images which `check_ids` has looked at, and on their tags.

        Args:
            masks: also those of the masks.
        """
        files = [*self._tag_files(list(self._checked)), *(self.image_path(i) for i in self._checked)]
        true = [self.mask_path(i) for i in self._checked] if masks else []
        return files + [path for path in true if path is not None]

    def _tag_files(self, image_ids: Sequence[str]) -> list[Path]:
        """The files that tags, and the images of splits, are read from; none unless overridden."""
        return []

    def problems(
        self, image_ids: Sequence[str], need_tags: bool = True, seen: Callable[[], object] = lambda: None
    ) -> dict[str, str]:
        """What is wrong with images, their tags and their masks: id -> a sentence, for the bad ones.

        Args:
            image_ids: the images to look at.
            need_tags: also ask for the tags of each image.
            seen: called once after each image, from several threads.
        """

        def look(image_id: str) -> str:
            try:
                if need_tags:
                    self.tag_names(image_id)
                self._check_files(image_id)
            except UserError as error:
                return str(error)
            finally:
                seen()
            return ""

        # The time goes into opening files, which threads overlap (network disks above all).
        found = zip(image_ids, map_threads(look, image_ids, threads=8), strict=True)
        return {image_id: problem for image_id, problem in found if problem}

    def notes(self, image_ids: Sequence[str]) -> list[str]:
        """Sentences on what is odd with the data set, but no reason to stop; none unless overridden."""
        return []

    def _named_in(self, image_id: str) -> str:
        """Where the user has named an image, for messages."""
        return "the list of the split"

    def _missing(self, image_id: str) -> UserError:
        """The error for an image that does not exist."""
        where = f"check the data root and {self._named_in(image_id)}"
        return UserError(f"{self.image_path(image_id)} does not exist: {where}")

    def _check_files(self, image_id: str) -> None:
        image = self.image_path(image_id)
        if not image.exists():
            raise self._missing(image_id)
        size = check_image(image)
        mask = self.mask_path(image_id)
        if mask is not None:
            require_same_size(mask, check_mask(mask), image, size)

    def _kept(self, image_ids: Sequence[str]) -> list[str]:
        return [i for i in image_ids if i not in self.skip] if self.skip else list(image_ids)

    def _common_args(self) -> dict[str, Any]:
        """The arguments of every data set, as `_init_args` gives them."""
        return {"untagged": self.untagged, "skip": sorted(self.skip) or None}

    def describe(self) -> dict[str, Any]:
        """Plain ``{"class_path", "init_args"}`` from which `from_description` makes the set again."""
        cls = type(self)
        return {"class_path": f"{cls.__module__}.{cls.__qualname__}", "init_args": self._init_args()}

    @staticmethod
    def from_description(plain: Mapping[str, Any], own: bool = False, origin: str | Path = "") -> ImageSet:
        """The inverse of `describe`; the same form as in the YAML files.

        Args:
            plain: the description, of a manifest for example.
            own: the user wrote it, so any module may be imported for it. Otherwise only modules of tag2mask
                and of registered packages are imported: a run folder of somebody else runs no other code.
            origin: folder of the step whose manifest holds it: for messages, and to find moved data.

        Raises:
            UserError: the class does not exist, may not be imported or is no data set, or its arguments
                do not fit.
        """
        return make_described(_ANY, plain, own, origin)


_ANY: type[ImageSet] = ImageSet  # type: ignore[type-abstract]


def import_data_set(path: str) -> type[ImageSet]:
    """The data set class of a dotted path that the user gave; descriptions may name it from then on.

    Raises:
        UserError: there is no such class, or it is no data set.
    """
    return class_of(_ANY, path, own=True)
