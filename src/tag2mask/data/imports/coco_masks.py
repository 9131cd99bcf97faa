"""Masks from the outlines of COCO's annotations, for scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

from tag2mask.artifacts.labels import save_labels
from tag2mask.core import IGNORE, ClassList, UserError, map_threads
from tag2mask.data.image_folder import file_stem
from tag2mask.data.images import read_size
from tag2mask.data.imports.coco_form import Id, is_coco, read_coco
from tag2mask.data.imports.json_tags import load_json
from tag2mask.data.imports.source import ImageIndex
from tag2mask.data.problems import problems_error
from tag2mask.data.progress import map_with_bar

_MOST_PIXELS = 400_000_000
"""Larger sizes in a file are taken for a mistake, not for an image."""
Shape = tuple[int, int]
_Job = tuple[Path, str, Mapping[str, Any], list[tuple[Any, int]]]
"""JSON file, image, its entry there, and its outlines with their mask ids."""


def draw_masks(
    paths: Sequence[Path],
    index: ImageIndex,
    images: Mapping[str, str],
    out: Path,
    classes: ClassList,
    keep: bool = False,
    any_size: bool = False,
) -> int:
    """Draw a palette PNG for each image of COCO's annotations; return how many.

    Large objects are drawn first, so that small ones lie upon them. Crowds become 255 (not scored), as
    do the boxes of objects that have no outline. The pixels of an outline are those of COCO's own code.

    Args:
        paths: the JSON files.
        index: the images of the source.
        images: path of an image in the index -> its path in the table.
        out: folder to write to.
        classes: the classes of the masks.
        keep: leave masks that are there as they are.
        any_size: draw also where the file says another size than the image has.

    Raises:
        UserError: a file is not COCO's, an outline cannot be drawn, or a size is not its image's.
    """
    jobs: list[_Job] = []
    for path in paths:
        jobs += _drawings(path, index, images, classes)
    if keep:
        jobs = [job for job in jobs if not _file(out, job[1]).is_file()]
    sizes = [] if any_size else map_threads(lambda job: _wrong_size(job, index), jobs)
    if wrong := [text for text in sizes if text]:
        raise problems_error(wrong, "correct the sizes, or give the images that the outlines were made for")

    def draw(job: _Job) -> None:
        path, image, entry, outlines = job
        try:
            mask = _draw((int(entry["height"]), int(entry["width"])), outlines)
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            raise UserError(f"{path}: the outlines of {image} cannot be drawn ({error})") from None
        save_labels(_file(out, image), mask)

    map_with_bar(draw, jobs, "drawing masks", "mask")
    return len(jobs)


def _wrong_size(job: _Job, index: ImageIndex) -> str:
    """What is wrong with the size of an image in its JSON file, and "" for nothing or what `_draw` tells."""
    path, image, entry, _ = job
    name = str(entry["file_name"])
    try:
        height, width = read_size(index.root / (index.find(name) or image))
        said = (int(entry["height"]), int(entry["width"]))
    except (UserError, KeyError, TypeError, ValueError, OverflowError):
        return ""
    if said == (height, width):
        return ""
    turned = " (turned, perhaps by its EXIF data)" if said == (width, height) else ""
    return (
        f"{path} says that {name!r} in its images is {said[1]}x{said[0]} but that image is "
        f"{width}x{height}{turned}: outlines have the size in the file; correct it, or give the other image"
    )


def _file(out: Path, image: str) -> Path:
    return out / f"{file_stem(image)}.png"


def _drawings(path: Path, index: ImageIndex, images: Mapping[str, str], classes: ClassList) -> list[_Job]:
    """For each image: its entry, and its outlines with their mask ids, the largest first."""
    content = load_json(path)
    if not is_coco(content):
        raise UserError(f"{path} is not COCO's form: masks are drawn from its outlines only")
    ids = dict(zip(classes.names, classes.ids, strict=True))
    coco_file = read_coco(path, content)
    outlines: dict[Id, list[tuple[Any, int]]] = {key: [] for key in coco_file.images}
    try:
        ordered = sorted(coco_file.objects, key=lambda found: -_area(found[0]))
    except (TypeError, ValueError, IndexError) as error:
        raise UserError(f"{path}: a box or an area is no number ({error}): mend it") from None
    for entry, image, category in ordered:
        crowd = bool(entry.get("iscrowd"))
        value = IGNORE if crowd else ids.get(coco_file.categories[category])
        if entry.get("segmentation") and value is not None:
            outlines[image].append((entry["segmentation"], value))
        elif value is not None:  # nobody knows which pixels of the box are the object
            outlines[image].append((_box(entry), IGNORE))
    found = [(key, index.find(str(entry["file_name"]))) for key, entry in coco_file.images.items()]
    return [
        (path, images[name], coco_file.images[key], outlines[key])
        for key, name in found
        if name is not None and name in images
    ]


def _area(entry: Mapping[str, Any]) -> float:
    """Pixels of an object, or of its box where the file does not say."""
    _, _, width, height = _sides(entry)
    return float(entry.get("area") or width * height)


def _sides(entry: Mapping[str, Any]) -> tuple[float, float, float, float]:
    """x, y, width and height of an object's box in pixels, 0 without a box."""
    x, y, width, height = map(float, entry.get("bbox") or (0, 0, 0, 0))
    return x, y, width, height


