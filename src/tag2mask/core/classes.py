"""The classes of a data set and the ids that its masks give them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tag2mask.core.errors import UserError, unknown_name

LAST_ID = 254
"""The largest id that a class can have."""

IGNORE = 255
"""Mask value of pixels that are not scored and not trained on."""

Unknown = Literal["ignore", "wrong", "background"]
"""What a prediction of 255 counts as when it is scored; `tag2mask.metrics.Confusion` explains the three."""

VOC_NAMES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
"""The 20 classes of PASCAL VOC in the order of their mask ids 1 to 20."""


@dataclass(frozen=True)
class ClassList:
    """Foreground classes and their mask ids; background is always id 0, ignored pixels 255.

    Networks work with indices: 0 is background, 1..K the classes in the order of `names`. Files
    hold ids. A data set may have fewer classes than its masks know: then ids have gaps.

    Attributes:
        names: the K foreground class names.
        ids: the mask value of each class, in 1..254.
    """

    names: tuple[str, ...]
    ids: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.names:
            raise UserError("the class list is empty: name at least one class")
        if len(self.names) > LAST_ID:
            raise UserError(
                f"{len(self.names)} classes ({', '.join(self.names[:3])}, ...) are too many: label files "
                f"hold ids up to {LAST_ID}; merge classes, leave rare ones out, or make several data sets"
            )
        if twice := [name for name, count in Counter(self.names).items() if count > 1]:
            raise UserError(f"the class {twice[0]!r} is named twice: remove one, or give them two names")
        if len(self.ids) != len(self.names) or len(set(self.ids)) != len(self.ids):
            raise UserError(f"classes {list(self.names)} need one id each, got {list(self.ids)}")
        if wrong := [i for i in self.ids if not 1 <= i <= LAST_ID]:
            raise UserError(f"class ids must lie in 1..{LAST_ID}, got {wrong[0]}")

    def __len__(self) -> int:
        """The number of foreground classes K."""
        return len(self.names)

    @property
    def all_names(self) -> tuple[str, ...]:
        """``("background", *names)``: the names of indices 0..K."""
        return ("background", *self.names)

    @property
    def all_ids(self) -> tuple[int, ...]:
        """``(0, *ids)``: the mask ids of indices 0..K."""
        return (0, *self.ids)

    @classmethod
    def from_names(cls, names: Sequence[str]) -> ClassList:
        """Classes with ids 1..K."""
        return cls(tuple(names), tuple(range(1, len(names) + 1)))

    @classmethod
    def voc(cls, names: Iterable[str] | None = None) -> ClassList:
        """VOC's classes, or some of them, with VOC's ids and in VOC's order."""
        every = cls.from_names(VOC_NAMES)
        return every if names is None else every.subset(names)

    def subset(self, names: Iterable[str]) -> ClassList:
        """Some of the classes, in the list's order and with its ids.

        Raises:
            UserError: a name is not one of the classes.
        """
        chosen = set(names)
        for name in sorted(chosen - set(self.names)):
            raise unknown_name("class", name, self.names)
        pairs = [(n, i) for n, i in zip(self.names, self.ids, strict=True) if n in chosen]
        return ClassList(tuple(n for n, _ in pairs), tuple(i for _, i in pairs))

    def encode(self, tags: Iterable[str]) -> npt.NDArray[np.float32]:
        """Multi-hot vector (K,) of the given class names.

        Raises:
            UserError: a tag is not one of the classes.
        """
        hot = np.zeros(len(self), np.float32)
        for tag in tags:
            if tag not in self.names:
                raise unknown_name("class", tag, self.names)
            hot[self.names.index(tag)] = 1
        return hot

    def to_index(self, mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Mask ids (H, W) to indices 0..K; 255 stays 255; an id of no listed class is background."""
        table = np.zeros(256, np.uint8)
        table[IGNORE] = IGNORE
        for index, mask_id in enumerate(self.all_ids):
            table[mask_id] = index
        return table[mask]

    def to_ids(self, indices: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Indices 0..K (H, W) to mask ids; 255 stays 255."""
        table = np.full(256, IGNORE, np.uint8)
        table[: len(self.all_ids)] = self.all_ids
        return table[indices]

    def indices(self, ids: Iterable[int], origin: str) -> list[int]:
        """The index 0..K of each mask id.

        Args:
            ids: mask ids; 0 is background.
            origin: the file that they come from, for the message.

        Raises:
            UserError: an id is that of no listed class.
        """
        known = {mask_id: index for index, mask_id in enumerate(self.all_ids)}
        found = list(ids)
        for mask_id in found:
            if mask_id not in known:
                raise UserError(
                    f"{origin} names class id {mask_id}, but the data set has {list(self.all_ids)}: "
                    "run the step that made it again"
                )
        return [known[mask_id] for mask_id in found]

    def to_dict(self) -> dict[str, Any]:
        """Plain form for JSON: names, ids and the ignore value."""
        return {"names": list(self.names), "ids": list(self.ids), "ignore": IGNORE}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> ClassList:
        """The inverse of `to_dict`.

        Raises:
            UserError: it is no list of classes.
        """
        names: Any = plain.get("names")
        ids: Any = plain.get("ids")
        if not (_all_of(str, names) and _all_of(int, ids)):
            raise UserError(f"no list of classes: names {names!r}, ids {ids!r}")
        return cls(tuple(names), tuple(ids))


def _all_of(kind: type, values: Any) -> bool:
    """Whether these are values of a kind; True and False are no numbers."""
    plain = isinstance(values, list | tuple)
    return plain and all(isinstance(v, kind) and not isinstance(v, bool) for v in values)
