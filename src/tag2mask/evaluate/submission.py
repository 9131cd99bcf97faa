"""``tag2mask submit-voc``: label maps as the archive that PASCAL VOC's evaluation server takes."""

from __future__ import annotations

import argparse
import io
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from tag2mask.artifacts import (
    VARIANTS,
    Manifest,
    atomic_write_bytes,
    labels_png,
    load_labels,
    read_manifest,
    safe_join,
    voc_palette,
)
from tag2mask.artifacts.files import require_absent
from tag2mask.core import VOC_NAMES, UserError, unknown_name
from tag2mask.core.commands import add_command
from tag2mask.data.id_lists import read_ids
from tag2mask.data.images import read_size
from tag2mask.evaluate.labels import named_classes

TEXT = (
    "Write label maps as the archive that PASCAL VOC's evaluation server takes, and check it: a palette PNG\n"
    "of the image's size for each id of a list, with no value but 0 to 20."
)
EXAMPLES = """examples:
  tag2mask predict /data/VOC2012/JPEGImages --checkpoint runs/psa --out test_labels --crf
  tag2mask submit-voc test_labels --ids /data/VOC2012/ImageSets/Segmentation/test.txt \\
    --images /data/VOC2012/JPEGImages --out results.tgz"""

COMPETITIONS = ("comp5", "comp6")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``submit-voc`` to the command line."""
    parser = add_command(commands, "submit-voc", "write an archive for VOC's test server", TEXT, EXAMPLES)
    parser.add_argument("source", type=Path, help="a folder of label PNGs, or a run or its segmentation step")
    parser.add_argument("--out", type=Path, required=True, help="archive to write, ending in .tgz")
    parser.add_argument(
        "--ids", metavar="FILE", help="list of the ids that the server asks for (default: those of the run)"
    )
    parser.add_argument("--images", type=Path, help="folder of the JPEGs: the PNGs must have their sizes")
    parser.add_argument(
        "--variant", choices=VARIANTS, help="of a run's predictions (default: the last there is)"
    )
    parser.add_argument(
        "--competition",
        choices=COMPETITIONS,
        default="comp6",
        help="comp5: trained on VOC's own images only; comp6 (default): on others too, such as ImageNet's",
    )
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Write the archive, read it again, and say what it holds.

    Raises:
        UserError: the classes are not VOC's, a label map is missing, has other values than VOC's or another
            size than its image, or the archive is there already.
    """
    if args.out.suffix != ".tgz" and not args.out.name.endswith(".tar.gz"):
        raise UserError(f"{args.out} must end in .tgz or .tar.gz")
    require_absent(args.out)
    folder, manifest = _folder(args.source, args.variant)
    _require_voc(folder)
    if args.ids is None and manifest is None:
        raise UserError(f"{folder} does not say which images the server asks for: give its list with --ids")
    ids = read_ids(args.ids) if args.ids else list(manifest.image_ids if manifest else ())
    sizes = _sizes(ids, args.images)
    place = f"results/VOC2012/Segmentation/{args.competition}_test_cls"
    archive = _archive(_maps(folder, ids, sizes), place)
    _check(archive, [f"{place}/{image_id}.png" for image_id in ids])
    atomic_write_bytes(args.out, archive)
    compared = "of the sizes of the images" if sizes else "sizes not compared (give --images)"
    print(f"{len(ids)} label maps, {compared}, as {place} in {args.out}")
    if manifest is not None and manifest.split != "test":
        print(f"note: these are the images of {manifest.split or 'a list'}; the server scores those of test")
    return 0


def _folder(source: Path, variant: str | None) -> tuple[Path, Manifest | None]:
    """The folder of the label maps, and the manifest of the step that made them."""
    for step in (source, source / "segmentation"):
        manifest = read_manifest(step)
        if manifest is None or manifest.kind != "segmentation":
            continue
        found = [name for name in VARIANTS if (step / "out" / name).is_dir()]
        if not manifest.complete or not found:
            raise UserError(f"the predictions in {step} are not complete: run stage 3 again, it goes on")
        if variant is not None and variant not in found:
            raise unknown_name("variant", variant, found)
        return step / "out" / (variant or found[-1]), manifest
    if not source.is_dir():
        raise UserError(f"{source} is no folder: give a folder of label PNGs or a run")
    if variant is not None:
        raise UserError(f"{source} is no run, so it has no variant {variant}: leave out --variant")
    return source, None


def _require_voc(folder: Path) -> None:
    """Refuse label maps of a model that is known to have other classes: ids alone do not tell."""
    for mask_id, name in named_classes(folder).items():
        if mask_id and not (mask_id <= len(VOC_NAMES) and VOC_NAMES[mask_id - 1] == name):
            voc = f"has {VOC_NAMES[mask_id - 1]} there" if mask_id <= len(VOC_NAMES) else "ends with 20"
            raise UserError(
                f"the label maps in {folder} are of other classes than VOC's: {mask_id} is {name}, and VOC "
                f"{voc}; the server takes labels of a model that was trained on VOC's classes with VOC's ids"
            )


def _sizes(ids: Sequence[str], images: Path | None) -> dict[str, tuple[int, int]]:
    return {} if images is None else {i: read_size(safe_join(images, f"{i}.jpg")) for i in ids}


def _maps(
    folder: Path, ids: Sequence[str], sizes: dict[str, tuple[int, int]]
) -> Iterator[tuple[str, npt.NDArray[np.uint8]]]:
    """Each id with its checked label map."""
    missing = [image_id for image_id in ids if not safe_join(folder, f"{image_id}.png").is_file()]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(ids)} label maps are missing in {folder}, e.g. {missing[0]}.png"
        )
    for image_id in ids:
        path = safe_join(folder, f"{image_id}.png")
        labels = load_labels(path)
        if labels.max(initial=0) > len(VOC_NAMES):
            raise UserError(
                f"{path} holds the value {labels.max()}, but VOC has 0 to {len(VOC_NAMES)}: 255 (unknown) "
                "and classes of other data sets cannot be submitted"
            )
        if image_id in sizes and labels.shape != sizes[image_id]:
            raise UserError(f"{path} has {labels.shape} rows and columns, its image {sizes[image_id]}")
        yield image_id, labels


def _archive(maps: Iterator[tuple[str, npt.NDArray[np.uint8]]], place: str) -> bytes:
    """The archive's bytes. No name, owner or time of this machine goes into it."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for image_id, labels in maps:
            data = labels_png(labels)
            entry = tarfile.TarInfo(f"{place}/{image_id}.png")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


def _check(data: bytes, names: Sequence[str]) -> None:
    """Read the archive as the server does."""
    palette = voc_palette().ravel().tolist()
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        entries = archive.getmembers()
        if [entry.name for entry in entries] != list(names):
            raise RuntimeError("the archive holds other names than those that were written")
        for entry in entries:
            file = archive.extractfile(entry)
            with Image.open(io.BytesIO(file.read() if file else b"")) as image:
                if image.mode != "P" or image.getpalette() != palette:
                    raise RuntimeError(f"{entry.name} in the archive is no PNG with VOC's palette")
