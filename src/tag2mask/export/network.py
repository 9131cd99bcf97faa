"""A segmentation network as one function of the image, with everything before and after it inside."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import timm.layers.padding as timm_padding
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn import functional as F
from torch.utils._sympy.value_ranges import ValueRanges

from tag2mask.artifacts import atomic_write_bytes
from tag2mask.modules import SegmentationModel
from tag2mask.ops.sizes import scaled_side

SIDES = (32, 8192)
"""Least and largest height and width of an image."""


class WholeNetwork(nn.Module):
    """An image's bytes -> class probabilities and labels, in one pass at one size (``single_scale``).

    Resizing to the size of the tests, normalisation, and enlarging of the logits are part of it.

    Args:
        model: the trained network; it is not copied.
    """

    def __init__(self, model: SegmentationModel) -> None:
        super().__init__()
        self.network = model.network
        self.long_side = model.test.long_side

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities (1, K + 1, H, W) and labels (1, H, W) in uint8 of an image (1, 3, H, W) in uint8."""
        height, width = image.shape[-2:]
        pixels = image.float()
        if self.long_side:
            longer = cast(int, torch.sym_max(height, width))
            size = [scaled_side(side, self.long_side, longer) for side in (height, width)]
            pixels = F.interpolate(pixels, size, mode="bilinear", align_corners=False)
        logits = self.network(pixels).float()
        logits = F.interpolate(logits, (height, width), mode="bilinear", align_corners=False)
        scores = logits.softmax(1)
        return scores, scores.argmax(1).to(torch.uint8)


def trace(model: SegmentationModel) -> ExportedProgram:
    """The network as a program of torch.export, for images of any height and width within `SIDES`."""
    network = WholeNetwork(model.cpu()).eval().requires_grad_(False)
    example = torch.zeros(1, 3, 96, 128, dtype=torch.uint8)
    side = Dim.DYNAMIC(min=SIDES[0], max=SIDES[1])
    with torch.no_grad(), padding_in_integers():
        program = torch.export.export(
            network, (example,), dynamic_shapes={"image": {2: side, 3: side}}, strict=False
        )
    # Torch notes what it found true of the example, such as maps of more than one row, though the result does
    # not depend on it: a saved program would refuse small and narrow images for it.
    program._guards_code = []
    for side in program.range_constraints:
        program.range_constraints[side] = ValueRanges(*SIDES)
    return program


@contextlib.contextmanager
def padding_in_integers() -> Iterator[None]:
    """Without the `math.ceil` in timm's padding of TensorFlow's networks, which no saved program can hold."""

    def padding(side: int, kernel_size: int, stride: int, dilation: int) -> int:
        reach = (kernel_size - 1) * dilation
        missing = reach - (side - 1) % stride
        # A maximum in the size of every layer after it would keep torch busy with algebra for minutes.
        return missing if reach >= stride - 1 else cast(int, torch.sym_max(missing, 0))

    original = timm_padding.get_same_padding
    setattr(timm_padding, "get_same_padding", padding)  # noqa: B010
    try:
        yield
    finally:
        setattr(timm_padding, "get_same_padding", original)  # noqa: B010


def save_program(program: ExportedProgram, path: Path, facts: dict[str, str]) -> None:
    """Write a ``.pt2`` file that `torch.export.load` reads, with texts beside the program."""
    extra: dict[str, Any] = dict(facts)
    buffer = io.BytesIO()  # on a full disk torch's own writer ends the process with what no user can read
    torch.export.save(program, buffer, extra_files=extra)
    atomic_write_bytes(path, buffer.getbuffer())
