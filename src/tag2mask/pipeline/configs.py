"""Where configuration files are, which there are, and what they say."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

import tag2mask
from tag2mask.core.errors import UserError, unknown_name


def find_conf() -> Path:
    """The ``conf`` folder: ``$TAG2MASK_CONF``, the installed package's own, or the checkout's.

    Raises:
        UserError: there is none.
    """
    if given := os.environ.get("TAG2MASK_CONF"):
        if not (Path(given) / "recipes").is_dir():
            raise UserError(f"TAG2MASK_CONF is {given}, which has no folder 'recipes'; unset or correct it")
        return Path(given).resolve()
    package = Path(tag2mask.__file__).resolve().parent
    for folder in (package / "_conf", package.parent.parent / "conf"):
        if (folder / "recipes").is_dir():
            return folder
    raise UserError("no folder of configurations found; set TAG2MASK_CONF to the 'conf' folder of a checkout")


def load_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping (an empty file is an empty one).

    Raises:
        UserError: it is missing, not YAML, or something else.
    """
    try:
        plain = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if plain is None:
        return {}
    if not isinstance(plain, dict):
        raise UserError(f"{path} must hold keys and values, not {type(plain).__name__}")
    return plain


def resolve_yaml(path: Path) -> dict[str, Any]:
    """A configuration with the files that it names (relative to itself) put in their place.

    Two files that mean the same give equal results, whatever their comments and layout.
    """
    expanded = _expand(load_yaml(path), path, (path.resolve(),))
    assert isinstance(expanded, dict)
    return expanded


def _expand(value: Any, path: Path, seen: tuple[Path, ...]) -> Any:
    if isinstance(value, dict):
        return {str(key): _expand(item, path, seen) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, path, seen) for item in value]
    if isinstance(value, str) and value.endswith((".yaml", ".yml")):
        named = (path.parent / value).resolve()
        if named in seen:
            raise UserError(f"{path} and {value} name each other; remove one of the two")
        if named.is_file():
            return _expand(load_yaml(named), named, (*seen, named))
    return value


def recipe_names(conf: Path) -> list[str]:
    """The recipes that there are."""
    return sorted(p.parent.name for p in (conf / "recipes").glob("*/recipe.yaml"))


def recipe_folder(conf: Path, name: str) -> Path:
    """The folder of a recipe.

    Raises:
        UserError: there is no such recipe.
    """
    known = recipe_names(conf)
    if name not in known:
        raise unknown_name("recipe", name, known, "List them with: tag2mask recipes")
    return conf / "recipes" / name


def named_config(conf: Path, kind: str, name: str) -> Path:
    """``conf/<kind>/<name>.yaml``, or the YAML file that `name` is the path of.

    Args:
        conf: the folder of configurations.
        kind: ``"data"`` or ``"logger"``.
        name: a name or a path that ends in ``.yaml``.

    Raises:
        UserError: there is no such name or file.
    """
    if name.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise UserError(f"no file {name}: give the path of a {kind} configuration, or a name")
        return Path(name).resolve()
    known = sorted(p.stem for p in (conf / kind).glob("*.yaml"))
    if name not in known:
        hint = "Or give the path of your own .yaml file." if kind == "data" else ""
        raise unknown_name(f"{kind} configuration", name, known, hint)
    return conf / kind / f"{name}.yaml"


def budget_names(folder: Path, steps: Sequence[str]) -> list[str]:
    """``full`` and the budgets that a recipe has files ``<step>.<budget>.yaml`` for."""
    found = {p.name.split(".")[1] for s in steps for p in folder.glob(f"{s}.*.yaml")}
    return sorted(found | {"full"})


def step_configs(folder: Path, step: str, budget: str, trains: bool) -> list[Path]:
    """The files of a step: ``<step>.yaml`` and, where there is one, ``<step>.<budget>.yaml``.

    Raises:
        UserError: a file is missing that the step cannot do without.
    """
    base, extra = folder / f"{step}.yaml", folder / f"{step}.{budget}.yaml"
    if not base.is_file():
        raise UserError(f"step {step} has no configuration: {base} is missing")
    if extra.is_file():
        return [base, extra]
    # without its file a step that trains would quietly run for the paper's whole schedule
    if trains and budget != "full":
        raise UserError(f"step {step} has no budget {budget!r}: write {extra} or use --budget full")
    return [base]


def dataset_config(data_config: Path) -> dict[str, Any]:
    """``class_path`` and ``init_args`` of the data set that a data configuration names.

    Raises:
        UserError: the file names none.
    """
    plain: Any = resolve_yaml(data_config)
    for key in ("data", "init_args", "dataset"):
        plain = plain.get(key) if isinstance(plain, dict) else None
    if not isinstance(plain, dict) or not isinstance(plain.get("class_path"), str):
        raise UserError(
            f"{data_config} must set data.init_args.dataset.class_path; see conf/data for examples"
        )
    return {"class_path": plain["class_path"], "init_args": dict(plain.get("init_args") or {})}


def flatten(plain: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """``("a.b.c", value)`` for every value of a nested mapping."""
    for key, value in plain.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