def _box(entry: Mapping[str, Any]) -> list[list[float]]:
    """The box of an object as polygons; none without a box."""
    x, y, width, height = _sides(entry)
    corners = [x, y, x + width, y, x + width, y + height, x, y + height]
    return [corners] if width > 0 and height > 0 else []


def _draw(shape: Shape, outlines: Sequence[tuple[Any, int]]) -> npt.NDArray[np.uint8]:
    if not 0 < shape[0] * shape[1] <= _MOST_PIXELS or min(shape) < 1:
        raise ValueError(f"a size of {shape[1]}x{shape[0]}")
    mask = np.zeros(shape, np.uint8)
    for outline, value in outlines:
        if isinstance(outline, dict):
            mask[decode_rle(outline["counts"], shape)] = value
        elif outline:
            mask[_polygons(outline, shape)] = value
    return mask


def _polygons(outline: Sequence[Any], shape: Shape) -> npt.NDArray[np.bool_]:
    """The pixels (H, W) inside polygons, each x, y, x, y, ..."""
    polygons = [np.asarray(points, np.float64).reshape(-1, 2) for points in outline]
    for points in polygons:
        # what lies far outside would take memory without end
        if len(points) < 3 or not (np.abs(points) <= 2 * max(shape)).all():
            raise ValueError(f"a polygon of {len(points)} points, or far outside of the image")
    parts = coco.frPyObjects([points.ravel().tolist() for points in polygons], *shape)
    return np.asarray(coco.decode(coco.merge(parts)), np.bool_)


def decode_rle(counts: Sequence[int] | str, shape: Shape) -> npt.NDArray[np.bool_]:
    """The pixels (H, W) of COCO's run lengths: 0 and 1 in turn, column by column.

    Args:
        counts: the lengths, or the text in which COCO packs them.
        shape: (H, W).

    Raises:
        ValueError: the lengths do not fill the image.
    """
    lengths = np.asarray(_unpack(counts) if isinstance(counts, str) else counts, np.int64)
    if lengths.size == 0 or (lengths < 0).any() or lengths.sum() != shape[0] * shape[1]:
        raise ValueError(f"run lengths do not fill {shape[1]}x{shape[0]} pixels")
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape(shape[::-1]).T


def _unpack(text: str) -> list[int]:
    """Numbers of 5 bits a character, the lowest first; from the fourth on, relative to the one but last."""
    lengths: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
        value = shift = 0
    return lengths
