"""A convolution and the ReLU behind it as one CPU kernel, for prediction."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tag2mask.backbones.phase_conv import PhaseDepthwiseConv2d
from tag2mask.backbones.strided_conv import StridedDepthwiseConv2d

ACTIVATIONS: dict[type[nn.Module], tuple[str, list[float]]] = {
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
}
"""Activation -> its name and numbers in oneDNN."""

# The operator behind torch.compile's convolutions on the CPU; builds without oneDNN lack it.
_KERNEL: Any = getattr(torch.ops.mkldnn, "_convolution_pointwise", None)


class ConvActivation(nn.Module):
    """activation(convolution(x)), on the CPU in one kernel of oneDNN.

    The first layers' maps are large: one more pass over them costs as much as their convolution. The
    kernel is for float32 without gradients and autocast; otherwise the two layers run one after the other.

    Args:
        convolution: a plain one, see `takes`.
        activation: of a type in `ACTIVATIONS`.

    Shape: that of the convolution.
    """

    def __init__(self, convolution: nn.Conv2d, activation: nn.Module) -> None:
        super().__init__()
        self.convolution = convolution
        self.activation = activation
        self._attribute, self._numbers = ACTIVATIONS[type(activation)]

    @staticmethod
    def takes(convolution: nn.Module, activation: nn.Module) -> bool:
        """Whether the kernel exists for the pair; subclasses of convolutions may compute something else."""
        return (
            _KERNEL is not None
            and type(convolution) in (nn.Conv2d, PhaseDepthwiseConv2d, StridedDepthwiseConv2d)
            and convolution.padding_mode == "zeros"
            and not isinstance(convolution.padding, str)
            and type(activation) in ACTIVATIONS
        )

    def forward(self, x: Tensor) -> Tensor:
        """The activation of the convolution of `x` (B, C, H, W)."""
        conv = self.convolution
        plain = x.device.type != "cpu" or x.dtype != torch.float32 or conv.weight.dtype != torch.float32
        if plain or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
            result: Tensor = self.activation(conv(x))
            return result
        fused: Tensor = _KERNEL(
            x, conv.weight, conv.bias, conv.padding, conv.stride, conv.dilation, conv.groups,
            self._attribute, self._numbers, "",
        )  # fmt: skip
        return fused
