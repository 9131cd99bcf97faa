"""Label maps as outlines: polygons and run lengths of COCO, and LabelMe's files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from tag2mask.core import ClassList

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Region:
    """One connected region of a class.

    Attributes:
        mask_id: the class.
        polygon: corners (N, 2) as x, y in pixels, along the edges of the pixels; holes are filled.
        area: its pixels, without holes.
        box: x, y, width, height in pixels.
    """

    mask_id: int
    polygon: npt.NDArray[np.float64]
    area: int
    box: tuple[int, int, int, int]


def regions(ids: npt.NDArray[np.uint8], classes: ClassList, least: int = 1) -> list[Region]:
    """The connected regions of all classes in a label map (H, W) of mask ids, the largest first.

    So a tool that draws them in this order shows what lies in a hole of another region.

    Args:
        ids: mask ids.
        classes: the classes; background has no regions.
        least: pixels that a region has at least; smaller ones are left out.
    """
    found: list[Region] = []
    for mask_id in classes.ids:
        count, labelled, stats, _ = cv2.connectedComponentsWithStats(
            (ids == mask_id).astype(np.uint8), connectivity=4
        )
        for number in range(1, count):
            x, y, width, height, area = (int(value) for value in stats[number])
            if area < least:
                continue
            mask = labelled[y : y + height, x : x + width] == number
            polygon = _outline(mask) + np.array([x, y], np.float64)
            found.append(Region(mask_id, polygon, area, (x, y, width, height)))
    return sorted(found, key=lambda region: -region.area)


def _outline(mask: Mask) -> npt.NDArray[np.float64]:
    """The outer border of one region as corners (N, 2) that lie between the pixels."""
    # OpenCV walks along the centres of pixels. In the mask of doubled size, the centres that it visits
    # lie a quarter of a pixel inside the edges, to which they are moved.
    doubled = mask.astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    contours, _ = cv2.findContours(doubled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    points = max(contours, key=len)[:, 0, :].astype(np.int64)
    corners = ((points + points % 2) // 2).astype(np.float32)
    simple = cv2.approxPolyDP(corners[:, None, :], 0.5, closed=True)[:, 0, :]
    return simple.astype(np.float64)


def coco_polygons(found: Sequence[Region]) -> Iterator[dict[str, Any]]:
    """COCO's annotations of regions, without the ids of images and annotations."""
    for region in found:
        if len(region.polygon) >= 3:
            yield {
                "category_id": region.mask_id,
                "segmentation": [region.polygon.ravel().tolist()],
                "area": region.area,
                "bbox": list(region.box),
                "iscrowd": 0,
            }


def coco_run_lengths(ids: npt.NDArray[np.uint8], classes: ClassList) -> Iterator[dict[str, Any]]:
    """COCO's annotations of all pixels of each class, exact to the pixel; ``iscrowd`` is 1 as COCO has it."""
    for mask_id in classes.ids:
        mask = ids == mask_id
        if mask.any():
            encoded = coco_mask.encode(np.asfortranarray(mask, np.uint8))
            yield {
                "category_id": mask_id,
                "segmentation": {"size": list(encoded["size"]), "counts": encoded["counts"].decode("ascii")},
                "area": int(mask.sum()),
                "bbox": coco_mask.toBbox(encoded).tolist(),
                "iscrowd": 1,
            }


def labelme(
    found: Sequence[Region], classes: ClassList, image_path: str, size: tuple[int, int]
) -> dict[str, Any]:
    """The content of LabelMe's file of an image.

    Args:
        found: its regions.
        classes: their classes.
        image_path: path of the image, relative to the file.
        size: (H, W) of the image.
    """
    names = dict(zip(classes.ids, classes.names, strict=True))
    shapes = [
        {
            "label": names[region.mask_id],
            "points": region.polygon.tolist(),
            "group_id": None,
            "shape_type": "polygon",
            "flags": {},
        }
        for region in found
        if len(region.polygon) >= 3
    ]
    return {
        "version": "5.0.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": image_path,
        "imageData": None,
        "imageHeight": size[0],
        "imageWidth": size[1],
    }
