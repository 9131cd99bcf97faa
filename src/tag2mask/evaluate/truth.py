"""The true mask that a result is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tag2mask.artifacts import Manifest
from tag2mask.core import UserError
from tag2mask.data import ImageSet


def no_mask(image_id: str) -> UserError:
    """The error of an image without a true mask."""
    return UserError(f"image {image_id!r} has no mask to score against")


def scored_images(dataset: ImageSet, manifest: Manifest, every_image: bool = False) -> list[str]:
    """The images of a step that have a mask and are scored.

    Args:
        dataset: the step's images.
        manifest: what the step holds.
        every_image: all that the step has results for, not those alone that `ImageSet.scored_ids` names.
    """
    listed = None if every_image else dataset.scored_ids(manifest.split)
    wanted = set(manifest.image_ids if listed is None else listed)
    return [i for i in manifest.image_ids if i in wanted and dataset.mask_path(i) is not None]


def read_truth(
    dataset: ImageSet, image_id: str, results: Mapping[Path, tuple[int, int]]
) -> npt.NDArray[np.uint8]:
    """The true mask (H, W) of an image, as class indices.

    Args:
        dataset: the images.
        image_id: one of them.
        results: file of each result for the image -> height and width of the image that it was made of.

    Raises:
        UserError: there is no mask, it cannot be read, or it has another size than a result.
    """
    truth = dataset.read_mask(image_id)
    if truth is None:
        raise no_mask(image_id)
    for path, (height, width) in results.items():
        if (height, width) != truth.shape:
            raise UserError(
                f"{path} belongs to an image of {width}x{height}, but {dataset.mask_path(image_id)} is "
                f"{truth.shape[1]}x{truth.shape[0]}: the data set has changed, run the step again"
            )
    return truth
