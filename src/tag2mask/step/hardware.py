"""What of a step's settings the machine can do."""

from __future__ import annotations

import logging
from typing import Any

import torch

from tag2mask.ops.cam.precision import multiplies_bfloat16

_log = logging.getLogger(__name__)


def usable_precision(trainer: Any) -> Any:
    """The precision to train and predict in.

    A budget names bfloat16 for every machine; one that cannot multiply it would emulate it and take longer
    than with float32.

    Args:
        trainer: the Trainer's settings, of which ``precision`` and ``accelerator`` are read.

    Returns:
        ``trainer.precision``, or 32-true in place of bfloat16; the log says so.
    """
    wanted = trainer.precision
    if not str(wanted).startswith("bf16") or multiplies_bfloat16(_device(trainer.accelerator)):
        return wanted
    _log.info("float32 in place of %s, which this hardware has no instructions for", wanted)
    return "32-true"


def _device(accelerator: str) -> torch.device:
    gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return torch.device("cuda" if gpu else "cpu")
