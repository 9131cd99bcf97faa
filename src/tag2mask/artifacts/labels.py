"""Label maps as palette PNGs that any segmentation code can read, and confidence beside them."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from tag2mask.artifacts.files import atomic_write_bytes
from tag2mask.core.errors import DAMAGE, UserError

PICTURE_DAMAGE: tuple[type[Exception], ...] = (*DAMAGE, Image.DecompressionBombError)
"""What Pillow raises for a damaged picture."""


@cache
def _palette_bytes() -> bytes:
    colours = np.zeros((256, 3), np.int64)
    index = np.arange(256)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((index >> (3 * bit + channel)) & 1) << (7 - bit)
    return colours.astype(np.uint8).tobytes()


def voc_palette() -> npt.NDArray[np.uint8]:
    """The colours of PASCAL VOC's masks: uint8 (256, 3) RGB.

    The bits of an id are dealt out to red, green and blue in turn, from the highest bit of each
    colour down (VOC development kit, VOClabelcolormap).
    """
    return np.frombuffer(_palette_bytes(), np.uint8).reshape(256, 3).copy()


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=False)
    return buffer.getvalue()


def labels_png(ids: npt.NDArray[np.uint8]) -> bytes:
    """The bytes of a PNG with VOC's palette, from uint8 (H, W) of mask ids; 255 is unknown.

    Raises:
        ValueError: another type or shape.
    """
    if ids.dtype != np.uint8 or ids.ndim != 2:
        raise ValueError(f"ids must be uint8 (H, W), got {ids.dtype} {ids.shape}")
    image = Image.fromarray(np.ascontiguousarray(ids))
    image.putpalette(_palette_bytes())
    return _png(image)


def save_labels(path: str | Path, ids: npt.NDArray[np.uint8]) -> None:
    """Write a label map as a PNG with VOC's palette, atomically.

    Args:
        path: file to write, ending in ``.png``.
        ids: uint8 (H, W) of mask ids; 255 is unknown.

    Raises:
        ValueError: another type or shape.
    """
    atomic_write_bytes(path, labels_png(ids))


def load_labels(path: str | Path) -> npt.NDArray[np.uint8]:
    """Read a label map: uint8 (H, W) of mask ids, 255 is unknown.

    Palette and gray PNGs are read as they are; a file of colours is refused, since colours are not ids.

    Raises:
        UserError: the file is missing, not a picture, or not a label map.
    """
    image = _open(path, "label map")
    if image.mode not in ("P", "L"):
        raise UserError(
            f"{path} has colours (mode {image.mode}), not class ids: label maps are palette or gray PNGs"
        )
    return np.array(image, dtype=np.uint8)


def save_confidence(path: str | Path, confidence: npt.NDArray[np.floating]) -> None:
    """Write a confidence map in [0, 1], shape (H, W), as a gray PNG of 256 steps, atomically.

    Raises:
        ValueError: another shape or values outside [0, 1].
    """
    if confidence.ndim != 2:
        raise ValueError(f"confidence must have shape (H, W), got {confidence.shape}")
    if not (np.isfinite(confidence).all() and confidence.min() >= -1e-6 and confidence.max() <= 1 + 1e-6):
        raise ValueError(f"confidence must lie in [0, 1], got {confidence.min()}..{confidence.max()}")
    gray = np.rint(np.clip(confidence, 0, 1) * 255).astype(np.uint8)
    atomic_write_bytes(path, _png(Image.fromarray(gray)))


def load_confidence(path: str | Path) -> npt.NDArray[np.float32]:
    """Read a confidence map: float32 (H, W) in [0, 1], in steps of 1/255.

    Raises:
        UserError: the file is missing or not a gray picture.
    """
    image = _open(path, "confidence map")
    if image.mode != "L":
        raise UserError(f"{path} is not a confidence map: expected a gray PNG, got mode {image.mode}")
    return np.array(image, dtype=np.float32) / np.float32(255)


def _open(path: str | Path, what: str) -> Image.Image:
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except FileNotFoundError as error:
        raise UserError(f"no {what} at {path}") from error
    except PICTURE_DAMAGE as error:
        raise UserError(f"cannot read the {what} {path}: {error}; replace or delete the file") from error
