"""Settings of the dense CRF, and the sets of them that the papers use."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from tag2mask.core import UserError


@dataclass(frozen=True)
class CRFParams:
    """Settings of `dense_crf`. The named sets below are the papers' own: take one as a whole.

    Attributes:
        iterations: mean field steps, at least 0; 5 in place of 10 change 2 to 7 % of the labels.
        gauss_sxy: standard deviation of the smoothness kernel, pixels, above 0.
        gauss_weight: weight of the smoothness kernel, at least 0.
        bilateral_sxy: standard deviation of the appearance kernel in position, pixels, above 0.
        bilateral_srgb: standard deviation of the appearance kernel in colour, of 0..255, above 0.
        bilateral_weight: weight of the appearance kernel, at least 0.

    Raises:
        UserError: a value outside these ranges.
    """

    iterations: int = 10
    gauss_sxy: float = 3
    gauss_weight: float = 3
    bilateral_sxy: float = 80
    bilateral_srgb: float = 13
    bilateral_weight: float = 10

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self)):
            value = getattr(self, name)
            positive = name not in ("iterations", "gauss_weight", "bilateral_weight")
            if not math.isfinite(value) or value < 0 or (positive and value == 0):
                need = "above 0" if positive else "at least 0"
                raise UserError(f"CRF setting {name} is {value}; give a number {need}")
        if int(self.iterations) != self.iterations:
            raise UserError(f"CRF setting iterations is {self.iterations}; give a whole number")


CRF_CAM = CRFParams()
"""For class activation maps: PSA (both alphas), SC-CAM, RRM's pseudo-labels. From pydensecrf's example."""
CRF_DSRG = CRFParams(bilateral_sxy=83, bilateral_srgb=5, bilateral_weight=4)
"""For RRM at test time; the values are those of DSRG."""
CRF_LABELS = CRFParams(bilateral_sxy=50, bilateral_srgb=5, bilateral_weight=10)
"""For hard labels, as in IRN; see `unary_from_labels`."""
CRF_DEEPLAB = CRFParams(gauss_sxy=1, bilateral_sxy=67, bilateral_srgb=3, bilateral_weight=4)
"""For segmentation networks at test time; the values are those of DeepLab v2 with ResNet-101."""

CRF_SETS: dict[str, CRFParams] = {
    "cam": CRF_CAM,
    "labels": CRF_LABELS,
    "dsrg": CRF_DSRG,
    "deeplab": CRF_DEEPLAB,
}
"""The sets by the names that settings use."""
