"""How a segmentation network is used to predict labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tag2mask.artifacts import VARIANTS
from tag2mask.core import UserError, unknown_name
from tag2mask.ops.lattice import CRF_SETS


@dataclass(frozen=True)
class InferenceSpec:
    """The passes over an image whose labels are predicted, and what follows them.

    Attributes:
        long_side: longer side in pixels that images are resized to for scale 1, so that objects have
            the size that training showed; null keeps images as they are.
        scales: image sizes of the multi-scale variants, relative to scale 1.
        flip: mirror each scale too.
        crf: CRF parameter set of the last variant (cam, labels, dsrg or deeplab).
        variants: which of single_scale, multi_scale and multi_scale_crf to predict.
    """

    long_side: int | None = None
    scales: Sequence[float] = (0.5, 0.75, 1.0, 1.25, 1.5)
    flip: bool = True
    crf: str = "deeplab"
    variants: Sequence[str] = VARIANTS

    def __post_init__(self) -> None:
        """Check names and ranges.

        Raises:
            UserError: a name does not exist, or a value lies outside its range.
        """
        for name in self.variants:
            if name not in VARIANTS:
                raise unknown_name("prediction variant in test.variants", name, VARIANTS)
        if self.crf not in CRF_SETS:
            raise unknown_name("CRF parameter set in test.crf", self.crf, CRF_SETS)
        if not self.variants:
            raise UserError(f"test.variants must name at least one of {', '.join(VARIANTS)}")
        if not self.scales or any(scale <= 0 for scale in self.scales):
            raise UserError(f"test.scales must be numbers above 0, at least one, got {list(self.scales)}")
        if self.long_side is not None and self.long_side < 32:
            raise UserError(f"test.long_side must be at least 32 pixels or null, got {self.long_side}")
