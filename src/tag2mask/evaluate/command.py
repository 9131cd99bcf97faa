"""The commands ``tag2mask score`` and ``tag2mask score-step``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from tag2mask.core import VOC_NAMES, ClassList, Unknown
from tag2mask.core.commands import add_command
from tag2mask.core.tables import Table, percent
from tag2mask.data.data_class import add_data_class

SCORE_HELP = """Compare label PNGs with true masks, whatever produced them.

Both folders hold <id>.png, palette or gray, whose values are mask ids (0 background, 255 not
scored). One confusion is built over all images, as PASCAL VOC scores; a class without a true
pixel has no place in the mean."""

SCORE_EXAMPLES = """examples:
  tag2mask score predictions/ /data/VOC2012/SegmentationClass --split ImageSets/Segmentation/val.txt
  tag2mask score runs/psa/pseudo_label/out masks/ --unknown wrong
  tag2mask score predictions/ masks/ --classes bird,cat,dog --json
  tag2mask score runs/ial/pairwise_1/out masks/ --known-in runs/ial/regions_1/out

--unknown says what a predicted 255 counts as; published numbers differ in it:
  ignore       left out (default)
  wrong        a miss of the true class
  background   a prediction of background
Known pixels are the easy ones: --known-in scores complete labels on those of partial ones."""

TOTALS = {
    "mIoU": "miou",
    "precision": "precision",
    "recall": "recall",
    "F-score": "f_score",
    "coverage": "coverage",
}
"""Rows below the classes, by the score that they show."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``score`` and ``score-step`` to the commands of ``tag2mask``."""
    _add_score(commands)
    _add_score_step(commands)


def _add_score(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    summary = "score a folder of label PNGs against true masks"
    score = add_command(commands, "score", summary, SCORE_HELP, SCORE_EXAMPLES)
    score.add_argument("pred_dir", metavar="PRED_DIR", help="folder of predicted labels, <id>.png")
    score.add_argument("gt_dir", metavar="GT_DIR", help="folder of true masks, <id>.png")
    score.add_argument("--split", metavar="FILE", help="list of the ids to score (default: all of GT_DIR)")
    score.add_argument(
        "--unknown",
        choices=get_args(Unknown),
        default="ignore",
        help="what a predicted 255 counts as (default: ignore)",
    )
    score.add_argument(
        "--classes",
        metavar="NAMES|voc",
        help="'voc', or names with commas between them: VOC's names keep VOC's ids, others have ids 1, 2, "
        "... in this order (default: the ids in the true masks, named as the model left them in PRED_DIR, "
        "or as in VOC)",
    )
    score.add_argument(
        "--missing",
        choices=("error", "skip"),
        default="error",
        help="what to do about missing predictions (default: error)",
    )
    score.add_argument(
        "--known-in",
        metavar="DIR",
        help="folder of other labels: score only the pixels that are not 255 there",
    )
    score.add_argument("--json", action="store_true", help="print JSON instead of a table")
    score.set_defaults(handler=run_score)


def _add_score_step(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    step = commands.add_parser(
        "score-step",
        description="Score what one step left, on the split that it predicted; writes score.json.",
    )
    step.add_argument("step_dir", metavar="STEP_DIR", help="folder of a finished step")
    step.add_argument(
        "--every-image",
        action="store_true",
        help="score all images that the step has results for, not those alone that the data set names for it",
    )
    add_data_class(step)
    step.set_defaults(handler=run_score_step)


def run_score(args: argparse.Namespace) -> int:
    """Print the scores of a folder."""
    from tag2mask.data.id_lists import read_ids
    from tag2mask.evaluate.labels import score_folder

    scores = score_folder(
        args.pred_dir,
        args.gt_dir,
        ids=read_ids(args.split) if args.split else None,
        classes=parse_classes(args.classes) if args.classes else None,
        unknown=args.unknown,
        split=Path(args.split).stem if args.split else "",
        missing=args.missing,
        known_in=args.known_in,
    )
    plain = scores.to_dict() | ({"known_in": args.known_in} if args.known_in else {})
    print(json.dumps(plain, indent=2) if args.json else score_table(plain))
    return 0


def run_score_step(args: argparse.Namespace) -> int:
    """Score one step and print one line."""
    from tag2mask.evaluate.step import score_step

    print(f"{Path(args.step_dir).name}: {step_line(score_step(args.step_dir, args.every_image))}")
    return 0


def parse_classes(text: str) -> ClassList:
    """The class list that ``--classes`` names.

    Raises:
        UserError: no name at all, or one name twice.
    """
    if text.strip().lower() == "voc":
        return ClassList.voc()
    names = [name.strip() for name in text.split(",") if name.strip()]
    if names and set(names) <= set(VOC_NAMES):
        return ClassList.voc(names)
    return ClassList.from_names(names)


def score_table(scores: Mapping[str, Any]) -> str:
    """Scores (as `Scores.to_dict` gives them) as text: one line per class, then the totals in percent."""
    rows = [(name, percent(iou)) for name, iou in scores["per_class"].items()]
    totals = [(name, percent(scores[key])) for name, key in TOTALS.items()]
    missing = f", {scores['missing']} without a prediction left out" if scores["missing"] else ""
    of_split = f" of {scores['split']}" if scores["split"] else ""
    only = f"; only pixels known in {scores['known_in']}" if "known_in" in scores else ""
    note = f"{scores['images']} images{of_split}{missing}; unknown pixels: {scores['unknown']}{only}"
    return Table(("class", "IoU"), rows, note=note, foot=totals).text()


def step_line(score: Mapping[str, Any]) -> str:
    """What `score_step` gives, as one line."""
    if not score["scored"]:
        return f"not scored ({score['why']})"
    text = f"mIoU {percent(score['miou'])}"
    if score.get("threshold") is not None:
        best = f"{percent(score['best_miou'])} at the best, {score['best_threshold']:.2f}"
        text += f" at the fixed threshold {score['threshold']:.2f} ({best})"
    if score.get("variant"):
        text += f" ({score['variant']})"
    if score["coverage"] is not None and score["coverage"] < 1:
        text += f" ({percent(score['strict_miou'])} with unknown pixels as wrong)"
        text += f", coverage {percent(score['coverage'])}"
    return f"{text}, {score['images']} images of {score['split']}"
