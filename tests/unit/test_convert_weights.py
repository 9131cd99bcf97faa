"""``tag2mask weights convert``: the original formats, written here byte by byte, and the authors' names."""

from __future__ import annotations

import hashlib
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from tag2mask.backbones import Backbone, BackboneSpec, build_backbone
from tag2mask.backbones.resnet38 import ResNet38
from tag2mask.backbones.weights import backbone_part
from tag2mask.cli import main
from tag2mask.core import ClassList, UserError
from tag2mask.heads import HeadSpec
from tag2mask.modules import AffinityNet, Classifier, SegmentationModel, load_checkpoint
from tag2mask.weights.caffe_file import read_caffemodel
from tag2mask.weights.mxnet_file import read_mxnet
from tag2mask.weights.names import (
    resnet38_of_mxnet,
    resnet50_of_irn,
    resnet101_of_deeplab,
    vgg16_of_caffe,
)
from tag2mask.weights.published import recognise

Array = np.ndarray[Any, np.dtype[Any]]
TYPES = {"float32": 0, "float64": 1, "float16": 2, "uint8": 3, "int32": 4, "int8": 5, "int64": 6}


# --- MXNet --------------------------------------------------------------------------------------


def mxnet_array(value: Array, version: int) -> bytes:
    """One array as MXNet wrote it before 2017 (0), and in its first and second format with a magic number."""
    axes = value.ndim
    if version == 0:
        head = struct.pack(f"<I{axes}I", axes, *value.shape)
    elif version == 1:
        head = struct.pack(f"<II{axes}q", 0xF993FAC8, axes, *value.shape)
    else:
        head = struct.pack(f"<IiI{axes}q", 0xF993FAC9, 0, axes, *value.shape)
    return head + struct.pack("<iii", 1, 0, TYPES[value.dtype.name]) + value.tobytes()


def mxnet_file(arrays: dict[str, Array], version: int) -> bytes:
    body = b"".join(mxnet_array(value, version) for value in arrays.values())
    names = b"".join(struct.pack("<Q", len(name)) + name.encode() for name in arrays)
    return struct.pack("<QQQ", 0x112, 0, len(arrays)) + body + struct.pack("<Q", len(arrays)) + names


@pytest.fixture
def arrays() -> dict[str, Array]:
    rng = np.random.default_rng(0)
    return {
        "arg:conv1a_weight": rng.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "arg:half": rng.normal(size=(5,)).astype(np.float16),
        "aux:long": np.arange(6).reshape(2, 3),
    }


@pytest.mark.parametrize("version", [0, 1, 2])
def test_every_version_of_mxnets_format(version: int, arrays: dict[str, Array], tmp_path: Path) -> None:
    (tmp_path / "w.params").write_bytes(mxnet_file(arrays, version))
    read = read_mxnet(tmp_path / "w.params")
    assert list(read) == list(arrays)
    for name, value in arrays.items():
        kind = torch.float32 if value.dtype.kind == "f" else torch.int64
        assert read[name].dtype == kind and np.array_equal(
            read[name].numpy(), value.astype(read[name].numpy().dtype)
        )


def test_a_cut_or_wrong_mxnet_file_is_one_message(arrays: dict[str, Array], tmp_path: Path) -> None:
    whole, path = mxnet_file(arrays, 2), tmp_path / "w.params"
    for end in (0, 10, 30, 60, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:end])
        with pytest.raises(
            UserError, match=r"w\.params is not a whole file of MXNet weights: it ends \d+ bytes"
        ):
            read_mxnet(path)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (struct.pack("<QQQ", 0x113, 0, 0), "does not begin as one"),
        (struct.pack("<QQQ", 0x112, 0, 1 << 60), "claims to hold 1152921504606846976 arrays"),
        (struct.pack("<QQQI", 0x112, 0, 1, 200), "array of 200 axes"),
        (struct.pack("<QQQIi", 0x112, 0, 1, 0xF993FAC9, 1), "sparse"),
        (struct.pack("<QQQI2Iiii", 0x112, 0, 1, 2, 1 << 31, 1 << 31, 1, 0, 0), "bytes too early"),
        (struct.pack("<QQQIIqiii", 0x112, 0, 1, 0xF993FAC8, 1, -4, 1, 0, 0), r"the shape \[-4\]"),
        (struct.pack("<QQQIIiii", 0x112, 0, 1, 1, 1, 1, 0, 9), "unknown type 9"),
        (struct.pack("<QQQQQ", 0x112, 0, 0, 1, 1 << 40), "letters"),
    ],
)  # fmt: skip
def test_no_length_in_a_mxnet_file_is_trusted(data: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / "w.params").write_bytes(data)
    with pytest.raises(UserError, match=why):
        read_mxnet(tmp_path / "w.params")


