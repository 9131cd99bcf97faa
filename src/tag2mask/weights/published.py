"""Networks that the authors of papers trained, recognised by the names in their files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tag2mask.backbones import BackboneSpec
from tag2mask.core import VOC_NAMES, ClassList, UserError
from tag2mask.heads import HeadSpec
from tag2mask.modules import AffinityNet, Classifier, SegmentationModel
from tag2mask.modules.base import TrainableNetwork
from tag2mask.recipes.sc_cam import SubCategoryClassifier
from tag2mask.recipes.seam import SeamClassifier

State = dict[str, Tensor]


@dataclass(frozen=True)
class Network:
    """A network of a paper in the form of this package.

    Attributes:
        what: a few words on it.
        module: the network, without values (on torch's meta device).
        state: its weights under the names of `module`.
        dropped: names in the file that have no place in `module`.
    """

    what: str
    module: TrainableNetwork
    state: State
    dropped: tuple[str, ...]


def recognise(state: Mapping[str, Tensor], classes: ClassList | None) -> Network | None:
    """The network that a file's names belong to.

    Args:
        state: the file's weights.
        classes: the classes of the network; None for VOC's 20.

    Returns:
        the network; None where there is a backbone only.

    Raises:
        UserError: the number of classes differs, or weights are missing or have other shapes.
    """
    for marks, build in _KNOWN:
        if marks <= set(state):
            network = build(dict(state), classes)
            _check(network)
            return network
    return None


def backbone_of(state: Mapping[str, Tensor], source: str | Path) -> str:
    """What a file without a known head holds, in the words of the command line.

    Raises:
        UserError: it holds no convolution, so no network of images.
    """
    if all(value.ndim < 4 for value in state.values()):
        raise UserError(
            f"{source} holds no convolution, so no backbone: give the weights of a network of images"
        )
    for mark, name in _BACKBONES.items():
        if mark in state:
            return f"--backbone {name}"
    return "the --backbone that they belong to"


def _psa_classifier(state: State, classes: ClassList | None) -> Network:
    known = _classes(len(state["fc8.weight"]), classes)
    module = _on_meta(lambda: Classifier(len(known), _backbone(state)), known)
    return _network("classifier (PSA, SC-CAM round 0)", module, state, {"fc8.": "head.classifier."})


def _seam_classifier(state: State, classes: ClassList | None) -> Network:
    known = _classes(len(state["fc8.weight"]) - 1, classes)
    # Its first map is background, which it makes from the others anyway.
    state = {**state, "fc8.weight": state["fc8.weight"][1:]}
    module = _on_meta(lambda: SeamClassifier(num_classes=len(known), backbone=_backbone(state)), known)
    names = {"fc8.": "head.classifier.", "f9.": "correlation.mix."}
    names |= {f"f8_{i + 3}.": f"correlation.reductions.{i}." for i in range(2)}
    return _network("classifier with its pixel correlation (SEAM)", module, state, names)


def _sub_category_classifier(state: State, classes: ClassList | None) -> Network:
    known = _classes(len(state["fc8_20.weight"]), classes)
    each = len(state["fc8_200.weight"]) // len(known)
    module = _on_meta(lambda: SubCategoryClassifier(len(known), _backbone(state), sub_categories=each), known)
    names = {"fc8_20.": "head.classifier.", "fc8_200.": "sub_classifier."}
    return _network(f"classifier with {each} sub-categories a class (SC-CAM)", module, state, names)


def _affinity(state: State, classes: ClassList | None) -> Network:
    known = classes or ClassList.voc()
    module = _on_meta(lambda: AffinityNet(len(known), _backbone(state)), known)
    names = {f"f8_{i + 3}.": f"head.reductions.{i}.0." for i in range(3)}
    names |= {f"gn8_{i + 3}.": f"head.reductions.{i}.1." for i in range(3)}
    return _network("affinity network (PSA, SEAM)", module, state, {**names, "f9.": "head.mix."})


def _rrm(state: State, classes: ClassList | None) -> Network:
    known = _classes(len(state["fc8_seg_conv2.weight"]) - 1, classes)
    module = _on_meta(
        lambda: SegmentationModel(len(known), _backbone(state), head=HeadSpec("resnet38")), known
    )
    names = {"fc8_seg_conv1.": "network.head.conv.", "fc8_seg_conv2.": "network.head.classifier."}
    return _network("segmentation network (RRM)", module, state, names, "network.backbone.")


def _deeplab(state: State, classes: ClassList | None) -> Network:
    known = _classes(len(state["aspp.c0.weight"]) - 1, classes)
    spec, head = BackboneSpec("resnet101_caffe", "none", 8), HeadSpec("deeplabv2", msc_scales=[0.5, 0.75])
    module = _on_meta(lambda: SegmentationModel(len(known), spec, head=head), known)
    names = {f"aspp.c{i}.": f"network.segmenter.head.branches.{i}." for i in range(4)}
    return _network(
        "segmentation network (DeepLab v2)", module, state, names, "network.segmenter.backbone.model."
    )


_BACKBONES = {"b7.conv_branch2b2.weight": "resnet38", "conv5_3.weight": "vgg16"}
"""A name that only this backbone has; timm's are too many to tell apart by names."""

_KNOWN: tuple[tuple[set[str], Callable[[State, ClassList | None], Network]], ...] = (
    ({"fc8_seg_conv1.weight", "fc8_seg_conv2.weight"}, _rrm),
    ({"aspp.c0.weight", "layer1.0.conv1.weight"}, _deeplab),
    ({"fc8_20.weight", "fc8_200.weight"}, _sub_category_classifier),
    ({"f8_5.weight", "f9.weight"}, _affinity),
    ({"f8_3.weight", "f9.weight", "fc8.weight"}, _seam_classifier),
    ({"fc8.weight"}, _psa_classifier),
)
"""Names that mark a network, the most special first."""


def _network(
    what: str, module: TrainableNetwork, state: State, names: Mapping[str, str], backbone: str = "backbone."
) -> Network:
    """The weights under the names of the module.

    Args:
        what: see `Network`.
        module: see `Network`.
        state: the file's weights.
        names: beginnings of names in the file -> those in the module; all others belong to the backbone.
        backbone: how the module's names of the backbone begin.
    """
    renamed: State = {}
    source: dict[str, str] = {}
    for name, value in state.items():
        start = next((old for old in names if name.startswith(old)), "")
        new = (names[start] if start else backbone) + name.removeprefix(start)
        renamed[new], source[new] = value, name
    wanted = module.state_dict()
    # Old files do not count the batches, which nothing reads.
    counts = {k: torch.tensor(0) for k in wanted if k.endswith("num_batches_tracked") and k not in renamed}
    kept = {name: value for name, value in renamed.items() if name in wanted}
    dropped = tuple(source[name] for name in renamed if name not in wanted)
    return Network(what, module, {**kept, **counts}, dropped)


def _check(network: Network) -> None:
    wanted = network.module.state_dict()
    missing = [name for name in wanted if name not in network.state]
    if missing:
        raise UserError(
            f"the {network.what} lacks {len(missing)} weights, e.g. {missing[0]}: is the file whole?"
        )
    for name, value in network.state.items():
        if value.shape != wanted[name].shape:
            raise UserError(
                f"the {network.what} has {name} of the shape {tuple(value.shape)} instead of "
                f"{tuple(wanted[name].shape)}: it is another network"
            )


def _classes(count: int, given: ClassList | None) -> ClassList:
    if given is not None and len(given) == count:
        return given
    if given is None and count == len(VOC_NAMES):
        return ClassList.voc()
    asked = "VOC has 20" if given is None else f"{len(given)} were named"
    raise UserError(f"the network has {count} classes, but {asked}: name them with --classes")


def _backbone(state: Mapping[str, Tensor]) -> BackboneSpec:
    return BackboneSpec("resnet38" if "conv1a.weight" in state else "vgg16", "none")


def _on_meta(build: Callable[[], TrainableNetwork], classes: ClassList) -> TrainableNetwork:
    """A network that has shapes but no values: those come from the file."""
    with torch.device("meta"):
        module = build()
    module.classes = classes
    return module
