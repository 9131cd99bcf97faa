"""The unary network followed by the pairwise network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tag2mask.core import ImageSample, LabelsResult
from tag2mask.modules import PseudoLabelGenerator, SegmentationModel, class_probabilities, load_network
from tag2mask.recipes.ial.pairwise import PairwiseLearner


class UnaryPairwise(PseudoLabelGenerator):
    """Labels by the unary and then the pairwise network, for images without tags.

    Args:
        unary_from: folder of the step that trained the unary network.
        pairwise_from: folder of the step that trained the pairwise network.
        grid: image pixels per cell of the maps between them; as in training.
    """

    done_folder = "single_scale"

    def __init__(self, unary_from: str, pairwise_from: str, grid: int = 8) -> None:
        super().__init__()
        self.unary = load_network(unary_from, SegmentationModel)
        self.pairwise = load_network(pairwise_from, PairwiseLearner)
        self.grid = grid

    @property
    def kind(self) -> str:
        """See `PseudoLabelGenerator.kind`."""
        return "segmentation"

    def predict_step(self, batch: Sequence[ImageSample], batch_index: int) -> Sequence[LabelsResult]:
        """Labels of the images of a batch that are not on disk yet."""
        return [self._labels(sample) for sample in batch if not sample.get("done")]

    def _labels(self, sample: ImageSample) -> LabelsResult:
        maps = class_probabilities(self.unary, sample["image"], self.grid)
        refined = self.pairwise.refine(sample["image"], maps)
        labels = refined.max(0).indices.cpu().numpy().astype(np.uint8)
        return LabelsResult(sample["id"], {"single_scale": labels})
