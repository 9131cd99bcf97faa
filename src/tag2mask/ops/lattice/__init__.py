"""Gaussian filtering on a permutohedral lattice: the dense CRF, and the sums of the dense energy."""

from tag2mask.ops.lattice.bilateral import Method, bilateral_sums
from tag2mask.ops.lattice.crf import dense_crf, unary_from_labels
from tag2mask.ops.lattice.crf_params import CRF_CAM, CRF_DEEPLAB, CRF_DSRG, CRF_LABELS, CRF_SETS, CRFParams

__all__ = [
    "CRF_CAM",
    "CRF_DEEPLAB",
    "CRF_DSRG",
    "CRF_LABELS",
    "CRF_SETS",
    "CRFParams",
    "Method",
    "bilateral_sums",
    "dense_crf",
    "unary_from_labels",
]