@pytest.fixture(scope="module")
def resnet38() -> ResNet38:
    """Shapes without values: the network has 500 MB of them."""
    with torch.device("meta"):
        return ResNet38("none")


def test_mxnets_names_are_all_of_resnet38(resnet38: ResNet38) -> None:
    """Every weight has one name there, made from the paper's layers: levels of 3, 3, 6, 3, 1 and 1 blocks."""
    names = ["arg:conv1a_weight", "arg:linear1000_1_weight", "arg:linear1000_1_bias"]
    for level, blocks in ((2, 3), (3, 3), (4, 6), (5, 3), (6, 1), (7, 1)):
        for number in range(blocks):
            block = f"{level}b{number}" if number else f"{level}a"
            branches = ["2a", "2b1"] + (["2b2"] if level > 5 else [])
            names += [f"arg:res{block}_branch{b}_weight" for b in branches]
            names += [f"arg:res{block}_branch1_weight"] if number == 0 else []
            for branch in branches:
                names += [f"arg:bn{block}_branch{branch}_{value}" for value in ("gamma", "beta")]
                names += [f"aux:bn{block}_branch{branch}_moving_{value}" for value in ("mean", "var")]
    names += ["arg:bn7_gamma", "arg:bn7_beta", "aux:bn7_moving_mean", "aux:bn7_moving_var"]
    found = resnet38_of_mxnet({name: torch.zeros(1) for name in names})
    assert found.keys() == {k for k in resnet38.state_dict() if not k.endswith("num_batches_tracked")}
    with pytest.raises(UserError, match="arg:res2a_branch3_x is no array of ResNet38"):
        resnet38_of_mxnet({"arg:res2a_branch3_x": torch.zeros(1)})


def test_blocks_and_statistics_of_mxnet() -> None:
    value = torch.ones(1)
    assert resnet38_of_mxnet({"arg:res4b5_branch2b1_weight": value}) == {"b4_5.conv_branch2b1.weight": value}
    assert resnet38_of_mxnet({"aux:bn6a_branch2b2_moving_var": value}) == {
        "b6.bn_branch2b2.running_var": value
    }


# --- Caffe --------------------------------------------------------------------------------------


