"""What SC-CAM's rounds hand on: features, sub-categories, crops with both, and the length of a schedule."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from tag2mask.artifacts import save_features, save_sub_labels
from tag2mask.backbones import BackboneSpec
from tag2mask.core import UserError
from tag2mask.data import VOC
from tag2mask.data.transforms import AugmentSpec
from tag2mask.modules import Classifier, load_checkpoint
from tag2mask.recipes.sc_cam import (
    FeatureData,
    FeatureExtractor,
    SubCategoryClassifier,
    SubCategoryData,
    SubLabelGenerator,
    cluster,
)
from tests.step_files import finished_step, trained_step

AUGMENT = AugmentSpec(32, long_side=(256, 512))
LIGHT = BackboneSpec("test_resnet", "none")


def test_clusters_are_the_closest_possible_of_few_images() -> None:
    features = np.random.default_rng(3).normal(size=(7, 2)).astype(np.float32)

    def spread(numbers: Any) -> float:  # equation 2 without its constant 1 / N
        groups = [features[np.asarray(numbers) == k] for k in set(numbers)]
        return float(sum(((g - g.mean(0)) ** 2).sum() for g in groups))

    best = min(spread(numbers) for numbers in product(range(3), repeat=7))
    found = cluster.cluster_classes(features, np.ones((7, 1), np.float32), sub_categories=3)[:, 0]
    # the same partition, but sums in another order: float32 rounding of about 1e-7
    assert spread(found.tolist()) == pytest.approx(best, rel=1e-5)


def test_clustering_runs_in_one_thread_and_leaves_the_limit_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def threads() -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info()}

    seen: list[set[int]] = []

    class Watched(cluster.KMeans):  # type: ignore[misc]
        def fit_predict(self, features: Any) -> Any:
            seen.append(threads())
            return super().fit_predict(features)

    monkeypatch.setattr(cluster, "KMeans", Watched)
    with threadpool_limits(2):
        before = threads()
        cluster.cluster_classes(np.eye(4, dtype=np.float32), np.ones((4, 1), np.float32), 2)
        assert seen == [{1}] and threads() == before


@pytest.mark.parametrize("round_0", [True, False], ids=["class", "sub_category"])
def test_features_are_the_mean_maps_of_the_classifier_before(
    round_0: bool, tiny_voc: Path, tmp_path: Path
) -> None:
    images, size = VOC(str(tiny_voc)), len(VOC(str(tiny_voc)).classes)
    torch.manual_seed(0)
    net = Classifier(size, LIGHT) if round_0 else SubCategoryClassifier(size, LIGHT, sub_categories=4)
    extractor = FeatureExtractor(str(trained_step(tmp_path / "cam", net, images))).eval()
    image = torch.from_numpy(images.read_image(images.ids("train")[0])).permute(2, 0, 1)
    with torch.no_grad():
        (found,) = extractor.predict_step([{"id": "a", "image": image}, {"id": "b", "done": True}], 0)
        maps = net.eval().backbone(image[None])["out"][0]
    assert found.image_id == "a" and found.features.shape == (len(maps),)
    # the sum over a map in numpy's order: float32 rounding
    np.testing.assert_allclose(found.features, maps.flatten(1).numpy().mean(1), rtol=1e-4, atol=1e-6)


def test_a_round_network_is_rebuilt_with_its_sub_categories(tiny_voc: Path, tmp_path: Path) -> None:
    images = VOC(str(tiny_voc))
    net = SubCategoryClassifier(len(images.classes), LIGHT, sub_categories=4, cam_from="sub_category")
    again = load_checkpoint(trained_step(tmp_path / "cam_1", net, images) / "last.ckpt")
    assert isinstance(again, SubCategoryClassifier) and again.cam_from == "sub_category"
    assert torch.equal(again.sub_classifier.weight, net.sub_classifier.weight)


def test_table_of_features_follows_the_list_of_images(tiny_voc: Path, tmp_path: Path) -> None:
    images = VOC(str(tiny_voc))
    folder, ids = finished_step(tmp_path / "features_1", "features", images), images.ids("train")
    for number, image_id in enumerate(ids):
        save_features(folder / "out" / f"{image_id}.npy", np.full(3, number, np.float32))
    data = FeatureData(images, str(folder))
    data.setup("predict")
    named, features, tags = data.table()
    assert named == ids and features[:, 0].tolist() == list(range(len(ids)))
    assert all((tags[n] == images.tags(image_id)).all() for n, image_id in enumerate(ids))
    save_features(folder / "out" / f"{ids[2]}.npy", np.zeros(4, np.float32))
    with pytest.raises(UserError, match=r"has 4 numbers, .* 3: these are features of different networks"):
        data.table()


def test_sub_categories_need_features() -> None:
    generator = SubLabelGenerator()
    generator._trainer = SimpleNamespace(datamodule=object())  # type: ignore[assignment]
    with pytest.raises(UserError, match=r"but the data are object: give --data .*FeatureData"):
        generator.on_predict_start()


def test_crops_carry_the_sub_category_of_each_tag(tiny_voc: Path, tmp_path: Path) -> None:
    images = VOC(str(tiny_voc))
    folder = finished_step(tmp_path / "clusters_1", "sub_labels", images)
    for image_id in images.ids("train"):
        tagged = images.tags(image_id).nonzero()[0]
        numbers = {int(k) + 1: (int(k) + 1) % 3 for k in tagged}
        save_sub_labels(folder / "out" / f"{image_id}.json", numbers, images.classes)
    crops = SubCategoryData(images, str(folder), sub_categories=3, augment=AUGMENT).train_crops()
    for sample in (crops[n] for n in range(len(crops))):
        table = sample["sub_tags"].view(len(images.classes), 3)
        assert torch.equal(table.sum(1), sample["tags"])  # one of each present class, none of the others
        assert all(table[k, (k + 1) % 3] == 1 for k in sample["tags"].nonzero().flatten().tolist())
    with pytest.raises(UserError, match=r"has sub-category 2, but data\.init_args\.sub_categories is 2"):
        few = SubCategoryData(images, str(folder), sub_categories=2, augment=AUGMENT).train_crops()
        [few[n] for n in range(len(few))]


def test_poly_schedule_is_longer_than_the_round() -> None:
    net = SubCategoryClassifier(2, LIGHT, schedule_epochs=61)
    net._trainer = SimpleNamespace(estimated_stepping_batches=410, max_epochs=41)  # type: ignore[assignment]
    assert net.schedule_steps() == 610
    made: Any = net.configure_optimizers()
    rate = made["lr_scheduler"]["scheduler"].lr_lambdas[0]
    assert rate(0) == 1 and rate(409) == pytest.approx((1 - 409 / 610) ** 0.9)
    net._trainer.max_epochs = 62  # type: ignore[misc, union-attr]
    with pytest.raises(UserError, match=r"max_epochs 62 exceeds model\.init_args\.schedule_epochs 61"):
        net.schedule_steps()
