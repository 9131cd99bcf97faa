"""Parity of `sc_cam` (Chang et al., CVPR 2020) with plain forms of its equations and its published code."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tag2mask.recipes.sc_cam import cluster_classes
from tests.parity.papers.common import natural_image, sub_category_net

# --- k-means ------------------------------------------------------------------------------------


def spread(features: np.ndarray, numbers: np.ndarray) -> float:
    """Sum of squared distances to the means of the clusters, what k-means makes small."""
    total = 0.0
    for number in np.unique(numbers):
        members = features[numbers == number]
        total += float(((members - members.mean(0)) ** 2).sum())
    return total


def test_clusters_of_each_class_are_the_tightest_there_are() -> None:
    """Squared Euclidean distance, features as they are, one class at a time; against all partitions."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(9, 4)).astype(np.float32)
    tags = np.zeros((9, 2), np.float32)
    tags[:8, 0] = 1
    tags[1:, 1] = 1
    found = cluster_classes(features, tags, sub_categories=3)
    for index, members in ((0, features[:8]), (1, features[1:])):
        numbers = found[tags[:, index] > 0, index]
        rest = itertools.product(range(3), repeat=7)  # the first image's cluster has the number 0
        best = min(spread(members, np.array((0, *guess))) for guess in rest)
        # both sums are float64 of float32 features; scikit-learn's own stop is at 1e-4 of the variance
        assert spread(members, numbers) == pytest.approx(best, rel=1e-6)
    assert found[8, 0] == -1 and found[0, 1] == -1


def test_a_cluster_keeps_the_images_nearest_to_its_mean() -> None:
    rng = np.random.default_rng(1)
    features, tags = rng.normal(size=(300, 16)).astype(np.float32), np.ones((300, 1), np.float32)
    numbers = cluster_classes(features, tags, sub_categories=10)[:, 0]
    means = np.stack([features[numbers == k].mean(0) for k in range(10)])
    distances = ((features[:, None] - means) ** 2).sum(2)
    # an image within float32 rounding of two means may lie on either side
    assert (distances[np.arange(300), numbers] <= distances.min(1) + 1e-5).all()
    restarts = [cluster_classes(features, tags, 10, restarts=1, seed=seed)[:, 0] for seed in range(10)]
    assert spread(features, numbers) <= np.mean([spread(features, guess) for guess in restarts])


# --- the classifier of a round ------------------------------------------------------------------


def test_both_losses_and_the_gradient_of_both_classifiers() -> None:
    """L_parent + 5 L_sub on one pooled feature; the gradient of each weight by hand."""
    net = sub_category_net(sub_categories=3).double().eval()
    images = torch.stack([natural_image(32, 32, seed) for seed in (0, 1)]).double()
    tags = torch.tensor([[1.0, 0], [1, 1]], dtype=torch.float64)
    sub_tags = torch.tensor([[0, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 1]], dtype=torch.float64)
    with torch.no_grad():
        pooled = net.backbone(images)["out"].mean((2, 3))
    loss = net.training_step({"image": images, "tags": tags, "sub_tags": sub_tags}, 0)  # type: ignore[typeddict-item]
    loss.backward()
    expected = 0.0
    for layer, truth, weight in ((net.head.classifier, tags, 1), (net.sub_classifier, sub_tags, 5)):
        chance = (pooled @ layer.weight.detach()[:, :, 0, 0].T).sigmoid()
        terms = truth * chance.log() + (1 - truth) * (1 - chance).log()
        expected -= weight * float(terms.mean(1).mean())
        slope = weight * (chance - truth).T @ pooled / truth.numel()
        # float64; sums in another order
        torch.testing.assert_close(layer.weight.grad[:, :, 0, 0], slope, rtol=1e-8, atol=1e-12)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-9)


def test_maps_of_sub_categories_are_summed_before_the_largest_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tag2mask.ops.cam.precision.multiplies_bfloat16", lambda device: False)
    net = sub_category_net(sub_categories=3, cam_from="sub_category")
    image = natural_image(32, 40)
    with torch.no_grad():
        total = torch.zeros(6, 4, 5)
        for scale in (0.5, 1.0, 1.5, 2.0):
            size = (round(32 * scale), round(40 * scale))
            shown = (
                F.interpolate(image[None], size, mode="bicubic", antialias=True)
                if scale != 1
                else image[None]
            )
            for mirrored in (False, True):
                features = net.backbone(shown.flip(3) if mirrored else shown)["out"]
                maps = F.conv2d(features, net.sub_classifier.weight).clamp(min=0)
                maps = maps.flip(3) if mirrored else maps
                total += F.interpolate(maps, (4, 5), mode="bilinear", align_corners=False)[0]
        largest = total.view(2, 3, 4, 5).amax(1)
        expected = largest / (largest.amax((1, 2), keepdim=True) + 1e-5)
        sample = {"id": "a", "image": image, "tags": torch.ones(2), "done": False}
        found = net.predict_image(sample).maps  # type: ignore[typeddict-item]
    # float32 networks on the same bytes
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("epochs", [31, 41, 51])
def test_a_round_stops_within_a_schedule_of_61_epochs(epochs: int) -> None:
    """Batches of 16 of 10582 images: 661 a epoch, a schedule of 40321 steps, however soon the round stops."""
    net = sub_category_net(sub_categories=3, schedule_epochs=61)
    net._fabric = None
    net._trainer = SimpleNamespace(estimated_stepping_batches=661 * epochs, max_epochs=epochs)  # type: ignore[assignment]
    assert net.schedule_steps() == 40321