def field(number: int, data: bytes) -> bytes:
    """A length-delimited field of a protobuf message."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def blob(value: Array, old: bool) -> bytes:
    if old:
        four = (1,) * (4 - value.ndim) + value.shape
        shape = b"".join(varint(number << 3) + varint(side) for number, side in enumerate(four, 1))
    else:
        shape = field(7, field(1, b"".join(map(varint, value.shape))))
    return shape + field(5, value.astype("<f4").tobytes())


def caffemodel(layers: dict[str, list[Array]], old: bool) -> bytes:
    """A net as Caffe wrote it before 2014 (layers, with sides as four numbers) and since."""
    entries = [
        field(4 if old else 1, name.encode()) + b"".join(field(6 if old else 7, blob(b, old)) for b in blobs)
        for name, blobs in layers.items()
    ]
    return field(1, b"VGG") + b"".join(field(2 if old else 100, entry) for entry in entries)


@pytest.mark.parametrize("old", [True, False])
def test_both_forms_of_caffes_layers(old: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    layers = {"data": [], "conv1_1": [rng.normal(size=(4, 3, 3, 3)), rng.normal(size=4)]}
    (tmp_path / "w.caffemodel").write_bytes(caffemodel(layers, old))
    read = read_caffemodel(tmp_path / "w.caffemodel")
    assert {k: tuple(v.shape) for k, v in read.items()} == {
        "conv1_1.weight": (4, 3, 3, 3),
        "conv1_1.bias": (4,),
    }
    for name, value in zip(("weight", "bias"), layers["conv1_1"], strict=True):
        assert np.array_equal(read[f"conv1_1.{name}"].numpy(), value.astype(np.float32))


def test_a_wrong_caffemodel_is_one_message(tmp_path: Path) -> None:
    path, whole = tmp_path / "w.caffemodel", caffemodel({"conv1_1": [np.ones((2, 2))]}, old=False)
    path.write_bytes(whole[:-3])
    with pytest.raises(UserError, match="is not a whole caffemodel"):
        read_caffemodel(path)
    path.write_bytes(
        field(100, field(1, b"conv1_1") + field(7, field(7, field(1, varint(9))) + field(5, b"1234")))
    )
    with pytest.raises(UserError, match=r"layer conv1_1: 4 bytes do not fill the shape \[9\]"):
        read_caffemodel(path)
    path.write_bytes(b"")
    with pytest.raises(UserError, match="holds no layer with weights"):
        read_caffemodel(path)


def test_the_fully_connected_layers_of_the_full_vgg16_are_left_out() -> None:
    names = {
        "conv5_3.weight": torch.zeros(1),
        "fc7.weight": torch.zeros(4, 4),
        "fc8.weight": torch.zeros(4, 4),
    }
    full = vgg16_of_caffe({**names, "fc6.weight": torch.zeros(4, 16)})
    assert list(full) == ["conv5_3.weight"]
    assert "fc7.weight" in vgg16_of_caffe({**names, "fc6.weight": torch.zeros(4, 4, 3, 3)})
    with pytest.raises(UserError, match="it is no VGG16"):
        vgg16_of_caffe({"ip1.weight": torch.zeros(1)})


# --- authors' networks --------------------------------------------------------------------------


def meta(**shapes: tuple[int, ...]) -> dict[str, Tensor]:
    return {f"{k}.weight": torch.empty(shape, device="meta") for k, shape in shapes.items()}


def test_networks_of_the_papers_on_resnet38(resnet38: ResNet38) -> None:
    own = {k: v for k, v in resnet38.state_dict().items() if not k.endswith("num_batches_tracked")}
    seg = meta(fc8_seg_conv1=(512, 4096, 3, 3), fc8_seg_conv2=(21, 512, 3, 3))
    seg |= {"fc8_seg_conv1.bias": torch.empty(512), "fc8_seg_conv2.bias": torch.empty(21)}
    affinity = meta(f8_3=(64, 512, 1, 1), f8_4=(128, 1024, 1, 1), f8_5=(256, 4096, 1, 1), f9=(448, 448, 1, 1))
    seam = meta(fc8=(21, 4096, 1, 1), f8_3=(64, 512, 1, 1), f8_4=(128, 1024, 1, 1), f9=(192, 195, 1, 1))
    cases: list[tuple[dict[str, Tensor], str, str, set[str]]] = [
        (meta(fc8=(20, 4096, 1, 1)), "Classifier", "PSA", set()),
        (affinity, "AffinityNet", "affinity network", set()),
        (seam, "SeamClassifier", "SEAM", set()),
        (meta(fc8_20=(20, 4096, 1, 1), fc8_200=(200, 4096, 1, 1)), "SubCategoryClassifier", "10 sub-", set()),
        ({**meta(fc8=(20, 4096, 1, 1)), **seg}, "SegmentationModel", "RRM", {"fc8.weight"}),
    ]  # fmt: skip
    for heads, name, what, dropped in cases:
        network = recognise({**own, **heads}, None)
        assert network is not None and type(network.module).__name__ == name and what in network.what
        assert set(network.dropped) == dropped and network.module.classes == ClassList.voc()
        assert network.state.keys() == network.module.state_dict().keys()
    assert recognise(own, None) is None


def test_background_of_seam_is_its_first_map(resnet38: ResNet38) -> None:
    own = {k: v for k, v in resnet38.state_dict().items() if not k.endswith("num_batches_tracked")}
    state = {**own, **meta(f8_3=(64, 512, 1, 1), f8_4=(128, 1024, 1, 1), f9=(192, 195, 1, 1))}
    state["fc8.weight"] = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 4096, 1, 1)
    network = recognise(state, ClassList.from_names(["cat", "dog"]))
    assert network is not None and network.state["head.classifier.weight"][:, 0, 0, 0].tolist() == [1, 2]


def test_networks_that_do_not_fit_are_refused(resnet38: ResNet38) -> None:
    own = {k: v for k, v in resnet38.state_dict().items() if not k.endswith("num_batches_tracked")}
    with pytest.raises(UserError, match="has 7 classes, but VOC has 20: name them with --classes"):
        recognise({**own, **meta(fc8=(7, 4096, 1, 1))}, None)
    with pytest.raises(UserError, match="instead of"):
        recognise({**own, **meta(fc8=(20, 4096, 3, 3))}, None)
    del own["b5_1.conv_branch2a.weight"]
    with pytest.raises(UserError, match=r"lacks 1 weights, e\.g\. backbone\.b5_1"):
        recognise({**own, **meta(fc8=(20, 4096, 1, 1))}, None)


def deeplab_names() -> list[str]:
    """Weights of DeepLab v2 on ResNet101 in the names of deeplab-pytorch: levels of 3, 4, 23, 3 blocks."""
    units = ["layer1.conv1"]
    for stage, blocks in ((2, 3), (3, 4), (4, 23), (5, 3)):
        for block in range(1, blocks + 1):
            parts = ["reduce", "conv3x3", "increase"] + (["shortcut"] if block == 1 else [])
            units += [f"layer{stage}.block{block}.{part}" for part in parts]
    norms = ("weight", "bias", "running_mean", "running_var")
    names = [f"base.{unit}.{kind}" for unit in units for kind in ("conv.weight", *(f"bn.{n}" for n in norms))]
    return [*names, *(f"base.aspp.c{i}.{kind}" for i in range(4) for kind in ("weight", "bias"))]


def test_deeplab_of_caffe() -> None:
    names = resnet101_of_deeplab({name: torch.zeros(1) for name in deeplab_names()})
    old = {"base.": "scale.", "shortcut": "proj", "aspp.": "aspp.stages."}
    older = deeplab_names()
    for new, before in old.items():
        older = [name.replace(new, before) for name in older]
    assert resnet101_of_deeplab({name: torch.zeros(1) for name in older}).keys() == names.keys()
    with torch.device("meta"):
        spec, head = BackboneSpec("resnet101_caffe", "none", 8), HeadSpec("deeplabv2", msc_scales=[0.5, 0.75])
        ours = SegmentationModel(20, spec, head=head).state_dict()
    start, branches = "network.segmenter.backbone.model.", "network.segmenter.head.branches."
    shaped = {
        name: ours[name.replace("aspp.c", branches) if name.startswith("aspp") else start + name]
        for name in names
    }
    network = recognise(shaped, None)
    assert network is not None and "DeepLab" in network.what and not network.dropped
    assert network.state.keys() == ours.keys()
    assert backbone_part(network.state)["layer3.22.conv2.weight"].shape == (256, 256, 3, 3)


@pytest.mark.parametrize(
    ("name", "stride", "dilation"), [("layer2.0", 2, 1), ("layer4.0", 1, 4), ("layer4.2", 1, 4)]
)
def test_blocks_of_caffes_resnet_stride_first_and_dilate_all(
    name: str, stride: int, dilation: int, caffe_resnet: Backbone
) -> None:
    """Beside the block's layers written out."""
    block: Any = caffe_resnet.get_submodule(f"model.{name}").to_empty(device="cpu").eval()
    generator = torch.Generator().manual_seed(0)
    for value in block.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator) / 30 + (value.ndim == 1))
    x = torch.rand(1, block.conv1.in_channels, 12, 12, generator=generator)
    with torch.no_grad():
        y = torch.relu(block.bn1(F.conv2d(x, block.conv1.weight, stride=stride)))
        y = torch.relu(block.bn2(F.conv2d(y, block.conv2.weight, padding=dilation, dilation=dilation)))
        y = block.bn3(F.conv2d(y, block.conv3.weight))
        short = x
        if block.downsample is not None:
            short = block.downsample[1](F.conv2d(x, block.downsample[0].weight, stride=stride))
        # two float32 evaluations of the same sums
        assert torch.allclose(block(x), torch.relu(short + y), rtol=1e-4)


