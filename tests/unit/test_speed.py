"""Flags of a training: every network gives the loss that it gives without them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tag2mask.backbones import BackboneSpec, build_backbone, recompute_blocks
from tag2mask.core import UserError
from tag2mask.heads import HeadSpec
from tag2mask.modules import AffinityNet, Classifier, SegmentationModel, TrainableNetwork
from tag2mask.step import speed
from tag2mask.step.speed import TrainingSpeed

LIGHT = BackboneSpec("test_resnet", "none", batchnorm="frozen")
NETWORKS: dict[str, Callable[[], TrainableNetwork]] = {
    "classifier": lambda: Classifier(2, LIGHT, dropout=0.0),
    "affinity": lambda: AffinityNet(2, LIGHT),
    "segmentation": lambda: SegmentationModel(2, LIGHT, head=HeadSpec("deeplabv2")),
    "of three sizes": lambda: SegmentationModel(2, LIGHT, head=HeadSpec("deeplabv2", msc_scales=(0.5,))),
}
CHANNELS_LAST, CHECKPOINTING = (False, True, False), (False, False, True)
COMPILED = {"classifier": (True, True, True), "of three sizes": (True, False, False)}
"""What is compiled: one network with all flags, one with none beside; each takes seconds."""
RATE = 0.2
# Float32 sums of another layout or order; the losses are about 1 and change by 1e-2 a step.
TOLERANCE = 1e-4


class Counted:
    """A compiler that leaves a graph as it is, and counts how often graphs run."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: Any) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            self.runs += 1
            return graph.forward(*args)

        return run


@pytest.fixture(scope="module")
def batch() -> dict[str, Any]:
    place = torch.arange(80) // 16
    labels = ((place[:, None] * 5 + place) % 3).expand(2, 80, 80).clone()
    rng = torch.Generator().manual_seed(0)
    return {
        "image": torch.randint(0, 256, (2, 3, 80, 80), dtype=torch.uint8, generator=rng),
        "tags": torch.tensor([[1.0, 0.0], [1.0, 1.0]]),
        "label": labels,
        "fg_labels": labels,
        "bg_labels": labels,
    }


@pytest.mark.parametrize("name", NETWORKS)
def test_losses_are_the_same_with_every_flag(name: str, batch: dict[str, Any], first_losses: Any) -> None:
    torch.manual_seed(0)
    plain = NETWORKS[name]().train()
    flags = [CHANNELS_LAST, CHECKPOINTING, *([COMPILED[name]] if name in COMPILED else [])]
    networks = {asked: copy.deepcopy(plain) for asked in flags}
    expected = first_losses(plain, batch, RATE)
    assert expected[0] != pytest.approx(expected[2], abs=10 * TOLERANCE)  # it learns
    for asked, network in networks.items():
        compiler = Counted()
        torch.compiler.reset()
        TrainingSpeed(*asked, compiler=compiler).prepare(network)
        assert first_losses(network, batch, RATE) == pytest.approx(expected, abs=TOLERANCE), asked
        assert (compiler.runs >= 3) == asked[0]


def test_gradient_checkpointing_keeps_less_for_the_backward_pass() -> None:
    torch.manual_seed(0)
    backbone = build_backbone("test_resnet", "none")
    kept = _kept(backbone)
    assert recompute_blocks(backbone) >= 4
    assert _kept(backbone) < 0.6 * kept
    copied = copy.deepcopy(backbone)  # a running mean of the weights copies the network
    assert {type(m) for m in copied.modules()} == {type(m) for m in backbone.modules()}
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.zero_()
        images = torch.zeros(1, 3, 32, 32)
        assert not torch.equal(copied.eval()(images)["out"], backbone.eval()(images)["out"])


def _kept(backbone: nn.Module) -> int:
    """Bytes that a forward pass keeps for the backward pass."""
    sizes = list[int]()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.nbytes) or t, lambda t: t):
        backbone.train()(torch.zeros(2, 3, 64, 64))
    return sum(sizes)


def test_weights_have_their_channels_last() -> None:
    network = NETWORKS["classifier"]()
    TrainingSpeed(False, True, False).prepare(network)
    weights = [m.weight for m in network.modules() if isinstance(m, nn.Conv2d) and m.weight.shape[-1] > 1]
    assert weights and all(w.is_contiguous(memory_format=torch.channels_last) for w in weights)


def test_what_does_not_go_together_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    trains = build_backbone("test_resnet", "none", freeze_batchnorm=False)
    with pytest.raises(UserError, match=r"does not go together with batch normalisation .* to frozen"):
        recompute_blocks(trains)
    with pytest.raises(UserError, match="needs a backbone of blocks, and VGG16 has none"):
        recompute_blocks(build_backbone("vgg16", "none"))
    with pytest.raises(UserError, match="Linear has an encoder of its own"):
        TrainingSpeed(True, False, False).prepare(nn.Linear(1, 1))
    monkeypatch.setattr(speed.shutil, "which", lambda name: None)
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UserError, match="--compile needs a C"):
        TrainingSpeed(True, False, False).prepare(NETWORKS["affinity"]())
