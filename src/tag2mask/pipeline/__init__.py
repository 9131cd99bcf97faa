"""Recipes as lists of steps, and the runner that makes them as processes."""

from tag2mask.pipeline.plan import Extras
from tag2mask.pipeline.prepare import prepare
from tag2mask.pipeline.request import Request
from tag2mask.pipeline.runner import run_recipe
from tag2mask.pipeline.settings import Settings
from tag2mask.pipeline.spec import Recipe, Step, Variant, load_recipe

__all__ = [
    "Extras",
    "Recipe",
    "Request",
    "Settings",
    "Step",
    "Variant",
    "load_recipe",
    "prepare",
    "run_recipe",
]
