"""SEAM: pixel correlation, the losses between two views, and what each of them trains."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tag2mask.backbones import BackboneSpec
from tag2mask.core import UserError
from tag2mask.recipes.seam import (
    SeamClassifier,
    competing_maps,
    correlation,
    cross_regularisation,
    equivariant_regularisation,
    least_foreground,
    stretched,
    strongest_only,
)

LIGHT = BackboneSpec("test_resnet", "none", 16)


def network(**more: Any) -> SeamClassifier:
    torch.manual_seed(0)
    return SeamClassifier(num_classes=3, backbone=LIGHT, **more).eval()


def batch(size: int = 48) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 3, size, size), generator=generator, dtype=torch.uint8)
    return {"image": images, "tags": torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])}


def losses(net: SeamClassifier, batch: dict[str, Any]) -> dict[str, Tensor]:
    logged: dict[str, Tensor] = {}
    net.log_dict = lambda parts, **_: logged.update(parts)  # type: ignore[method-assign]
    net.log = lambda name, value, **_: logged.update({name: value})  # type: ignore[method-assign]
    net.training_step(batch, 0)
    return {name.removeprefix("train/"): value for name, value in logged.items()}


def test_maps_are_stretched_to_their_own_range() -> None:
    maps = torch.tensor([[[[-1.0, 0.0], [2.0, 4.0]], [[3.0, 3.0], [3.0, 3.0]]]])
    # the range 4 in float32, less the 1e-5 of the published code
    assert torch.allclose(stretched(maps)[0, 0], torch.tensor([[0, 0], [0.5, 1.0]]), atol=1e-5)
    assert (stretched(maps)[0, 1] == 0).all()


def test_only_the_strongest_class_of_a_cell_is_left() -> None:
    maps = torch.tensor([0.2, 0.6, 0.6]).view(1, 3, 1, 1)
    assert strongest_only(maps).flatten().tolist() == pytest.approx([0, 0.6, 0.6])


def test_classes_compete_beside_a_background() -> None:
    raw = torch.tensor([[[[4.0, 1.0]], [[-1.0, 2.0]]]])
    # shares 1, .25 and 0, 1: in the second cell class 2 alone is left; 1e-5 as published
    expected = torch.tensor([[[[0.0, 0.0]], [[1.0, 0.0]], [[0.0, 1.0]]]])
    assert torch.allclose(competing_maps(raw), expected, atol=2e-5)
    half = torch.tensor([[[[4.0, 2.0]]]])
    assert torch.allclose(competing_maps(half)[0, 0], torch.tensor([[0.0, 0.5]]), atol=2e-5)


def test_alike_cells_share_the_mean_and_strangers_keep_their_own() -> None:
    scores = torch.rand(1, 3, 8, generator=torch.Generator().manual_seed(0))
    alike = torch.ones(1, 4, 8) / 2
    means = correlation.carried(scores, alike)
    # sums of 8 in float32, divided by 8 + 1e-5
    assert torch.allclose(means, scores.mean(2, keepdim=True).expand_as(scores), atol=1e-5)
    strangers = torch.eye(8)[None]
    assert torch.allclose(correlation.carried(scores, strangers), scores, atol=2e-5)


def test_weights_of_a_cell_sum_to_one_and_parts_to_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    features = torch.nn.functional.normalize(torch.rand(2, 4, 30), dim=1)
    whole = correlation.carried(torch.ones(2, 1, 30), features)
    # below 1 by the 1e-5 beside a sum of at least 1
    assert (whole <= 1 + 1e-6).all() and (whole > 1 - 2e-5).all()
    scores = torch.rand(2, 3, 30)
    expected = correlation.carried(scores, features)
    monkeypatch.setattr(correlation, "CELLS_AT_ONCE", 7)
    # another order of the sums
    assert torch.allclose(correlation.carried(scores, features), expected, atol=1e-6)


def test_equivariance_is_the_mean_over_all_classes() -> None:
    maps = torch.zeros(1, 2, 1, 2)
    other = torch.tensor([[[[0.5, 0.0]], [[0.0, 0.0]]]])
    assert equivariant_regularisation(maps, maps) == 0
    assert equivariant_regularisation(maps, other) == 0.5 / 4


def test_cross_regularisation_counts_the_hardest_fifth() -> None:
    maps = torch.tensor([[[[1.0, 0.2], [0.0, 0.0]], [[0.4, 0.1], [0.0, 0.5]]]])
    # target: background 0 .8 1 .5; class 1: 1 .2 0 0; class 2: 0 0 0 .5
    refined = torch.zeros(1, 3, 2, 2)
    refined[0, 0] = torch.tensor([[0.0, 0.8], [0.7, 0.5]])
    refined[0, 1, 0, 0] = 0.6
    # the largest int(.2 * 12) = 2 of the differences .3, .4, .2, .5
    assert cross_regularisation(maps, refined).item() == pytest.approx((0.5 + 0.4) / 2)
    assert maps[0, 1, 0, 0] == 0.4  # what is passed in stays


def test_least_foreground_is_of_the_quarter_with_the_least() -> None:
    refined = torch.tensor([[[[0.5, 0.1], [0.9, 0.8]], [[0.2, 0.3], [0.0, 0.0]]]])
    assert least_foreground(refined).item() == pytest.approx(0.3)


def test_what_each_loss_trains() -> None:
    for part in ("cross", "least_foreground", "equivariance", "class"):
        net = network(dropout=0.0)
        losses(net, batch())[part].backward()
        moved = {n.split(".")[0] for n, p in net.named_parameters() if p.grad is not None and p.grad.any()}
        assert moved == ({"correlation"} if part in ("cross", "least_foreground") else {"backbone", "head"})


def test_the_loss_is_the_weighted_sum() -> None:
    parts = losses(network(dropout=0.0, equivariance=2.0, cross=0.5), batch())
    expected = parts["class"] + parts["least_foreground"] + 2 * parts["equivariance"] + 0.5 * parts["cross"]
    assert parts["loss"].item() == pytest.approx(expected.item())
    assert all(value > 0 for value in parts.values())


@pytest.mark.parametrize("cam_from", ["correlation", "classifier"])
def test_maps_are_stretched_scores_of_the_tags(cam_from: str) -> None:
    net = network(cam_from=cam_from)
    sample = {"id": "a", "image": batch()["image"][0], "tags": torch.tensor([1.0, 0.0, 1.0])}
    found = net.predict_image(sample)  # type: ignore[arg-type]
    assert list(found.classes) == [1, 3] and found.maps.shape == (2, 6, 6)
    assert found.maps.min() == 0 and 0.99 < found.maps.max() <= 1


def test_maps_are_made_by_the_merged_copy_of_the_backbone() -> None:
    net = network()
    images = batch()["image"].float()
    levels = net.backbone(images)
    net.on_predict_start()
    merged = net.predicting_backbone
    assert merged is not net.backbone
    for name in (*net.correlation.names, "out"):
        # batch norm merged into the convolutions rounds otherwise, float32
        assert torch.allclose(merged(images)[name], levels[name], rtol=1e-3, atol=1e-4)
    net.on_predict_end()
    assert net.predicting_backbone is net.backbone


def test_refined_maps_without_a_tag_are_none() -> None:
    sample = {"id": "a", "image": batch()["image"][0], "tags": torch.zeros(3)}
    assert network().predict_image(sample).maps.shape == (0, 6, 6)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"shrink": 1.0}, "shrink must lie between 0 and 1, got 1.0"),
        ({"shrink": 0.0}, "shrink"),
        ({"cross": -1.0}, "equivariance and cross must be 0 or more"),
    ],
)
def test_settings_outside_their_range(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        network(**wrong)
