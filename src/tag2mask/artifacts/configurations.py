"""What the saved configuration of a step says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def backbone_of(config: Mapping[str, Any]) -> dict[str, str]:
    """``name`` and first ``weights`` of a network's backbone, as far as its configuration has them.

    Args:
        config: content of a step's ``fit.yaml``. Runs made before arguments were objects have both as
            plain arguments of the model.

    Example:
        >>> backbone_of({"model": {"init_args": {"backbone": {"name": "vgg16", "weights": "imagenet"}}}})
        {'name': 'vgg16', 'weights': 'imagenet'}
    """
    arguments = (config.get("model") or {}).get("init_args") or {}
    backbone = arguments.get("backbone")
    if not isinstance(backbone, Mapping):
        backbone = {"name": backbone, "weights": arguments.get("weights")}
    return {key: backbone[key] for key in ("name", "weights") if isinstance(backbone.get(key), str)}
