"""What the original files call the layers, and what they are called here."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from tag2mask.core import UserError

_NORMS = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_var": "running_var"}
_CONVOLUTION = re.compile(r"arg:res(\d)([a-z])(\d*)_(branch\w+)_weight")
_NORM = re.compile(r"(?:arg|aux):bn(\d)([a-z])(\d*)_(branch\w+)_(gamma|beta|moving_mean|moving_var)")
_DEEPLAB = re.compile(
    r"(?:(?:base|scale)\.)?(?:layer1\.conv1|layer(?P<level>[2-5])\.block(?P<block>\d+)\.(?P<unit>\w+))\."
    r"(?P<kind>conv|bn)\.(?P<value>\w+)"
)
_ASPP = re.compile(r"(?:(?:base|scale)\.)?aspp\.(?:stages\.)?(c\d\.\w+)")
_UNITS = {"reduce": 1, "conv3x3": 2, "increase": 3}
_LAST_NORM = re.compile(r"(?:arg|aux):bn7_(gamma|beta|moving_mean|moving_var)")


def resnet38_of_mxnet(arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of ResNet38 under the names of `tag2mask.backbones.resnet38.ResNet38`.

    The blocks of a level are called ``a``, ``b1``, ``b2``, ... there and ``b2``, ``b2_1``, ``b2_2``, ...
    here. The classifier of ImageNet's classes is left out.

    Raises:
        UserError: a name is none of this network.
    """
    return {
        _resnet38_name(name): value for name, value in arrays.items() if not name.startswith("arg:linear1000")
    }


def _resnet38_name(name: str) -> str:
    if name == "arg:conv1a_weight":
        return "conv1a.weight"
    if found := _CONVOLUTION.fullmatch(name):
        level, _, number, branch = found.groups()
        return f"{_block(level, number)}.conv_{branch}.weight"
    if found := _NORM.fullmatch(name):
        level, _, number, branch, value = found.groups()
        return f"{_block(level, number)}.bn_{branch}.{_NORMS[value]}"
    if found := _LAST_NORM.fullmatch(name):
        return f"bn7.{_NORMS[found[1]]}"
    raise UserError(
        f"{name} is no array of ResNet38 (ilsvrc-cls_rna-a1_cls1000_ep-0001.params): give that file"
    )


def _block(level: str, number: str) -> str:
    return f"b{level}_{number}" if number else f"b{level}"


def vgg16_of_caffe(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of VGG16 under the names of `tag2mask.backbones.vgg16.VGG16`, which are Caffe's.

    The classifier (``fc8``) is left out. So are fc6 and fc7 of the full network, whose fc6 sees the whole
    image; those of the network with 20 million weights, which the papers start from, are convolutions.

    Raises:
        UserError: the file holds no convolutions of VGG16.
    """
    kept = {name: value for name, value in weights.items() if re.match(r"(conv\d_\d|fc[67])\.", name)}
    if "conv5_3.weight" not in kept:
        raise UserError("the file holds no layer conv5_3, so it is no VGG16: give vgg16_20M.caffemodel")
    if kept.get("fc6.weight") is None or kept["fc6.weight"].ndim != 4:
        return {name: value for name, value in kept.items() if name.startswith("conv")}
    return kept


def resnet50_of_irn(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The ResNet50 in a network of IRN, under timm's names; other files come back as they are.

    Its classifier is left out: only the backbone is read, for ``resnet50_irn`` (as in IRN) or ``resnet50``.
    """
    own = {k.removeprefix("resnet50."): v for k, v in weights.items() if k.startswith("resnet50.")}
    return {k: v for k, v in own.items() if not k.startswith("fc.")} or dict(weights)


def resnet101_of_deeplab(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The ResNet101 of deeplab-pytorch under timm's names; other files come back as they are.

    Its head keeps the names ``aspp.c0`` to ``aspp.c3``.
    """
    if not any(_DEEPLAB.fullmatch(name) for name in weights):
        return dict(weights)
    return {_deeplab_name(name): value for name, value in weights.items()}


def _deeplab_name(name: str) -> str:
    if found := _ASPP.fullmatch(name):
        return f"aspp.{found[1]}"
    found = _DEEPLAB.fullmatch(name)
    if found is None:
        return name
    level, block, unit, kind, value = found.group("level", "block", "unit", "kind", "value")
    if level is None:
        return f"{kind}1.{value}"
    place = f"layer{int(level) - 1}.{int(block) - 1}"
    if unit in _UNITS:
        return f"{place}.{kind}{_UNITS[unit]}.{value}"
    return f"{place}.downsample.{0 if kind == 'conv' else 1}.{value}"
