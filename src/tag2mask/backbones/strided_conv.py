"""Depthwise convolutions whose bfloat16 gradients are slow on the CPU, with gradients in float32."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.padding import pad_same
from torch import Tensor, nn

Kind = TypeVar("Kind", bound=nn.Conv2d)
Window = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""Stride, padding and dilation of a convolution."""


class _FloatGradients(torch.autograd.Function):
    """A depthwise convolution in bfloat16 whose backward pass is that of float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, window: Window) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.window = window
        stride, padding, dilation = window
        return torch.conv2d(x, weight, None, stride, padding, dilation, len(weight))

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        wanted = [ctx.needs_input_grad[0], ctx.needs_input_grad[1], False]
        operands = (upstream[0].float(), x.float(), weight.float())
        of_x, of_weight, _ = torch.ops.aten.convolution_backward(
            *operands, None, *ctx.window, False, (0, 0), len(weight), wanted
        )
        return (
            of_x.to(x.dtype) if wanted[0] else None,
            of_weight.to(weight.dtype) if wanted[1] else None,
            None,
        )


def depthwise(layer: nn.Conv2d, x: Tensor, padding: tuple[int, int]) -> Tensor | None:
    """The depthwise convolution of a layer where its gradients are faster in float32, else None.

    That is in training with bfloat16 on the CPU. oneDNN's backward pass of a depthwise convolution with
    a stride or a dilation takes several times as long in bfloat16 as in float32 with the conversions, the
    forward pass less.

    Args:
        layer: a depthwise convolution.
        x: its input (B, C, H, W).
        padding: zeros around `x`.
    """
    if x.device.type != "cpu" or not learns(layer, x):
        return None
    autocast = torch.is_autocast_enabled("cpu")
    dtype = torch.get_autocast_dtype("cpu") if autocast else x.dtype
    if dtype != torch.bfloat16:
        return None
    window = (_pair(layer.stride), padding, _pair(layer.dilation))
    out: Tensor = _FloatGradients.apply(x.to(dtype), layer.weight.to(dtype), window)
    return out if layer.bias is None else out + layer.bias.to(dtype).view(-1, 1, 1)


def learns(layer: nn.Conv2d, x: Tensor) -> bool:
    """Whether a convolution of `x` needs gradients."""
    return torch.is_grad_enabled() and (x.requires_grad or layer.weight.requires_grad)


def _pair(sides: tuple[int, ...]) -> tuple[int, int]:
    return sides[0], sides[1]


def _is_strided(layer: nn.Conv2d) -> bool:
    return (
        layer.groups == layer.in_channels == layer.out_channels
        and max(layer.stride) > 1
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
    )


class StridedDepthwiseConv2d(nn.Conv2d):
    """`nn.Conv2d`, depthwise and with a stride, that trains fast in bfloat16 on the CPU.

    Shape: that of `nn.Conv2d`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The convolution of `x` (B, C, H, W)."""
        out = depthwise(self, x, _pair(self.padding))  # type: ignore[arg-type]
        return super().forward(x) if out is None else out


class StridedDepthwiseConv2dSame(Conv2dSame):
    """timm's `Conv2dSame`, depthwise and with a stride, that trains fast in bfloat16 on the CPU.

    Shape: that of `Conv2dSame`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The convolution of `x` (B, C, H, W), padded as TensorFlow does."""
        same = pad_same(x, list(self.kernel_size), list(self.stride), list(self.dilation))
        out = depthwise(self, same, (0, 0))
        if out is not None:
            return out
        plain: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return plain


def use_strided_convolutions(model: nn.Module) -> None:
    """Replace every depthwise convolution with a stride in place; names and weights stay."""
    kinds: dict[type[nn.Conv2d], type[nn.Conv2d]] = {
        nn.Conv2d: StridedDepthwiseConv2d,
        Conv2dSame: StridedDepthwiseConv2dSame,
    }
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d) and type(child) in kinds and _is_strided(child):
                setattr(parent, name, replacing(child, kinds[type(child)]))


def replacing(layer: nn.Conv2d, kind: type[Kind]) -> Kind:
    """A layer of another kind with the same settings and weights (shared, not copied)."""
    new = kind(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,  # type: ignore[arg-type]
        stride=layer.stride,  # type: ignore[arg-type]
        padding=layer.padding,  # type: ignore[arg-type]
        dilation=layer.dilation,  # type: ignore[arg-type]
        groups=layer.groups,
        bias=layer.bias is not None,
    )
    new.weight, new.bias = layer.weight, layer.bias
    return new
