"""Settings are checked against the source of the classes that take them, without importing these."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tag2mask.core import UserError
from tag2mask.core.library import open_library
from tag2mask.core.pages import Layer, Setting
from tag2mask.pipeline import Choice, load_recipe, resolve
from tag2mask.pipeline.arguments import _arguments, _find_class, check_settings
from tag2mask.pipeline.resolve import budgets_of

LIBRARY = open_library()


def layer(step: str, recipe: str = "psa", **changes: object) -> Layer:
    settings = resolve(LIBRARY, load_recipe(LIBRARY, recipe).step(step), Choice())
    given = {path.replace("__", "."): Setting(value, f"--{step}") for path, value in changes.items()}
    return {**settings, **given}


@pytest.mark.parametrize("name", LIBRARY.names("recipes"))
def test_every_setting_of_every_page_is_an_argument_of_its_class(name: str) -> None:
    recipe = load_recipe(LIBRARY, name)
    for budget in budgets_of(LIBRARY, recipe):
        for variant in ("", *recipe.variants):
            for step in load_recipe(LIBRARY, name, variant, budget=budget).steps:
                settings = resolve(LIBRARY, step, Choice(budget))
                check_settings(settings)
                for part in ("model", "data"):  # none of ours is left to the stage
                    found = _find_class(*settings[f"{part}.class_path"].value.rsplit(".", 1))
                    assert found and _arguments(found), settings[f"{part}.class_path"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("model__init_args__dropuot", "unknown setting of Classifier 'dropuot'; did you mean dropout"),
        ("model__init_args__optimization__lrr", "unknown setting of optimization 'lrr'; did you mean lr"),
        ("data__init_args__augment__crp", "unknown setting of augment 'crp'; did you mean crop"),
        ("trainer__max_epoch", "unknown setting of Trainer 'max_epoch'; did you mean max_epochs"),
    ],
)
def test_refused_with_origin_and_near_name(path: str, message: str) -> None:
    with pytest.raises(UserError, match=f"^--cam: {message}") as caught:
        check_settings(layer("cam", **{path: 1}))
    assert path.replace("__", ".") in str(caught.value)


def test_arguments_of_a_subclass_with_keywords_are_those_of_its_base_too() -> None:
    check_settings(layer("cam_1", "sc_cam", model__init_args__cam__threshold=0.1))
    with pytest.raises(UserError, match="unknown setting of SubCategoryClassifier 'sub_categorys'"):
        check_settings(layer("cam_1", "sc_cam", model__init_args__sub_categorys=1))


def test_class_of_a_package_that_is_not_found_is_left_to_the_stage() -> None:
    settings = layer("cam", model__init_args__anything=1)
    check_settings(settings | {"model.class_path": Setting("no_such_package.Classifier", "")})


def test_nothing_is_imported() -> None:
    code = (
        "import sys; from tag2mask.core.library import open_library\n"
        "from tag2mask.pipeline import *; from tag2mask.pipeline.arguments import check_settings\n"
        "check_settings(resolve(open_library(), load_recipe(open_library(), 'psa').step('cam'), Choice()))\n"
        "print(sorted({'torch', 'pytorch_lightning', 'tag2mask.modules'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n", Path(__file__).name
