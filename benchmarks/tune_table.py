"""How well signals without masks rank settings: `tag2mask tune` beside the masks, on the same images.

python -m benchmarks.tune_table runs/animals-0 --images 40 --name tune-voc-animals
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from benchmarks.results_table import keep
from tag2mask.core import UserError
from tag2mask.core.tables import Table, percent
from tag2mask.data import ImageSet
from tag2mask.evaluate import LabelTally
from tag2mask.tune import Comparison, read_chain, tune
from tag2mask.tune.compare import SIGNALS

HEAD = """# What `tag2mask tune` sees without masks, beside the masks

{count} train images. mIoU in percent of the labels of each row, over the same images; lost: to the best row.

"""


def measure(run_dir: Path, images: int) -> tuple[Comparison, list[float]]:
    """The comparison of a run, and the true mIoU of each trial on the same images.

    Raises:
        UserError: an image has no mask, or the run has nothing to tune.
    """
    chain = read_chain(run_dir)
    dataset = ImageSet.from_description(chain.maps.manifest.data)
    tallies: dict[str, LabelTally] = {}

    def seen(trial: str, image_id: str, labels: Any) -> None:
        truth = dataset.read_mask(image_id)
        if truth is None:
            raise UserError(f"image {image_id!r} has no mask: this table compares with masks")
        tallies.setdefault(trial, LabelTally(dataset.classes)).add(dataset.classes.to_ids(labels), truth)

    found = tune(chain, images, seen)
    return found, [float(tallies[trial.name].scores().miou or 0) for trial in found.trials]


def tables(found: Comparison, mious: Sequence[float]) -> tuple[Table, Table]:
    """Each trial with its signals and its mIoU; and what each signal alone would have chosen."""
    rows = [
        [trial.name, *(f"{signals[name]:.3f}" for name in SIGNALS), percent(miou)]
        for trial, signals, miou in zip(found.trials, found.signals, mious, strict=True)
    ]
    every = list(range(len(mious)))
    trials = [trial.name for trial in found.trials]
    ranks = [
        choice("what decides, over all rows", found.scores(every), mious, trials),
        *(choice(name, [signals[name] for signals in found.signals], mious, trials) for name in SIGNALS),
        ["what tune chose, step by step", "", found.trials[found.chosen].name, *lost(found.chosen, mious)],
        ["as the run has it", "", found.trials[0].name, *lost(0, mious)],
    ]
    return Table(["settings", *SIGNALS, "mIoU"], rows), Table(
        ["signal", "rank correlation", "its choice", "mIoU", "lost"], ranks
    )


def choice(name: str, values: Sequence[float], mious: Sequence[float], names: Sequence[str]) -> list[str]:
    """A row: the rank correlation with the mIoU, what the highest value chooses, and what that loses."""
    correlation = float(spearmanr(values, mious).statistic)
    best = int(np.argmax(values))
    return [name, f"{correlation:.2f}", names[best], *lost(best, mious)]


def lost(number: int, mious: Sequence[float]) -> list[str]:
    """mIoU of a trial, and by how much the best one is better."""
    return [percent(mious[number]), percent(max(mious) - mious[number])]


def main() -> int:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("run", type=Path, help="a finished run on images with masks")
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--name", default="tune")
    options = parser.parse_args()
    try:
        found, mious = measure(options.run, options.images)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    ranking, choices = tables(found, mious)
    text = f"{ranking.markdown()}\n\n{choices.markdown()}\n"
    facts = {**found.to_dict(), "miou": mious, "run": options.run.name}
    keep(Path("benchmarks/results"), options.name, HEAD.format(count=len(found.images)) + text, facts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