def test_colours_of_caffes_resnet(caffe_resnet: Backbone) -> None:
    assert caffe_resnet.taps["out"].stride == 8 and caffe_resnet.pad_value == (123, 117, 104)
    assert caffe_resnet._bgr and caffe_resnet.get_submodule("model.maxpool").ceil_mode
    with pytest.raises(UserError, match="do not suit resnet101_caffe"):
        build_backbone("resnet101_caffe", "imagenet")


@pytest.fixture(scope="module")
def caffe_resnet() -> Backbone:
    """Without values, which would take 170 MB."""
    with torch.device("meta"):
        return build_backbone("resnet101_caffe", "none")


def test_resnet50_of_irn() -> None:
    state = {
        "resnet50.conv1.weight": torch.zeros(1),
        "stage1.0.weight": torch.zeros(1),
        "classifier.weight": torch.zeros(1),
    }
    assert list(resnet50_of_irn(state)) == ["conv1.weight"]
    assert resnet50_of_irn({"conv1.weight": state["classifier.weight"]}).keys() == {"conv1.weight"}


# --- the command --------------------------------------------------------------------------------


def convert(source: Path, target: Path, *more: str) -> int:
    return main(["weights", "convert", str(source), str(target), *more])


def test_an_affinity_network_from_its_file_to_its_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """PSA's VGG16 in its names, DataParallel's prefix and all; the converted file also gives a backbone."""
    torch.manual_seed(0)
    net = AffinityNet(20, BackboneSpec("vgg16", "none")).eval()
    names = {f"head.reductions.{i}.0": f"f8_{i + 3}" for i in range(3)} | {"head.mix": "f9"}
    names |= {f"head.reductions.{i}.1": f"gn8_{i + 3}" for i in range(3)}
    state = {}
    for key, value in net.state_dict().items():
        layer, _, kind = key.rpartition(".")
        state[f"module.{names.get(layer, layer.removeprefix('backbone.'))}.{kind}"] = value
    torch.save(state, tmp_path / "vgg16_aff.pth")
    target = tmp_path / "affinity.safetensors"
    assert convert(tmp_path / "vgg16_aff.pth", target) == 0
    printed = capsys.readouterr().out
    for path in (tmp_path / "vgg16_aff.pth", target):
        assert f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path}" in printed
    read = load_checkpoint(target)
    assert isinstance(read, AffinityNet) and read.classes == ClassList.voc()
    assert all(torch.equal(value, read.state_dict()[key]) for key, value in net.state_dict().items())
    backbone = build_backbone("vgg16", str(target))
    assert torch.equal(backbone.get_parameter("fc7.weight"), net.backbone.get_parameter("fc7.weight"))
    assert convert(tmp_path / "vgg16_aff.pth", target) == 2 and "is there already" in capsys.readouterr().err


