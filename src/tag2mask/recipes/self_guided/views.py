"""Localisation maps over sizes and mirror images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from tag2mask.core import UserError
from tag2mask.ops import multi_scale_cam
from tag2mask.ops.sizes import image_size
from tag2mask.recipes.self_guided.model import SelfGuidedModel


class ManyViewsModel(SelfGuidedModel):
    """`SelfGuidedModel` whose localisation maps are summed over sizes, as class activation maps are.

    The paper has the image once (Ke and Hsu 2018, section 3.3). Nothing changes in training.

    Args:
        scales: image sizes relative to the test size.
        flip: add the maps of the mirrored image at each size.
        **model: arguments of `SelfGuidedModel`.

    Raises:
        UserError: a size is not above 0, or there is none.
    """

    def __init__(
        self, scales: Sequence[float] = (0.5, 1.0, 1.5, 2.0), flip: bool = True, **model: Any
    ) -> None:
        super().__init__(**model)
        if not scales or any(scale <= 0 for scale in scales):
            raise UserError(f"scales must be numbers above 0, at least one, got {list(scales)}")
        self.scales, self.flip = tuple(scales), flip

    def summed_maps(self, image: Tensor, maps: Tensor) -> Tensor:
        """The sum of the maps (1, K, h, w) of all sizes and mirror images, at the size of `maps`."""
        # float32: the affinities beside them are so, too
        return multi_scale_cam(self._maps_of, image[0], self.scales, self.flip, image_size(maps), "float32")[
            None
        ]

    def _maps_of(self, images: Tensor) -> Tensor:
        return self.forward_all(images)[1]
