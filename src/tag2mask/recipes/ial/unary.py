"""The unary network as a source of probability maps, alone and followed by the pairwise network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from tag2mask.core import LabelsResult, MapsResult, PhotoSample, UserError
from tag2mask.modules import PseudoLabelGenerator, SegmentationModel, load_network
from tag2mask.recipes.ial.pairwise import PairwiseLearner


class UnaryMaps(PseudoLabelGenerator):
    """Probability maps alpha_u of the unary network for the training photos, single scale.

    Args:
        unary_from: folder of the step that trained the unary network.
        grid: photo pixels per cell of the stored maps.
        classes: tagged keeps background and the photo's tags, for these are the given supervision (the
            paper does not say); all keeps every class.
    """

    def __init__(self, unary_from: str, grid: int = 8, classes: Literal["tagged", "all"] = "tagged") -> None:
        super().__init__(output="maps")
        if grid < 1:
            raise UserError(f"grid must be at least 1 pixel, got {grid}")
        self.unary = load_network(unary_from, SegmentationModel)
        self.grid = grid
        self.keep_all = classes == "all"

    def predict_step(self, batch: Sequence[PhotoSample], batch_index: int) -> Sequence[MapsResult]:
        """Maps of the photos of a batch that are not on disk yet."""
        return [self._maps(sample) for sample in batch if not sample.get("done")]

    def _maps(self, sample: PhotoSample) -> MapsResult:
        photo = sample["photo"]
        tagged = [int(k) + 1 for k in sample["tags"].nonzero().flatten()]
        present = list(range(self.unary.num_classes + 1)) if self.keep_all else [0, *tagged]
        maps = unary_probabilities(self.unary, photo, self.grid, present)
        size = (int(photo.shape[-2]), int(photo.shape[-1]))
        return MapsResult(sample["id"], maps.cpu().numpy(), present, size)


class UnaryPairwise(PseudoLabelGenerator):
    """Labels by the unary and then the pairwise network, for photos without tags.

    Args:
        unary_from: folder of the step that trained the unary network.
        pairwise_from: folder of the step that trained the pairwise network.
        grid: photo pixels per cell of the maps between them; as in training.
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

    def predict_step(self, batch: Sequence[PhotoSample], batch_index: int) -> Sequence[LabelsResult]:
        """Labels of the photos of a batch that are not on disk yet."""
        return [self._labels(sample) for sample in batch if not sample.get("done")]

    def _labels(self, sample: PhotoSample) -> LabelsResult:
        maps = unary_probabilities(self.unary, sample["photo"], self.grid)
        refined = self.pairwise.refine(sample["photo"], maps)
        labels = refined.max(0).indices.cpu().numpy().astype(np.uint8)
        return LabelsResult(sample["id"], {"single_scale": labels})


def unary_probabilities(
    unary: SegmentationModel, photo: Tensor, grid: int, classes: Sequence[int] | None = None
) -> Tensor:
    """Softmax of the unary network over some classes, on a coarse grid.

    Args:
        unary: the network.
        photo: (3, H, W) RGB 0..255.
        grid: photo pixels per cell.
        classes: indices 0..K to choose from; None for all.

    Returns:
        (M, ceil(H / grid), ceil(W / grid)) for the M classes; sums to 1 at each cell.
    """
    logits = unary.network(photo[None]).float()
    size = [-(-side // grid) for side in photo.shape[-2:]]
    if list(logits.shape[-2:]) != size:
        logits = F.interpolate(logits, size, mode="bilinear", align_corners=False)
    chosen = logits[0] if classes is None else logits[0, list(classes)]
    probabilities: Tensor = chosen.softmax(0)
    return probabilities
