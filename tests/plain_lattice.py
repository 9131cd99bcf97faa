"""The filter of a permutohedral lattice written out, for tests of what is made with it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tag2mask.ops.lattice.permutohedral import Lattice


def dense_matrix(lattice: Lattice) -> npt.NDArray[np.float64]:
    """The filter of a lattice as a dense (N, N) matrix: slice @ blur ... blur @ splat."""
    points, size = len(lattice.vertices), lattice.neighbours.shape[1]
    read = np.zeros((points, size))
    np.put_along_axis(read, lattice.vertices.astype(np.int64), lattice.weights.astype(np.float64), axis=1)
    filtered = read.T.copy()
    for axis in lattice.neighbours:
        filtered[0] = 0
        filtered = filtered + 0.5 * (filtered[axis[:, 0]] + filtered[axis[:, 1]])
    filtered[0] = 0
    return read @ filtered
