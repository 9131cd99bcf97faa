"""How each format is written, and run for its comparison with the checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save
from torch.export import ExportedProgram

from tag2mask.artifacts import atomic_write_bytes
from tag2mask.export.network import WholeNetwork, save_program, trace
from tag2mask.export.onnx_file import Outputs, run_onnx, save_onnx
from tag2mask.modules import SegmentationModel, load_checkpoint
from tag2mask.modules.loading import network_metadata

Runner = Callable[[npt.NDArray[np.uint8]], Outputs]


def savers(model: SegmentationModel, texts: Mapping[str, str]) -> dict[str, Callable[[Path], None]]:
    """Format -> the function that writes the network to a path.

    Args:
        model: the network.
        texts: what goes into the metadata of the files.
    """

    @cache
    def program() -> ExportedProgram:
        return trace(model)

    return {
        "onnx": lambda path: save_onnx(program(), path, dict(texts)),
        "torch": lambda path: save_program(program(), path, dict(texts)),
        "safetensors": lambda path: save_weights(model, path, texts),
    }


def save_weights(model: SegmentationModel, path: Path, texts: Mapping[str, str]) -> None:
    """Write the weights, with all in the metadata that `load_checkpoint` needs to build the network."""
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    atomic_write_bytes(path, save(weights, metadata={**texts, **network_metadata(model)}))


def run_program(path: Path) -> Runner:
    """A ``.pt2`` file as a function of images (1, 3, H, W)."""
    return _runner(torch.export.load(path).module())


def run_weights(path: Path) -> Runner:
    """A safetensors file as a function of images (1, 3, H, W)."""
    model = load_checkpoint(path)
    assert isinstance(model, SegmentationModel)  # it was written from one
    return _runner(WholeNetwork(model))


def _runner(network: torch.nn.Module) -> Runner:
    def run(image: npt.NDArray[np.uint8]) -> Outputs:
        with torch.no_grad():
            scores, labels = network(torch.from_numpy(image))
        return scores.numpy(), labels.numpy()

    return run


RUNNERS: dict[str, Callable[[Path], Runner]] = {
    "onnx": run_onnx,
    "torch": run_program,
    "safetensors": run_weights,
}
