"""How well a result agrees with its reference's, in words and as a bar."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor, as_tensor

from benchmarks.harness import Agreement


def close(bar: float) -> Callable[[Any, Any], Agreement]:
    """Agreement of numbers and tensors by the norm of their difference; float32 sums in another order."""

    def compare(expected: Any, result: Any) -> Agreement:
        pairs = [(expected, result)] if isinstance(result, Tensor) else zip(expected, result, strict=True)
        error = max(_relative(as_tensor(a), as_tensor(b)) for a, b in pairs)
        return Agreement(f"relative error {error:.0e}", error <= bar)

    return compare


def _relative(expected: Tensor, result: Tensor) -> float:
    expected, result = expected.double().cpu(), result.double().cpu()
    return float((expected - result).norm() / expected.norm())


def share_of_exact(exact: Any, result: Any) -> Agreement:
    share = float(result[0] / exact[0])
    return Agreement(f"lattice has {share:.2f} of the exact energy", 0.45 < share < 0.75)


def same_labels(expected: np.ndarray, result: np.ndarray) -> Agreement:
    share = float((expected.argmax(1) == result[: len(expected)].argmax(1)).mean())
    return Agreement(f"labels equal on {100 * share:.3f} %", share == 1)


def same_maps(expected: Tensor, result: Tensor) -> Agreement:
    error = float((expected - result).abs().max())
    share = float((expected.argmax(-3) == result.argmax(-3)).double().mean())
    return Agreement(f"max error {error:.0e}, argmax equal on {100 * share:.3f} %", error <= 1e-4)
