"""Packages outside this one that bring recipes and classes of their own."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from types import ModuleType

from tag2mask.core.errors import UserError

GROUP = "tag2mask.recipes"
"""Entry points of this group are packages with recipes."""

_OWN = "tag2mask"


def plugin_packages() -> dict[str, str]:
    """Name of each registered entry point -> the package that it names. Nothing is imported."""
    return {point.name: point.module for point in entry_points(group=GROUP)}


def import_plugins() -> dict[str, ModuleType]:
    """Import the packages of all entry points, so that they register what they bring.

    Returns:
        name of each entry point -> its package.

    Raises:
        UserError: a package cannot be imported.
    """
    packages = {}
    for name, module in plugin_packages().items():
        try:
            packages[name] = import_module(module)
        except Exception as error:
            raise UserError(
                f"the package {module} (entry point {name} of {GROUP}) cannot be imported: "
                f"{type(error).__name__}: {error}; mend or uninstall it"
            ) from error
    return packages


def is_trusted(module: str) -> bool:
    """Whether a module belongs to tag2mask or to a registered package.

    Files such as checkpoints name classes. Only classes of these packages are imported for a file.

    Args:
        module: dotted name, e.g. ``tag2mask.modules.classifier``.
    """
    packages = (_OWN, *plugin_packages().values())
    return any(module == package or module.startswith(f"{package}.") for package in packages)
