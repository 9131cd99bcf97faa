"""Weight files: what is read, what is refused and why."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.transforms.functional import normalize

from tag2mask.backbones import build_backbone, load_into, load_state, resnet38, timm_backbone
from tag2mask.backbones.vgg16 import VGG16, VGG16_Weights, from_torchvision
from tag2mask.core import UserError

TINY = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2)}


class Danger:
    """Unpickling this would run code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("code ran",))


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".ckpt", ".safetensors"])
def test_every_file_type_is_read(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"w{suffix}"
    save_file(TINY, path) if suffix == ".safetensors" else torch.save(TINY, path)
    state = load_state(path)
    assert state.keys() == TINY.keys()
    assert all(torch.equal(state[k], v) for k, v in TINY.items())


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model"])
def test_wrapped_and_parallel_weights_are_unwrapped(wrapper: str, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({wrapper: {f"module.{k}": v for k, v in TINY.items()}, "epoch": 3}, path)
    assert load_state(path).keys() == TINY.keys()


def test_a_file_with_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "w.pth"
    torch.save({"a": Danger()}, path)
    with pytest.raises(UserError, match="refused"):
        load_state(path)
    path.write_bytes(pickle.dumps({"a": Danger()}, protocol=2))
    with pytest.raises(UserError, match=r"w\.pth"):
        load_state(path)
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x03\x04broken"])
def test_a_broken_file_is_refused(content: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"cannot be read|refused"):
        load_state(path)


@pytest.mark.parametrize("content", [[1, 2], {}, {"a": 1}, torch.ones(3), {"state_dict": {}}])
def test_what_is_no_state_dict_is_refused(content: object, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(content, path)
    with pytest.raises(UserError, match="not a state dict"):
        load_state(path)


@pytest.mark.parametrize(("name", "message"), [("none.pth", "no such file"), ("w.txt", "unknown file type")])
def test_a_wrong_path_is_refused(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "w.txt").write_text("x")
    with pytest.raises(UserError, match=message):
        load_state(tmp_path / name)


def test_misfits_are_counted_by_kind() -> None:
    layer = nn.Linear(3, 2)
    with pytest.raises(
        UserError, match=r"do not fit Linear: 1 keys missing \(e\.g\. bias\), 2 keys unexpected"
    ):
        load_into(layer, {"weight": torch.zeros(2, 3), "x": torch.zeros(1), "y": torch.zeros(1)}, "w.pth")
    with pytest.raises(UserError, match=r"1 keys of another shape \(e\.g\. weight\)"):
        load_into(layer, {"weight": torch.zeros(2, 4), "bias": torch.zeros(2)}, "w.pth")


def test_named_exceptions_are_allowed_and_prefixes_end_at_a_dot() -> None:
    layer = nn.Linear(3, 2)
    load_into(layer, {"weight": torch.ones(2, 3), "fc.bias": torch.ones(1)}, "w", ["bias"], ["fc"])
    assert torch.equal(layer.weight, torch.ones(2, 3))
    with pytest.raises(UserError, match="1 keys unexpected"):
        load_into(layer, {"weight": torch.ones(2, 3), "fc8.bias": torch.ones(1)}, "w", ["bias"], ["fc"])


# --- timm ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto"])
def test_a_timm_file_loads_without_its_classifier(name: str, tmp_path: Path) -> None:
    full = timm.create_model(name)
    torch.save(full.state_dict(), tmp_path / "w.pth")
    state = build_backbone(name, str(tmp_path / "w.pth")).model.state_dict()
    assert all(torch.equal(v, full.state_dict()[k]) for k, v in state.items())


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    torch.save(timm.create_model("resnet18").state_dict(), tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"do not fit ResNet: \d+ keys missing .* \d+ keys of another shape"):
        build_backbone("resnet50", str(tmp_path / "w.pth"))


def test_no_network_is_the_users_to_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    """timm and torchvision raise OSErrors of several kinds when the network is down."""
    create = timm.create_model

    def offline(name: str, pretrained: bool = False, **rest: Any) -> nn.Module:
        if pretrained:
            raise URLError("no route")
        return create(name, pretrained=False, **rest)

    monkeypatch.setattr(timm_backbone.timm, "create_model", offline)
    with pytest.raises(UserError, match=r"cannot be downloaded .*no route.*--weights PATH or none"):
        build_backbone("resnet18", "imagenet")

    def no_state(*args: Any, **kwargs: Any) -> dict[str, Tensor]:
        raise URLError("no route")

    monkeypatch.setattr(VGG16_Weights, "get_state_dict", no_state)
    with pytest.raises(UserError, match=r"cannot be downloaded .*--weights PATH or none"):
        build_backbone("vgg16", "imagenet")


def test_models_without_published_weights_say_so() -> None:
    with pytest.raises(UserError, match="no ImageNet weights"):
        build_backbone("efficientnet_b8", "imagenet")
    with pytest.raises(UserError, match=r"cannot be fetched automatically.*--weights PATH"):
        build_backbone("resnet38", "imagenet")


@pytest.mark.real
def test_published_mobilenet_weights(shared: Path) -> None:
    """Against timm's own loader; the map that the classifier reads must be the same to rounding."""
    path = shared / "weights" / "mobilenetv2_100.safetensors"
    if not path.is_file():
        pytest.skip(f"no published weights: {path} does not exist")
    backbone = build_backbone("mobilenetv2_100", str(path), 32).eval()
    theirs = timm.create_model("mobilenetv2_100", checkpoint_path=str(path)).eval()
    image = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    x = normalize(image.float() / 255, theirs.pretrained_cfg["mean"], theirs.pretrained_cfg["std"])
    with torch.no_grad():
        # float32 rounding through 53 layers, on values of about 1
        torch.testing.assert_close(backbone(image)["out"], theirs.forward_features(x), rtol=1e-4, atol=1e-4)


# --- ResNet38 and VGG16 -------------------------------------------------------------------------


def test_resnet38_reads_the_names_of_the_public_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names as the paper's MXNet conversion makes them; such a file has no num_batches_tracked."""
    model = build_backbone("resnet38", "none")
    state = {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    for key in (
        "conv1a.weight", "b2.bn_branch2a.running_mean", "b2.conv_branch1.weight", "b2_1.conv_branch2a.weight",
        "b4_5.bn_branch2b1.running_var", "b5_2.conv_branch2b1.weight", "b6.conv_branch2b2.weight",
        "b7.bn_branch2b2.bias", "bn7.weight",
    ):  # fmt: skip
        assert key in state
    state["conv1a.weight"] = torch.full_like(state["conv1a.weight"], 0.5)
    # In memory: the file would have 400 MB.
    monkeypatch.setattr(resnet38, "load_state", lambda path: {**state, "linear1000.weight": torch.zeros(3)})
    loaded = build_backbone("resnet38", "w.pth")
    assert torch.equal(loaded.state_dict()["conv1a.weight"], state["conv1a.weight"])
    assert not any(p.requires_grad for p in loaded.get_submodule("b2_2").parameters())


def test_vgg16_reads_caffe_names(tmp_path: Path) -> None:
    state = build_backbone("vgg16", "none").state_dict()
    torch.save({**state, "fc8.weight": torch.zeros(3)}, tmp_path / "w.pth")
    loaded = build_backbone("vgg16", str(tmp_path / "w.pth")).state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in state.items())
    del state["fc7.weight"]
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(UserError, match="1 keys missing"):
        build_backbone("vgg16", str(tmp_path / "w.pth"))


def test_the_backbone_of_a_segmentation_network_of_torchvision(tmp_path: Path) -> None:
    network = torchvision.models.segmentation.deeplabv3_resnet50(weights_backbone=None, num_classes=21)
    torch.save(network.state_dict(), tmp_path / "coco.pth")
    ours = build_backbone("resnet50", str(tmp_path / "coco.pth"), output_stride=8).eval()
    image = torch.rand(1, 3, 64, 64) * 255
    scaled = normalize(image / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    with torch.no_grad():
        theirs, mine = network.backbone.eval()(scaled)["out"], ours(image)["out"]
    # float32 rounds at 6e-8, which fifty layers with untrained norms let grow.
    torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4 * float(theirs.abs().max()))


@pytest.mark.parametrize("caffe_scale", [False, True])
def test_torchvision_vgg16_gives_torchvisions_maps(caffe_scale: bool, tmp_path: Path) -> None:
    """The first layer takes over torchvision's normalisation, exactly but for the rim's padding."""
    theirs = torchvision.models.vgg16().features
    state = {f"features.{k}": v for k, v in theirs.state_dict().items()}
    state["classifier.0.weight"] = torch.full((4, 4), float("nan") if caffe_scale else 0.0)
    torch.save(state, tmp_path / "w.pth")
    ours = VGG16(str(tmp_path / "w.pth"))
    image = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    transform = torchvision.models.VGG16_Weights.IMAGENET1K_V1.transforms()
    mean, std = transform.mean, transform.std
    if caffe_scale:
        transform = torchvision.models.VGG16_Weights.IMAGENET1K_FEATURES.transforms()
        mean, std = transform.mean, transform.std
    x = normalize(image.float() / 255, mean, std)
    with torch.no_grad():
        mine = ours.conv1_1(ours.normalise(image))[..., 1:-1, 1:-1]
        expected = theirs[0](x)[..., 1:-1, 1:-1]
    # Values up to 200 x 27 products in float32: rounding of the sums, relative to the largest.
    assert (mine - expected).abs().max() < 1e-5 * expected.abs().max()
    assert torch.equal(ours.conv5_3.weight, theirs[28].weight)


def test_conversion_leaves_other_keys_alone() -> None:
    extra = {"classifier.0.weight": torch.zeros(1), "features.28.bias": torch.ones(2)}
    assert from_torchvision(extra).keys() == {"classifier.0.weight", "conv5_3.bias"}


# --- wrong files --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"<!DOCTYPE html><title>Sign in</title>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"", "it is empty"),
        (b"\x89HDF\r\n\x1a\n", "begins with"),
    ],
)
def test_what_came_in_place_of_a_file_is_named(content: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(UserError, match=why):
        load_state(tmp_path / "w.pth")


def test_files_of_other_programs_are_to_be_converted(tmp_path: Path) -> None:
    (tmp_path / "w.caffemodel").write_bytes(b"x")
    with pytest.raises(UserError, match="tag2mask weights convert"):
        load_state(tmp_path / "w.caffemodel")


@pytest.mark.parametrize("name", ["w.pth.tar", "w.PTH", "w.Safetensors"])
def test_endings_of_other_habits(name: str, tmp_path: Path) -> None:
    torch.save(TINY, tmp_path / name)  # also under the ending of another form: the first bytes tell
    assert load_state(tmp_path / name).keys() == TINY.keys()


def test_the_only_weights_of_a_file_are_found(tmp_path: Path) -> None:
    torch.save({"net": TINY, "epoch": 3, "optimizer": {"lr": 1}}, tmp_path / "w.pth")
    assert load_state(tmp_path / "w.pth").keys() == TINY.keys()
    torch.save({"net": TINY, "ema": TINY}, tmp_path / "w.pth")
    with pytest.raises(UserError, match="entry 'net' is not a tensor"):
        load_state(tmp_path / "w.pth")


def test_tensors_of_other_layouts_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.eye(3).to_sparse()}, tmp_path / "w.pth")
    with pytest.raises(UserError, match="'a' is no plain tensor"):
        load_state(tmp_path / "w.pth")


def test_a_program_is_no_file_of_weights(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(nn.Conv2d(3, 1, 1), torch.zeros(1, 3, 2, 2)), tmp_path / "w.pt")
    with pytest.raises(UserError, match=r"cannot be read \(it is a TorchScript program"):
        load_state(tmp_path / "w.pt")


def test_weights_that_are_not_finite_are_refused() -> None:
    """They would train until the first check of outputs, which blames the learning rate."""
    state = {"weight": torch.tensor([[1.0, float("nan")]]), "bias": torch.zeros(1)}
    with pytest.raises(UserError, match=r"1 of 2 tensors hold NaN or infinity \(e\.g\. weight\)"):
        load_into(nn.Linear(2, 1), state, "w.pth")
