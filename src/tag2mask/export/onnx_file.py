"""ONNX: the file, and running it."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.export import ExportedProgram

from tag2mask.core import UserError

Outputs = tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]
"""Probabilities (1, K + 1, H, W) and labels (1, H, W)."""

PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def require_onnx() -> None:
    """Make sure that what ONNX needs is installed.

    Raises:
        UserError: a package is missing.
    """
    for name in PACKAGES:
        try:
            import_module(name)
        except ImportError as error:
            raise UserError(
                f"ONNX needs the package {name} ({error}): pip install 'tag2mask[export]', or leave ONNX out "
                "with --format torch safetensors"
            ) from error


def save_onnx(program: ExportedProgram, path: Path, facts: dict[str, str]) -> None:
    """Write an exported program as an ONNX file that holds its weights, with texts in its metadata."""
    with _quiet():
        made = torch.onnx.export(
            program, (), input_names=["image"], output_names=["scores", "labels"], dynamo=True, verbose=False
        )
    if made is None:
        raise RuntimeError("torch.onnx.export returned no program")
    made.model.metadata_props.update(facts)
    made.save(path)


def run_onnx(path: Path) -> Callable[[npt.NDArray[np.uint8]], Outputs]:
    """An ONNX file as a function of images (1, 3, H, W), run by onnxruntime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(image: npt.NDArray[np.uint8]) -> Outputs:
        scores, labels = session.run(["scores", "labels"], {"image": image})
        return np.asarray(scores), np.asarray(labels)

    return run


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says about operators that the network does not use."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
