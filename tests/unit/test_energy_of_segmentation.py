"""The dense energy among the losses of stage 3, and where a crop's image ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tag2mask.backbones import BackboneSpec
from tag2mask.data.samples import TrainCrops
from tag2mask.data.transforms import PAD_COLOURS, Augment, AugmentSpec
from tag2mask.heads import HeadSpec
from tag2mask.losses import EnergySpec, dense_energy_loss
from tag2mask.modules import SegmentationModel

SIDE = 33


def network(**more: Any) -> SegmentationModel:
    torch.manual_seed(0)
    net = SegmentationModel(2, BackboneSpec("test_resnet", weights="none", output_stride=16), **more)
    net.log = lambda *_, **__: None  # type: ignore[method-assign]
    return net.eval()


def batch() -> dict[str, Any]:
    draw = torch.Generator().manual_seed(1)
    label = torch.randint(0, 3, (2, SIDE, SIDE), generator=draw)
    label[:, :20] = 255
    inside = torch.ones(2, SIDE, SIDE, dtype=torch.bool)
    inside[1, :, 24:] = False
    image = torch.randint(0, 256, (2, 3, SIDE, SIDE), generator=draw, dtype=torch.uint8)
    return {"image": image, "label": label.where(inside, 255), "inside": inside}


@pytest.mark.parametrize("head", [HeadSpec(), HeadSpec("deeplabv2", msc_scales=[0.5])], ids=["one", "MSC"])
def test_the_energy_is_added_to_the_loss_of_the_networks_answer(head: HeadSpec) -> None:
    data, spec = batch(), EnergySpec(weight=1e-3, scale=0.5)
    without = network(head=head).training_step(data, 0)  # type: ignore[arg-type]
    net = network(head=head, energy=spec)
    found = net.training_step(data, 0)  # type: ignore[arg-type]
    probs = net(data["image"]).softmax(1)
    energy = dense_energy_loss(data["image"].float(), probs, data["label"], data["inside"], scale=0.5)
    pixels = round(SIDE * SIDE * 0.5**2, 2)
    torch.testing.assert_close(found, without + 1e-3 * (160 * 160 / pixels) ** 2 * energy)
    assert abs(float(found - without)) > 0.1 * float(without)


def test_pixels_without_a_label_learn_from_it() -> None:
    """Cross-entropy alone has no gradient there."""
    data = batch()
    data["label"][:] = 255
    for spec, learns in ((EnergySpec(weight=0.0), False), (EnergySpec(weight=1e-3), True)):
        net = network(energy=spec)
        net.training_step(data, 0).backward()  # type: ignore[arg-type]
        gradient = torch.stack([p.grad.abs().sum() for p in net.parameters() if p.grad is not None]).sum()
        assert bool(gradient > 0) == learns


def test_the_padding_takes_no_part() -> None:
    net, data = network(energy=EnergySpec(weight=1e-3)), batch()
    logits = torch.randn(2, 3, SIDE, SIDE, requires_grad=True)
    assert net.energy is not None
    net.energy(data["image"], logits, data["label"], data["inside"]).backward()
    assert logits.grad is not None
    # bilinear halves reach one pixel over the border
    assert (logits.grad[1, :, :, 26:] == 0).all() and (logits.grad[1, :, :20, :22] != 0).any()


class _Pictures:
    """An image of one colour per id, of which a crop has padding."""

    def read_image(self, image_id: str) -> np.ndarray:
        return np.full((20, 30, 3), 200, np.uint8)


def test_inside_tells_the_image_from_its_padding() -> None:
    augment = Augment(AugmentSpec(crop=40, jitter=0.0, hue=0.0))
    unknown = {"label": np.full((20, 30), 255, np.uint8)}
    torch.manual_seed(3)
    crops = TrainCrops(_Pictures(), ["a"], augment, labels=lambda _: unknown, with_inside=True)  # type: ignore[arg-type]
    crop = crops[0]
    image = (crop["image"] != torch.tensor(PAD_COLOURS["mean"], dtype=torch.uint8)[:, None, None]).any(0)
    assert crop["inside"].dtype == torch.bool and int(crop["inside"].sum()) == 20 * 30
    assert torch.equal(crop["inside"], image)
    assert (crop["label"] == 255).all()
