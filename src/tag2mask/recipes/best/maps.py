"""Score maps of networks that did not train on the image."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from tag2mask.artifacts.step_folder import StepFolder
from tag2mask.core import ImageSample, ScoreMaps, UserError
from tag2mask.core.results import MAP_CELL, require_cell
from tag2mask.modules import FoldNetworks, Predictor
from tag2mask.modules.refinements import resized
from tag2mask.ops.sizes import grid_of, image_size


class CrossFittedMaps(Predictor):
    """Mean of the maps so far and of the probabilities of the teacher that did not train on the image.

    A network that labels its own training images returns the mistakes that it has learned from their labels.
    One that never saw them makes mistakes of its own, which partly cancel those of CAM and walk.

    Args:
        teachers: fold ("0", "1", ...) -> folder of the step that trained a network on all other folds.
        weight: share of the teacher in the mean, 0..1; 1 leaves the maps so far out.
        grid: image pixels per cell of the stored maps.
        seen: ask teachers about images that they trained on instead, to see what the folds bring.
    """

    kind = "maps"

    def __init__(
        self,
        teachers: dict[str, StepFolder],
        weight: float = 0.5,
        grid: int = MAP_CELL,
        seen: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= weight <= 1:
            raise UserError(f"weight must lie in 0..1, got {weight}")
        require_cell(grid)
        self.teachers = FoldNetworks(teachers)
        self.weight = weight
        self.grid = grid
        self.seen = seen

    def predict_image(self, sample: ImageSample) -> ScoreMaps:
        """The mixed probabilities of background and the image's tags; they sum to 1 in each cell."""
        scores, image = sample["maps"], sample["image"]
        if 0 not in scores.classes:
            raise UserError(f"the maps of image {sample['id']} have no background: mix in maps of a walk")
        cells = grid_of(image_size(image), self.grid)
        before = torch.from_numpy(resized(scores, cells).maps)
        teacher = self.teachers.of(sample["id"], self.seen)
        found = teacher.probabilities(image, teacher.test.scales, teacher.test.flip)[list(scores.classes)]
        after = F.adaptive_avg_pool2d(found.float().cpu(), cells)
        mixed = (1 - self.weight) * _shares(before) + self.weight * _shares(after)
        return replace(scores, maps=mixed.numpy())


def _shares(maps: Tensor) -> Tensor:
    """Maps (M, h, w) divided by their sum in each cell."""
    floor = maps.clamp(min=1e-4)
    return floor / floor.sum(0)
