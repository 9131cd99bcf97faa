"""Depthwise convolutions that train in bfloat16 against torch's own, and what precision a step gets."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import nn

from tag2mask.backbones.phase_conv import PhaseDepthwiseConv2d
from tag2mask.backbones.strided_conv import (
    StridedDepthwiseConv2d,
    StridedDepthwiseConv2dSame,
    use_strided_convolutions,
)
from tag2mask.step import hardware


def _gradients(layer: nn.Module, x: torch.Tensor, upstream: torch.Tensor) -> list[torch.Tensor]:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = layer(x)
    return [out, *torch.autograd.grad(out, [x, *layer.parameters()], upstream.to(out.dtype))]


@pytest.mark.parametrize(
    "plain",
    [
        nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8),
        nn.Conv2d(8, 8, 5, stride=2, padding=2, groups=8, bias=False),
        Conv2dSame(8, 8, 3, stride=2, groups=8, bias=False),
    ],
)
def test_gradients_in_bfloat16_are_those_of_float32(plain: nn.Conv2d) -> None:
    torch.manual_seed(0)
    fast = nn.Sequential(plain)
    use_strided_convolutions(fast)
    assert type(fast[0]) in (StridedDepthwiseConv2d, StridedDepthwiseConv2dSame)
    x = torch.randn(2, 8, 13, 18, requires_grad=True)
    upstream = torch.randn_like(plain(x))
    expected = [plain(x), *torch.autograd.grad(plain(x), [x, *plain.parameters()], upstream)]
    found = _gradients(fast, x, upstream)
    assert found[0].dtype == torch.bfloat16 and found[2].dtype == torch.float32
    for a, b in zip(found, expected, strict=True):
        # bfloat16 keeps 8 bits of each factor; sums are made in float32
        torch.testing.assert_close(a.float(), b, atol=0.03 * float(b.detach().abs().max()), rtol=0)


def test_float32_training_is_untouched() -> None:
    plain = nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=4)
    fast = nn.Sequential(plain)
    use_strided_convolutions(fast)
    x = torch.randn(1, 4, 9, 9, requires_grad=True)
    torch.testing.assert_close(fast(x), plain(x), atol=0, rtol=0)
    assert list(fast.state_dict()) == ["0.weight", "0.bias"]


@pytest.mark.parametrize("layer", [nn.Conv2d(4, 4, 3, stride=2), nn.Conv2d(4, 4, 3, padding=1, groups=4)])
def test_other_layers_are_left_alone(layer: nn.Conv2d) -> None:
    model = nn.Sequential(layer)
    use_strided_convolutions(model)
    assert model[0] is layer


def test_sub_grids_smaller_than_the_kernel_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = PhaseDepthwiseConv2d.replacing(nn.Conv2d(4, 4, 3, padding=12, dilation=12, groups=4))
    calls: list[int] = []
    monkeypatch.setattr(layer, "_by_phases", lambda x, rows, columns: calls.append(rows) or x)
    layer(torch.randn(1, 4, 20, 20))
    assert not calls
    layer(torch.randn(1, 4, 40, 40))
    assert calls == [4]


@pytest.mark.parametrize(
    ("wanted", "has", "given"),
    [
        ("bf16-mixed", True, "bf16-mixed"),
        ("bf16-mixed", False, "32-true"),
        ("16-mixed", False, "16-mixed"),
        (None, False, None),
    ],
)
def test_precision_that_the_hardware_has(
    wanted: str | None, has: bool, given: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "multiplies_bfloat16", lambda device: has)
    trainer = SimpleNamespace(precision=wanted, accelerator="cpu")
    assert hardware.usable_precision(trainer) == given
