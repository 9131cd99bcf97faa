"""Batch normalisation and ReLUs merged into the convolutions before them, for prediction."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from typing import TypeVar, cast

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.nn.utils.fusion import fuse_conv_bn_weights

from tag2mask.backbones.fused_conv import ACTIVATIONS, ConvActivation
from tag2mask.backbones.phase_conv import PhaseDepthwiseConv2d
from tag2mask.backbones.strided_conv import StridedDepthwiseConv2d, StridedDepthwiseConv2dSame

M = TypeVar("M", bound=nn.Module)

_LINEAR = (
    nn.Conv2d,
    PhaseDepthwiseConv2d,
    StridedDepthwiseConv2d,
    Conv2dSame,
    StridedDepthwiseConv2dSame,
)
"""Layers whose result is linear in ``weight``; subclasses may standardise it first."""
_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm, BatchNormAct2d)
_RELUS = tuple(ACTIVATIONS)


def fold_batchnorm(model: M, example: Tensor) -> M:
    """A copy of a model for prediction, without the batch normalisation that directly follows a convolution.

    In eval mode batch normalisation is a fixed scale and shift of each channel, so it can be part of
    the convolution's weights: the same function with fewer passes over memory. A pair is merged only
    if nothing else reads the convolution's result; the graph that autograd records shows this. Other
    normalisation layers (e.g. those before a convolution in a pre-activation network) stay. Then each
    ReLU is joined with the convolution before it under the same condition, see `ConvActivation`.

    Args:
        model: takes a tensor and returns a tensor, or a dict or list of them.
        example: an input, as small as the model takes.

    Returns:
        the copy, in eval mode and without gradients. Its results differ from the model's by rounding only.
    """
    with torch.inference_mode(False), torch.enable_grad():
        folded = copy.deepcopy(model).eval().requires_grad_(True)
        for convolution, norm in _pairs(folded, example.clone(), _NORMS):
            _merge(convolution, cast(nn.BatchNorm2d, norm))
            _replace(folded, norm, norm.act if isinstance(norm, BatchNormAct2d) else nn.Identity())
        for convolution, relu in _pairs(folded, example.clone(), _RELUS):
            if ConvActivation.takes(convolution, relu):
                _replace(folded, relu, nn.Identity())
                _replace(folded, convolution, ConvActivation(convolution, relu))
    return folded.requires_grad_(False)


def _pairs(
    model: nn.Module, example: Tensor, kinds: tuple[type[nn.Module], ...]
) -> list[tuple[nn.Conv2d, nn.Module]]:
    """Each convolution whose result is read by one layer only, with that layer if it is of some kinds."""
    made: dict[Node | None, nn.Conv2d] = {}
    read: list[tuple[Node | None, nn.Module]] = []
    handles = []
    for layer in model.modules():
        if type(layer) in _LINEAR:
            handles.append(
                layer.register_forward_hook(lambda conv, _, out: made.__setitem__(out.grad_fn, conv))
            )
        elif type(layer) in kinds and getattr(layer, "running_mean", layer) is not None:
            handles.append(
                layer.register_forward_pre_hook(lambda mod, inputs: read.append((inputs[0].grad_fn, mod)))
            )
    try:
        readers = _readers(model(example))
    finally:
        for handle in handles:
            handle.remove()
    calls = Counter(id(layer) for layer in [*made.values(), *(layer for _, layer in read)])
    return [
        (made[node], layer)
        for node, layer in read
        if node in made and readers[node] == 1 and calls[id(made[node])] == calls[id(layer)] == 1
    ]


def _readers(outputs: object) -> Counter[Node | None]:
    """How many operations (or outputs) read the result of each operation."""
    found: Counter[Node | None] = Counter(t.grad_fn for t in _tensors(outputs))
    todo = list(found)
    while todo:
        node = todo.pop()
        for before, _ in node.next_functions if node else ():
            if before not in found:
                todo.append(before)
            found[before] += 1
    return found


def _tensors(outputs: object) -> Iterator[Tensor]:
    if isinstance(outputs, Tensor):
        yield outputs
    elif isinstance(outputs, dict):
        for value in outputs.values():
            yield from _tensors(value)
    elif isinstance(outputs, (list, tuple)):
        for value in outputs:
            yield from _tensors(value)


def _merge(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        convolution.weight,
        convolution.bias,
        cast(Tensor, norm.running_mean),
        cast(Tensor, norm.running_var),
        norm.eps,
        norm.weight,
        norm.bias,
    )


def _replace(model: nn.Module, layer: nn.Module, new: nn.Module) -> None:
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if child is layer:
                setattr(parent, name, new)
