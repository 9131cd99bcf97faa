"""The command ``tag2mask report``."""

from __future__ import annotations

import argparse
from pathlib import Path

from tag2mask.core.commands import add_command, at_least, distinct_folders
from tag2mask.data.data_class import add_data_class

REPORT_HELP = """Write one self-contained HTML page on a run, or on several runs side by side: a summary,
scores, curves, settings with their origins, and rows of pictures to filter, enlarge and cut at another
background threshold. It also works on unfinished runs and without masks."""

REPORT_EXAMPLES = """examples:
  tag2mask report runs/psa                        writes runs/psa/report.html
  tag2mask report runs/psa runs/other             writes runs/psa/comparison.html
  tag2mask report runs/psa --out psa.html --images 30"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``report`` to the commands of ``tag2mask``."""
    report = add_command(commands, "report", "write runs up as one HTML page", REPORT_HELP, REPORT_EXAMPLES)
    report.add_argument("runs", metavar="RUN", nargs="+", help="run folder")
    report.add_argument("--out", metavar="FILE", help="file to write (default: in the first run's folder)")
    report.add_argument(
        "--images", type=at_least(0), default=24, metavar="N", help="images to show (default: 24)"
    )
    add_data_class(report)
    report.set_defaults(handler=run_report)


def run_report(args: argparse.Namespace) -> int:
    """Write the page, print the score table, and the page's path as the last line."""
    from tag2mask.artifacts import REPORT_NAME, atomic_write_text, require_own
    from tag2mask.report import alarm_table, build_page, read_runs, score_table

    runs = read_runs(distinct_folders(args.runs))
    default = REPORT_NAME if len(runs) == 1 else "comparison.html"
    out = Path(args.out) if args.out else runs[0].folder / default
    require_own(out, "<!DOCTYPE html>")
    atomic_write_text(out, build_page(runs, args.images))
    scores = score_table(runs)
    if scores.rows:
        print(scores.text())
    for step, seen, todo in alarm_table(runs, folders=True).rows:
        print(f"! {step}: {seen}; {todo}")
    print(out)
    return 0
