"""The mined labels of whole images, which training forgets: to be looked at and scored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from tag2mask.artifacts.step_folder import StepFolder
from tag2mask.core import IGNORE, ImageSample, LabelsResult, tag_indices
from tag2mask.modules import Predictor, load_network
from tag2mask.ops.cam import maps_of
from tag2mask.ops.sizes import image_size, maps_at_size
from tag2mask.recipes.rrm.joint import JointModel
from tag2mask.recipes.rrm.mining import Stage, reliable_labels


class MinedLabelGenerator(Predictor):
    """Reliable labels of whole images, mined as in training's crops (Zhang et al., AAAI 2020, eq. 3 to 7).

    The maps are those of the network as it is after its training, of the image at its test size.

    Args:
        joint_from: folder of the step that trained the joint network.
        ratio: share of the pixels that a class wins which is taken, above 0 and up to 1; null takes the
            one that the network was trained with.
        stage: up to where the labels are mined, see `reliable_labels`: figure 3 of the paper shows all four.
    """

    kind = "labels"

    def __init__(self, joint_from: StepFolder, ratio: float | None = None, stage: Stage = "reliable") -> None:
        super().__init__()
        self.network = load_network(joint_from, JointModel)
        mining = self.network.mining
        self.mining = mining if ratio is None else replace(mining, ratio=ratio)
        self.stage: Stage = stage

    @torch.no_grad()
    def predict_image(self, sample: ImageSample) -> LabelsResult:
        """Labels (H, W) of an image: background, its tags, and 255 where none is mined."""
        image = sample["image"]
        size = image_size(image)
        tagged = tag_indices(sample["tags"])
        if not tagged:
            return LabelsResult(sample["id"], {"": np.full(size, IGNORE, np.uint8)})
        seen = self.network.at_test_size(image)
        cams = maps_of(self.network.mean_cams(seen, self.network.backbone(seen)["out"])[0], tagged)
        maps = maps_at_size(cams, size).cpu().numpy()
        pixels = image.to("cpu", torch.uint8).numpy()
        labels = reliable_labels(pixels, maps, tagged, self.mining, stage=self.stage)
        return LabelsResult(sample["id"], {"": labels})
