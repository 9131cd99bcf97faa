"""Mean field inference of a fully connected CRF with two Gaussian kernels.

Kraehenbuehl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials",
NeurIPS 2011, algorithm 1, with the Potts model. Points are handled in chunks: read their messages,
normalise, spread the new probabilities. So each iteration reads the lattices once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tag2mask.ops.lattice.filter import gather, scatter
from tag2mask.ops.lattice.lanes import WIDTH, add, add_scaled, exp, fill, largest, load, maximum, store, total
from tag2mask.ops.lattice.permutohedral import Lattice, blur
from tag2mask.ops.lattice.setup_kernels import kernel

_CHUNK = 128
_NEVER = -1e4  # log score of the lanes beyond the last label: exp gives exactly 0


def mean_field(
    log_scores: npt.NDArray[np.float32], spatial: Lattice, bilateral: Lattice, iterations: int
) -> npt.NDArray[np.float32]:
    """Iterate Q = softmax(log_scores + F_spatial(Q) + F_bilateral(Q)), from Q = softmax(log_scores).

    Args:
        log_scores: float32 (K, N), minus the unary energies, above -10000.
        spatial: lattice of the N points in 2 features, `Lattice.normalised` by its weight in the CRF.
        bilateral: the same in 5 features.
        iterations: number of steps; 0 gives the softmax of the scores.

    Returns:
        float32 (K, N) probabilities that sum to 1 over K.
    """
    labels, count = log_scores.shape
    step = -(-labels // WIDTH) * WIDTH
    unary = np.full((count, step), _NEVER, np.float32)
    unary[:, :labels] = log_scores.T
    near = (spatial.vertices, spatial.weights, spatial.neighbours)
    far = (bilateral.vertices, bilateral.weights, bilateral.neighbours)
    out = np.empty((labels, count), np.float32)
    _iterate(unary.reshape(-1), near, far, step, iterations, out)
    return out


@kernel
def _softmax(q: Any, count: int, step: int) -> None:
    minus, zero = np.float32(-1), fill(np.float32(0))
    for at in range(0, count * step, step):
        top = load(q, at)
        for k in range(WIDTH, step, WIDTH):
            top = maximum(top, load(q, at + k))
        top = fill(largest(top))
        norm = zero
        for k in range(0, step, WIDTH):
            value = exp(add_scaled(load(q, at + k), minus, top))
            norm = add(norm, value)
            store(q, at + k, value)
        scale = np.float32(1) / total(norm)
        for k in range(0, step, WIDTH):
            store(q, at + k, add_scaled(zero, scale, load(q, at + k)))


@kernel
def _iterate(unary: Any, near: Any, far: Any, step: int, iterations: int, out: Any) -> None:
    # The corner counts 3 and 6 are written out, so that the compiler unrolls the loops over them.
    labels, n = out.shape
    near_read = np.zeros(near[2].shape[1] * step, np.float32)
    near_write = np.zeros(near_read.size, np.float32)
    far_read = np.zeros(far[2].shape[1] * step, np.float32)
    far_write = np.zeros(far_read.size, np.float32)
    q = np.empty(_CHUNK * step, np.float32)
    for iteration in range(iterations + 1):
        for i in range(near_write.size):
            near_write[i] = 0
        for i in range(far_write.size):
            far_write[i] = 0
        for start in range(0, n, _CHUNK):
            count = min(_CHUNK, n - start)
            for i in range(count):
                for k in range(0, step, WIDTH):
                    value = load(unary, (start + i) * step + k)
                    if iteration > 0:
                        value = gather(value, near_read, near, 3, start + i, step, k)
                        value = gather(value, far_read, far, 6, start + i, step, k)
                    store(q, i * step + k, value)
            _softmax(q, count, step)
            if iteration == iterations:
                for i in range(count):
                    for k in range(labels):
                        out[k, start + i] = q[i * step + k]
                continue
            for i in range(count):
                for k in range(0, step, WIDTH):
                    value = load(q, i * step + k)
                    scatter(value, near_write, near, 3, start + i, step, k)
                    scatter(value, far_write, far, 6, start + i, step, k)
        near_read, near_write = blur(near_write, near_read, near[2], step)
        far_read, far_write = blur(far_write, far_read, far[2], step)
