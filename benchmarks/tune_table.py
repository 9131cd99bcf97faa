"""`tag2mask tune` beside the masks: what its choice and its signals lose, from good and from bad settings.

    python -m benchmarks.tune_table runs/animals-0 runs/animals-1 --images 24 --name tune-voc-animals

Each run is looked at on other images. What was judged is kept in ``--work``: the same command goes on there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from benchmarks.results_table import keep
from benchmarks.tune_rows import Judge, Judged, described, miou
from tag2mask.core import UserError, spread
from tag2mask.core.tables import Table, percent
from tag2mask.tune import Comparison, Trial, read_chain
from tag2mask.tune.bench import Row, tagged_images
from tag2mask.tune.choice import DECIDING, score
from tag2mask.tune.compare import SIGNALS, STAGES, Stage, search
from tag2mask.tune.trials import changed, fixed_level

BAD_LEVELS = (0.16, 0.48)
"""Levels that are too low and too high for these maps: starts of users whom the default does not fit."""
RESAMPLES = 1000
TRIED = ("levels", "levels and powers of the walk", "levels, powers of the walk and CRFs")

HEAD = """# What `tag2mask tune` chooses without masks, beside the masks

{count} train images of each run, different ones; tried: {tried}. mIoU in percent of the labels on
these images. Chosen with masks: the best on these images of all settings that were tried on the run, from any
start. Lost: to that one, with the standard error of the difference ({resamples} resamples of the images).

"""


@dataclass
class Searched:
    """A run, and what `tune` chose in it from each start."""

    name: str
    judge: Judge
    found: dict[str, Comparison]

    @property
    def trials(self) -> list[Trial]:
        """Everything that was tried, each once."""
        every = [trial for found in self.found.values() for trial in found.trials]
        return list({repr(trial.links): trial for trial in every}.values())

    @property
    def best(self) -> Trial:
        """The choice with masks."""
        return max(self.trials, key=lambda trial: self.judge.judged(trial).miou)


def measure(run_dir: Path, images: Sequence[str], work: Path, stages: Sequence[Stage]) -> Searched:
    """Search a run from its own settings and from bad ones, without masks and with them.

    Raises:
        UserError: an image has no mask, or the run has nothing to tune.
    """
    judge = Judge(run_dir, images, work / f"{run_dir.name}.json")
    present = judge.chain.trial()
    bad = [changed(present, f"level {level}", "Background", fixed_level(level)) for level in BAD_LEVELS]
    starts = {trial.name: replace(trial, name="as it is") for trial in (present, *bad)}
    found = {name: search(start, judge.rows, judge.examples, stages=stages) for name, start in starts.items()}

    def by_masks(trial: Trial) -> list[Row]:
        return [{"mIoU": judge.judged(trial).miou}]

    found["with masks"] = search(present, by_masks, judge.examples, _best, stages)
    return Searched(run_dir.name, judge, found)


def _best(tried: Sequence[Sequence[Row]], changes: Sequence[float]) -> int:
    return int(np.argmax([rows[0]["mIoU"] for rows in tried]))


def choices(runs: Sequence[Searched]) -> Table:
    """What `tune` chose from each start, and what start and choice lose."""
    head = [
        "run",
        "start",
        "mIoU",
        "lost",
        "chosen without masks",
        "mIoU",
        "lost",
        "chosen with masks",
        "mIoU",
    ]
    rows = []
    for run in runs:
        best = run.judge.judged(run.best)
        for start, found in run.found.items():
            if start != "with masks":
                before, after = (run.judge.judged(found.trials[n]) for n in (0, found.chosen))
                chosen = described(found.trials[found.chosen])
                loss = [
                    percent(before.miou),
                    lost(before, best),
                    chosen,
                    percent(after.miou),
                    lost(after, best),
                ]
                rows.append([run.name, start, *loss, described(run.best), percent(best.miou)])
    return Table(head, rows)


def lost(one: Judged, best: Judged) -> str:
    """By how much the best setting is better than another, and the standard error over images."""
    random = np.random.default_rng(0)
    count = len(one.counts)
    drawn = (random.integers(count, size=count) for _ in range(RESAMPLES))
    error = float(np.std([miou(best.counts[some]) - miou(one.counts[some]) for some in drawn]))
    return f"{percent(best.miou - one.miou)} ± {percent(error)}"


def ranking(runs: Sequence[Searched]) -> Table:
    """How well each signal ranks all settings that were tried on a run, and what its highest value loses."""
    rows = []
    for name in (" and ".join(DECIDING), *SIGNALS):
        row = [name]
        for run in runs:
            judged = [run.judge.judged(trial) for trial in run.trials]
            mious = [one.miou for one in judged]
            values = [float(np.mean([row.get(name, score(row)) for row in one.rows])) for one in judged]
            loss = max(mious) - mious[int(np.argmax(values))]
            row += [f"{spearmanr(values, mious).statistic:.2f}", percent(loss)]
        rows.append(row)
    return Table(["signal", *(f"{run.name}: {what}" for run in runs for what in ("rank", "lost"))], rows)


def settings(run: Searched) -> Table:
    """Each setting with its signals and its mIoU, the best first."""
    judged = sorted(((run.judge.judged(t), described(t)) for t in run.trials), key=lambda pair: -pair[0].miou)
    rows = [
        [
            name,
            *(f"{np.mean([row[signal] for row in one.rows]):.3f}" for signal in SIGNALS),
            percent(one.miou),
        ]
        for one, name in judged
    ]
    return Table(["settings", *SIGNALS, "mIoU"], rows)


def main() -> int:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("runs", type=Path, nargs="+", help="finished runs on images with masks")
    parser.add_argument("--images", type=int, default=24, help="of each run (default: 24)")
    parser.add_argument(
        "--stages", type=int, default=len(STAGES), help="1: levels, 2: walks too, 3: CRFs too"
    )
    parser.add_argument("--name", default="tune")
    parser.add_argument("--work", type=Path, default=Path("runs/tune-table"))
    options = parser.parse_args()
    try:
        runs = []
        for number, folder in enumerate(options.runs):
            ids = spread(tagged_images(read_chain(folder)), options.images * len(options.runs))
            runs.append(
                measure(folder, ids[number :: len(options.runs)], options.work, STAGES[: options.stages])
            )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    parts = [choices(runs), ranking(runs), *(settings(run) for run in runs)]
    heads = ["", "", *(f"## {run.name}\n\n" for run in runs)]
    text = "\n\n".join(head + part.markdown() for head, part in zip(heads, parts, strict=True))
    facts = {
        run.name: {
            "images": run.judge.images,
            "searches": {name: found.to_dict() for name, found in run.found.items() if name != "with masks"},
            "miou": {described(trial): run.judge.judged(trial).miou for trial in run.trials},
        }
        for run in runs
    }
    head = HEAD.format(count=options.images, tried=TRIED[options.stages - 1], resamples=RESAMPLES)
    keep(Path("benchmarks/results"), options.name, f"{head}{text}\n", facts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
