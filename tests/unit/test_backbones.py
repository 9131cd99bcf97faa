"""Backbones against plain re-computations from their tables, timm itself and torchvision."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.functional import normalize

from tag2mask.backbones import Backbone, Tap, build_backbone
from tag2mask.core import UserError


def assert_same(value: Tensor, expected: Tensor) -> None:
    """Two float32 evaluations of one deep network: rounding, relative to the map's largest value."""
    assert value.shape == expected.shape
    assert (value - expected).abs().max() < 1e-4 * expected.abs().max()


def images(height: int = 64, width: int = 64, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (batch, 3, height, width), dtype=torch.uint8, generator=generator)


def randomise(backbone: nn.Module) -> None:
    """Give batch normalisation and biases values that a wrong order or a left-out layer would show in."""
    generator = torch.Generator().manual_seed(1)
    for name, value in backbone.state_dict().items():
        if value.ndim == 1:
            noise = torch.rand(value.shape, generator=generator)
            value.copy_(0.5 + noise if name.endswith(("weight", "var")) else 0.2 * noise - 0.1)


@pytest.fixture(scope="module")
def resnet38() -> Iterator[Backbone]:
    torch.manual_seed(0)
    backbone = build_backbone("resnet38", "none", frozen=["conv1a", "b2", "b2_1", "b2_2"])
    randomise(backbone)
    yield backbone


@pytest.fixture(scope="module")
def vgg16() -> Iterator[Backbone]:
    torch.manual_seed(0)
    backbone = build_backbone("vgg16", "none")
    randomise(backbone)
    yield backbone


# --- every backbone -----------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [8, 16])
@pytest.mark.parametrize(
    "name", ["mobilenetv2_100", "resnet18", "resnet50", "efficientnet_b0", "convnext_atto"]
)
def test_timm_maps_cover_the_whole_image(name: str, stride: int) -> None:
    backbone = build_backbone(name, "none", stride).eval()
    maps = backbone(images(70, 93, batch=1))
    assert list(maps) == list(backbone.taps)
    assert list(maps)[-1] == "out" and backbone.taps["out"].stride == stride
    for tap, value in maps.items():
        s = backbone.taps[tap].stride
        assert value.shape == (1, backbone.taps[tap].channels, -(-70 // s), -(-93 // s))
    strides = [tap.stride for tap in backbone.taps.values()]
    assert strides == sorted(strides)


def test_affinity_taps_of_timm_models_start_at_stride_8() -> None:
    backbone = build_backbone("mobilenetv2_100", "none", 16)
    assert [backbone.taps[n] for n in backbone.affinity_taps] == [Tap(32, 8), Tap(96, 16), Tap(1280, 16)]
    backbone = build_backbone("convnext_atto", "none", 16)
    assert [backbone.taps[n].stride for n in backbone.affinity_taps] == [8, 16, 16]


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 1, 64, 64), (1, 64, 64, 3)])
def test_images_of_another_shape_are_refused(shape: tuple[int, ...], vgg16: Backbone) -> None:
    with pytest.raises(ValueError, match=r"images must be \(B, 3, H, W\)"):
        vgg16(torch.zeros(shape))


def test_uint8_and_float_images_give_the_same(vgg16: Backbone) -> None:
    vgg16.eval()
    assert torch.equal(vgg16(images())["out"], vgg16(images().double())["out"])


# --- timm ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mobilenetv2_100", "resnet18", "convnext_atto"])
def test_timm_maps_are_those_of_timm(name: str) -> None:
    """`out` is timm's own last feature map, and the levels are those of its feature extractor."""
    backbone = build_backbone(name, "none", 16).eval()
    state = backbone.model.state_dict()
    plain = timm.create_model(name, num_classes=0, global_pool="", output_stride=16).eval()
    plain.load_state_dict(state)
    pyramid = timm.create_model(name, features_only=True, output_stride=16).eval()
    # The extractor renames `blocks.0` to `blocks_0` in some models; the order of the weights stays.
    own = pyramid.state_dict()
    renamed = {k.replace(".", "_"): v for k, v in state.items()}
    pyramid.load_state_dict({k: renamed[k.replace(".", "_")] for k in own})
    x = images(64, 96).float() / 255
    x = normalize(x, plain.pretrained_cfg["mean"], plain.pretrained_cfg["std"])
    with torch.no_grad():
        maps = backbone(images(64, 96))
        assert_same(maps["out"], plain.forward_features(x))
        for i, expected in enumerate(pyramid(x), 1):
            assert_same(maps[f"level{i}"], expected)


