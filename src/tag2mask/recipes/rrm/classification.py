"""Settings of the joint network's classification branch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tag2mask.core import UserError


@dataclass(frozen=True)
class ClassificationSpec:
    """The classification branch, whose maps give the labels.

    Attributes:
        cam_scales: sizes of the crop for the maps; 1 must be among them.
        dropout: before the branch's classifier.
        rate: of the branch's classifier: that of new layers, as in the published code, or that of
            pretrained ones, which it is one of where it starts from a trained classifier.

    Raises:
        UserError: a value lies outside its range.
    """

    cam_scales: Sequence[float] = (1.0, 0.5, 1.5, 2.0)
    dropout: float = 0.5
    rate: Literal["new", "pretrained"] = "new"

    def __post_init__(self) -> None:
        if 1.0 not in self.cam_scales or any(scale <= 0 for scale in self.cam_scales):
            raise UserError(
                f"classification.cam_scales must be above 0 with 1 among them, got {list(self.cam_scales)}"
            )
