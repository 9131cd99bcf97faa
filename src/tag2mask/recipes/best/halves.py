"""Images in two halves, one for each teacher."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Literal

from tag2mask.core import UserError
from tag2mask.data import SegmentationData
from tag2mask.data.samples import LabelReader

Half = Literal["a", "b"]


def half_of(image_id: str) -> Half:
    """The half that an image belongs to, by a hash of its id: it needs no list and never changes."""
    return "b" if sha256(image_id.encode()).digest()[0] % 2 else "a"


class HalfData(SegmentationData):
    """`SegmentationData` that trains on one half of the images only.

    Args:
        half: the half to train on.
        **segmentation: arguments of `SegmentationData`.
    """

    def __init__(self, half: Half, **segmentation: Any) -> None:
        super().__init__(**segmentation)
        self.half = half

    def labelled(self) -> tuple[Sequence[str], LabelReader]:
        """The images of the half, and their labels."""
        ids, labels = super().labelled()
        mine = [image_id for image_id in ids if half_of(image_id) == self.half]
        if not mine:
            raise UserError(
                f"none of the {len(ids)} training images falls into half {self.half}: two teachers need more "
                "images; use a recipe without them, such as psa"
            )
        return mine, labels
