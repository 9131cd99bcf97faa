"""Dilated depthwise convolution on the CPU as an ordinary one on interleaved sub-grids."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from tag2mask.backbones.strided_conv import depthwise, learns, replacing
from tag2mask.ops.sizes import grid_of


class PhaseDepthwiseConv2d(nn.Conv2d):
    """A dilated depthwise convolution that trains fast on the CPU; its results are those of `nn.Conv2d`.

    CPU libraries have no fast backward pass for depthwise convolutions with dilation d. Such a
    convolution mixes only pixels whose rows and columns differ by multiples of d. So it is the same as
    an undilated convolution on each of the d * d interleaved sub-grids (the "a trous to batch" identity
    of DeepLab's implementation; Chen et al., TPAMI 2018, section 3.1). The plain convolution is used
    where it is faster: without gradients, and on sub-grids smaller than the kernel.

    Shape: (B, C, H, W) -> (B, C, H, W).
    """

    @classmethod
    def takes(cls, layer: nn.Module) -> bool:
        """Whether a layer is a dilated depthwise convolution that keeps the size of its input."""
        if not isinstance(layer, nn.Conv2d) or isinstance(layer, cls):
            return False
        dilation, kernel = layer.dilation[0], layer.kernel_size[0]
        return (
            layer.groups == layer.in_channels == layer.out_channels
            and dilation > 1
            and layer.dilation == (dilation, dilation)
            and layer.kernel_size == (kernel, kernel)
            and kernel % 2 == 1
            and layer.stride == (1, 1)
            and layer.padding == (dilation * (kernel // 2),) * 2
            and layer.padding_mode == "zeros"
        )

    @classmethod
    def replacing(cls, layer: nn.Conv2d) -> PhaseDepthwiseConv2d:
        """A layer with the same weights (shared, not copied) and result."""
        return replacing(layer, cls)

    def forward(self, x: Tensor) -> Tensor:
        """The convolution of `x` (B, C, H, W), of the same shape."""
        if x.device.type != "cpu" or not learns(self, x):
            return super().forward(x)
        step, (height, width) = self.dilation[0], x.shape[2:]
        rows, columns = grid_of((height, width), step)
        if min(rows, columns) >= self.kernel_size[0]:
            return self._by_phases(x, rows, columns)
        out = depthwise(self, x, (int(self.padding[0]), int(self.padding[1])))
        return super().forward(x) if out is None else out

    def _by_phases(self, x: Tensor, rows: int, columns: int) -> Tensor:
        """The convolution on sub-grids of `rows` x `columns` pixels."""
        step, kernel = self.dilation[0], self.kernel_size[0]
        batch, channels, height, width = x.shape
        padded = F.pad(x, (0, columns * step - width, 0, rows * step - height))
        # Channels stay last in memory throughout, so that each rearrangement is a single copy.
        grid = padded.permute(0, 2, 3, 1).reshape(batch, rows, step, columns, step, channels)
        phases = grid.permute(0, 2, 4, 1, 3, 5).reshape(-1, rows, columns, channels).permute(0, 3, 1, 2)
        out = F.conv2d(phases, self.weight, self.bias, padding=kernel // 2, groups=channels)
        out = out.permute(0, 2, 3, 1).reshape(batch, step, step, rows, columns, channels)
        whole = out.permute(0, 3, 1, 4, 2, 5).reshape(batch, rows * step, columns * step, channels)
        return whole[:, :height, :width].permute(0, 3, 1, 2)


def use_phase_convolutions(model: nn.Module) -> None:
    """Replace every dilated depthwise convolution of a model in place; names and weights stay."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if PhaseDepthwiseConv2d.takes(child):
                assert isinstance(child, nn.Conv2d)
                setattr(parent, name, PhaseDepthwiseConv2d.replacing(child))
