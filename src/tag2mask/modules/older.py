"""Checkpoints that were made before arguments were objects: what they hold, in today's form."""

from __future__ import annotations

from typing import Any

_GROUPS = {
    "backbone": {"backbone": "name", "weights": "weights", "output_stride": "output_stride"},
    "cam": {"scales": "scales", "flip": "flip"},
    "head": {"head": "name", "head_channels": "channels", "msc_scales": "msc_scales"},
    "test": {"test_long_side": "long_side", "test_scales": "scales", "test_flip": "flip", "crf": "crf"},
    "propagation": {n: n for n in ("channels", "guide_channels", "gate_floor", "passes")},
}
"""Today's argument -> the older arguments that it replaces, each with the name of its field today."""

_CLASSES = {"tag2mask.modules.affinity.AffinityLearner": "tag2mask.modules.affinity.AffinityNet"}


def arguments_of(network: dict[str, Any]) -> dict[str, Any]:
    """Constructor arguments as they are now, from the flat ones of an older checkpoint.

    Args:
        network: what the checkpoint has under ``network``.

    Example:
        >>> arguments_of({"num_classes": 2, "backbone": "vgg16", "weights": "none", "radius": 5})
        {'num_classes': 2, 'radius': 5, 'backbone': {'name': 'vgg16', 'weights': 'none'}}
    """
    moved = {old for group in _GROUPS.values() for old in group}
    arguments: dict[str, Any] = {name: value for name, value in network.items() if name not in moved}
    for name, group in _GROUPS.items():
        if found := {new: network[old] for old, new in group.items() if old in network}:
            arguments[name] = found
    return arguments


def class_path_of(class_path: str) -> str:
    """The path of a class, which may have been renamed since."""
    return _CLASSES.get(class_path, class_path)
