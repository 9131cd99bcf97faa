"""``tag2mask predict``: segment new images with a trained model; no tags are needed."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tag2mask.artifacts import atomic_write_bytes, save_labels, sha256_file
from tag2mask.artifacts.names import MULTI_SCALE, MULTI_SCALE_CRF, SINGLE_SCALE
from tag2mask.artifacts.prediction_folder import Maker, PredictionFolder
from tag2mask.core import UserError, keep_freed_memory
from tag2mask.core.commands import add_command

if TYPE_CHECKING:
    from tag2mask.api.segmenter import Segmenter


TEXT = "Segment new images of any size with the model of a run. No tags are needed."
EXAMPLE = "example: tag2mask predict images/ --checkpoint runs/psa --out predictions --overlay"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``predict`` to the command line."""
    parser = add_command(commands, "predict", "segment new images with a trained model", TEXT, EXAMPLE)
    parser.add_argument("images", nargs="+", type=Path, help="image files, or folders that are searched")
    parser.add_argument(
        "--checkpoint", required=True, type=Path, help="a run folder, its segmentation step, or a .ckpt file"
    )
    parser.add_argument("--out", required=True, type=Path, help="folder for the label PNGs")
    parser.add_argument("--overlay", action="store_true", help="also write the image with coloured masks")
    parser.add_argument("--multi-scale", action="store_true", help="average over scales and flips: slower")
    parser.add_argument("--crf", action="store_true", help="sharpen with a CRF (implies --multi-scale)")
    parser.add_argument(
        "--max-side",
        type=int,
        default=1024,
        metavar="PIXELS",
        help="larger images are shrunk to this side for the network; masks keep the image's size",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    parser.add_argument("--overwrite", action="store_true", help="predict images again that have a result")
    parser.set_defaults(handler=run)


@dataclass(frozen=True)
class _Job:
    """An image and where its results go (without ending)."""

    image: Path
    name: str


def run(args: argparse.Namespace) -> int:
    """Predict every image that has no result yet.

    Raises:
        UserError: no image, an unreadable image, no usable checkpoint, or a folder in which results would
            be mixed with images or with those of another model; found before the first prediction is
            made.
    """
    from tqdm import tqdm

    from tag2mask.api.segmenter import checkpoint_file, load
    from tag2mask.data.images import read_size

    keep_freed_memory()
    jobs = list(_jobs(args.images, args.out))
    folder = PredictionFolder(args.out, [job.name for job in jobs])
    folder.spare(job.image for job in jobs)
    for job in jobs:
        read_size(job.image)
    variant = MULTI_SCALE_CRF if args.crf else MULTI_SCALE if args.multi_scale else SINGLE_SCALE
    checkpoint = checkpoint_file(args.checkpoint)
    segment = load(checkpoint, device=args.device, variant=variant, max_side=args.max_side)
    classes = dict(zip(segment.classes.all_names, segment.classes.all_ids, strict=True))
    maker = Maker(sha256_file(checkpoint), variant, args.max_side)
    todo = set(folder.begin(maker, classes, args.overwrite))
    for job in tqdm([j for j in jobs if j.name in todo], desc="predicting", unit="image"):
        _predict(segment, job, folder, args.overlay)
    skipped = f", {len(jobs) - len(todo)} were there already" if len(todo) < len(jobs) else ""
    print(f"{len(todo)} label maps ({variant}{skipped}) in {args.out}")
    return 0


def _jobs(given: Sequence[Path], out: Path) -> Iterator[_Job]:
    """Every image once, named relative to the folder that was given; earlier results are no images.

    Raises:
        UserError: a path is missing, a folder holds no image, or two images would share a result.
    """
    from tag2mask.data.images import IMAGE_SUFFIXES

    owner: dict[str, Path] = {}
    for path in given:
        if path.is_dir():
            found = _images_in(path, out)
            if not found:
                raise UserError(f"{path} holds no image ({', '.join(IMAGE_SUFFIXES)})")
        elif path.is_file():
            found = [path]
        else:
            raise UserError(f"{path} does not exist: give image files or folders")
        for image in found:
            name = (image.relative_to(path) if path.is_dir() else Path(image.name)).with_suffix("").as_posix()
            if name in owner:
                raise UserError(f"{owner[name]} and {image} would both become {name}.png: rename one")
            owner[name] = image
            yield _Job(image, name)


def _images_in(folder: Path, out: Path) -> list[Path]:
    from tag2mask.data.images import IMAGE_SUFFIXES

    root, results = folder.resolve(), out.resolve()
    if root == results:
        raise UserError(f"{out} is the folder of the images: choose another one as --out")
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
    return [p for p in found if not (root in results.parents and results in p.resolve().parents)]


def _predict(segment: Segmenter, job: _Job, folder: PredictionFolder, overlay: bool) -> None:
    ids = segment.classes.to_ids(segment(job.image))
    if overlay:
        _save_overlay(folder.overlay(job.name), job.image, ids)
    # The label map is written last: where it is, everything of the image is.
    save_labels(folder.labels(job.name), ids)


def _save_overlay(path: Path, image: Path, ids: npt.NDArray[np.uint8]) -> None:
    from io import BytesIO

    from PIL import Image

    from tag2mask.data.images import read_rgb
    from tag2mask.report.pictures import label_picture

    stream = BytesIO()
    Image.fromarray(label_picture(read_rgb(image), ids)).save(stream, "JPEG", quality=90)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(path, stream.getvalue())
