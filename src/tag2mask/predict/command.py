"""``tag2mask predict``: the command line."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tag2mask.artifacts import sha256_file
from tag2mask.artifacts.names import MULTI_SCALE, MULTI_SCALE_CRF, SINGLE_SCALE
from tag2mask.artifacts.prediction_folder import COCO_FORMS, Maker, PredictionFolder
from tag2mask.core import UserError, keep_freed_memory
from tag2mask.core.commands import add_command

if TYPE_CHECKING:
    from tag2mask.predict.results import Wanted

TEXT = "Segment new images of any size with the model of a run. No tags are needed."
EXAMPLES = """examples:
  tag2mask predict images/ --checkpoint runs/psa --out predictions --overlay
  tag2mask predict 'trip/**/*.jpg' --checkpoint runs/psa --out predictions --areas --coco polygons
  find . -newer last.txt -name '*.jpg' | tag2mask predict - --checkpoint runs/psa --out predictions"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``predict`` to the command line."""
    parser = add_command(commands, "predict", "segment new images with a trained model", TEXT, EXAMPLES)
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGES",
        help="image files, folders that are searched, patterns in quotes, or - for a list on standard input",
    )
    parser.add_argument(
        "--checkpoint",
        required=True,
        type=Path,
        help="a run folder, its segmentation step, a .ckpt file or a .safetensors file of tag2mask export",
    )
    parser.add_argument("--out", required=True, type=Path, help="folder for the label PNGs")
    _add_results(parser)
    parser.add_argument("--multi-scale", action="store_true", help="average over scales and flips: slower")
    parser.add_argument("--crf", action="store_true", help="sharpen with a CRF (implies --multi-scale)")
    parser.add_argument(
        "--max-side",
        type=int,
        default=1024,
        metavar="PIXELS",
        help="larger images are shrunk to this side for the network (default: 1024); masks keep "
        "the image's size",
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, ...")
    parser.add_argument("--overwrite", action="store_true", help="predict images again that have a result")
    parser.set_defaults(handler=run)


def _add_results(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("beside the label PNGs")
    group.add_argument("--overlay", action="store_true", help="the image with coloured masks and a legend")
    group.add_argument("--scores", action="store_true", help="class probabilities as .npz (16-bit floats)")
    group.add_argument("--areas", action="store_true", help="areas.csv: pixels and percent of each class")
    group.add_argument(
        "--coco", nargs="+", choices=COCO_FORMS, default=(), help="outlines as COCO JSON, which CVAT imports"
    )
    group.add_argument("--labelme", action="store_true", help="a LabelMe file for each image")
    group.add_argument(
        "--min-region",
        type=int,
        default=1,
        metavar="PIXELS",
        help="smaller regions get no polygon (label PNGs and rle keep them)",
    )


def run(args: argparse.Namespace) -> int:
    """Predict every image that has no result yet.

    Raises:
        UserError: no image, an unreadable image, no usable checkpoint, or a folder in which results would
            be mixed with images or with those of another model; found before the first prediction is
            made.
    """
    from tqdm import tqdm

    from tag2mask.api.segmenter import checkpoint_file, load
    from tag2mask.predict.inputs import find_jobs, require_readable
    from tag2mask.predict.results import Writer

    keep_freed_memory()
    wanted = _wanted(args)
    jobs = find_jobs(args.images, args.out)
    folder = PredictionFolder(args.out, {job.name: job.image for job in jobs})
    folder.spare()
    require_readable(jobs)
    variant = MULTI_SCALE_CRF if args.crf else MULTI_SCALE if args.multi_scale else SINGLE_SCALE
    checkpoint = checkpoint_file(args.checkpoint)
    segment = load(checkpoint, device=args.device, variant=variant, max_side=args.max_side)
    classes = dict(zip(segment.classes.all_names, segment.classes.all_ids, strict=True))
    maker = Maker(sha256_file(checkpoint), variant, args.max_side)
    with folder.held():
        todo = folder.begin(maker, classes, args.overwrite)
        kept = sum(folder.labelme(job.name).is_file() for job in jobs) if args.labelme else 0
        writer = Writer(folder, wanted, segment, todo)
        for job in tqdm([job for job in jobs if writer.lacks(job)], desc="predicting", unit="image"):
            writer.write(job)
        writer.finish(jobs)
    skipped = f", {len(jobs) - len(todo)} were there already" if len(todo) < len(jobs) else ""
    print(f"{len(todo)} label maps ({variant}{skipped}){_also(folder, wanted)} in {args.out}")
    if kept and args.min_region > 1:
        print(
            f"note: --min-region changes none of the {kept} LabelMe files that were there already, which may "
            f"hold corrections: delete {args.out / 'labelme'} to have them made again"
        )
    return 0


def _wanted(args: argparse.Namespace) -> Wanted:
    """The results beside the label maps."""
    from tag2mask.predict.results import Wanted

    if args.min_region < 1:
        raise UserError(f"--min-region must be at least 1 pixel, got {args.min_region}")
    if args.min_region > 1 and not (args.labelme or "polygons" in args.coco):
        raise UserError("--min-region is about polygons: add --labelme or --coco polygons, or leave it out")
    return Wanted(args.overlay, args.scores, args.labelme, args.areas, tuple(args.coco), args.min_region)


def _also(folder: PredictionFolder, wanted: Wanted) -> str:
    """The names of further results, for the last line."""
    asked = {"overlay/": wanted.overlay, "scores/": wanted.scores, "labelme/": wanted.labelme}
    names = [name for name, is_asked in asked.items() if is_asked]
    names += [path.name for path in folder.tables(wanted.areas, wanted.coco)]
    return f" and {', '.join(names)}" if names else ""
