"""Packages outside this one that bring recipes and classes of their own."""

from __future__ import annotations

from importlib.metadata import entry_points

GROUP = "tag2mask.recipes"
"""Entry points of this group are packages with recipes."""

_OWN = "tag2mask"


def plugin_packages() -> dict[str, str]:
    """Name of each registered entry point -> the package that it names. Nothing is imported."""
    return {point.name: point.module for point in entry_points(group=GROUP)}


def is_trusted(module: str) -> bool:
    """Whether a module belongs to tag2mask or to a registered package.

    Files such as checkpoints name classes. Only classes of these packages are imported for a file.

    Args:
        module: dotted name, e.g. ``tag2mask.modules.classifier``.
    """
    packages = (_OWN, *plugin_packages().values())
    return any(module == package or module.startswith(f"{package}.") for package in packages)
