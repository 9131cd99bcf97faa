"""Folders in the layout of PASCAL VOC 2012."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from tag2mask.core import ClassList, UserError, unknown_name
from tag2mask.data.class_names import require_texts
from tag2mask.data.id_lists import read_ids
from tag2mask.data.image_folder import ImageFolder
from tag2mask.data.image_set import ImageSet, Untagged
from tag2mask.data.shipped import shipped_file
from tag2mask.data.tags import TagSource, XmlTags, csv_tags, image_stem, npy_tags

LISTS = "ImageSets/Segmentation"
SBD_MASKS = "SegmentationClassAug"
TAGS = "image_labels.csv"
_CLASS_SPLITS = ("train", "train_aug", "trainaug", "trainval")
TRAIN_AUG = "train_aug"
"""The 10,582 images that the papers train on: VOC's train and all that SBD has masks for, without val."""


class VOC(ImageSet):
    """Images in ``JPEGImages``, masks in ``SegmentationClass``, lists in ``ImageSets/Segmentation``.

    Masks of SBD in ``SegmentationClassAug`` are taken for images that VOC itself has no mask for.
    Tags come from `tags` if given, else from ``image_labels.csv`` in the root, else from
    ``Annotations/*.xml``.

    Args:
        root: the folder that holds ``JPEGImages``.
        tags: a CSV (columns image, labels) or PSA's ``cls_labels.npy``; relative to the working directory.
        classes: names to work with; by default those that occur in the tags of the train split. They
            keep VOC's order and mask ids. Tags and mask areas of other VOC classes are left out.
        splits: split name -> text file of image ids, or the name of another list in the root, in place of
            the list of that name. ``train_aug`` needs no list: without one it is read off the masks of SBD.
        scored: split name -> text file or name of a list, as in `splits`: the images of the split on whose
            masks results are scored; by default all of them.
        untagged: what an image without tags is: an error, or a negative (it shows none of the classes).
        skip: ids of images to leave out, as ``tag2mask data check --skip-bad`` writes them.
    """

    known: ClassVar[ClassList] = ClassList.voc()
    """Every class that tags and masks may name."""

    def __init__(
        self,
        root: str,
        tags: str | None = None,
        classes: Sequence[str] | None = None,
        splits: Mapping[str, str] | None = None,
        scored: Mapping[str, str] | None = None,
        untagged: Untagged = "error",
        skip: Sequence[str] | None = None,
    ) -> None:
        super().__init__(untagged, skip)
        require_texts(classes, "classes")
        self.root = Path(root)
        self._tags_path = tags
        self._class_names = classes
        self._lists = dict(splits or {})
        self._scored = dict(scored or {})
        self._read: dict[str, list[str]] = {}
        self._places: dict[str, str] = {}
        self._folders: dict[str, ImageFolder] = {}

    def _init_args(self) -> dict[str, Any]:
        return {
            "root": str(self.root.absolute()),
            "tags": None if self._tags_path is None else str(Path(self._tags_path).absolute()),
            "classes": None if self._class_names is None else list(self._class_names),
            "splits": {split: self._absolute(name) for split, name in self._lists.items()} or None,
            "scored": {split: self._absolute(name) for split, name in self._scored.items()} or None,
            **self._common_args(),
        }

    @cached_property
    def classes(self) -> ClassList:
        """The given classes, or those that occur in the train split's tags, with VOC's ids."""
        if self._class_names is not None:
            return self.known.subset(self._class_names)
        split = next(
            (s for s in _CLASS_SPLITS if self._file(self._lists.get(s, s)).is_file()), _CLASS_SPLITS[0]
        )
        return self.known.subset(self._found(split))

    @property
    def mask_classes(self) -> ClassList:
        """All that masks may name."""
        return self.known

    def ids(self, split: str) -> list[str]:
        """The ids in the split's text file; lines may also be paths, as in SBD's ``train_aug`` list."""
        return self._kept(self._listed(self._lists.get(split, split), split))

    def scored_ids(self, split: str) -> list[str] | None:
        """The ids of the split's list of `scored`; None without one."""
        return self._listed(self._scored[split], split) if split in self._scored else None

    def image_path(self, image_id: str) -> Path:
        """``JPEGImages/<id>.jpg``, or the one file of that name with another ending."""
        name = f"{image_id}.jpg"
        images = self._folder("JPEGImages")
        return images.find(name) or images.find(image_id) or images.folder / name

    def mask_path(self, image_id: str) -> Path | None:
        """VOC's own mask, else SBD's, else None."""
        name = f"{image_id}.png"
        return self._folder("SegmentationClass").find(name) or self._folder(SBD_MASKS).find(name)

    def tag_names(self, image_id: str) -> tuple[str, ...]:
        """The image's tags that are in the class list (empty if it only shows other VOC classes)."""
        return tuple(name for name in self._all_tags(image_id) if name in self.classes.names)

    def _all_tags(self, image_id: str) -> tuple[str, ...]:
        names = self._tags.get(image_id)
        if not names and self.untagged == "negative":
            return ()
        if not names:
            raise UserError(
                f"image {self.image_path(image_id)} has no tags in {self._tags.where}: add them, take the "
                f"image off {self._named_in(image_id)}, or set untagged: negative if it shows no class"
            )
        return names

    def _tag_files(self, image_ids: Sequence[str]) -> list[Path]:
        lists = [self._file(name) for name in self._read]
        return [path for path in lists if path.is_file()] + self._tags.files(image_ids)

    def _found(self, split: str) -> set[str]:
        """The classes in a split's tags; images whose tags are wrong are left to `check`."""
        found: set[str] = set()
        error = None
        for image_id in self.ids(split):
            try:
                found.update(self._all_tags(image_id))
            except UserError as bad:
                error = bad
        if error is not None and not found:
            raise error
        return found

    def _folder(self, name: str) -> ImageFolder:
        return self._folders.setdefault(name, ImageFolder(self.root / name))

    @cached_property
    def _tags(self) -> TagSource:
        """The tags, from the first source that is there."""
        self._require_root()
        if self._tags_path is not None:
            path = Path(self._tags_path)
            if not path.is_file():
                raise UserError(f"the file of tags {path} does not exist")
            if path.suffix == ".npy":
                return npy_tags(path, self.known.names)
            return csv_tags(path, self.known.names)
        table = self.root / TAGS
        if table.is_file():
            return csv_tags(table, self.known.names)
        annotations = self.root / "Annotations"
        if annotations.is_dir():
            return XmlTags(annotations, self.known.names)
        raise UserError(
            f"{self.root} has no tags: put image_labels.csv (image,labels) or VOC's Annotations there, "
            "or give another file of tags"
        )

    def _file(self, name: str) -> Path:
        """The text file that a path or the name of a list in the root stands for."""
        path = Path(name)
        named = not path.suffix and len(path.parts) == 1 and not path.is_file()
        return self.root / LISTS / f"{name}.txt" if named else shipped_file(name)

    def _absolute(self, name: str) -> str:
        file = self._file(name)
        return name if file.parent == self.root / LISTS else str(file.absolute())

    def _listed(self, name: str, split: str) -> list[str]:
        """The ids of a list, read once; `split` is what the user asked for."""
        if name not in self._read:
            self._require_root()
            path = self._file(name)
            if path.is_file():
                self._read[name] = read_ids(path, image_stem)
            elif name == TRAIN_AUG:
                self._read[name] = self._train_aug(path)
            else:
                there = {p.stem for p in (self.root / LISTS).glob("*.txt")} | set(self._lists)
                raise unknown_name("split", split, there, f"({path} does not exist)")
            self._places = {image_id: str(path) for image_id in self._read[name]} | self._places
        return self._read[name]

    def _named_in(self, image_id: str) -> str:
        return self._places.get(image_id) or super()._named_in(image_id)

    def _train_aug(self, path: Path) -> list[str]:
        """VOC's train and what else has a mask of SBD, without val."""
        masks = self.root / SBD_MASKS
        if not masks.is_dir():
            raise UserError(
                f"the papers train on train_aug, which needs {path} or the masks of SBD in {masks}: "
                "put one of them there, or train on VOC's own train list with --data voc"
            )
        found = {image_stem(mask.name) for mask in masks.glob("*.png")} | set(self._listed("train", "train"))
        return sorted(found - set(self._listed("val", "val")))

    def _require_root(self) -> None:
        if not (self.root / "JPEGImages").is_dir():
            raise UserError(
                f"data root {self.root} is not a folder in VOC's layout (no {self.root / 'JPEGImages'}): "
                "give the folder that holds JPEGImages, e.g. --data-root /data/VOCdevkit/VOC2012"
            )
