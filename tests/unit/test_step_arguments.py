"""Settings are checked against the source of the classes that take them, without importing these."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import pytest
from jsonargparse import ArgumentError, ArgumentParser

from tag2mask.core import UserError
from tag2mask.core.layers import Layer, Setting
from tag2mask.core.library import data_settings, open_library
from tag2mask.core.signatures import signature_of
from tag2mask.pipeline import Choice, load_recipe, resolve
from tag2mask.pipeline.arguments import check_settings
from tag2mask.pipeline.resolve import budgets_of
from tag2mask.pipeline.values import fits

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
                for part in ("model", "data"):  # none of ours is left to the step
                    found = signature_of(*settings[f"{part}.class_path"].value.rsplit(".", 1))
                    assert found and found.complete, settings[f"{part}.class_path"]


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


@pytest.mark.parametrize(
    ("class_path", "message"),
    [
        (
            "tag2mask.modules.Clasifier",
            "unknown class of tag2mask.modules 'Clasifier'; did you mean Classifier",
        ),
        ("tag2mask.data.Shape", "unknown class of tag2mask.data 'Shape'; did you mean Shapes"),
        ("tag2mask.modles.Classifier", "unknown module of tag2mask 'modles'; did you mean modules"),
        ("no_such_package.mod.Cls", "no package 'no_such_package' for no_such_package.mod.Cls"),
    ],
)
def test_class_that_does_not_exist_is_refused(class_path: str, message: str) -> None:
    with pytest.raises(UserError, match=f"^--cam: {message}.*in model.class_path"):
        check_settings(layer("cam", model__class_path=class_path))


def test_settings_of_a_class_in_a_list_are_checked() -> None:
    def walk(name: str, **init: object) -> Layer:
        entry = {"class_path": f"tag2mask.modules.{name}", "init_args": init}
        return layer("walk", model__init_args__refinements=[entry])

    check_settings(walk("RandomWalk", beta=8))
    with pytest.raises(UserError, match=r"^--walk: unknown setting of RandomWalk 'bta'; did you mean beta"):
        check_settings(walk("RandomWalk", bta=8))
    with pytest.raises(UserError, match=r"unknown class of tag2mask.modules 'RandomWlk'"):
        check_settings(walk("RandomWlk"))


def test_inputs_are_checked_as_settings() -> None:
    step = load_recipe(LIBRARY, "psa").step("walk")
    check_settings(layer("walk"), step.inputs)
    with pytest.raises(
        UserError, match="unknown setting of PseudoLabelData 'maps_dri'; did you mean maps_dir"
    ):
        check_settings(layer("walk"), {"data.init_args.maps_dri": "cam"})


@pytest.mark.parametrize("name", LIBRARY.names("data"))
def test_every_data_configuration_passes(name: str) -> None:
    data = data_settings(LIBRARY, name)
    check_settings(layer("cam") | data)
    with pytest.raises(UserError, match="'rot'"):
        check_settings(layer("cam", data__init_args__dataset__init_args__rot=1) | data)


def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> Path:
    path = tmp_path / f"own_{tmp_path.name}" / "learner.py"
    path.parent.mkdir()
    path.write_bytes(content)
    (path.parent / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    return path


@pytest.mark.parametrize("content", [b"x = 1\nclass Own(:\n", b"x = '\xff'\n"])
def test_module_that_is_no_python_is_named(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_module(tmp_path, monkeypatch, content)
    with pytest.raises(UserError, match=r"learner\.py(:2)? is not valid Python") as caught:
        check_settings(layer("cam", model__class_path=f"{path.parent.name}.learner.Own"))
    assert str(path) in str(caught.value)


def test_package_in_the_working_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        b"import dataclasses\n@dataclasses.dataclass\nclass Own:\n    width: int\nMade = type('M', (), {})\n"
    )
    package = write_module(tmp_path, monkeypatch, code).parent.name
    own = {"model.class_path": Setting(f"{package}.learner.Own", "--cam")}
    check_settings(own | {"model.init_args.width": Setting(1, "--cam")})
    with pytest.raises(UserError, match="unknown setting of Own 'widht'; did you mean width"):
        check_settings(own | {"model.init_args.widht": Setting(1, "--cam")})
    made = {"model.class_path": Setting(f"{package}.learner.Made", "--cam")}
    check_settings(made | {"model.init_args.any": Setting(1, "--cam")})  # left to the step


KINDS: list[Any] = [
    int, float, str, bool, int | None, str | None, Literal["a", "b"], Literal["a"] | None, Literal[16, "16"],
    Sequence[float], Sequence[str], Sequence[float] | None, tuple[int, int], tuple[float, float] | None,
    int | str, str | Path, list[int] | str | int, dict[str, str] | None, bool | Literal["warn"],
]  # fmt: skip
VALUES = [
    1, 0, -1, 1.5, 1.0, float("inf"), True, "many", "5", "1e-3", "a", "yes", "true", "null", "[1,2]", "[1",
    16, [1, 2], [1.5, "x"], ["a"], [], [1, 2, 3], [None], {"a": "b"}, {},
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_values_are_refused_as_the_step_would(kind: Any) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--x", type=kind)
    for value in VALUES:
        try:
            parser.parse_object({"x": value})
            taken = True
        except ArgumentError:
            taken = False
        assert fits(kind, value) is taken, value


def test_types_are_read_from_annotations() -> None:
    trainer = signature_of("pytorch_lightning", "Trainer")
    assert trainer and trainer.complete
    assert trainer.arguments["max_epochs"].type == int | None
    assert trainer.arguments["limit_val_batches"].type == int | float | None
    assert "bf16-mixed" in get_args(get_args(trainer.arguments["precision"].type)[1])
    assert Any in get_args(trainer.arguments["strategy"].type)  # a class: left to the step
    augment = signature_of("tag2mask.data", "ClassificationData")
    assert augment and augment.arguments["augment"].fields["pad"] == Literal["mean", "black"]


def test_nothing_is_imported() -> None:
    code = (
        "import sys; from tag2mask.core.library import open_library\n"
        "from tag2mask.pipeline import *; from tag2mask.pipeline.arguments import check_settings\n"
        "check_settings(resolve(open_library(), load_recipe(open_library(), 'psa').step('cam'), Choice()))\n"
        "print(sorted({'torch', 'pytorch_lightning', 'tag2mask.modules'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n", Path(__file__).name
