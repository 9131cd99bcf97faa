"""``tag2mask predict``: segment new images with a trained model; no tags are needed."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tag2mask.artifacts import atomic_write_bytes, atomic_write_json, read_manifest, safe_join, save_labels
from tag2mask.core import UserError, keep_freed_memory

if TYPE_CHECKING:
    from tag2mask.modules import SegmentationModel

Array = npt.NDArray[np.uint8]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``predict`` to the command line."""
    parser = commands.add_parser(
        "predict",
        help="segment new images with a trained model",
        description="Segment new images of any size with the model of a run. No tags are needed.",
        epilog="example: tag2mask predict images/ --checkpoint runs/psa --out predictions --overlay",
    )
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
        UserError: no image, an unreadable image, or no usable checkpoint; found before the first
            prediction is made.
    """
    from tqdm import tqdm

    from tag2mask.data.images import read_size

    keep_freed_memory()
    if args.max_side < 32:
        raise UserError(f"--max-side must be at least 32 pixels, got {args.max_side}")
    jobs = list(_jobs(args.images))
    for job in jobs:
        read_size(job.image)
    model = load_model(args.checkpoint, args.device)
    assert model.classes is not None
    variant = "multi_scale_crf" if args.crf else "multi_scale" if args.multi_scale else "single_scale"
    model.variants = (variant,)
    todo = [j for j in jobs if args.overwrite or not safe_join(args.out, f"{j.name}.png").is_file()]
    args.out.mkdir(parents=True, exist_ok=True)
    atomic_write_json(
        args.out / "classes.json", dict(zip(model.classes.all_names, model.classes.all_ids, strict=True))
    )
    for job in tqdm(todo, desc="predicting", unit="image"):
        _predict(model, job, args.out, args.overlay, args.max_side)
    skipped = f", {len(jobs) - len(todo)} were there already" if len(todo) < len(jobs) else ""
    print(f"{len(todo)} label maps ({variant}{skipped}) in {args.out}")
    return 0


def load_model(checkpoint: Path, device: str) -> SegmentationModel:
    """The segmentation model of a run folder, a step folder or a checkpoint file.

    Args:
        checkpoint: where it is.
        device: ``auto`` or a torch device.

    Raises:
        UserError: there is none, or the device cannot be used.
    """
    import torch

    from tag2mask.modules import SegmentationModel, load_stage

    module = load_stage(_checkpoint_file(checkpoint))
    if not isinstance(module, SegmentationModel) or module.classes is None:
        raise UserError(f"{checkpoint} holds a {type(module).__name__}, not a segmentation model")
    name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        return module.to(torch.device(name))
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device {device} cannot be used: {error}") from error


def _checkpoint_file(given: Path) -> Path:
    if given.is_file():
        return given
    if not given.is_dir():
        raise UserError(f"no checkpoint at {given}: give a run folder, its segmentation step or a .ckpt file")
    for folder in (given, given / "segmentation", *sorted(p for p in given.iterdir() if p.is_dir())):
        manifest = read_manifest(folder)
        if manifest is not None and manifest.kind == "segmentation" and manifest.checkpoint:
            if not manifest.commands.get("fit") or not manifest.commands["fit"].complete:
                raise UserError(f"the training in {folder} is not complete: run stage 3 again, it goes on")
            return safe_join(folder, manifest.checkpoint)
    raise UserError(f"{given} holds no segmentation model: run stage 3 first")


def _jobs(given: Sequence[Path]) -> Iterator[_Job]:
    """Every image once, named relative to the folder that was given.

    Raises:
        UserError: a path is missing, a folder holds no image, or two images would share a result.
    """
    from tag2mask.data.images import PHOTO_SUFFIXES

    owner: dict[str, Path] = {}
    for path in given:
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in PHOTO_SUFFIXES and p.is_file())
            if not found:
                raise UserError(f"{path} holds no image ({', '.join(PHOTO_SUFFIXES)})")
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


def _predict(model: SegmentationModel, job: _Job, out: Path, overlay: bool, max_side: int) -> None:
    import torch

    from tag2mask.data.images import read_rgb

    image = read_rgb(job.image)
    small = _shrunk(image, max_side)
    pixels = torch.from_numpy(np.ascontiguousarray(small.transpose(2, 0, 1))).to(model.device)
    with torch.inference_mode():
        (result,) = model.predict_step([{"id": job.name, "image": pixels}], 0)
    assert model.classes is not None
    ids = _enlarged(model.classes.to_ids(next(iter(result.labels.values()))), image.shape[:2])
    if overlay:
        _save_overlay(safe_join(out / "overlay", f"{job.name}.jpg"), image, ids)
    # The label map is written last: where it is, everything of the image is.
    save_labels(safe_join(out, f"{job.name}.png"), ids)


def _shrunk(image: Array, max_side: int) -> Array:
    from PIL import Image

    height, width = image.shape[:2]
    factor = max_side / max(height, width)
    if factor >= 1:
        return image
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def _enlarged(ids: Array, shape: Sequence[int]) -> Array:
    from PIL import Image

    if ids.shape == tuple(shape):
        return ids
    return np.asarray(Image.fromarray(ids).resize((shape[1], shape[0]), Image.Resampling.NEAREST))


def _save_overlay(path: Path, image: Array, ids: Array) -> None:
    from io import BytesIO

    from PIL import Image

    from tag2mask.report.pictures import label_picture

    stream = BytesIO()
    Image.fromarray(label_picture(image, ids)).save(stream, "JPEG", quality=90)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(path, stream.getvalue())
