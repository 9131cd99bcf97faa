"""One network that learns to localise, then to segment, in turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tag2mask.artifacts.step_folder import StepFolder
from tag2mask.backbones import Backbone, BackboneSpec
from tag2mask.core import ImageSample, ScoreMaps, TrainBatch, UserError, tag_indices
from tag2mask.core.results import MAP_CELL
from tag2mask.heads import HeadSpec
from tag2mask.losses import ColourAffinityLoss
from tag2mask.modules import InferenceSpec, Optimization, SegmentationModel, load_network
from tag2mask.ops.cam import maps_of
from tag2mask.ops.sizes import grid_of, image_size, maps_at_size

EPS = 1e-5
"""Keeps the range of a flat map from dividing by 0."""
AFFINITY_CHANNELS = 3
"""Channels of the features whose affinities follow the image's colours (Ke and Hsu 2018, section 3.2)."""
GRID = (50, 50)
"""Cells on which affinities are computed."""


@dataclass(frozen=True)
class AffinitySpec:
    """The loss that makes affinities of early features follow the image's colours.

    Attributes:
        weight: of the affinity loss; 0 leaves it out ("w/o aff").
        reading: of the loss, see `tag2mask.losses.colour_affinity_loss`: the printed one (literal) is
            constant where it matters.
        norm: what divides colour distances, see there.
        trains: all lets the affinity loss train the backbone too ("jointly"), layer only the
            convolution that makes the features.

    Raises:
        UserError: a value lies outside its range.
    """

    weight: float = 1.0
    reading: Literal["rows", "raw", "literal"] = "rows"
    norm: Literal["image", "range"] = "image"
    trains: Literal["all", "layer"] = "all"

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise UserError(f"affinity.weight must be 0 or more, got {self.weight}")


