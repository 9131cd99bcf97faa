"""The option ``--data-class`` of commands that read the data set of a run, of whichever class that is."""

from __future__ import annotations

import argparse


def add_data_class(parser: argparse.ArgumentParser) -> None:
    """Add ``--data-class``, whose class is imported as options are read, so that descriptions may name it."""
    parser.add_argument(
        "--data-class",
        type=_imported,
        metavar="PATH",
        help="class of your own data set, whose module may be imported although no package registered it",
    )


def _imported(path: str) -> str:
    # imported here: a command's help has to answer at once
    from tag2mask.data.image_set import import_data_set

    import_data_set(path)
    return path
