"""``make fuzz``: broken inputs, each of which has to end in a message or be taken for good."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tag2mask.core.library import find_conf
from tag2mask.core.tables import Table
from tests.fuzz.cases import draw_cases
from tests.fuzz.play import Outcome, Player


def main() -> int:
    """Play the cases and print the tally; 1 if one of them found a fault."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=400, help="how many (default: 400)")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other cases (default: 0)")
    parser.add_argument("--kinds", nargs="+", default=[], metavar="KIND", help="only these kinds of input")
    parser.add_argument("--only", type=int, help="play this one alone and print what the command said")
    args = parser.parse_args()
    began, outcomes = time.monotonic(), list[Outcome]()
    with tempfile.TemporaryDirectory() as folder:
        player = Player(Path(folder), find_conf(), args.kinds)
        for case in draw_cases(args.seed, args.cases, args.kinds):
            if args.only in (None, case.number):
                outcomes.append(player.play(case))
                if outcomes[-1].fault or args.only is not None:
                    print(outcomes[-1].text, flush=True)
    faults = [outcome for outcome in outcomes if outcome.fault]
    kinds = dict.fromkeys(outcome.case.target.kind for outcome in outcomes)
    rows = [(kind, *_counts([o for o in outcomes if o.case.target.kind == kind])) for kind in kinds]
    header = ("kind", "cases", "refused by name", "accepted", "faults")
    print(Table(header, rows, foot=[("all", *_counts(outcomes))]).text())
    print(f"seed {args.seed}, {time.monotonic() - began:.0f} s")
    return 1 if faults else 0


def _counts(outcomes: list[Outcome]) -> tuple[str, ...]:
    refused = sum(o.code == 2 and not o.fault for o in outcomes)
    accepted = sum(o.code == 0 and not o.fault for o in outcomes)
    return str(len(outcomes)), str(refused), str(accepted), str(sum(bool(o.fault) for o in outcomes))


if __name__ == "__main__":
    sys.exit(main())
