"""VGG16 in the DeepLab-LargeFOV form that the papers use."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import VGG16_Weights

from tag2mask.backbones.base import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Backbone,
    Normalisation,
    Role,
    Tap,
    init_convolutions,
)
from tag2mask.backbones.weights import backbone_part, load_into, load_state, not_downloaded

CAFFE_MEAN = (122.675, 116.669, 104.008)
"""Mean RGB in 0..255 of the Caffe models."""

CAFFE = Normalisation(CAFFE_MEAN, (1.0, 1.0, 1.0), bgr=True)
"""What the Caffe models expect."""

_LEVELS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
_TORCHVISION_INDEX = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
_FC6_DILATION: dict[Role, int] = {"cam": 1, "affinity": 4, "segmentation": 12}


def _layer_names() -> list[str]:
    return [f"conv{level}_{i}" for level, (count, _) in enumerate(_LEVELS, 1) for i in range(1, count + 1)]


class VGG16(Backbone):
    """VGG16 with stride 8: 3x3 pooling, dilated conv5, convolutional fc6 (1024) and fc7 (1024).

    Source: Chen et al., ICLR 2015 (LargeFOV) and the networks of Ahn and Kwak, CVPR 2018. Class
    maps of this network need a square root (`cam_sqrt`). Taps: ``conv2_2`` (128 channels, stride 2),
    ``conv3_3`` (256, stride 4), ``conv4_3`` (512), ``conv5_3`` (512) and ``out`` (fc7, 1024).

    Images are reduced to BGR minus the Caffe means. Weights of torchvision expect another scale;
    it is folded into the first convolution, so that the stored weights always have one meaning.

    Args:
        weights: ``"imagenet"`` (downloads the Caffe convolutions that torchvision offers; fc6 and
            fc7 start at random), ``"none"``, or the path of a file with the names of Caffe
            (``conv1_1``.. ``fc7``) or of torchvision (``features.0``..).
        role: ``"cam"``, ``"affinity"`` or ``"segmentation"``: fc6 is dilated by 1, 4 or 12. Only
            the segmentation network has pool5 (3x3 maximum, then 3x3 average, stride 1): the
            published classifier and affinity networks leave it out.

    Raises:
        UserError: the weights cannot be downloaded, or the file does not fit.
    """

    default_frozen: ClassVar[tuple[str, ...]] = ("conv1_1", "conv1_2", "conv2_1", "conv2_2")
    """The layers that the paper's code does not train."""

    cam_sqrt = True

    def __init__(self, weights: str = "imagenet", role: Role = "cam") -> None:
        super().__init__(CAFFE)
        self.taps = {
            "conv2_2": Tap(128, 2),
            "conv3_3": Tap(256, 4),
            "conv4_3": Tap(512, 8),
            "conv5_3": Tap(512, 8),
            "out": Tap(1024, 8),
        }
        self.affinity_taps = ("conv4_3", "conv5_3", "out")
        inputs = 3
        for name in _layer_names():
            level = int(name[4])
            dilation = 2 if level == 5 else 1
            outputs = _LEVELS[level - 1][1]
            self.add_module(name, nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation))
            inputs = outputs
        fov = _FC6_DILATION[role]
        self.fc6 = nn.Conv2d(512, 1024, 3, padding=fov, dilation=fov)
        self.drop6 = nn.Dropout2d(0.5)
        self.fc7 = nn.Conv2d(1024, 1024, 1)
        self._pool5 = role == "segmentation"
        init_convolutions(self)
        if weights != "none":
            self._load(weights)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """The kept taps of normalised images (B, 3, H, W); nothing behind the deepest is computed."""
        maps: dict[str, Tensor] = {}
        for level, (count, _) in enumerate(_LEVELS, 1):
            if level > 1:
                x = F.max_pool2d(x, 3, stride=2 if level < 5 else 1, padding=1)
            for i in range(1, count + 1):
                x = F.relu(self.get_submodule(f"conv{level}_{i}")(x))
            maps[f"conv{level}_{count}"] = x
            if f"conv{level}_{count}" == list(self.taps)[-1]:
                return {name: maps[name] for name in self.taps}
        if self._pool5:
            x = F.avg_pool2d(F.max_pool2d(x, 3, stride=1, padding=1), 3, stride=1, padding=1)
        maps["out"] = F.relu(self.fc7(self.drop6(F.relu(self.fc6(x)))))
        return {name: maps[name] for name in self.taps}

    def use_only(self, names: Collection[str]) -> None:
        """As `Backbone.use_only`; layers behind the deepest tap are neither computed nor trained."""
        super().use_only(names)
        deepest = list(self.taps)[-1]
        if deepest != "out":
            self._freeze_behind(deepest)

    def _load(self, weights: str) -> None:
        state = _fetch() if weights == "imagenet" else backbone_part(load_state(weights))
        if any(key.startswith("features.") for key in state):
            classifier = ("classifier", "pre_logits", "head")
            state = from_torchvision(state)
            load_into(self, state, weights, may_lack=("fc6", "fc7"), ignored=classifier)
        else:
            # The full network of Caffe has no fc6 and fc7 that are convolutions.
            absent = () if any(key.startswith(("fc6", "fc7")) for key in state) else ("fc6", "fc7")
            load_into(self, state, weights, may_lack=absent, ignored=("fc8",))


def from_torchvision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Torchvision's VGG16 weights under Caffe's names, for BGR images minus the Caffe means.

    The first convolution takes over the difference of scale, channel order and mean. That is exact
    but for the outermost pixels, where padding means another colour.

    Args:
        state: weights of `torchvision.models.vgg16`. The set without classifier (its values are
            NaN) expects the Caffe scale, any other 0..1 divided by ImageNet's standard deviation.

    Returns:
        the same weights as ``conv1_1.weight`` ... ``conv5_3.bias``; other keys stay as they are.
    """
    names = {f"features.{i}": name for i, name in zip(_TORCHVISION_INDEX, _layer_names(), strict=True)}
    out: dict[str, Tensor] = {}
    for key, value in state.items():
        layer, _, kind = key.rpartition(".")
        out[f"{names[layer]}.{kind}" if layer in names else key] = value
    if "conv1_1.weight" not in out or "conv1_1.bias" not in out:
        return out
    mean, std = _expected_statistics(state)
    weight = out["conv1_1.weight"] / std.view(1, 3, 1, 1)
    shift = (torch.tensor(CAFFE_MEAN) - mean).view(1, 3, 1, 1)
    out["conv1_1.bias"] = out["conv1_1.bias"] + (weight * shift).sum((1, 2, 3))
    out["conv1_1.weight"] = weight.flip(1)
    return out


def _expected_statistics(state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and divisor (RGB, 0..255) that torchvision's weights were trained with."""
    classifier = state.get("classifier.0.weight")
    if classifier is not None and bool(classifier.isnan().any()):
        return torch.tensor((0.48235, 0.45882, 0.40784)) * 255, torch.ones(3)
    return torch.tensor(IMAGENET_MEAN) * 255, torch.tensor(IMAGENET_STD) * 255


def _fetch() -> Mapping[str, Tensor]:
    try:
        state: Mapping[str, Tensor] = VGG16_Weights.IMAGENET1K_FEATURES.get_state_dict(progress=False)
    except (OSError, RuntimeError) as error:
        raise not_downloaded("vgg16", error) from error
    return state