def test_a_caffemodel_from_its_file_to_its_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The full VGG16 has no convolutional fc6 and fc7: those start at random."""
    state = {k: v for k, v in build_backbone("vgg16", "none").state_dict().items() if k.startswith("conv")}
    layers: dict[str, list[Array]] = {}
    for key, value in state.items():
        layers.setdefault(key.rpartition(".")[0], []).append(value.numpy())
    (tmp_path / "VGG_ILSVRC_16_layers.caffemodel").write_bytes(caffemodel(layers, old=True))
    named = convert(
        tmp_path / "VGG_ILSVRC_16_layers.caffemodel", tmp_path / "w.safetensors", "--classes", "cat"
    )
    assert named == 2 and "has no classes: leave out --classes" in capsys.readouterr().err
    assert convert(tmp_path, tmp_path / "w.safetensors") == 2
    assert f"{tmp_path} is no file" in capsys.readouterr().err
    assert convert(tmp_path / "VGG_ILSVRC_16_layers.caffemodel", tmp_path / "w.safetensors") == 0
    assert all(torch.equal(v, state[k]) for k, v in load_file(tmp_path / "w.safetensors").items())
    assert torch.equal(
        build_backbone("vgg16", str(tmp_path / "w.safetensors")).state_dict()["conv3_2.bias"],
        state["conv3_2.bias"],
    )


class _Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return open, (self.path, "w")


def test_no_object_of_others_is_unpickled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trap = tmp_path / "trap"
    torch.save({"fc8.weight": torch.zeros(1), "x": _Touch(trap)}, tmp_path / "zip.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(_Touch(trap)))
    for name in ("zip.pth", "plain.pth"):
        assert convert(tmp_path / name, tmp_path / "w.safetensors") == 2
        assert "error: weights" in capsys.readouterr().err
    assert not trap.exists() and not (tmp_path / "w.safetensors").exists()
    assert convert(tmp_path / "none.pth", tmp_path / "w.safetensors") == 2
    assert convert(tmp_path / "zip.pth", tmp_path / "w.pth") == 2


def test_classifier_of_other_classes(tmp_path: Path) -> None:
    net = Classifier(2, BackboneSpec("vgg16", "none"))
    state = {k.removeprefix("backbone."): v for k, v in net.state_dict().items() if k.startswith("backbone.")}
    state["fc8.weight"] = net.head.classifier.weight.detach()
    torch.save(state, tmp_path / "cls.pth")
    assert convert(tmp_path / "cls.pth", tmp_path / "w.safetensors") == 2
    assert convert(tmp_path / "cls.pth", tmp_path / "w.safetensors", "--classes", "cat", "dog") == 0
    read = load_checkpoint(tmp_path / "w.safetensors")
    assert isinstance(read, Classifier) and read.classes == ClassList.from_names(["cat", "dog"])
    assert torch.equal(read.head.classifier.weight, net.head.classifier.weight)


# --- files that people give ---------------------------------------------------------------------


def convert_content(content: object, folder: Path, name: str = "w.pth") -> int:
    torch.save(content, folder / name)
    return main(["weights", "convert", str(folder / name), str(folder / "new.safetensors")])


def test_names_that_share_memory_are_written(tmp_path: Path) -> None:
    kernel = torch.ones(2, 3, 1, 1)
    assert convert_content({"a.weight": kernel, "b.weight": kernel}, tmp_path) == 0
    assert load_file(tmp_path / "new.safetensors").keys() == {"a.weight", "b.weight"}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"a": torch.ones(3)}, "holds no convolution"),
        ({"a": torch.full((1, 1, 1, 1), float("nan"))}, "NaN or infinity"),
    ],
)
def test_what_is_no_network_is_not_written(
    content: object, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert_content(content, tmp_path) == 2
    assert why in capsys.readouterr().err and not (tmp_path / "new.safetensors").exists()


def test_a_checkpoint_of_tag2mask_needs_no_conversion(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Converted, it lost its class and its classes, and --checkpoint refused it."""
    assert convert_content({"state_dict": {"a": torch.ones(1)}, "tag2mask": {}}, tmp_path, "last.ckpt") == 2
    assert "tag2mask's own" in capsys.readouterr().err
