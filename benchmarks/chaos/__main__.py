"""`python -m benchmarks.chaos`: see `make chaos`."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
from collections import Counter
from pathlib import Path

from benchmarks.chaos import forked
from benchmarks.chaos.compare import differences, odd_names
from benchmarks.chaos.runs import LONGEST, Runs, disturb, ended, image_gone
from benchmarks.chaos.strikes import STRIKES, Struck
from tag2mask.core.tables import Table
from tag2mask.data import Shapes


def plan(
    rng: random.Random, seconds: dict[str, float], count: int, kinds: list[str]
) -> list[tuple[str, float, str]]:
    """Step, delay and kind of each strike, in the order of the steps; moments are even over the whole run."""
    moments = sorted(rng.uniform(0, sum(seconds.values())) for _ in range(count))
    planned = []
    for moment in moments:
        for step, length in seconds.items():
            if moment < length:
                planned.append((step, moment, kinds.pop()))
                break
            moment -= length
    return planned


def torment(runs: Runs, count: int, rng: random.Random, kinds: list[str]) -> tuple[list[Struck], list[str]]:
    """Strike a recipe's run until it was struck often enough; returns the strikes and the faults."""
    whole = runs.folder / f"{runs.recipe}-whole"
    seconds = runs.undisturbed(whole)
    print(f"{runs.recipe}: undisturbed {sum(seconds.values()):.0f} s", flush=True)
    struck, faults, round_number = list[Struck](), list[str](), 0
    while (missing := count - sum(not s.ended for s in struck)) > 0:
        run_dir = runs.folder / f"{runs.recipe}-struck-{round_number}"
        here = []
        for step, delay, kind in plan(rng, seconds, missing, kinds):
            found = disturb(runs, run_dir, step, delay, kind)
            here.append(found)
            if found.ended:
                kinds.append(kind)
            fault = found.fault(image_gone(runs))
            outcome = fault or ("too late" if found.ended else "ok")
            print(f"{runs.recipe} {step} +{delay:.1f} s {kind}: {outcome}", flush=True)
            if fault:
                faults.append(f"{runs.recipe}, {kind} in {step}: {fault}\n{found.said[-1500:]}")
        code = ended(runs.start(run_dir), LONGEST)
        if code:
            faults.append(f"{runs.recipe}: does not go on, exit code {code}\n{runs.said(whole=True)[-1500:]}")
            break
        faults += _differing(runs, whole, run_dir, here, list(seconds))
        struck += here
        round_number += 1
    return struck, faults


def _differing(runs: Runs, whole: Path, run_dir: Path, here: list[Struck], steps: list[str]) -> list[str]:
    """A line for each step whose files are not those of the undisturbed run, and for odd names."""
    faults = []
    for step in steps:
        differ = differences(whole / step, run_dir / step)
        if differ:
            which = ", ".join(s.kind for s in here if s.step == step) or "none in it"
            faults.append(
                f"{runs.recipe}, {step} ({which}): {len(differ)} files differ: {', '.join(differ[:4])}"
            )
    if odd := odd_names(whole, run_dir):
        faults.append(f"{runs.recipe}: the run folders differ in {', '.join(odd)}")
    return faults


def main() -> int:
    """Strike the recipes, print the tally; 1 if anything is wrong."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--recipes", nargs="+", default=["psa", "rrm", "ial"])
    parser.add_argument("--kills", type=int, default=30, help="strikes in all (default: 30)")
    parser.add_argument("--images", type=int, default=24, help="training images (default: 24)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fork", action="store_true", help="fork processes, which start in less time")
    parser.add_argument("--out", type=Path, default=Path("build/chaos"), help="folder (default: build/chaos)")
    args = parser.parse_args()
    if args.fork:
        forked.prepare()
    shutil.rmtree(args.out, ignore_errors=True)
    args.out.mkdir(parents=True)
    folder = args.out.resolve()
    images = Shapes(str(folder / "shapes"), train=args.images, val=max(1, args.images // 3), size=(64, 80))
    images.make()
    rng = random.Random(args.seed)
    shares = [
        args.kills // len(args.recipes) + (n < args.kills % len(args.recipes))
        for n in range(len(args.recipes))
    ]
    kinds = [STRIKES[n % len(STRIKES)] for n in range(args.kills)]
    rng.shuffle(kinds)
    struck, faults = list[Struck](), list[str]()
    for recipe, share in zip(args.recipes, shares, strict=True):
        more, wrong = torment(Runs(recipe, folder, images, args.fork), share, rng, kinds)
        struck, faults = struck + more, faults + wrong
    _print(struck, faults)
    return 1 if faults else 0


def _print(struck: list[Struck], faults: list[str]) -> None:
    counted = [s for s in struck if not s.ended]
    cells = Counter((f"{s.recipe}: {s.step}", s.kind) for s in counted)
    steps = dict.fromkeys(step for step, _ in cells)
    rows = [[step, *(str(cells[step, kind] or "") for kind in STRIKES)] for step in steps]
    totals = Counter(s.kind for s in counted)
    foot = [["all", *(str(totals[kind]) for kind in STRIKES)]]
    print(Table(["step", *STRIKES], rows, foot=foot).text())
    print(
        "\n".join(faults)
        or f"{len(counted)} of {len(counted)}: every run went on and ended with the same files"
    )


if __name__ == "__main__":
    sys.exit(main())
