"""Heads against plain re-computations and their papers' tables."""

from __future__ import annotations

import math
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tag2mask.backbones import Tap, build_backbone
from tag2mask.core import UserError
from tag2mask.heads import AffinityHead, CAMHead, MultiScaleMax, SmpSegmenter, build_segmenter
from tag2mask.heads.deeplabv3plus import DeepLabV3PlusHead

HEADS = ["resnet38", "largefov", "deeplabv2", "deeplabv3plus"]
TAPS = {"a": Tap(16, 8), "b": Tap(24, 16), "out": Tap(40, 16)}

# One sum of float32 products in another order.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def images(height: int = 64, width: int = 64, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (batch, 3, height, width), dtype=torch.uint8, generator=generator)


# --- class activation maps ----------------------------------------------------------------------


def test_logits_are_the_mean_of_the_maps() -> None:
    """Pooling and a linear layer commute: the identity that class activation maps rest on."""
    head = CAMHead(32, 5).eval()
    features = torch.randn(2, 32, 7, 9)
    assert head.cam(features).shape == (2, 5, 7, 9)
    torch.testing.assert_close(head(features), head.cam(features).mean((2, 3)), **CLOSE)


def test_cam_head_drops_whole_channels_of_the_logits_only() -> None:
    torch.manual_seed(0)
    head = CAMHead(64, 3, dropout=0.5).train()
    features = torch.rand(1, 64, 4, 4)
    assert not torch.equal(head(features), head(features))
    assert torch.equal(head.cam(features), head.cam(features))
    assert [n for n, _ in head.named_parameters()] == ["classifier.weight"]
    # Xavier uniform: |w| <= sqrt(6 / (fan in + fan out)), and 192 draws come near the bound.
    bound = math.sqrt(6 / (64 + 3))
    assert 0.9 * bound < head.classifier.weight.detach().abs().max() <= bound


# --- affinity -----------------------------------------------------------------------------------


