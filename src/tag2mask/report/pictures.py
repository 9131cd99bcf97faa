"""Small pictures for a report: images, heat maps and label maps, as text that HTML can hold."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from tag2mask.artifacts import voc_palette
from tag2mask.core import IGNORE, ClassList

RGB = npt.NDArray[np.uint8]

# dark blue, blue, teal, green, yellow, red: even in lightness up to the yellow, so that levels read well
_HEAT = np.array(
    [[13, 22, 75], [38, 86, 178], [33, 155, 160], [116, 201, 90], [250, 221, 64], [214, 47, 39]], np.float64
)


class LegendEntry(NamedTuple):
    """What a colour of the label maps stands for."""

    colour: str
    name: str


def shrink(image: RGB, side: int) -> RGB:
    """The image (H, W, 3) with its longer side at most `side` pixels."""
    small = Image.fromarray(image)
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return np.asarray(small)


def resize_map(values: npt.NDArray[np.float32], size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """A map (h, w) at `size` (H, W), bilinear."""
    image = Image.fromarray(values.astype(np.float32)).resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(image)


def resize_labels(ids: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Labels (h, w) at `size` (H, W), nearest."""
    return np.asarray(Image.fromarray(ids).resize(size[::-1], Image.Resampling.NEAREST))


def heat_picture(image: RGB, values: npt.NDArray[np.float32]) -> RGB:
    """A map (H, W) in [0, 1] as colours over the gray image (H, W, 3)."""
    clipped = np.clip(values, 0, 1) * (len(_HEAT) - 1)
    colours = np.stack([np.interp(clipped, np.arange(len(_HEAT)), _HEAT[:, c]) for c in range(3)], axis=-1)
    return _blend(image, colours, np.full(values.shape, 0.65))


def label_picture(image: RGB, ids: npt.NDArray[np.uint8]) -> RGB:
    """Mask ids (H, W) in VOC's colours over the gray image (H, W, 3), with dark outlines.

    Background shows the image; 255, not scored, has VOC's pale colour.
    """
    colours = voc_palette().astype(np.float64)[ids]
    weight = np.where(ids == 0, 0.0, 0.7)
    edge = _edges(ids)
    colours[edge], weight[edge] = 20, 1.0
    return _blend(image, colours, weight)


def data_uri(picture: RGB, quality: int = 82) -> str:
    """The picture (H, W, 3) as a ``data:`` address that holds a JPEG."""
    buffer = io.BytesIO()
    # without chroma subsampling: the outlines of small label maps would smear
    Image.fromarray(picture).save(buffer, format="JPEG", quality=quality, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def maps_uri(maps: Sequence[npt.NDArray[np.float32]], side: int) -> str:
    """Maps (h, w) in [0, 1], one below the other, as a ``data:`` address that holds a gray PNG of 8 bits.

    The page's script cuts them at the reader's threshold.

    Args:
        maps: at least one, all of one size.
        side: longer side that no map exceeds.
    """
    height, width = maps[0].shape
    scale = min(1.0, side / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    stack = np.concatenate([resize_map(values, size) for values in maps])
    buffer = io.BytesIO()
    Image.fromarray(np.rint(stack.clip(0, 1) * 255).astype(np.uint8)).save(
        buffer, format="PNG", optimize=True
    )
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def hex_colour(mask_id: int) -> str:
    """The colour of a mask id as ``#rrggbb``."""
    return as_hex(voc_palette()[mask_id])


def as_hex(colour: Iterable[int]) -> str:
    """Red, green and blue in 0..255 as ``#rrggbb``."""
    return "#" + "".join(f"{int(value):02x}" for value in colour)


def legend(lists: Iterable[ClassList]) -> list[LegendEntry]:
    """What the colours of label maps stand for that show the classes of one or several lists."""
    names = {0: "background (shows the image)"}
    for classes in lists:
        names.update(zip(classes.ids, classes.names, strict=True))
    names[IGNORE] = "unknown or not scored"
    return [LegendEntry(hex_colour(mask_id), name) for mask_id, name in names.items()]


def _blend(image: RGB, colours: npt.NDArray[np.float64], weight: npt.NDArray[np.float64]) -> RGB:
    gray = image @ np.array([0.299, 0.587, 0.114])
    mixed = gray[..., None] * (1 - weight[..., None]) + colours * weight[..., None]
    rounded: RGB = np.rint(mixed).clip(0, 255).astype(np.uint8)
    return rounded


def _edges(ids: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    edge = np.zeros(ids.shape, bool)
    edge[:, 1:] |= ids[:, 1:] != ids[:, :-1]
    edge[1:] |= ids[1:] != ids[:-1]
    return edge
