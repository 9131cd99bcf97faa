"""How many images the official lists have."""

from __future__ import annotations

VOC_COUNTS = {"train": 1464, "val": 1449}
"""PASCAL VOC 2012, segmentation."""
SBD_COUNTS = {"train_aug": 10582}
"""VOC's train and all that SBD has masks for, without val."""
COCO_COUNTS = {"train": 82783, "val": 40504}
"""COCO 2014."""


def compare(name: str, found: int, official: int) -> str:
    """A line on the number of images in a list.

    Args:
        name: of the list.
        found: images that are there.
        official: images of the official list.

    Example:
        >>> compare("train", 1464, 1464)
        'train: 1,464 images, as published'
    """
    if found == official:
        return f"{name}: {found:,} images, as published"
    what = "a part of it" if found < official else "another list"
    return f"{name}: {found:,} images, while the published list has {official:,}: this is {what}"
