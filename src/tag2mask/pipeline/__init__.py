"""Recipes as pages, and the runner that makes their steps as processes."""

from tag2mask.core.library import Library, open_library
from tag2mask.pipeline.devices import Devices
from tag2mask.pipeline.extras import Extras
from tag2mask.pipeline.prepared import prepare, recipe_of
from tag2mask.pipeline.recipe import load_recipe
from tag2mask.pipeline.request import Request
from tag2mask.pipeline.resolve import Choice, resolve
from tag2mask.pipeline.runner import run_recipe
from tag2mask.pipeline.settings import Settings
from tag2mask.pipeline.steps import Recipe, Step

__all__ = [
    "Choice",
    "Devices",
    "Extras",
    "Library",
    "Recipe",
    "Request",
    "Settings",
    "Step",
    "load_recipe",
    "open_library",
    "prepare",
    "recipe_of",
    "resolve",
    "run_recipe",
]