def test_incomplete_patches_at_the_rim_are_not_lost() -> None:
    """ConvNeXt cuts 4 x 4 patches: without padding, row 65 of an image would change nothing."""
    backbone = build_backbone("convnext_atto", "none", 16).eval()
    one, other = images(65, 65, batch=1), images(65, 65, batch=1)
    other[..., 64, :] = 255 - other[..., 64, :]
    with torch.no_grad():
        assert not torch.equal(backbone(one)["out"], backbone(other)["out"])


@pytest.mark.parametrize("name", ["convnext_atto", "mobilenetv2_100"])
def test_every_trainable_weight_gets_a_gradient_from_out(name: str) -> None:
    """DDP waits for the gradients of all trainable weights."""
    backbone = build_backbone(name, "none", 16, freeze_batchnorm=False).eval()
    backbone(images())["out"].sum().backward()
    assert [n for n, p in backbone.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize(
    ("name", "stride", "message"),
    [
        ("vgg11", 8, "cannot be built with output_stride 8"),
        ("deit_tiny_patch16_224", 32, "choose a convolutional model"),
        ("mixer_s32_224", 16, "choose|cannot be built"),
        ("resnet18", 4, "output_stride 4 is not possible"),
        ("resnet_18", 16, "did you mean resnet18"),
        ("resnet83", 16, "did you mean .*resnet38"),
    ],
)
def test_a_backbone_that_cannot_be_is_refused(name: str, stride: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_backbone(name, "none", stride)


# --- freezing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mobilenetv2_100", "resnet18"])
def test_frozen_batchnorm_survives_train(name: str) -> None:
    backbone = build_backbone(name, "none", 16)
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    for _ in range(2):
        backbone.train()
        backbone(images())["out"].mean().backward()
    norms = [m for m in backbone.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert norms and not any(m.training for m in norms)
    assert all(p.grad is None for m in norms for p in m.parameters())
    assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())
    assert backbone.training and any(p.requires_grad for p in backbone.parameters())


def test_batchnorm_trains_where_it_is_not_frozen() -> None:
    backbone = build_backbone("resnet18", "none", 16, freeze_batchnorm=False).train()
    before = backbone.model.bn1.running_mean.clone()
    backbone(images())
    assert not torch.equal(before, backbone.model.bn1.running_mean)
    assert backbone.model.bn1.weight.requires_grad


def test_frozen_layers_do_not_train_and_keep_their_statistics() -> None:
    backbone = build_backbone("resnet18", "none", 16, frozen=["conv1", "bn1"], freeze_batchnorm=False).train()
    before = backbone.model.bn1.running_mean.clone()
    backbone(images())["out"].sum().backward()
    assert torch.equal(before, backbone.model.bn1.running_mean)
    assert backbone.model.conv1.weight.grad is None and backbone.model.bn1.weight.grad is None
    assert backbone.model.layer1[0].conv1.weight.grad is not None


def test_an_unknown_layer_to_freeze_is_named() -> None:
    with pytest.raises(UserError, match="unknown layer to freeze 'layer9'; did you mean layer"):
        build_backbone("resnet18", "none", frozen=["layer9"])


def test_untrained_layers_are_not_frozen_by_default() -> None:
    assert all(p.requires_grad for p in build_backbone("vgg16", "none").parameters())


# --- ResNet38 -----------------------------------------------------------------------------------

# (level, blocks, input, middle, output channels, stride) of the levels of 3x3 blocks.
RESNET38 = [
    (2, 3, 64, 128, 128, 2), (3, 3, 128, 256, 256, 2), (4, 6, 256, 512, 512, 2), (5, 3, 512, 512, 1024, 1),
]  # fmt: skip


def test_resnet38_has_the_parameters_of_the_table(resnet38: Backbone) -> None:
    """The count by hand: weights of each convolution, and two values per channel of batch norm."""
    total = 3 * 64 * 9
    for _, blocks, entry, mid, out, stride in RESNET38:
        for i in range(blocks):
            inputs = entry if i == 0 else out
            total += 2 * inputs + inputs * mid * 9 + 2 * mid + mid * out * 9
            total += inputs * out if i == 0 and (inputs != out or stride > 1) else 0
    for inputs, out in ((1024, 2048), (2048, 4096)):
        quarter, half = out // 4, out // 2
        total += 2 * inputs + inputs * quarter + 2 * quarter + quarter * half * 9
        total += 2 * half + half * out + inputs * out
    total += 2 * 4096
    assert sum(p.numel() for p in resnet38.parameters()) == total
    # The published 402 MB file holds float32: about 105 million values with the statistics.
    assert sum(v.numel() for v in resnet38.state_dict().values()) * 4 / 1e6 == pytest.approx(420, rel=0.05)


def test_resnet38_computes_what_its_table_says(resnet38: Backbone) -> None:
    """The forward pass once more, with plain functions on the stored weights."""
    resnet38.eval()
    w = resnet38.state_dict()

    def bn_relu(x: Tensor, name: str) -> Tensor:
        mean, var = w[f"{name}.running_mean"], w[f"{name}.running_var"]
        scale = w[f"{name}.weight"] / (var + 1e-5).sqrt()
        x = (x - mean[:, None, None]) * scale[:, None, None] + w[f"{name}.bias"][:, None, None]
        return x.clamp(min=0)

    def conv(x: Tensor, name: str, stride: int = 1, dilation: int = 1) -> Tensor:
        kernel = w[f"{name}.weight"]
        pad = dilation if kernel.shape[-1] == 3 else 0
        return F.conv2d(x, kernel, None, stride, pad, dilation)

    x = conv(normalize(images().float() / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), "conv1a")
    expected = {}
    for level, blocks, *_, stride in RESNET38:
        for i in range(blocks):
            b = f"b{level}_{i}" if i else f"b{level}"
            s = stride if i == 0 else 1
            first, second = {5: (1 if i == 0 else 2, 2)}.get(level, (1, 1))
            entry = bn_relu(x, f"{b}.bn_branch2a")
            if i == 0:
                expected[f"conv{level - 1}"] = entry
            shortcut = conv(entry, f"{b}.conv_branch1", s) if i == 0 else x
            y = bn_relu(conv(entry, f"{b}.conv_branch2a", s, first), f"{b}.bn_branch2b1")
            x = shortcut + conv(y, f"{b}.conv_branch2b1", 1, second)
    for b in ("b6", "b7"):
        entry = bn_relu(x, f"{b}.bn_branch2a")
        if b == "b6":
            expected["conv5"] = entry
        y = bn_relu(conv(entry, f"{b}.conv_branch2a"), f"{b}.bn_branch2b1")
        y = bn_relu(conv(y, f"{b}.conv_branch2b1", 1, 4), f"{b}.bn_branch2b2")
        x = conv(entry, f"{b}.conv_branch1") + conv(y, f"{b}.conv_branch2b2")
    expected["out"] = bn_relu(x, "bn7")

    with torch.no_grad():
        maps = resnet38(images())
    for name, tap in resnet38.taps.items():
        assert maps[name].shape == (2, tap.channels, 64 // tap.stride, 64 // tap.stride)
        assert_same(maps[name], expected[name])


def test_resnet38_is_what_the_papers_describe(resnet38: Backbone) -> None:
    assert resnet38.taps["conv4"] == Tap(512, 8) and resnet38.taps["conv5"] == Tap(1024, 8)
    assert resnet38.taps["out"] == Tap(4096, 8)
    assert resnet38.affinity_taps == ("conv4", "conv5", "out")
    assert not resnet38.cam_sqrt and resnet38.pad_value == (124, 116, 104)
    dropouts = [(n, m.p) for n, m in resnet38.named_modules() if isinstance(m, nn.Dropout2d)]
    assert dropouts == [
        ("b6.dropout_2b1", 0.3), ("b6.dropout_2b2", 0.3), ("b7.dropout_2b1", 0.5), ("b7.dropout_2b2", 0.5),
    ]  # fmt: skip


def test_resnet38_trains_all_but_its_first_layers_and_batchnorm(resnet38: Backbone) -> None:
    resnet38.train()
    still = {n.split(".")[0] for n, p in resnet38.named_parameters() if not p.requires_grad and p.ndim == 4}
    assert still == {"conv1a", "b2", "b2_1", "b2_2"}
    assert not any(p.requires_grad for p in resnet38.parameters() if p.ndim == 1)
    assert resnet38.b7.dropout_2b1.training


# --- VGG16 --------------------------------------------------------------------------------------


def vgg16_reference(w: dict[str, Tensor], x: Tensor, fov: int, pool5: bool) -> dict[str, Tensor]:
    maps = {}
    for level, count in enumerate((2, 2, 3, 3, 3), 1):
        for i in range(1, count + 1):
            name, d = f"conv{level}_{i}", 2 if level == 5 else 1
            x = F.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], 1, d, d).clamp(min=0)
        maps[name] = x
        if level < 5:
            x = F.max_pool2d(x, 3, 2 if level < 4 else 1, 1)
    if pool5:
        x = F.avg_pool2d(F.max_pool2d(x, 3, 1, 1), 3, 1, 1)
    x = F.conv2d(x, w["fc6.weight"], w["fc6.bias"], 1, fov, fov).clamp(min=0)
    maps["out"] = F.conv2d(x, w["fc7.weight"], w["fc7.bias"]).clamp(min=0)
    return maps


@pytest.mark.parametrize(
    ("role", "fov", "pool5"), [("cam", 1, False), ("affinity", 4, False), ("segmentation", 12, True)]
)
def test_vgg16_computes_what_its_table_says(role: str, fov: int, pool5: bool, vgg16: Backbone) -> None:
    backbone = build_backbone("vgg16", "none", role=role).eval()  # type: ignore[arg-type]
    backbone.load_state_dict(vgg16.state_dict())
    rgb = images(61, 75).float()
    bgr = torch.stack([rgb[:, 2] - 104.008, rgb[:, 1] - 116.669, rgb[:, 0] - 122.675], 1)
    with torch.no_grad():
        maps = backbone(images(61, 75))
        expected = vgg16_reference(backbone.state_dict(), bgr, fov, pool5)
    for name, tap in backbone.taps.items():
        assert maps[name].shape == (2, tap.channels, -(-61 // tap.stride), -(-75 // tap.stride))
        assert_same(maps[name], expected[name])


def test_vgg16_is_what_the_papers_describe(vgg16: Backbone) -> None:
    # 14 714 688 is the known size of VGG16's convolutions; with fc6 and fc7 it is "VGG16 20M".
    assert sum(p.numel() for p in vgg16.parameters()) == 14_714_688 + (512 * 9 + 1) * 1024 + 1025 * 1024
    assert vgg16.cam_sqrt and vgg16.pad_value == (123, 117, 104)
    assert [vgg16.taps[n].channels for n in vgg16.affinity_taps] == [512, 512, 1024]
    assert {vgg16.taps[n].stride for n in vgg16.affinity_taps} == {8}


def test_use_only_drops_and_freezes_what_comes_behind() -> None:
    backbone = build_backbone("mobilenetv2_100", "none", 16, frozen=["stride4"])
    backbone.use_only(["level3"])
    backbone.train()
    maps = backbone(torch.zeros(1, 3, 64, 64))
    assert list(maps) == ["level3"] and list(backbone.taps) == ["level3"]
    trained = {n.split(".")[2] for n, p in backbone.named_parameters() if p.requires_grad}
    # blocks 0 and 1 lie within stride 4, block 2 makes level 3, the rest comes behind it
    assert trained == {"2"}


@pytest.mark.parametrize("name", ["resnet38", "vgg16", "resnet10t", "mobilenetv2_100"])
def test_whatever_tap_is_kept_only_what_makes_it_is_trained(name: str) -> None:
    """Several devices wait for the gradient of every trained parameter, and nothing else is computed."""
    with torch.device("meta"):
        taps = list(build_backbone(name, "none", 8).taps)
    for tap in taps:
        with torch.device("meta"):
            backbone = build_backbone(name, "none", 8, [], False)
            backbone.use_only([tap])
            maps = backbone(torch.zeros(1, 3, 64, 64))
            maps[tap].sum().backward()
        assert list(maps) == [tap]
        without = [n for n, p in backbone.named_parameters() if p.requires_grad and p.grad is None]
        assert not without, f"{tap} trains {without}"
