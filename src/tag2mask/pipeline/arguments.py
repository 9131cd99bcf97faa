"""Settings against the classes that take them, whose arguments are read from their source.

The runner imports neither torch nor these classes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from tag2mask.core.errors import UserError, unknown_name
from tag2mask.core.layers import Layer, Setting, flatten
from tag2mask.core.plugins import GROUP, is_trusted
from tag2mask.core.python_source import contents_of, find_package, modules_of, split_path
from tag2mask.core.signatures import Argument, Signature, signature_of
from tag2mask.pipeline.values import check_value

_TRAINER = "pytorch_lightning.Trainer"
_START = "model.init_args.start"
_CLASSIFIER = "model.init_args.classifier_from"
"""Loaded where ``start`` is ``classifier``, in modules that have such a setting."""
_OPTION = re.compile(r"--((?:trainer|(?:model|data)\.init_args)\.[\w.]+)(?:=(.*))?", re.DOTALL)
_OTHER_CLASS = re.compile(r"--(config|model|data|\w+\.class_path)(=.*)?", re.DOTALL)


def check_settings(settings: Layer, inputs: Mapping[str, str] | None = None) -> None:
    """Refuse classes that do not exist, and settings that the classes of a step do not take.

    Classes in compiled modules, those that a module makes as it runs, and types other than plain ones
    are left to the step itself.

    Args:
        settings: the resolved settings of a step.
        inputs: the settings that get the folders of other steps, and these steps.

    Raises:
        UserError: with the origin of the setting and the near name.
    """
    given = {k: Setting(v, f"inputs of the step, {v}") for k, v in (inputs or {}).items()}
    every = dict(with_items({**given, **settings}))
    for part in ("model", "data", "trainer"):
        if part in every and every[part].value:
            origin, value = every[part].origin, every[part].value
            raise UserError(f"{origin}: {part} must be a mapping of settings, got {value!r}")
    for path, setting in every.items():
        if path.endswith(".class_path") and isinstance(setting.value, str):
            prefix = f"{path.removesuffix('.class_path')}.init_args"
            _check_class(setting.value, setting.origin, path)
            _check_part(every, prefix, setting.value)
    _check_part(every, "trainer", _TRAINER)


def check_registered(step: str, settings: Layer, networks: Mapping[str, tuple[str, Layer]]) -> None:
    """Refuse a step that loads the network of a class whose package did not register itself.

    Checkpoints are files, and only classes of registered packages are built for a file.

    Args:
        step: name of the step.
        settings: its resolved settings.
        networks: setting that gets the folder of a step that trains -> name and settings of that step.

    Raises:
        UserError: with the origin of the class.
    """
    for setting, (trained, theirs) in networks.items():
        found = theirs.get("model.class_path", Setting("", ""))
        class_path, origin = str(found.value), found.origin
        module, _ = split_path(class_path)
        if not module or is_trusted(module) or not _loads(settings, setting):
            continue
        package = module.partition(".")[0]
        raise UserError(
            f"{origin}: step {step} loads the network of step {trained}, a {class_path}, and only classes of "
            f'registered packages are built from a checkpoint; put [project.entry-points."{GROUP}"] with '
            f'{package} = "{package}" into the pyproject.toml of {package} and install it with pip'
        )


def _loads(settings: Layer, setting: str) -> bool:
    """Whether a step's module loads the network of the step that a setting (``*_from``) names."""
    if not (setting.startswith("model.") and setting.endswith("_from")):
        return False
    if setting != _CLASSIFIER or _START not in settings:
        class_path = settings.get("model.class_path", Setting("", "")).value
        signature = signature_of(*split_path(class_path))
        # modules with a `start` begin with their own weights
        return not (setting == _CLASSIFIER and signature and "start" in signature.arguments)
    return bool(settings[_START].value == "classifier")


def settings_in(words: Sequence[str]) -> Layer:
    """The settings among options of a LightningCLI that name them in full.

    None where an option may name another class, whose settings would be others.

    Args:
        words: the options, as given behind ``--``.
    """
    found: Layer = {}
    if any(_OTHER_CLASS.fullmatch(word) for word in words):
        return found
    for word, following in pairwise([*words, ""]):
        option = _OPTION.fullmatch(word)
        if option:
            value = following if option[2] is None else option[2]
            found[option[1]] = Setting(value, f"--{option[1]} (behind --)")
    return found


def with_items(settings: Layer) -> Iterator[tuple[str, Setting]]:
    """The settings, and those in the entries of their lists as ``path[0].name``."""
    for path, (value, origin) in settings.items():
        yield path, Setting(value, origin)
        for place, item in enumerate(value if isinstance(value, list) else ()):
            if isinstance(item, Mapping):
                inner = {f"{path}[{place}].{k}": Setting(v, origin) for k, v in flatten(item)}
                yield from with_items(inner)


def _check_class(class_path: str, origin: str, path: str) -> None:
    module, name = split_path(class_path)
    if not module or module.startswith("."):
        return  # a short name, which the step completes
    top = module.partition(".")[0]
    if find_package(top) is None:
        raise UserError(
            f"{origin}: no package {top!r} for {class_path} (in {path}); install it or correct the name"
        )
    contents = contents_of(module)
    if contents is None:
        parent, _, last = module.rpartition(".")
        found = modules_of(parent) if parent else set[str]()
        if found and last not in found:
            raise UserError(f"{origin}: {unknown_name(f'module of {parent}', last, found)} (in {path})")
    elif contents.names is not None and name not in contents.names:
        raise UserError(f"{origin}: {unknown_name(f'class of {module}', name, contents.names)} (in {path})")


def _check_part(settings: Layer, prefix: str, class_path: str) -> None:
    module, name = split_path(class_path)
    signature = signature_of(module, name)
    if signature is None:
        return
    for path, setting in settings.items():
        if path.startswith(f"{prefix}."):
            _check_setting(signature, name, path.removeprefix(f"{prefix}."), setting, path)


def _check_setting(signature: Signature, name: str, rest: str, setting: Setting, path: str) -> None:
    """Check one setting of a class: its name, its field where it is one of a dataclass, its value."""
    first, mark, inner = re.split(r"([.\[]|$)", rest, maxsplit=1)
    argument = signature.arguments.get(first)
    if argument is None:
        if signature.complete:
            error = unknown_name(f"setting of {name}", first, signature.arguments)
            raise UserError(f"{setting.origin}: {error} (in {path})")
    elif mark == "":
        check_value(argument.type, f"{first} of {name}", setting, path)
    elif mark == "." and argument.fields:
        _check_field(argument, first, inner, setting, path)


def _check_field(argument: Argument, name: str, inner: str, setting: Setting, path: str) -> None:
    field, dot, _ = inner.partition(".")
    if field not in argument.fields:
        error = unknown_name(f"setting of {name}", field, argument.fields)
        raise UserError(f"{setting.origin}: {error} (in {path})")
    if not dot:
        check_value(argument.fields[field], f"{field} of {name}", setting, path)
