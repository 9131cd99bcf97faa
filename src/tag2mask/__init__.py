"""tag2mask: from image tags to pixel masks, weakly supervised semantic segmentation as a pipeline.

For use from Python: `load` a trained network and label images with it, `run` a recipe, and the operators,
losses and metrics in `tag2mask.ops`, `tag2mask.losses` and `tag2mask.metrics`. They are imported on first
use, so that ``import tag2mask`` is quick and needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

__all__ = [
    "FinishedRun",
    "Segmenter",
    "__version__",
    "load",
    "losses",
    "metrics",
    "ops",
    "run",
]

_HOME = {
    "FinishedRun": "api.recipe",
    "Segmenter": "api.segmenter",
    "load": "api.segmenter",
    "run": "api.recipe",
}
_PACKAGES = ("losses", "metrics", "ops")


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"tag2mask.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'tag2mask' has no attribute {name!r}")
    return getattr(import_module(f"tag2mask.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
