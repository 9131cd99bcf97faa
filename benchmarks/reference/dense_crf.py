"""The dense CRF of the published results: pydensecrf2, Kraehenbuehl's C++ code."""

from __future__ import annotations

import numpy as np
from pydensecrf.densecrf import DenseCRF2D


def dense_crf(image: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Probabilities (K, H, W), with PSA's settings, of an image (H, W, 3) and scores (K, H, W)."""
    labels, height, width = scores.shape
    crf = DenseCRF2D(width, height, labels)
    crf.setUnaryEnergy(-np.log(np.clip(scores, 1e-5, 1)).reshape(labels, -1))
    crf.addPairwiseGaussian(sxy=3, compat=3)
    crf.addPairwiseBilateral(sxy=80, srgb=13, rgbim=image.copy(), compat=10)  # it takes no read-only arrays
    return np.array(crf.inference(10)).reshape(scores.shape)
