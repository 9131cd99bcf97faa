"""VOC 2012 made ready: its lists counted, its tags read once; and SBD's masks beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.io import loadmat

from tag2mask.artifacts.files import atomic_write_text
from tag2mask.artifacts.labels import save_labels
from tag2mask.core import IGNORE, UserError
from tag2mask.data.id_lists import read_ids
from tag2mask.data.official.counts import SBD_COUNTS, VOC_COUNTS, compare
from tag2mask.data.progress import map_with_bar
from tag2mask.data.tags import image_stem, read_xml
from tag2mask.data.voc import LISTS, SBD_MASKS, TAGS, TRAIN_AUG, VOC

_SBD_PARTS = (Path("."), Path("dataset"), Path("benchmark_RELEASE/dataset"))
"""Where `cls` may lie below the folder that the user names."""


def prepare_voc(root: Path) -> list[str]:
    """Count VOC's lists, and write the tags of all annotated images to one table.

    Args:
        root: the folder that holds ``JPEGImages``.

    Returns:
        what was found and done, a line each.

    Raises:
        UserError: the folder is not VOC's.
    """
    said = [compare(split, len(_ids(root, split)), count) for split, count in VOC_COUNTS.items()]
    table, folder = root / TAGS, root / "Annotations"
    if table.exists():
        return [*said, f"{table} is there already"]
    files = sorted(folder.glob("*.xml"))
    if not files:
        raise UserError(f"{folder} has no annotations to read tags from: unpack VOCtrainval_11-May-2012.tar")
    names = map_with_bar(lambda path: read_xml(path, VOC.known.names), files, "tags", "file")
    rows = [f"{path.stem},{' '.join(tags)}" for path, tags in zip(files, names, strict=True)]
    atomic_write_text(table, "\n".join(["image,labels", *rows]) + "\n")
    return [*said, f"{table}: tags of {len(rows):,} images"]


def prepare_sbd(sbd: Path, root: Path) -> list[str]:
    """Convert SBD's masks to PNGs beside VOC's, and write the list train_aug.

    Masks that are there are not made again.

    Args:
        sbd: SBD's folder: ``cls`` with ``<id>.mat`` lies in it, or in benchmark_RELEASE/dataset below it.
        root: the folder of VOC 2012 that holds ``JPEGImages``.

    Returns:
        what was found and done, a line each.

    Raises:
        UserError: a folder is not what it should be, a mask is broken or of another size than its image, or
            there is a list of other images.
    """
    train, val = _ids(root, "train"), _ids(root, "val")
    folder = next((sbd / part / "cls" for part in _SBD_PARTS if (sbd / part / "cls").is_dir()), None)
    files = [] if folder is None else sorted(folder.glob("*.mat"))
    if not files:
        raise UserError(f"{sbd} has no masks of SBD (cls/*.mat): unpack benchmark.tgz and name its folder")
    out = root / SBD_MASKS
    new = [path for path in files if not (out / f"{path.stem}.png").is_file()]
    map_with_bar(lambda path: _convert(path, root, out), new, "masks", "file")
    listed = sorted(({path.stem for path in files} | set(train)) - set(val))
    _write_list(root / LISTS / f"{TRAIN_AUG}.txt", listed)
    return [
        f"{out}: {len(new):,} masks written, {len(files) - len(new):,} were there",
        compare(TRAIN_AUG, len(listed), SBD_COUNTS[TRAIN_AUG]),
    ]


def _write_list(path: Path, listed: list[str]) -> None:
    """Write a list of images, which may take the place of a shorter one, but of none with others."""
    there = set(read_ids(path, image_stem)) if path.is_file() else set()
    if others := sorted(there - set(listed)):
        raise UserError(
            f"{path} is there already, with {len(others)} images that VOC and these masks do not give "
            f"({others[0]}): move it away first"
        )
    if there != set(listed):
        atomic_write_text(path, "\n".join(listed) + "\n")


def _convert(path: Path, root: Path, out: Path) -> None:
    mask = read_sbd_mask(path)
    image = root / "JPEGImages" / f"{path.stem}.jpg"
    if not image.is_file():
        raise UserError(
            f"{image} does not exist, but SBD has a mask of it ({path}): take the images of VOC 2012, "
            f"or copy {path.stem}.jpg from SBD's folder img"
        )
    with Image.open(image) as opened:
        size = opened.size
    if size != mask.shape[::-1]:
        raise UserError(f"{path} is {mask.shape[1]}x{mask.shape[0]}, its image {size[0]}x{size[1]}")
    save_labels(out / f"{path.stem}.png", mask)


def read_sbd_mask(path: Path) -> npt.NDArray[np.uint8]:
    """The label map (H, W) of one of SBD's files: ids of VOC's classes, 0 = background.

    Raises:
        UserError: the file is broken, or not of SBD's form.
    """
    try:
        mask: Any = loadmat(path, variable_names=["GTcls"])["GTcls"]["Segmentation"][0, 0]
    except Exception as error:  # scipy raises errors of many kinds on broken files
        raise UserError(f"{path} cannot be read as a mask of SBD ({error}): unpack it again") from None
    if mask.ndim != 2 or mask.dtype.kind not in "ui" or not np.isin(mask, (*range(21), IGNORE)).all():
        raise UserError(f"{path} holds no label map of VOC's 20 classes: unpack it again")
    return np.asarray(mask, np.uint8)


def _ids(root: Path, split: str) -> list[str]:
    path = root / LISTS / f"{split}.txt"
    if not (root / "JPEGImages").is_dir() or not path.is_file():
        raise UserError(
            f"{root} is not VOC 2012's folder (no JPEGImages or no {LISTS}/{split}.txt): "
            "name VOCdevkit/VOC2012"
        )
    return read_ids(path, image_stem)
