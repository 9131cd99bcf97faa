"""IAL's networks: propagation, guide, region classifier, schedules, and their first losses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from tag2mask.backbones import BackboneSpec, build_backbone
from tag2mask.core import ScoreMaps, UserError
from tag2mask.core.folds import fold_of
from tag2mask.heads import HeadSpec
from tag2mask.modules import (
    SegmentationMaps,
    SegmentationModel,
    class_probabilities,
    fold_networks,
    segmentation_maps,
)
from tag2mask.recipes.ial import PairwiseLearner, RegionClassifier, SuperpixelGenerator, UnaryPairwise
from tag2mask.recipes.ial.propagation import PropagationNetwork, PropagationSpec, guide_taps
from tag2mask.recipes.ial.region_network import StepOptimization

LIGHT = BackboneSpec("test_resnet", "none", batchnorm="train")
NARROW = PropagationSpec(channels=4, guide_channels=[8, 8, 8])


def pairwise(**changes: Any) -> PairwiseLearner:
    return PairwiseLearner(2, LIGHT, **{"propagation": NARROW, **changes})


def regions(**changes: Any) -> RegionClassifier:
    return RegionClassifier(2, LIGHT, **{"hidden": [8], **changes})


def network(channels: int) -> PropagationNetwork:
    return PropagationNetwork(LIGHT.build(), 3, replace(NARROW, channels=channels)).eval()


def image(height: int = 48, width: int = 64, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)


def blocks(height: int = 48, width: int = 64, side: int = 8) -> torch.Tensor:
    rows, columns = torch.arange(height) // side, torch.arange(width) // side
    return (rows[:, None] * (width // side) + columns).int()


def test_guide_of_vgg16_is_the_published_one() -> None:
    backbone = build_backbone("vgg16", "none", 8, [], False)
    assert guide_taps(backbone.taps) == ["conv5_3", "conv4_3", "conv3_3"]
    backbone.use_only(["conv5_3"])
    trained = {name.split(".")[0] for name, p in backbone.named_parameters() if p.requires_grad}
    assert "conv5_3" in trained and not {"fc6", "fc7"} & trained
    maps = backbone(torch.zeros(1, 3, 33, 40, dtype=torch.uint8))
    assert set(maps) == {"conv5_3"} and maps["conv5_3"].shape == (1, 512, 5, 5)


@pytest.mark.parametrize(("name", "stride"), [("test_resnet", 8), ("resnet10t", 16)])
def test_guide_of_any_backbone_goes_from_deep_to_shallow(name: str, stride: int) -> None:
    taps = build_backbone(name, "none", stride, [], False).taps
    chosen = guide_taps(taps)
    strides = [taps[tap].stride for tap in chosen]
    assert len(chosen) == 3 and "out" not in chosen
    assert strides == sorted(strides, reverse=True) and strides[-1] == 4


@pytest.mark.parametrize("size", [(32, 32), (31, 45)])
@pytest.mark.parametrize("channels", [0, 4])
def test_refined_maps_have_the_size_of_the_image(size: tuple[int, int], channels: int) -> None:
    images, maps = image(*size)[None], torch.rand(1, 3, *size).softmax(1)
    net = network(channels)
    with torch.no_grad():
        logits, gates = net(images, maps)
    assert logits.shape == (1, 3, *size)
    assert gates.shape == (1, 4, 3, channels or 3, size[0] // 2, size[1] // 2)


def test_affinities_are_normalised() -> None:
    net = network(4)
    with torch.no_grad():
        _, gates = net(image()[None], torch.rand(1, 3, 48, 64))
    total = gates.abs().sum(2)
    # float32: three quotients add up to 1 within a few units of the last digit; places on the first
    # line of a direction have no neighbour, and gates of 0.
    assert bool(((total - 1).abs() < 1e-5).logical_or(total == 0).all())


def test_direct_propagation_keeps_constant_maps() -> None:
    maps = torch.tensor([0.2, 0.5, 0.3])[:, None, None].expand(3, 48, 64)[None]
    net = network(0)
    with torch.no_grad():
        logits, _ = net(image()[None], maps)
    # A constant stays constant whatever the gates (SPN); float32 scans of up to 32 steps, twice.
    torch.testing.assert_close(logits.softmax(1), maps, atol=1e-3, rtol=0)


def test_refinement_depends_on_the_image() -> None:
    maps = torch.rand(1, 3, 48, 64).softmax(1)
    net = network(4)
    with torch.no_grad():
        assert not torch.equal(net(image()[None], maps)[0], net(image(seed=1)[None], maps)[0])


def pairwise_batch(known: bool = True) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 3, (2, 2, 32, 32), generator=generator)
    return {
        "id": ["a", "b"],
        "image": torch.stack([torch.stack([image(32, 32, s).float() for s in (0, 1)])] * 2),
        "maps": torch.rand(2, 2, 3, 32, 32, generator=generator).softmax(2),
        "label": label if known else torch.full_like(label, 255),
        "superpixels": blocks(32, 32).long().expand(2, 2, 32, 32),
    }


def test_batch_without_a_known_pixel_still_smooths() -> None:
    module = pairwise()
    loss = module.training_step(pairwise_batch(known=False), 0)
    loss.backward()
    assert float(loss.detach()) > 0
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())


def test_smoothness_is_added_with_its_weight() -> None:
    torch.manual_seed(0)
    losses = {}
    state = pairwise().state_dict()
    for weight in (0.0, 1.0, 3.0):
        module = pairwise(smoothness=weight).eval()
        module.load_state_dict(state)
        losses[weight] = float(module.training_step(pairwise_batch(), 0).detach())
    assert losses[1.0] > losses[0.0]
    # float32 rounding of losses of about 1, each the sum over 32 x 32 pixels
    assert losses[3.0] - losses[0.0] == pytest.approx(3 * (losses[1.0] - losses[0.0]), abs=1e-5 * 32 * 32)


def unary(maps: torch.Tensor) -> ScoreMaps:
    """Maps of background and of the second class."""
    return ScoreMaps("a", maps.numpy(), [0, 2], (48, 64))


def test_refined_labels_are_among_the_images_classes() -> None:
    sample = {"id": "a", "image": image(), "maps": unary(torch.rand(2, 6, 8)), "done": False}
    module = pairwise().eval()
    with torch.no_grad():
        (result,) = module.predict_step([sample, {"id": "b", "done": True}], 0)
    assert result.labels[""].shape == (48, 64) and set(result.labels[""].flat) <= {0, 2}
    assert result.confidence is not None and 0.5 <= result.confidence.min() <= result.confidence.max() <= 1


def region_sample(label: int = 1) -> dict[str, Any]:
    tags = torch.tensor([1.0, 0.0])
    labels = torch.full((48, 64), label)
    return {"id": "a", "image": image(), "superpixels": blocks(), "label": labels, "tags": tags}


def test_region_batch_without_a_sample_has_no_nan() -> None:
    module = regions()
    loss = module.training_step([region_sample(255), region_sample(255)], 0)
    loss.backward()
    assert float(loss.detach()) == 0
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())


def test_mined_regions_are_whole_superpixels_of_tagged_classes() -> None:
    module = regions(confidence=0.2).eval()
    with torch.no_grad():
        (result,) = module.predict_step([region_sample()], 0)
    labels = torch.from_numpy(result.labels[""])
    assert set(labels.flatten().tolist()) <= {0, 1, 255}
    for region in blocks().unique():
        assert len(labels[blocks() == region].unique()) == 1


def rates(module: Any, steps: int) -> list[float]:
    module.trainer = type("T", (), {"estimated_stepping_batches": steps})()
    made = module.configure_optimizers()
    seen = []
    for _ in range(steps):
        seen.append(made["optimizer"].param_groups[0]["lr"])
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
    return seen


def test_rates_of_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pl.LightningModule, "trainer", None)
    # equation 11 with S = 3 and equation 10 with the power 0.5 of the pairwise network
    assert rates(regions(optimization=StepOptimization(lr=0.001, lr_step=3)), 7) == pytest.approx(
        [1e-3] * 3 + [1e-4] * 3 + [1e-5]
    )
    expected = [1e-6 * (1 - k / 4) ** 0.5 for k in range(4)]
    assert rates(pairwise(), 4) == pytest.approx(expected)


def test_unary_probabilities_are_over_the_chosen_classes() -> None:
    unary = SegmentationModel(2, BackboneSpec("test_resnet", "none"), head=HeadSpec("deeplabv2")).eval()
    with torch.no_grad():
        every = class_probabilities(unary, image(30, 44), 4)
        some = class_probabilities(unary, image(30, 44), 4, [0, 2])
    assert every.shape == (3, 8, 11) and some.shape == (2, 8, 11)
    # Leaving a class out of a softmax leaves the ratios of the others as they are (float32 rounding).
    torch.testing.assert_close(some, every[[0, 2]] / every[[0, 2]].sum(0), atol=1e-6, rtol=1e-5)


def test_maps_of_the_tags_alone_have_no_background_and_reach_one(monkeypatch: pytest.MonkeyPatch) -> None:
    unary = SegmentationModel(2, BackboneSpec("test_resnet", "none"), head=HeadSpec("deeplabv2")).eval()
    unary.requires_grad_(False)
    monkeypatch.setattr(segmentation_maps, "load_network", lambda folder, kind: unary)
    sample: Any = {"id": "a", "image": image(30, 44), "tags": torch.tensor([0.0, 1.0])}
    every = SegmentationMaps("unary", 4).predict_image(sample)  # type: ignore[arg-type]
    alone = SegmentationMaps("unary", 4, "objects").predict_image(sample)  # type: ignore[arg-type]
    assert every.classes == (0, 2) and alone.classes == (2,)
    np.testing.assert_allclose(alone.maps[0], every.maps[1] / every.maps[1].max(), atol=1e-4)


def test_maps_of_folds_are_those_of_the_network_that_has_not_seen_the_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = BackboneSpec("test_resnet", "none")
    networks = {fold: SegmentationModel(2, spec, head=HeadSpec("deeplabv2")).eval() for fold in ("0", "1")}
    for module in (segmentation_maps, fold_networks):
        monkeypatch.setattr(module, "load_network", lambda folder, kind: networks[folder])
    folders: Any = {"0": "0", "1": "1"}
    for image_id in ("img0", "img3"):
        sample: Any = {"id": image_id, "image": image(30, 44), "tags": torch.tensor([0.0, 1.0])}
        own: Any = str(fold_of(image_id, 2))
        with torch.no_grad():
            found = SegmentationMaps(folds_from=folders).predict_image(sample)
            expected = SegmentationMaps(own).predict_image(sample)
        np.testing.assert_array_equal(found.maps, expected.maps)
    for wrong in ({}, {"segmentation_from": "0", "folds_from": folders}):
        with pytest.raises(UserError, match="either segmentation_from or folds_from"):
            SegmentationMaps(**wrong)


@pytest.mark.parametrize(
    ("build", "wrong", "message"),
    [
        (pairwise, {"smoothness": -1.0}, "smoothness must be 0 or more"),
        (PropagationSpec, {"gate_floor": 0.0}, r"propagation\.gate_floor must be above 0"),
        (PropagationSpec, {"channels": -1}, r"propagation\.channels must be 0 or more"),
        (PropagationSpec, {"passes": 0}, r"propagation\.passes must be at least 1"),
        (regions, {"confidence": 1.0}, "must lie in"),
        (StepOptimization, {"lr_step": 0}, r"optimization\.lr_step must be at least 1"),
        (StepOptimization, {"lr_gamma": 0.0}, r"optimization\.lr_gamma must be above 0 and at most 1"),
        (
            UnaryPairwise,
            {"unary_from": "a", "pairwise_from": "b", "grid": 0},
            "grid must be at least 1 pixel",
        ),
        (regions, {"tap": "conv9"}, "unknown tap of test_resnet 'conv9'"),
    ],
)
def test_wrong_settings_are_refused(build: Any, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(**wrong)


def test_superpixel_settings_are_checked() -> None:
    with pytest.raises(UserError, match="scale above 0"):
        SuperpixelGenerator(scale=0)


def energy_sample(label: int) -> dict[str, Any]:
    maps = torch.rand(2, 6, 8, generator=torch.Generator().manual_seed(0)).softmax(0)
    label_map = torch.full((48, 64), label)
    return {"id": "a", "image": image(), "maps": unary(maps), "label": label_map}


def test_energy_leaves_out_images_without_a_mined_region() -> None:
    module, seen = pairwise().eval(), {}
    module.log = lambda name, value, **_: seen.__setitem__(name, float(value))  # type: ignore[method-assign]
    with torch.no_grad():
        module.validation_step([energy_sample(2)], 0)
        module.on_validation_epoch_end()
        alone = dict(seen)
        module.validation_step([energy_sample(2), energy_sample(255)], 0)
        module.on_validation_epoch_end()
    # The same image twice, once with nothing mined: float32 rounding of the means.
    assert seen["val/energy_before"] == pytest.approx(alone["val/energy_before"], abs=1e-6)
    assert seen["val/energy_after"] == pytest.approx(alone["val/energy_after"], abs=1e-6)
    half = alone["val/energy_after_all_pixels"] / 2
    assert seen["val/energy_after_all_pixels"] == pytest.approx(half, abs=1e-6)


def test_energy_of_images_without_any_mined_region_is_not_logged() -> None:
    module, seen = pairwise().eval(), {}
    module.log = lambda name, value, **_: seen.__setitem__(name, float(value))  # type: ignore[method-assign]
    with torch.no_grad():
        module.validation_step([energy_sample(255)], 0)
        module.on_validation_epoch_end()
    assert set(seen) == {"val/energy_before", "val/energy_after_all_pixels"}


def test_shared_gates_are_affinities_of_pixels_not_of_classes() -> None:
    torch.manual_seed(0)
    images, maps = torch.rand(1, 3, 32, 32) * 255, torch.rand(1, 3, 32, 32).softmax(1)
    order = [2, 0, 1]
    same = {}
    for gates in ("shared", "each_channel"):
        spec = PropagationSpec(channels=0, gates=gates, guide_channels=(8, 8, 8), gate_floor=1.0)
        network = pairwise(propagation=spec).eval().network
        with torch.no_grad():
            refined, values = network(images, maps)
            swapped, _ = network(images, maps[:, order])
        # float32 rounding
        same[gates] = torch.allclose(swapped, refined[:, order], atol=1e-5)
        assert values.shape[3] == (1 if gates == "shared" else 3)
        if gates == "shared":
            assert float(values.min()) >= 0 and float(values.sum(2).max()) <= 1 + 1e-6
    assert same == {"shared": True, "each_channel": False}
