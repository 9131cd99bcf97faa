"""The sub-grid form of a dilated depthwise convolution against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tag2mask.backbones import build_backbone
from tag2mask.backbones.phase_conv import PhaseDepthwiseConv2d, use_phase_convolutions


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (7, 8), (20, 13)])
@pytest.mark.parametrize(("dilation", "kernel"), [(2, 3), (4, 3), (2, 5), (18, 3)])
@pytest.mark.parametrize("bias", [False, True])
def test_equals_torch_forward_and_backward(
    size: tuple[int, int], dilation: int, kernel: int, bias: bool
) -> None:
    torch.manual_seed(0)
    padding = dilation * (kernel // 2)
    plain = nn.Conv2d(6, 6, kernel, padding=padding, dilation=dilation, groups=6, bias=bias).double()
    x = torch.randn(2, 6, *size, dtype=torch.double, requires_grad=True)
    phase = PhaseDepthwiseConv2d.replacing(plain)
    upstream = torch.randn(2, 6, *size, dtype=torch.double)
    parameters = list(plain.parameters())
    expected = torch.autograd.grad((plain(x) * upstream).sum(), [x, *parameters])
    found = torch.autograd.grad((phase(x) * upstream).sum(), [x, *parameters])
    # The same sums in another order, in float64.
    torch.testing.assert_close(phase(x), plain(x), atol=1e-12, rtol=1e-10)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 4, 3, padding=1, groups=4),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4, stride=2),
        nn.Conv2d(4, 4, 3, padding=1, dilation=2, groups=4),
        nn.Conv2d(4, 8, 3, padding=2, dilation=2, groups=4),
    ],
)
def test_other_layers_are_left_alone(layer: nn.Conv2d) -> None:
    assert not PhaseDepthwiseConv2d.takes(layer)


def test_backbone_keeps_its_names_and_its_result() -> None:
    backbone = build_backbone("mobilenetv2_100", "none", 16).eval()
    replaced = [n for n, m in backbone.named_modules() if isinstance(m, PhaseDepthwiseConv2d)]
    assert replaced
    images = torch.randint(0, 256, (1, 3, 70, 90), dtype=torch.uint8)
    found = backbone(images)["out"]
    with torch.no_grad():  # where nothing learns the layers are plain ones
        expected = backbone(images)["out"]
    # float32 through 50 layers, summed in another order
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


def test_replacing_twice_changes_nothing() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4))
    use_phase_convolutions(model)
    first = model[0]
    use_phase_convolutions(model)
    assert model[0] is first and list(model.state_dict()) == ["0.weight", "0.bias"]