class SelfGuidedModel(SegmentationModel):
    """The network of Ke and Hsu 2018, in one of its two kinds of training.

    Segmentation logits (B, K + 1) go through one more 1x1 convolution to localisation maps (B, K),
    whose means are class logits; another 1x1 convolution on early features gives the three channels
    whose affinities spread the maps. Phase localise trains L_cls + weight * L_aff (equations 1 to 4) with
    tags, phase segment cross-entropy on all pixels of the labels (equation 12). The network is the same
    throughout: each training goes on from the one before.

    Args:
        num_classes: number of foreground classes K; set from the data.
        backbone: see `SegmentationModel`.
        optimization: see `SegmentationModel`.
        head: see `SegmentationModel`.
        test: see `SegmentationModel`.
        phase: what to train, and what to predict: localisation maps or segmentations.
        network_from: folder of the step to go on from; null starts from the backbone's weights.
        affinity: the affinity loss.
        localisation_start: normal draws the 1x1 convolution to localisation maps from N(0, 0.01), like
            the other new layers; identity makes each map its class's logit at first, so that logits
            have the size and the meaning that segmenting goes on from. With network_from, that network's
            weights count.
        robustness: of the segment phase, see `SegmentationModel`.
    """

    without_start: ClassVar[Mapping[str, Any]] = {"network_from": None}

    def __init__(
        self,
        num_classes: int,
        backbone: BackboneSpec = BackboneSpec(),
        optimization: Optimization = Optimization(lr=1e-3),
        head: HeadSpec = HeadSpec(),
        test: InferenceSpec = InferenceSpec(),
        phase: Literal["localise", "segment"] = "segment",
        network_from: StepFolder | None = None,
        affinity: AffinitySpec = AffinitySpec(),
        localisation_start: Literal["normal", "identity"] = "normal",
        robustness: float = 0.0,
    ) -> None:
        _check_head(head)
        super().__init__(num_classes, backbone, optimization, head, test=test, robustness=robustness)
        self.phase = phase
        self.affinity = affinity
        self.affinity_loss = ColourAffinityLoss(affinity.reading, affinity.norm, GRID)
        self._build_layers(localisation_start)
        if network_from is not None:
            self._go_on_from(network_from)
        self._freeze_unused()
        self.kind = "maps" if phase == "localise" else "segmentation"

    def _build_layers(self, localisation_start: str) -> None:
        self.tap = _early_tap(self.backbone)
        self.localisation = nn.Conv2d(self.num_classes + 1, self.num_classes, 1)
        self.aggregation = nn.Conv2d(self.backbone.taps[self.tap].channels, AFFINITY_CHANNELS, 1)
        for layer in (self.localisation, self.aggregation):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        if localisation_start == "identity":
            self._localise_by_own_logits()

    @property
    def done_folder(self) -> str:
        """``out/`` itself for the maps of the first phase, the last variant for labels."""
        return "" if self.phase == "localise" else super().done_folder

    @property
    def backbone(self) -> Backbone:
        """The features of all heads."""
        backbone: Backbone = self.network.backbone  # type: ignore[assignment]
        return backbone

    @torch.no_grad()
    def _localise_by_own_logits(self) -> None:
        foreground = torch.arange(self.num_classes)
        self.localisation.weight.zero_()[foreground, foreground + 1] = 1

    def _go_on_from(self, step_dir: StepFolder) -> None:
        trained = load_network(step_dir, SelfGuidedModel)
        theirs = _architecture(trained)
        for name, mine in _architecture(self).items():
            if mine != theirs[name]:
                raise UserError(
                    f"the network in {step_dir} has {name} {theirs[name]}, this step {mine}: one "
                    "network goes through all steps, give all of them the same"
                )
        self.load_state_dict(trained.state_dict())

    def _freeze_unused(self) -> None:
        # DDP waits for the gradient of every trained parameter.
        self.localisation.requires_grad_(self.phase == "localise")
        self.aggregation.requires_grad_(self.phase == "localise" and self.affinity.weight > 0)

    def new_parts(self) -> list[nn.Module]:
        """All heads."""
        return [*super().new_parts(), self.localisation, self.aggregation]

    def forward_all(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Segmentation logits (B, K + 1, h, w), localisation maps (B, K, h, w), features (B, 3, h', w')."""
        features = self.backbone(images)
        head: nn.Module = self.network.head  # type: ignore[assignment]
        logits: Tensor = head(features)
        early = features[self.tap]
        early = early.detach() if self.affinity.trains == "layer" else early
        return logits, self.localisation(logits), self.aggregation(early)

    def training_step(self, batch: TrainBatch, batch_index: int) -> Tensor:
        """The losses of the phase for a batch of crops."""
        if self.phase == "segment":
            return super().training_step(batch, batch_index)
        images, size = batch["image"], len(batch["image"])
        _, maps, features = self.forward_all(images)
        loss: Tensor = F.binary_cross_entropy_with_logits(maps.float().mean((2, 3)), batch["tags"])
        self.log("train/class", loss, batch_size=size)
        if self.affinity.weight > 0:
            affinity = self.affinity_loss(features, images)
            self.log("train/affinity", affinity, batch_size=size)
            loss = loss + self.affinity.weight * affinity
        self.log("train/loss", loss, prog_bar=True, batch_size=size)
        return loss

    def predict_images(self, samples: Sequence[ImageSample]) -> list[Any]:
        """Localisation maps in turn, or segmentations, of some images."""
        if self.phase == "segment":
            return super().predict_images(samples)
        return [self.predict_image(sample) for sample in samples]

    def predict_image(self, sample: ImageSample) -> Any:
        """Localisation maps of the tagged classes, or segmentations, of an image."""
        if self.phase == "segment":
            return super().predict_image(sample)
        image = sample["image"]
        tagged = tag_indices(sample["tags"])
        size = image_size(image)
        maps, _ = self.localise(image)
        small = maps_of(maps_at_size(maps, grid_of(size, MAP_CELL)), tagged)
        return ScoreMaps(sample["id"], small.cpu().numpy(), tagged, size)

    @torch.no_grad()
    def localise(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Localisation maps and affinity features of a whole image, at the test size.

        Args:
            image: (3, H, W) RGB 0..255.

        Returns:
            (K, h, w) maps, ReLU and stretched to [0, 1] each; (3, h', w') features.
        """
        sized = self.at_test_size(image)
        _, maps, features = self.forward_all(sized)
        return stretch(self.summed_maps(sized, maps)[0].float()), features[0].float()

    def summed_maps(self, image: Tensor, maps: Tensor) -> Tensor:
        """Localisation maps (1, K, h, w), at least 0, of an image (1, 3, H, W): those that it gave once."""
        return maps.relu()


def stretch(maps: Tensor) -> Tensor:
    """Each map (K, h, w) moved and scaled to [0, 1]; a flat one becomes 0."""
    low = maps.amin((1, 2), keepdim=True)
    high = maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low).clamp(min=EPS)


def _early_tap(backbone: Backbone) -> str:
    """The map of stride 4, or the finest of a coarser grid where there is none."""
    coarse = {name: tap for name, tap in backbone.taps.items() if tap.stride >= 4}
    return min(coarse, key=lambda name: coarse[name].stride)


def _check_head(head: HeadSpec) -> None:
    head.require_features("shows no early features")
    if head.name == "deeplabv3plus":
        raise UserError(
            "head.name deeplabv3plus pools the whole image, so its maps tell what is there, "
            "not where: take another"
        )


def _architecture(model: SelfGuidedModel) -> dict[str, Any]:
    """What must be the same in all steps of a run, by the name that users type."""
    arguments = model.hparams
    return {
        "num_classes": arguments["num_classes"],
        "backbone.name": arguments["backbone"]["name"],
        "head.name": arguments["head"]["name"],
        "head.channels": arguments["head"]["channels"],
    }
