"""Trained segmentation networks for images in memory or on disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from tag2mask.artifacts import RUN_NAME, VARIANTS, Manifest, checkpoint_path, read_manifest
from tag2mask.artifacts.manifest import MANIFEST_NAME
from tag2mask.artifacts.names import EXPORT_NAME, SINGLE_SCALE
from tag2mask.core import ClassList, UserError, unknown_name
from tag2mask.data.images import AnyImage, to_rgb
from tag2mask.data.samples import to_chw
from tag2mask.modules import SegmentationModel, load_checkpoint
from tag2mask.ops.sizes import maps_at_size

if TYPE_CHECKING:
    from torch import Tensor

LABELS = npt.NDArray[np.uint8]
SMALLEST_SIDE = 32
"""The least value of `max_side` in pixels."""


class Segmenter:
    """A trained segmentation network that labels images of any size. `tag2mask.load` makes one.

    Args:
        model: the network of a checkpoint.
        variant: how it predicts: one of ``single_scale``, ``multi_scale`` and ``multi_scale_crf``.
        max_side: longer side in pixels that larger images are shrunk to for the network; None for no
            limit.

    Raises:
        UserError: an unknown variant, a `max_side` below 32, or a network that knows no classes.
    """

    def __init__(
        self, model: SegmentationModel, variant: str = SINGLE_SCALE, max_side: int | None = 1024
    ) -> None:
        if variant not in VARIANTS:
            raise unknown_name("variant", variant, VARIANTS)
        if max_side is not None and max_side < SMALLEST_SIDE:
            raise UserError(f"max_side must be at least {SMALLEST_SIDE} pixels, got {max_side}")
        if model.classes is None:
            raise UserError("the network knows no classes: it was saved before its first step of training")
        self.model = model.eval()
        self.model.variants = (variant,)
        self.classes: ClassList = model.classes
        self.variant = variant
        self.max_side = max_side

    def __repr__(self) -> str:
        """The variant and the classes."""
        return f"Segmenter({self.variant}: {', '.join(self.classes.names)})"

    def __call__(self, image: AnyImage) -> LABELS:
        """The class of each pixel.

        Args:
            image: a path, a PIL image, an array (H, W, 3) or a tensor (3, H, W), both RGB in uint8.

        Returns:
            uint8 (H, W) of indices: k means ``classes.all_names[k]``, 0 is background.
            ``classes.to_ids`` makes them the mask ids that label files hold.

        Raises:
            UserError: a file cannot be read.
            ValueError: an array or tensor has another shape or type, or no pixels.
            TypeError: it is something else, such as several images.
        """
        rgb = to_rgb(image)
        return _labels(self._probabilities(rgb), rgb)

    def scores(self, image: AnyImage) -> npt.NDArray[np.float32]:
        """The probability of each class at each pixel.

        Args:
            image: as in the call of the object.

        Returns:
            float32 (K + 1, H, W) in [0, 1], background first. An image that was shrunk for the network
            has its scores enlarged bilinearly.
        """
        rgb = to_rgb(image)
        return _scores(self._probabilities(rgb), rgb)

    def labels_and_scores(self, image: AnyImage) -> tuple[LABELS, npt.NDArray[np.float32]]:
        """What the call of the object and `scores` give, from one pass of the network."""
        rgb = to_rgb(image)
        values = self._probabilities(rgb)
        return _labels(values, rgb), _scores(values, rgb)

    def _probabilities(self, rgb: npt.NDArray[np.uint8]) -> Tensor:
        small = _shrunk(rgb, self.max_side)
        pixels = to_chw(small).to(self.model.device)
        with torch.inference_mode():
            return self.model.scores(pixels)[self.variant]


def load(
    source: str | os.PathLike[str],
    *,
    device: str = "auto",
    variant: str = SINGLE_SCALE,
    max_side: int | None = 1024,
) -> Segmenter:
    """The segmentation network of a run, ready to label images.

    Args:
        source: a run folder, the folder of its segmentation step, or a ``.ckpt`` or ``.safetensors`` file.
        device: ``auto`` (the GPU if there is one) or a torch device.
        variant: see `Segmenter`.
        max_side: see `Segmenter`.

    Raises:
        UserError: there is no segmentation network, its training is not complete, or the device cannot
            be used.

    Example:
        >>> segment = tag2mask.load("runs/demo")  # doctest: +SKIP
        >>> segment.classes.names  # doctest: +SKIP
        ('cross-fox', 'ring-fox', 'cross-fish', 'ring-fish')
        >>> segment("photo.jpg").shape  # doctest: +SKIP
        (375, 500)
    """
    module = load_checkpoint(checkpoint_file(Path(source)))
    if not isinstance(module, SegmentationModel):
        raise UserError(f"{source} holds a {type(module).__name__}, not a segmentation model")
    name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        module.to(torch.device(name))
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device {device} cannot be used: {error}") from error
    return Segmenter(module, variant, max_side)


_FOR_OTHERS = (".onnx", ".pt2")
"""Endings of exported files that are not read back."""


def checkpoint_file(given: Path) -> Path:
    """The checkpoint of a segmentation network.

    Args:
        given: as in `load`.

    Raises:
        UserError: there is none, or its training is not complete.
    """
    if given.suffix in _FOR_OTHERS and given.exists():
        raise UserError(f"{given} is for other programs: give {EXPORT_NAME} of the same export, or the run")
    if given.is_file():
        return given
    if not given.is_dir():
        raise UserError(
            f"no checkpoint at {given}: give a run folder, its segmentation step, "
            "or a .ckpt or .safetensors file"
        )
    for folder in (given, given / "segmentation"):
        manifest = read_manifest(folder)
        if _is_network(manifest):
            if not manifest.trained:
                raise UserError(
                    f"the training in {folder} is not complete, says its {MANIFEST_NAME}: run stage 3 again, "
                    "it goes on"
                )
            return checkpoint_path(folder, manifest)
    if (given / EXPORT_NAME).is_file():
        return given / EXPORT_NAME
    raise _no_network(given)


def _is_network(manifest: Manifest | None) -> TypeGuard[Manifest]:
    return manifest is not None and manifest.kind == "segmentation" and bool(manifest.checkpoint)


def _no_network(given: Path) -> UserError:
    """Why a folder gives no network; those of earlier steps are never taken for that of the run."""
    step = read_manifest(given)
    if step is not None:
        return UserError(
            f"the step in {given} trained no segmentation network (it leaves {step.kind}): give the run "
            "folder, or the folder of a step that trains one"
        )
    folders = sorted(path for path in given.iterdir() if path.is_dir())
    earlier = [folder for folder in folders if _is_network(read_manifest(folder))]
    if earlier:
        return UserError(
            f"{given} has no trained step segmentation yet: run stage 3 first, or give the network of an "
            f"earlier step by its folder: {', '.join(map(str, earlier))}"
        )
    runs = [str(folder) for folder in folders if (folder / RUN_NAME).is_file()]
    if runs:
        return UserError(f"{given} holds runs, and is none: give one of {', '.join(runs[:5])}")
    return UserError(f"{given} holds no segmentation model: run stage 3 first")


def _labels(values: Tensor, image: npt.NDArray[np.uint8]) -> LABELS:
    """The class of each pixel of the image (H, W, 3) from probabilities (K + 1, h, w)."""
    labels = values.max(0).indices.numpy().astype(np.uint8)
    if labels.shape == image.shape[:2]:
        return labels
    size = (image.shape[1], image.shape[0])
    # a copy, because Pillow's own pixels cannot be written to
    return np.array(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))


def _scores(values: Tensor, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Probabilities (K + 1, h, w) at the size of the image (H, W, 3)."""
    return maps_at_size(values, (image.shape[0], image.shape[1])).numpy()


def _shrunk(image: npt.NDArray[np.uint8], max_side: int | None) -> npt.NDArray[np.uint8]:
    height, width = image.shape[:2]
    factor = max_side / max(height, width) if max_side else 1.0
    if factor >= 1:
        return image
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
