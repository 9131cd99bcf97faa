"""The power x^t as a short Chebyshev series."""

from __future__ import annotations

from functools import lru_cache
from itertools import accumulate

MAX_STEPS = 2**20
"""More steps than any walk needs: a number with some digits too many is refused before it takes hours."""

_NEGLIGIBLE = 2.0**-80


@lru_cache(maxsize=64)
def power_coefficients(steps: int, tol: float) -> tuple[float, ...]:
    """Chebyshev coefficients of x^steps, cut off where the sum of the rest is at most `tol`.

    c_k = 2^(1-t) * C(t, (t-k)/2) for k with the parity of t, c_0 halved; they are positive and sum
    to 1. The kept ones are scaled to sum to 1 again, so that a walk keeps constants.

    Args:
        steps: the power t, from 1 to `MAX_STEPS`.
        tol: bound on the sum of the coefficients left out, in (0, 1).

    Returns:
        c_0, ..., c_m.

    Raises:
        ValueError: `steps` outside its range or no integer; `tol` not in (0, 1).

    Example:
        >>> [round(c, 9) for c in power_coefficients(2, 1e-9)]
        [0.5, 0.0, 0.5]
        >>> len(power_coefficients(256, 1e-5)) - 1
        70
    """
    if not 1 <= steps <= MAX_STEPS or steps != int(steps):
        raise ValueError(f"steps must be a whole number from 1 to {MAX_STEPS}, got {steps}")
    if not 0 < tol < 1:
        raise ValueError(f"tol must lie between 0 and 1, got {tol}")
    first = int(steps) % 2
    terms = _terms(int(steps), first)
    rests = list(accumulate(reversed(terms)))[::-1]
    kept = 1 + sum(rest > tol * rests[0] for rest in rests[1:])
    scale = sum(terms[:kept])
    coefficients = [0.0] * (first + 2 * kept - 1)
    coefficients[first::2] = [term / scale for term in terms[:kept]]
    return tuple(coefficients)


def _terms(steps: int, first: int) -> list[float]:
    """c_first, c_first+2, ... over the first one, by the ratio of neighbouring binomial coefficients."""
    terms = [0.5 if first == 0 else 1.0]
    ratio = 1.0
    for k in range(first, steps, 2):
        ratio *= (steps - k) / (steps + k + 2)
        if ratio < _NEGLIGIBLE:
            break
        terms.append(ratio)
    return terms
