"""Ids of images by their names, and which images are held out by their ids."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection

from tag2mask.core import UserError
from tag2mask.data.image_folder import file_stem

_UNSAFE = re.compile(r"[^\w.+-]")
_HASH_RANGE = 16**8


def image_id_of(image: str) -> str:
    """The id of an image by its relative path: one safe file name."""
    *folders, name = unicodedata.normalize("NFC", file_stem(image)).split("/")
    if not name:
        raise UserError(f"the image {image!r} of the table has no name before its ending: rename it")
    return "__".join(_UNSAFE.sub("_", part) for part in (*folders, name))


def held_out(image_ids: Collection[str], fraction: float) -> set[str]:
    """The images that are held out for validation, by a hash of their ids.

    Args:
        image_ids: all images.
        fraction: about this share of them; neither side is left empty.
    """
    val = {image_id for image_id in image_ids if _share(image_id) < fraction}
    if len(image_ids) > 1 and len(val) in (0, len(image_ids)):
        # So few images that the hash puts all on one side.
        ordered = sorted(image_ids, key=_share)
        return set(ordered[:1] if not val else ordered[:-1])
    return val


def _share(image_id: str) -> float:
    """A number in [0, 1) that depends on the id alone, and evenly so."""
    return int(hashlib.sha256(image_id.encode()).hexdigest()[:8], 16) / _HASH_RANGE
