"""The classifier of a round: classes and sub-categories on one backbone."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from tag2mask.backbones import BackboneSpec
from tag2mask.core import TrainBatch, UserError
from tag2mask.losses import at_least_float32
from tag2mask.modules import CamSpec, Classifier, Optimization


class SubCategoryBatch(TrainBatch, total=False):
    """A batch of crops with sub-categories."""

    sub_tags: Tensor  # float32 (B, K * sub_categories), class by class


class SubCategoryClassifier(Classifier):
    """A classifier of K classes that has to tell their sub-categories apart too.

    L = L_parent + weight * L_sub, both multi-label soft margin (Chang et al., CVPR 2020,
    equation 3). Both are 1x1 convolutions behind the same dropout and pooling, as in the published code.
    Every round starts from the pretrained weights again: the numbers of sub-categories mean
    nothing from one round to the next.

    Args:
        num_classes: number of foreground classes K; set from the data.
        backbone: see `Classifier`.
        optimization: see `Classifier`.
        dropout: see `Classifier`.
        cam: see `Classifier`.
        sub_categories: K, sub-categories per class.
        sub_weight: weight of the sub-categories' loss (paper: 5).
        schedule_epochs: length that the poly schedule is computed for; null takes the trainer's. The
            published rounds stop after 31, 41 and 51 epochs of a schedule of 61.
        cam_from: parent makes the maps of the classes' own weights, as the paper uses them;
            sub_category takes the largest map of a class's sub-categories, after the sum over sizes and
            mirror images, as its code evaluates.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: BackboneSpec = BackboneSpec(),
        optimization: Optimization = Optimization(lr=0.01),
        dropout: float = 0.5,
        cam: CamSpec = CamSpec(),
        sub_categories: int = 10,
        sub_weight: float = 5.0,
        schedule_epochs: int | None = None,
        cam_from: Literal["parent", "sub_category"] = "parent",
    ) -> None:
        super().__init__(num_classes, backbone, optimization, dropout, cam)
        if sub_categories < 1 or sub_weight < 0:
            raise UserError(
                f"sub_categories must be at least 1 and sub_weight from 0 on, got {sub_categories} and "
                f"{sub_weight}"
            )
        self.sub_categories = sub_categories
        self.sub_weight = sub_weight
        self.schedule_epochs = schedule_epochs
        self.cam_from = cam_from
        channels = self.backbone.taps["out"].channels
        self.sub_classifier = nn.Conv2d(channels, num_classes * sub_categories, 1, bias=False)
        nn.init.xavier_uniform_(self.sub_classifier.weight)

    def new_parts(self) -> list[nn.Module]:
        """Both classifiers."""
        return [*super().new_parts(), self.sub_classifier]

    def schedule_steps(self) -> int:
        """Steps of the poly schedule, which may be longer than the training.

        Raises:
            UserError: the training is longer than the schedule.
        """
        steps = super().schedule_steps()
        epochs = self.trainer.max_epochs or 0
        if self.schedule_epochs is None or epochs < 1:
            return steps
        if epochs > self.schedule_epochs:
            raise UserError(
                f"trainer.max_epochs {epochs} exceeds model.init_args.schedule_epochs "
                f"{self.schedule_epochs}: raise that too, or set it to null"
            )
        return round(steps * self.schedule_epochs / epochs)

    def class_maps(self, features: Tensor) -> Tensor:
        """Raw class maps (B, K, h, w) of backbone features (B, C, h, w)."""
        if self.cam_from == "parent":
            return super().class_maps(features)
        return self._largest(self.sub_classifier(features))

    def summed_maps(self, image: Tensor, grid: tuple[int, int]) -> Tensor:
        """See `Classifier.summed_maps`; the largest sub-category is that of the sums."""
        if self.cam_from == "parent":
            return super().summed_maps(image, grid)
        return self._largest(self.over_scales(self._sub_cam, image, grid)[None])[0]

    def _sub_cam(self, images: Tensor) -> Tensor:
        return self.as_cam(self.sub_classifier(self.cam_features(images)))

    def _largest(self, maps: Tensor) -> Tensor:
        size = (len(maps), self.num_classes, self.sub_categories, *maps.shape[2:])
        return maps.view(size).amax(2)

    def training_step(self, batch: SubCategoryBatch, batch_index: int) -> Tensor:  # type: ignore[override]
        """Both losses of a batch of crops."""
        pooled = self.head.pool(self.backbone(batch["image"])["out"])
        parent: Tensor = self.loss(at_least_float32(self.head.classifier(pooled).flatten(1)), batch["tags"])
        sub: Tensor = self.loss(at_least_float32(self.sub_classifier(pooled).flatten(1)), batch["sub_tags"])
        size = len(batch["image"])
        self.log("train/parent", parent, batch_size=size)
        self.log("train/sub_category", sub, batch_size=size)
        loss = parent + self.sub_weight * sub
        self.log("train/loss", loss, prog_bar=True, batch_size=size)
        return loss