def features_of(height: int, width: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        n: torch.randn(2, t.channels, -(-height // t.stride), -(-width // t.stride), generator=generator)
        for n, t in TAPS.items()
    }


@pytest.mark.parametrize(("height", "width"), [(64, 64), (65, 71), (9, 129)])
def test_affinity_features_lie_on_the_stride_8_grid(height: int, width: int) -> None:
    head = AffinityHead(TAPS, ("a", "b", "out"))
    out = head(features_of(height, width))
    assert out.shape == (2, 448, -(-height // 8), -(-width // 8))


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_the_grid_is_exact_from_any_finer_tap(stride: int) -> None:
    taps = {"fine": Tap(4, stride), "out": Tap(4, 32)}
    head = AffinityHead(taps, ("fine", "out"), (8, 8))
    for side in range(33, 50):
        maps = {n: torch.zeros(1, 4, -(-side // t.stride), -(-side // t.stride)) for n, t in taps.items()}
        assert head(maps).shape[-1] == -(-side // 8)


@pytest.mark.parametrize("group_norm", [False, True])
def test_affinity_head_computes_the_published_layers(group_norm: bool) -> None:
    head = AffinityHead(TAPS, ("a", "b", "out"), group_norm=group_norm)
    maps = features_of(40, 40)
    joined = []
    for name, width, reduce in zip(("a", "b", "out"), (64, 128, 256), head.reductions, strict=True):
        y = torch.einsum("oi,bihw->bohw", reduce[0].weight[..., 0, 0], maps[name])
        if group_norm:
            y = F.group_norm(y, {64: 8, 128: 16, 256: 32}[width])
        y = torch.where(y > 0, y, y.exp() - 1)
        joined.append(F.interpolate(y, (5, 5), mode="bilinear", align_corners=False))
    y = torch.einsum("oi,bihw->bohw", head.mix.weight[..., 0, 0], torch.cat(joined, 1))
    torch.testing.assert_close(head(maps), torch.where(y > 0, y, y.exp() - 1), **CLOSE)


def test_affinity_head_starts_as_published() -> None:
    torch.manual_seed(0)
    head = AffinityHead(TAPS, ("a", "b", "out"))
    assert not any(n.endswith("bias") for n, _ in head.named_parameters())
    for reduce, tap in zip(head.reductions, TAPS.values(), strict=True):
        # Kaiming normal: std sqrt(2 / fan in); 9 % is 4 sigma of the estimate from >= 1024 draws.
        assert reduce[0].weight.std().item() == pytest.approx(math.sqrt(2 / tap.channels), rel=0.09)
    # Xavier uniform, gain 4: bound 4 sqrt(6 / 896).
    bound = 4 * math.sqrt(6 / (448 + 448))
    assert 0.99 * bound < head.mix.weight.detach().abs().max() <= bound


@pytest.mark.parametrize(("name", "normalised"), [("vgg16", True), ("mobilenetv2_100", False)])
def test_only_networks_without_norm_get_group_norm(name: str, normalised: bool) -> None:
    backbone = build_backbone(name, "none", 16).eval()
    head = AffinityHead.for_backbone(backbone)
    assert any(isinstance(m, nn.GroupNorm) for m in head.modules()) == normalised
    assert head(backbone(images(45, 70))).shape == (2, 448, 6, 9)


def test_wrong_taps_are_refused() -> None:
    with pytest.raises(ValueError, match="equally many"):
        AffinityHead(TAPS, ("a", "out"))
    with pytest.raises(ValueError, match="must be among the taps"):
        AffinityHead(TAPS, ("a", "b", "c"))
    with pytest.raises(ValueError, match="stride that divides 8"):
        AffinityHead({"out": Tap(8, 16)}, ("out",), (8,))


# --- segmentation -------------------------------------------------------------------------------


@pytest.mark.parametrize("head", HEADS)
def test_every_head_trains_on_any_image_size(head: str) -> None:
    """Also on one image: no batch statistics over a single value."""
    backbone = build_backbone("mobilenetv2_100", "none", 16)
    model = build_segmenter(head, backbone, num_classes=4).train()
    logits = model(images(50, 70, batch=1))
    stride = 4 if head == "deeplabv3plus" else 16
    assert logits.shape == (1, 5, -(-50 // stride), -(-70 // stride))
    logits.square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    assert model.pretrained == [model.backbone] and model.new == [model.head]


def test_atrous_layers_have_the_published_shapes() -> None:
    def convs(head: str) -> list[tuple[int, ...]]:
        backbone = build_backbone("vgg16", "none", role="segmentation")
        model = build_segmenter(head, backbone, num_classes=20)
        return [
            (c.in_channels, c.out_channels, c.kernel_size[0], c.dilation[0])
            for c in model.head.modules()
            if isinstance(c, nn.Conv2d)
        ]

    assert convs("resnet38") == [(1024, 512, 3, 12), (512, 21, 3, 12)]
    assert convs("largefov") == [(1024, 21, 1, 1)]
    assert convs("deeplabv2") == [(1024, 21, 3, rate) for rate in (6, 12, 18, 24)]


def test_deeplabv2_sees_as_far_on_a_coarser_grid() -> None:
    backbone = build_backbone("resnet18", "none", 16)
    head = build_segmenter("deeplabv2", backbone, num_classes=2).head
    # 24 cells of 8 pixels are 12 of 16.
    assert [branch.dilation[0] for branch in head.branches] == [3, 6, 9, 12]


@pytest.mark.parametrize(("stride", "rates"), [(8, [12, 24, 36]), (16, [6, 12, 18])])
def test_deeplabv3plus_has_the_published_rates(stride: int, rates: list[int]) -> None:
    head = DeepLabV3PlusHead({"low": Tap(24, 4), "out": Tap(32, stride)}, 21)
    assert [branch[0].dilation[0] for branch in head.atrous] == rates
    assert all(branch[0].groups == 32 for branch in head.atrous)
    assert head.reduce[0].out_channels == 48


def test_deeplabv3plus_sees_the_fine_map() -> None:
    head = DeepLabV3PlusHead({"low": Tap(8, 4), "out": Tap(8, 16)}, 3, channels=16).eval()
    maps = {"low": torch.randn(1, 8, 16, 16), "out": torch.randn(1, 8, 4, 4)}
    before = head(maps)
    maps["low"][..., 0, 0] += 5
    changed = (head(maps) - before).abs().amax(1)[0] > 0
    # Two 3x3 layers after the join: a change reaches two pixels and no further.
    assert changed[:3, :3].all() and not changed[3:].any() and not changed[:, 3:].any()


def test_deeplabv3plus_needs_a_fine_map() -> None:
    with pytest.raises(UserError, match="stride 4"):
        DeepLabV3PlusHead({"out": Tap(8, 16)}, 3)


@pytest.mark.parametrize("head", ["largefov", "deeplabv2", "deeplabv3plus"])
def test_deeplab_classifiers_start_small(head: str) -> None:
    model = build_segmenter(head, build_backbone("resnet18", "none"), num_classes=20)
    layers = list(model.head.branches) if head == "deeplabv2" else [model.head.classifier]
    for layer in layers:
        # >= 21 * 256 draws: 5 % is more than 5 sigma of the estimated deviation.
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.05)
        assert not layer.bias.any()


def test_largefov_is_linear_on_the_last_map() -> None:
    model = build_segmenter("largefov", build_backbone("vgg16", "none", role="segmentation"), 3).eval()
    x = images(40, 40)
    weight, bias = model.head.classifier.weight[..., 0, 0], model.head.classifier.bias
    with torch.no_grad():
        expected = torch.einsum("oi,bihw->bohw", weight, model.backbone(x)["out"]) + bias[:, None, None]
        torch.testing.assert_close(model(x), expected, **CLOSE)


def test_multi_scale_takes_the_largest_logit() -> None:
    model = MultiScaleMax(build_segmenter("deeplabv2", build_backbone("resnet18", "none", 8), 3)).eval()
    x = images(64, 48).float()
    with torch.no_grad():
        expected = model.segmenter(x)
        for scale in (0.5, 0.75):
            small = F.interpolate(
                x, (round(64 * scale), round(48 * scale)), mode="bilinear", align_corners=False
            )
            logits = F.interpolate(model.segmenter(small), (8, 6), mode="bilinear", align_corners=False)
            expected = torch.maximum(expected, logits)
        torch.testing.assert_close(model(x), expected, **CLOSE)
        assert [m.shape[-1] for m in model.all_logits(x)] == [6, 3, 5, 6]
    with pytest.raises(UserError, match="scales"):
        MultiScaleMax(model.segmenter, scales=())


def test_an_unknown_head_is_named() -> None:
    with pytest.raises(UserError, match="did you mean deeplabv"):
        build_segmenter("deeplabv3", build_backbone("resnet18", "none"), 3)


# --- segmentation_models_pytorch ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("arch", "encoder", "size"),
    [
        ("unet", "resnet18", (64, 96)),
        ("unet", "tu-mobilenetv2_100", (64, 96)),
        ("pan", "resnet18", (128, 128)),  # it halves a map of stride 16 three times
    ],
)
def test_smp_network_normalises_pads_and_crops(arch: str, encoder: str, size: tuple[int, int]) -> None:
    model = SmpSegmenter(arch, encoder, "none", num_classes=3).eval()
    x = images(50, 70)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normal = (x / 255 - mean[:, None, None]) / std[:, None, None]
    padded = torch.zeros(2, 3, *size)
    padded[..., :50, :70] = normal
    with torch.no_grad():
        expected = model.model(padded)[..., :50, :70]
        # Rounding of the normalisation, passed on through the whole network: relative to the largest logit.
        assert (model(x) - expected).abs().max() < 1e-4 * expected.abs().max()
    assert expected.shape == (2, 4, 50, 70)
    assert model.pretrained == [model.model.encoder]
    groups = [p for m in model.pretrained + model.new for p in m.parameters()]
    assert len(groups) == len(list(model.parameters()))


def test_smp_encoder_weights_come_from_a_file(tmp_path: Any) -> None:
    encoder = smp.create_model("unet", "resnet18", encoder_weights=None).encoder
    torch.save({**encoder.state_dict(), "fc.weight": torch.zeros(2)}, tmp_path / "w.pth")
    model = SmpSegmenter("fpn", "resnet18", str(tmp_path / "w.pth"), 3)
    assert torch.equal(model.model.encoder.conv1.weight, encoder.conv1.weight)
    with pytest.raises(UserError, match="keys missing"):
        SmpSegmenter("fpn", "resnet50", str(tmp_path / "w.pth"), 3)


@pytest.mark.parametrize(
    ("arch", "encoder", "message"),
    [
        ("unett", "resnet18", "unknown segmentation architecture 'unett'; did you mean unet"),
        ("unet", "resnet81", "did you mean resnet18"),
        ("unet", "tu-resnet81", "unknown encoder"),
        ("dpt", "resnet18", "dpt cannot be built with encoder resnet18"),
    ],
)
def test_smp_names_are_checked(arch: str, encoder: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        SmpSegmenter(arch, encoder, "none", 3)


def test_smp_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: Any, **kwargs: Any) -> nn.Module:
        raise ConnectionError("no route")

    monkeypatch.setattr(smp, "create_model", offline)
    with pytest.raises(UserError, match=r"cannot be downloaded .*--weights PATH or none"):
        SmpSegmenter("unet", "resnet18", "imagenet", 3)


def test_smp_images_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="images must be"):
        SmpSegmenter("unet", "resnet18", "none", 3)(torch.zeros(3, 8, 8))
