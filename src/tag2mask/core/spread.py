"""A few of many, from everywhere in the list."""

from __future__ import annotations

from collections.abc import Sequence


def spread(ids: Sequence[str], count: int) -> list[str]:
    """Some ids, spread evenly over a list; all of them where there are no more.

    Example:
        >>> spread(["a", "b", "c", "d", "e", "f"], 3), spread(["a"], 3), spread([], 3)
        (['b', 'd', 'f'], ['a'], [])
    """
    count = min(count, len(ids))
    return [ids[(2 * k + 1) * len(ids) // (2 * count)] for k in range(count)]
