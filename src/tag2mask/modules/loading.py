"""Networks that earlier steps trained, from their checkpoints."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeVar

import torch
from safetensors import safe_open

from tag2mask.artifacts import checkpoint_path, require_step
from tag2mask.artifacts.step_folder import StepFolder
from tag2mask.backbones import Backbone, load_into
from tag2mask.core import UserError
from tag2mask.core.plugins import is_trusted
from tag2mask.core.python_source import split_path
from tag2mask.modules.base import ARGUMENTS_KEY, CHECKPOINT_KEY, TrainableNetwork
from tag2mask.modules.older import arguments_of, class_path_of

T = TypeVar("T", bound=TrainableNetwork)

SAFETENSORS_KEY = "tag2mask_checkpoint"
"""In the metadata of a safetensors file: what `on_save_checkpoint` adds to a checkpoint, as JSON."""


def load_checkpoint(path: str | Path) -> TrainableNetwork:
    """A network from a checkpoint of a run, on the CPU and in eval mode.

    The file is read as data: no pickled code runs. Only networks of tag2mask and of packages that
    registered themselves (see `plugin_packages`) are built.

    Args:
        path: a ``.ckpt`` file, or a ``.safetensors`` file of ``tag2mask export``.

    Raises:
        UserError: the file is missing, not readable as plain data, or not a tag2mask checkpoint; its class
            cannot be imported; or its arguments and weights are not those of the class.
    """
    try:
        checkpoint = _read(Path(path))
    except FileNotFoundError as error:
        raise UserError(f"no checkpoint at {path}: run the step that trains it first") from error
    except UnpicklingError as error:
        # torch's own message advises to run whatever code the file holds
        raise UserError(
            f"{path} cannot be read as a checkpoint of plain tensors: give the folder of a run, or a file "
            "that tag2mask has made"
        ) from error
    except Exception as error:
        raise UserError(f"{path} cannot be read as a checkpoint of plain tensors: {error}") from error
    facts = checkpoint.get(CHECKPOINT_KEY) if isinstance(checkpoint, dict) else None
    if not isinstance(facts, dict) or "class_path" not in facts:
        raise UserError(f"{path} is not a tag2mask checkpoint; give one from a run's checkpoints/ folder")
    network = _network_class(class_path_of(str(facts["class_path"])), path)
    if "network" in facts:
        checkpoint = {**checkpoint, ARGUMENTS_KEY: arguments_of(facts["network"])}
    try:
        return network.restore(checkpoint)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (AttributeError, LookupError, TypeError, RuntimeError, ValueError, ArithmeticError) as error:
        raise UserError(
            f"{path} does not hold a whole {network.__name__} of this version "
            f"({type(error).__name__}: {error}): delete it and run the step that trains it again"
        ) from error


def is_checkpoint(path: Path) -> bool:
    """Whether a file is a checkpoint of tag2mask; False as well for one that cannot be read."""
    if path.suffix not in (".ckpt", ".safetensors"):
        return False
    try:
        content = _read(path)
    except Exception:  # what the file is instead, is said by whoever reads it
        return False
    return isinstance(content, dict) and CHECKPOINT_KEY in content


def network_metadata(network: TrainableNetwork) -> dict[str, str]:
    """What a safetensors file says beside its weights, for `load_checkpoint`."""
    facts: dict[str, Any] = {}
    network.on_save_checkpoint(facts)
    return {SAFETENSORS_KEY: json.dumps(facts)}


def _read(path: Path) -> Any:
    """The content of a checkpoint; a safetensors file has all but its weights in its metadata."""
    if path.suffix != ".safetensors":
        return torch.load(path, map_location="cpu", weights_only=True)
    with safe_open(path, "pt") as file:
        facts = json.loads((file.metadata() or {}).get(SAFETENSORS_KEY, "null"))
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return {**facts, "state_dict": weights} if isinstance(facts, dict) else None


def load_network(step_dir: StepFolder | str | Path, kind: type[T]) -> T:
    """The network that a step trained, without gradients.

    Raises:
        UserError: the step is not complete or trained another network.
    """
    module = _trained(step_dir)
    if not isinstance(module, kind):
        raise UserError(f"{step_dir} holds {type(module).__name__}, not {kind.__name__}")
    return module.requires_grad_(False)


def load_backbone(backbone: Backbone, step_dir: StepFolder | str | Path) -> None:
    """Copy the backbone of an earlier step's network into another network of the same architecture.

    Args:
        backbone: the one to fill.
        step_dir: folder of the step that trained the network.

    Raises:
        UserError: the step is not complete, its network has no backbone or another one.
    """
    copy_backbone(backbone, _trained(step_dir), step_dir)


def copy_backbone(backbone: Backbone, source: TrainableNetwork, origin: StepFolder | str | Path) -> None:
    """Copy the weights of a network's backbone.

    Args:
        backbone: the one to fill.
        source: the network.
        origin: where that network comes from, for the message.

    Raises:
        UserError: the network has no backbone or another one.
    """
    found = getattr(source, "backbone", None)
    if not isinstance(found, Backbone):
        raise UserError(f"{origin} holds {type(source).__name__}, which has no backbone to start from")
    load_into(backbone, found.state_dict(), f"of the network in {origin}")


def _trained(step_dir: StepFolder | str | Path) -> TrainableNetwork:
    manifest = require_step(step_dir)
    if not manifest.checkpoint:
        raise UserError(f"{step_dir} trained no network: give the folder of a step that has a fit")
    return load_checkpoint(checkpoint_path(step_dir, manifest))


def _network_class(class_path: str, origin: str | Path) -> type[TrainableNetwork]:
    module, name = split_path(class_path)
    # The path comes from a file: nothing but these packages is imported for it.
    if not is_trusted(module):
        raise UserError(
            f"{origin} asks for the class {class_path}, which is not part of tag2mask or of a package that "
            "registered itself"
        )
    try:
        found = getattr(import_module(module), name, None)
    except Exception as error:  # a registered package can fail with anything while it is imported
        raise UserError(
            f"{origin} asks for {class_path}, whose module cannot be imported "
            f"({type(error).__name__}: {error}): install the version of its package "
            "that made the file, or run the step that trains it again"
        ) from error
    if not (isinstance(found, type) and issubclass(found, TrainableNetwork)):
        raise UserError(f"{origin} asks for {class_path}, which is no network that tag2mask trains")
    return found
