"""Probability maps of a segmentation network, for steps that work on from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

from torch import Tensor

from tag2mask.artifacts.step_folder import StepFolder
from tag2mask.core import ImageSample, ScoreMaps, UserError, tag_indices
from tag2mask.core.results import MAP_CELL, require_cell
from tag2mask.modules.fold_networks import FoldNetworks
from tag2mask.modules.loading import load_network
from tag2mask.modules.predictor import Predictor
from tag2mask.modules.segmentation import SegmentationModel
from tag2mask.ops import normalise_cams
from tag2mask.ops.sizes import at_size, grid_of, image_size


class SegmentationMaps(Predictor):
    """Class probabilities of a trained segmentation network for images with tags, at its test size.

    Args:
        segmentation_from: folder of the step that trained the network.
        grid: image pixels per cell of the stored maps.
        classes: tagged keeps background and the image's tags, for these are the given supervision; all
            keeps every class. objects keeps the tags alone, each divided by its largest value, so that a
            `Background` can be added to them as to class activation maps.
        folds_from: in place of segmentation_from, fold ("0", "1", ...) -> folder of the step that trained a
            network on all other folds (`OtherFolds`): each image is shown to the one that has not seen it.
    """

    kind = "maps"

    def __init__(
        self,
        segmentation_from: StepFolder | None = None,
        grid: int = MAP_CELL,
        classes: Literal["tagged", "all", "objects"] = "tagged",
        folds_from: dict[str, StepFolder] | None = None,
    ) -> None:
        super().__init__()
        require_cell(grid)
        if bool(segmentation_from) == bool(folds_from):
            raise UserError("give either segmentation_from or folds_from: whose probabilities the maps are")
        self.network = load_network(segmentation_from, SegmentationModel) if segmentation_from else None
        self.folds = FoldNetworks(folds_from) if folds_from else None
        self.grid = grid
        self.classes = classes

    def predict_image(self, sample: ImageSample) -> ScoreMaps:
        """Probabilities of the classes of an image."""
        image, network = sample["image"], self._network_for(sample["id"])
        tagged = tag_indices(sample["tags"])
        present = list(range(network.num_classes + 1)) if self.classes == "all" else [0, *tagged]
        maps = class_probabilities(network, image, self.grid, present)
        if self.classes == "objects":
            return ScoreMaps(sample["id"], normalise_cams(maps[1:]).cpu().numpy(), tagged, image_size(image))
        return ScoreMaps(sample["id"], maps.cpu().numpy(), present, image_size(image))

    def _network_for(self, image_id: str) -> SegmentationModel:
        found = self.folds.of(image_id) if self.folds else self.network
        return cast(SegmentationModel, found)


def class_probabilities(
    model: SegmentationModel, image: Tensor, grid: int, classes: Sequence[int] | None = None
) -> Tensor:
    """Softmax of a segmentation network over some classes, on a coarse grid.

    The network sees the image in the size that it is tested at, once and not mirrored.

    Args:
        model: the network.
        image: (3, H, W) RGB 0..255.
        grid: pixels of `image` per cell.
        classes: indices 0..K to choose from; None for all.

    Returns:
        (M, ceil(H / grid), ceil(W / grid)) for the M classes; sums to 1 at each cell.
    """
    logits = model.network(model.at_test_size(image)).float()
    logits = at_size(logits, grid_of(image_size(image), grid))
    chosen = logits[0] if classes is None else logits[0, list(classes)]
    probabilities: Tensor = chosen.softmax(0)
    return probabilities
