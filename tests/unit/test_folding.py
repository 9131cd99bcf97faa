"""Merging batch normalisation into convolutions: the same function, and only where it is allowed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tag2mask.backbones import build_backbone, fold_batchnorm
from tag2mask.backbones.fused_conv import ACTIVATIONS, ConvActivation


def randomise(model: nn.Module) -> nn.Module:
    """Statistics and scales far from 0 and 1, so that a layer merged wrongly or twice would show."""
    generator = torch.Generator().manual_seed(1)
    for name, value in model.state_dict().items():
        if value.ndim == 1:
            noise = torch.rand(value.shape, generator=generator)
            value.copy_(0.5 + noise if name.endswith(("weight", "var")) else 0.4 * noise - 0.2)
    return model.eval()


def norms(model: nn.Module) -> int:
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in model.modules())


@pytest.mark.parametrize(
    ("name", "left"),
    [("mobilenetv2_100", 0), ("resnet18", 0), ("efficientnet_b0", 0), ("resnet38", None), ("vgg16", 0)],
)
def test_same_maps_with_fewer_layers(name: str, left: int | None) -> None:
    torch.manual_seed(0)
    backbone = build_backbone(name, "none", 16 if name not in ("resnet38", "vgg16") else 8)
    randomise(backbone)
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    images = torch.randint(0, 256, (2, 3, 64, 80), dtype=torch.uint8)
    folded = fold_batchnorm(backbone, torch.zeros(1, 3, 64, 64))
    with torch.no_grad():
        expected, found = backbone(images)["out"], folded(images)["out"]
    # float32 through the whole network, with products taken in another order
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    if left is None:  # pre-activation units: most norms come before their convolution
        assert 0 < norms(folded) <= norms(backbone)
    else:
        assert norms(folded) == left
    # the original is untouched and the copy does not learn
    assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())
    assert not any(p.requires_grad for p in folded.parameters())


class Forked(nn.Module):
    """The convolution's result is read by the norm and by the sum: it must stay as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y + self.norm(y)


class Shared(nn.Module):
    """One norm behind two convolutions: merging it into both would need two copies of it."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.norm(self.one(x)), self.norm(self.two(x))]


@pytest.mark.parametrize("kind", [Forked, Shared])
def test_a_result_read_elsewhere_is_not_merged(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = randomise(kind())
    x = torch.randn(2, 3, 8, 8)
    folded = fold_batchnorm(model, x[:1])
    assert norms(folded) == 1
    with torch.no_grad():
        torch.testing.assert_close(folded(x), model(x))


@pytest.mark.parametrize("activation", [nn.ReLU(inplace=True), nn.ReLU6(), nn.SiLU()])
def test_a_relu_is_joined_with_its_convolution(activation: nn.Module) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 8, 3, stride=2, padding=(1, 2), dilation=2, groups=2, bias=False)
    model = nn.Sequential(conv, nn.BatchNorm2d(8), activation)
    randomise(model)
    model[0].weight.data *= 20  # so that values beyond 6 occur
    x = torch.randn(2, 6, 9, 11).contiguous(memory_format=torch.channels_last)
    folded = fold_batchnorm(model, x[:1])
    assert isinstance(folded[0], ConvActivation) == (type(activation) in ACTIVATIONS)
    with torch.no_grad():
        expected = model(x)
        # float32, one more product rounded
        torch.testing.assert_close(folded(x), expected, rtol=1e-5, atol=1e-4)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            torch.testing.assert_close(folded(x).float(), expected, rtol=2e-2, atol=0.5)  # 8 bits
    torch.testing.assert_close(folded(x), expected, rtol=1e-5, atol=1e-4)  # with gradients allowed
    assert float(expected.detach().max()) > 6 or isinstance(activation, nn.ReLU6)


class Twice(nn.Module):
    """The sum reads the convolution beside its ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 4, 1), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y + self.relu(y)


def test_a_result_read_beside_its_relu_stays() -> None:
    torch.manual_seed(0)
    model, x = Twice(), torch.randn(1, 3, 5, 5)
    with torch.no_grad():
        torch.testing.assert_close(fold_batchnorm(model, x)(x), model(x))


def test_grouped_convolution_against_the_formula() -> None:
    torch.manual_seed(0)
    model = randomise(nn.Sequential(nn.Conv2d(4, 6, 3, groups=2, bias=False), nn.BatchNorm2d(6)))
    conv, norm = model[0], model[1]
    folded = fold_batchnorm(model, torch.zeros(1, 4, 8, 8))
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    torch.testing.assert_close(folded[0].weight, conv.weight * scale[:, None, None, None])
    torch.testing.assert_close(folded[0].bias, norm.bias - norm.running_mean * scale)
    assert isinstance(folded[1], nn.Identity)
