"""Work on many files with a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from tqdm import tqdm

from tag2mask.core import map_threads

T = TypeVar("T")
R = TypeVar("R")


def map_with_bar(work: Callable[[T], R], items: Sequence[T], what: str, unit: str) -> list[R]:
    """As `map_threads`, with a bar on standard error in a terminal.

    Args:
        work: called once for each item, from several threads at once.
        items: what to work on.
        what: the bar's name.
        unit: what an item is.
    """
    with tqdm(total=len(items), desc=what, unit=unit, disable=None) as bar:

        def counted(item: T) -> R:
            result = work(item)
            bar.update()
            return result

        return map_threads(counted, items)
