"""The unary network followed by the pairwise network."""

from __future__ import annotations

import numpy as np

from tag2mask.artifacts.names import SINGLE_SCALE
from tag2mask.artifacts.step_folder import StepFolder
from tag2mask.core import ImageSample, LabelsResult
from tag2mask.core.results import MAP_CELL, require_cell
from tag2mask.modules import Predictor, SegmentationModel, class_probabilities, load_network
from tag2mask.recipes.ial.pairwise import PairwiseLearner


class UnaryPairwise(Predictor):
    """Labels by the unary and then the pairwise network, for images without tags.

    Args:
        unary_from: folder of the step that trained the unary network.
        pairwise_from: folder of the step that trained the pairwise network.
        grid: image pixels per cell of the maps between them; as in training.
    """

    kind = "segmentation"
    done_folder = SINGLE_SCALE

    def __init__(self, unary_from: StepFolder, pairwise_from: StepFolder, grid: int = MAP_CELL) -> None:
        super().__init__()
        require_cell(grid)
        self.unary = load_network(unary_from, SegmentationModel)
        self.pairwise = load_network(pairwise_from, PairwiseLearner)
        self.grid = grid

    def predict_image(self, sample: ImageSample) -> LabelsResult:
        """Labels of an image."""
        maps = class_probabilities(self.unary, sample["image"], self.grid)
        refined = self.pairwise.refine(sample["image"], maps)
        labels = refined.max(0).indices.cpu().numpy().astype(np.uint8)
        return LabelsResult(sample["id"], {SINGLE_SCALE: labels})
