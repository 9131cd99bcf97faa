"""A page of sample pictures: one self-contained HTML file to see whether tags and images belong together."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from tag2mask.artifacts.files import atomic_write_text
from tag2mask.artifacts.labels import voc_palette
from tag2mask.core import UserError, map_threads, spread
from tag2mask.core.html_pages import page_templates
from tag2mask.core.tables import Table
from tag2mask.data.image_set import ImageSet

_PER_CLASS = 6
_MOST_CLASSES = 60
_SIDE = 180


def write_page(
    path: Path, images: ImageSet, ids: Mapping[str, Sequence[str]], counts: Table, form: str
) -> None:
    """Write a few images of each class with their tags and masks, and the counts.

    Args:
        path: the HTML file.
        images: the data set.
        ids: split -> ids of images that can be read.
        counts: images for each class and split.
        form: what the data set was read from.
    """
    every = [image_id for some in ids.values() for image_id in some]
    groups = {}
    for name in images.classes.names[:_MOST_CLASSES]:
        groups[name] = spread([i for i in every if name in images.tag_names(i)], _PER_CLASS)
    groups["without tags"] = spread([i for i in every if not images.tag_names(i)], _PER_CLASS)
    chosen = list(dict.fromkeys(i for some in groups.values() for i in some))
    pictures = dict(zip(chosen, map_threads(lambda i: _picture(images, i), chosen), strict=True))
    shown = {
        name: [found for i in some if (found := pictures[i]) is not None]
        for name, some in groups.items()
        if some
    }
    template = page_templates("tag2mask.data.imports").get_template("samples.html")
    text = template.render(title="Samples", form=form, counts=counts, groups=shown)
    atomic_write_text(path, text)


def _with_mask(images: ImageSet, image_id: str) -> npt.NDArray[np.uint8]:
    """The image (H, W, 3), with its mask in colours upon it where it has one."""
    image, mask = images.read_image(image_id), images.read_mask(image_id)
    if mask is None:
        return image
    mixed = np.where(mask[..., None] > 0, 0.5 * image + 0.5 * voc_palette()[mask], image)
    return mixed.astype(np.uint8)


def _picture(images: ImageSet, image_id: str) -> dict[str, str] | None:
    """A small JPEG with its caption, or None if the image is damaged in the middle."""
    try:
        image = Image.fromarray(_with_mask(images, image_id))
    except UserError:
        return None
    image.thumbnail((_SIDE, _SIDE))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=80)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    return {"id": image_id, "tags": ", ".join(images.tag_names(image_id)) or "no tags", "data": data}
