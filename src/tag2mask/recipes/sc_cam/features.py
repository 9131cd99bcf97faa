"""What a round begins with: features of every image, then the sub-categories found in them."""

from __future__ import annotations

from tag2mask.artifacts.step_folder import StepFolder
from tag2mask.core import FeaturesResult, ImageSample, SubLabelsResult, UserError
from tag2mask.modules import Classifier, Predictor, load_network
from tag2mask.recipes.sc_cam.cluster import cluster_classes
from tag2mask.recipes.sc_cam.data import FeatureData


class FeatureExtractor(Predictor):
    """Mean features of each image by the classifier of the round before (Chang et al., section 3.2).

    The whole image at its own size, once and not mirrored, as in the published code.

    Args:
        classifier_from: folder of the step that trained the classifier.
    """

    kind = "features"

    def __init__(self, classifier_from: StepFolder) -> None:
        super().__init__()
        self.classifier = load_network(classifier_from, Classifier)

    def predict_image(self, sample: ImageSample) -> FeaturesResult:
        """Features (C,) of an image."""
        maps = self.classifier.backbone(sample["image"][None])["out"].float()
        return FeaturesResult(sample["id"], maps.mean((2, 3))[0].cpu().numpy())


class SubLabelGenerator(Predictor):
    """Sub-category of each tag of each image, by k-means over the images of a class.

    Every process clusters all images, with the same result, and writes its share of them.

    Args:
        sub_categories: K, clusters per class (paper: 10; 5 to 50 are about as good).
        restarts: starts of k-means; the published code relies on its library's 10 of the time.
        seed: of k-means.
    """

    kind = "sub_labels"

    def __init__(self, sub_categories: int = 10, restarts: int = 10, seed: int = 0) -> None:
        super().__init__()
        if sub_categories < 1 or restarts < 1:
            raise UserError(
                f"sub_categories and restarts must be at least 1, got {sub_categories} and {restarts}"
            )
        self.sub_categories = sub_categories
        self.restarts = restarts
        self.seed = seed
        self._found: dict[str, dict[int, int]] = {}

    def on_predict_start(self) -> None:
        """Cluster the features of all images.

        Raises:
            UserError: the data are not features, or a file of them is missing or broken.
        """
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, FeatureData):
            raise UserError(
                f"sub-categories are found in features, but the data are {type(data).__name__}: give --data "
                f"{FeatureData.__module__}.{FeatureData.__qualname__}"
            )
        ids, features, tags = data.table()
        numbers = cluster_classes(features, tags, self.sub_categories, self.restarts, self.seed)
        self._found = {
            image_id: {int(k) + 1: int(row[k]) for k in (row >= 0).nonzero()[0]}
            for image_id, row in zip(ids, numbers, strict=True)
        }

    def predict_image(self, sample: ImageSample) -> SubLabelsResult:
        """Sub-categories of an image."""
        return SubLabelsResult(sample["id"], self._found[sample["id"]])
