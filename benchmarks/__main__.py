"""`python -m benchmarks [NAME ...]`: measure pieces against their references and print one table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from benchmarks.cases import all_cases
from benchmarks.harness import Case, Inputs, Result, measure
from benchmarks.tables import markdown, plain, write


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, write; 1 where a result differs from its reference's."""
    options = _parser().parse_args(argv)
    inputs = Inputs.find()
    cases = all_cases(inputs)
    if options.list:
        print("\n".join(f"{case.name:22s} {case.piece}" for case in cases))
        return 0
    chosen = _chosen(cases, options.name)
    if isinstance(chosen, str):
        print(f"error: {chosen}", file=sys.stderr)
        return 2
    results = _measured(chosen, options.repeats)
    table = markdown(results)
    print(table)
    if options.json:
        write(options.json, plain(results), inputs.source, table)
    reached = sum(r.reached for r in results)
    print(f"{reached} of {len(results)} pieces reach their bar" + _where(options.json))
    return 0 if all(r.agreement.ok for r in results) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tag2mask bench",
        description="Time operators and losses against plain references, by turns in one process. "
        "Exit code 1 means that a result differs from its reference's; a bar that is not reached is "
        "shown in the table, since it depends on what else the machine does.",
    )
    parser.add_argument("name", nargs="*", help="pieces to measure (default: all; see --list)")
    parser.add_argument("--list", action="store_true", help="list the pieces and stop")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each side (default: 5)")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write FILE, and the table beside it as .md"
    )
    return parser


def _chosen(cases: list[Case], names: Sequence[str]) -> list[Case] | str:
    known = sorted({case.name for case in cases})
    unknown = [name for name in names if name not in known]
    if unknown:
        return f"unknown piece {unknown[0]!r}; there are: {', '.join(known)}"
    return [case for case in cases if not names or case.name in names]


def _measured(cases: Sequence[Case], repeats: int) -> list[Result]:
    results = []
    bar = tqdm(cases, unit="piece", file=sys.stderr)
    for case in bar:
        bar.set_description(case.piece)
        results.append(measure(case, repeats))
    return results


def _where(path: Path | None) -> str:
    return f"; written to {path} and {path.with_suffix('.md')}" if path else ""


if __name__ == "__main__":
    sys.exit(main())
