"""How a recipe and its variant are written as one word: ``RECIPE`` or ``RECIPE:VARIANT``."""

from __future__ import annotations


def split_label(label: str) -> tuple[str, str]:
    """Name (or path) of the recipe, and its variant or "".

    Example:
        >>> split_label("psa:crops_224")
        ('psa', 'crops_224')
    """
    name, _, variant = label.partition(":")
    return name, variant


def join_label(recipe: str, variant: str | None) -> str:
    """The inverse of `split_label`; None is no variant, too.

    Example:
        >>> join_label("psa", "")
        'psa'
    """
    return f"{recipe}:{variant}" if variant else recipe
