"""Pictures of label maps over their images, with a legend of the classes below."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from tag2mask.core import ClassList
from tag2mask.report.pictures import hex_colour, label_picture

_SWATCH, _LINE, _GAP, _FONT = 12, 20, 6, 13
"""Pixels: side of a colour, height of a line, space between things, size of the letters."""


def overlay_jpeg(image: npt.NDArray[np.uint8], ids: npt.NDArray[np.uint8], classes: ClassList) -> bytes:
    """The label map over the gray image as a JPEG.

    The image (H, W, 3) keeps its size; below it stand colour, name and share of each class that is in the
    label map (H, W) of mask ids. A picture that is too narrow for the longest name is widened with white.
    """
    picture = Image.fromarray(label_picture(image, ids))
    entries = _entries(ids, classes)
    font = ImageFont.load_default(_FONT)
    places, size = _places([text for _, text in entries], picture.width, font)
    canvas = Image.new("RGB", (size[0], picture.height + size[1]), "white")
    canvas.paste(picture, (0, 0))
    pen = ImageDraw.Draw(canvas)
    for (colour, text), (x, y) in zip(entries, places, strict=True):
        top = picture.height + y + (_LINE - _SWATCH) // 2
        pen.rectangle((x, top, x + _SWATCH, top + _SWATCH), fill=colour, outline="black")
        pen.text((x + _SWATCH + _GAP, picture.height + y + _LINE // 2), text, "black", font, anchor="lm")
    stream = BytesIO()
    canvas.save(stream, "JPEG", quality=90)
    return stream.getvalue()


def _entries(ids: npt.NDArray[np.uint8], classes: ClassList) -> list[tuple[str, str]]:
    """Colour and text of each class in a label map, the largest first."""
    counts = np.bincount(ids.ravel(), minlength=256)
    found = [
        (int(counts[i]), i, name) for name, i in zip(classes.names, classes.ids, strict=True) if counts[i]
    ]
    shares = [
        (hex_colour(i), f"{name} {100 * n / ids.size:.1f} %") for n, i, name in sorted(found, reverse=True)
    ]
    return shares or [("#ffffff", "nothing but background")]


def _places(
    texts: list[str], width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> tuple[list[tuple[int, int]], tuple[int, int]]:
    """Top left corner of each entry, in lines that wrap, and the size (width, height) that they need."""
    widths = [_SWATCH + 3 * _GAP + round(font.getlength(text)) for text in texts]
    right = max(width, _GAP + max(widths))
    x, y, places = _GAP, 0, []
    for step in widths:
        if x > _GAP and x + step > right:
            x, y = _GAP, y + _LINE
        places.append((x, y))
        x += step
    return places, (right, y + _LINE)
