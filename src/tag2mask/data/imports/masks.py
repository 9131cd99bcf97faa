"""Own masks of other kinds as palette PNGs of class ids: colours, 16 bits, 0 and 255."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from tag2mask.artifacts.labels import save_labels, voc_palette
from tag2mask.core import IGNORE, ClassList, UserError, map_threads, unknown_name
from tag2mask.data.image_folder import ImageFolder, file_stem
from tag2mask.data.images import check_mask
from tag2mask.data.progress import map_with_bar

_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".gif")
_COLOUR = re.compile(r"#[0-9a-f]{6}")
_SHOWN = 8
_WORDS = {"background": 0, "ignore": IGNORE}


def parse_values(pairs: Sequence[str], classes: ClassList) -> dict[int | tuple[int, ...], int]:
    """``VALUE=NAME`` of the command line as value (or colour) -> mask id.

    Args:
        pairs: values are numbers or colours (``#ff0000``), names are classes, background or ignore.
        classes: the classes.

    Raises:
        UserError: no such class, or no number or colour.
    """
    known = {**_WORDS, **dict(zip(classes.names, classes.ids, strict=True))}
    values: dict[int | tuple[int, ...], int] = {}
    for pair in pairs:
        value, _, name = pair.partition("=")
        if name not in known:
            raise unknown_name("class", name, known, f"(--mask-value {pair})")
        values[_value(value.strip().lower(), pair)] = known[name]
    return values


def usable_masks(
    folder: Path,
    images: Sequence[str],
    out: Path,
    values: Mapping[int | tuple[int, ...], int],
    classes: ClassList,
) -> Path | None:
    """The folder of masks for the data set: the given one, or that of its masks written as palette PNGs.

    Args:
        folder: masks, named as the images.
        images: paths of the images, as in the table.
        out: folder to write to, if the masks cannot be used as they are.
        values: value or colour -> mask id; empty takes values as ids, and colours of VOC's palette.
        classes: the classes.

    Returns:
        `folder` or `out`; None if no mask is named as an image.

    Raises:
        UserError: a mask cannot be read, holds values that have no meaning, or would be written over.
    """
    index = ImageFolder(folder, _SUFFIXES)
    jobs = [(p, stem) for stem in map(file_stem, images) if (p := index.find(stem)) is not None]
    if not jobs:
        return None
    if not values and all(map_threads(lambda job: _is_label_map(job[0]), jobs)):
        return folder
    if out.is_dir() and os.path.samefile(out, folder):
        raise UserError(
            f"the masks in {folder} have to be converted, and would be written over: give another --out"
        )

    def convert(job: tuple[Path, str]) -> list[str]:
        ids, strange = _ids(job[0], values, classes)
        if not strange:
            save_labels(out / f"{job[1]}.png", ids)
        return strange

    unknown = Counter(value for strange in map_with_bar(convert, jobs, "masks", "mask") for value in strange)
    if unknown:
        raise _unknown(folder, unknown)
    return out


def remove_lost(folder: Path, images: Sequence[str], out: Path) -> int:
    """Delete the converted masks of images whose own mask is gone: an earlier import has left them.

    Args:
        folder: masks, named as the images.
        images: paths of the images, as in the table.
        out: folder of the converted masks.

    Returns:
        how many were deleted.
    """
    index = ImageFolder(folder, _SUFFIXES)
    places = [out / f"{stem}.png" for stem in map(file_stem, images) if index.find(stem) is None]
    lost = [place for place in places if place.is_file()]
    for place in lost:
        place.unlink()
    return len(lost)


def _unknown(folder: Path, counts: Counter[str]) -> UserError:
    shown = [f"{value} (in {count})" for value, count in sorted(counts.items())[:_SHOWN]]
    more = ", ..." if len(counts) > _SHOWN else ""
    return UserError(
        f"the masks in {folder} hold {', '.join(shown)}{more}, and it is not known which classes these are: "
        f"give --mask-value {min(counts)}=NAME, and again for each (NAME: a class, background or ignore)"
    )


def _is_label_map(path: Path) -> bool:
    if path.suffix.lower() != ".png":
        return False
    try:
        check_mask(path)
    except UserError:
        return False
    return True


def _value(text: str, pair: str) -> int | tuple[int, ...]:
    if _COLOUR.fullmatch(text):
        return tuple(bytes.fromhex(text[1:]))
    if text.isdecimal() and int(text) < 65536:
        return int(text)
    raise UserError(f"--mask-value {pair}: write VALUE=NAME, where VALUE is a number or a colour as #ff0000")


def _ids(
    path: Path, values: Mapping[int | tuple[int, ...], int], classes: ClassList
) -> tuple[npt.NDArray[np.uint8], list[str]]:
    """The mask as ids, and its values or colours that have no meaning (0 in the ids)."""
    try:
        with Image.open(path) as image:
            mode = image.mode
            plain = np.array(image.convert("RGB") if mode in ("RGBA", "LA", "PA", "CMYK") else image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} cannot be read as a mask ({error}): replace or remove it") from None
    if plain.ndim == 3:
        codes = plain.astype(np.int64) @ (65536, 256, 1)
        table = {(c[0] << 16) + (c[1] << 8) + c[2]: i for c, i in _colours(values).items()}
    elif plain.dtype.kind in "biu":
        codes = plain.astype(np.int64)
        table = {v: i for v, i in values.items() if isinstance(v, int)}
        # one bit says that something is there, and names a class only where there is one
        named = () if mode == "1" and len(classes) > 1 else (*classes.ids, IGNORE)
        table = {0: 0, **(table or {v: v for v in named})}
    else:
        raise UserError(f"{path} holds values of type {plain.dtype}, which are no class ids")
    return _look_up(codes, table, plain.ndim == 3)


def _colours(values: Mapping[int | tuple[int, ...], int]) -> dict[tuple[int, ...], int]:
    given = {
        value if isinstance(value, tuple) else (value, value, value): mask_id
        for value, mask_id in values.items()
        if isinstance(value, tuple) or value < 256
    }
    if given:
        return {(0, 0, 0): 0, **given}
    voc = [tuple(int(part) for part in colour) for colour in voc_palette()]
    # 224, 224, 192 is the palette's colour of 255
    return {colour: mask_id for mask_id, colour in enumerate(voc) if mask_id <= 20 or mask_id == IGNORE}


def _look_up(
    codes: npt.NDArray[np.int64], table: Mapping[int, int], coloured: bool
) -> tuple[npt.NDArray[np.uint8], list[str]]:
    present = np.unique(codes)
    strange = [int(code) for code in present if int(code) not in table]
    ids = np.array([table.get(int(code), 0) for code in present], np.uint8)
    shown = [f"#{code:06x}" if coloured else str(code) for code in strange]
    return ids[np.searchsorted(present, codes)], shown
