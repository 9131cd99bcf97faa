"""Reading weight files safely and telling the user what does not fit."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from tag2mask.core import UserError
from tag2mask.core.weight_files import check_weight_file, is_safetensors

GIVE_ANOTHER = "give the path of a weight file or none (--weights PATH or none)"
"""What to do where a network has no ImageNet weights, or they cannot be had."""

_WRAPPERS = ("state_dict", "model_state_dict", "model")


def not_downloaded(name: str, error: Exception) -> UserError:
    """The error that a network's ImageNet weights cannot be downloaded."""
    return UserError(f"the ImageNet weights of {name} cannot be downloaded ({error}); {GIVE_ANOTHER}")


def load_state(path: str | Path) -> dict[str, Tensor]:
    """Read a weight file without running code from it.

    Args:
        path: a ``.safetensors`` file, or a ``.pth``, ``.pt``, ``.bin``, ``.ckpt`` or ``.pth.tar`` file that
            `torch.load` reads with ``weights_only=True``. A dictionary that holds the weights under
            ``state_dict``, ``model_state_dict`` or ``model``, or under its only key that holds tensors,
            is unwrapped, and a ``module.`` prefix (DataParallel) is taken off.

    Returns:
        parameter name -> tensor on the CPU.

    Raises:
        UserError: there is no such file, it cannot be read, or it holds no weights.
    """
    path = Path(path)
    check_weight_file(path)
    try:
        if is_safetensors(path):
            return load_file(path)
        content = _load(path)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"weights {path}: refused, since the file is not plain weights and reading it could run code; "
            "save its state_dict() with torch.save or as .safetensors"
        ) from error
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        why = "it is a TorchScript program; save its state_dict()" if "TorchScript" in str(error) else error
        raise UserError(f"weights {path}: cannot be read ({why}); is the download complete?") from error
    return _state_dict(content, path)


def _load(path: Path) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on TorchScript and sparse tensors, which are refused
        return torch.load(path, map_location="cpu", weights_only=True)


def check_finite(state: Mapping[str, Tensor], source: str | Path) -> None:
    """Refuse weights that make every output of a network NaN.

    Raises:
        UserError: a tensor holds NaN or infinity.
    """
    bad = [k for k, v in state.items() if v.is_floating_point() and not bool(v.isfinite().all())]
    if bad:
        raise UserError(
            f"weights {source}: {len(bad)} of {len(state)} tensors hold NaN or infinity (e.g. {bad[0]}); the "
            "file is damaged, or its training had failed: give another one"
        )


def backbone_part(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The backbone in a network's weights, as torchvision and this package save them; others whole."""
    for start in ("backbone.", "network.backbone.", "network.segmenter.backbone."):
        if part := {k.removeprefix(start): v for k, v in state.items() if k.startswith(start)}:
            return {k.removeprefix("model."): v for k, v in part.items()}
    return dict(state)


def load_into(
    module: nn.Module,
    state: Mapping[str, Tensor],
    source: str | Path,
    may_lack: Collection[str] = (),
    ignored: Collection[str] = (),
) -> None:
    """Load weights into a module; everything must fit but the named exceptions.

    Args:
        module: the network.
        state: parameter name -> tensor.
        source: where the weights come from, for the error message.
        may_lack: prefixes of keys that the file may leave out (they keep their initial values).
        ignored: prefixes of keys in the file that belong to no part of the network, such as the
            ImageNet classifier.

    Raises:
        UserError: keys are missing or unexpected, shapes differ, or values are not finite.
    """
    own = module.state_dict()
    given = {k: v for k, v in state.items() if k in own or not _starts_with(k, ignored)}
    needed = [k for k in own if not k.endswith("num_batches_tracked") and not _starts_with(k, may_lack)]
    problems = {
        "missing": [k for k in needed if k not in given],
        "unexpected": [k for k in given if k not in own],
        "of another shape": [k for k, v in given.items() if k in own and v.shape != own[k].shape],
    }
    if any(problems.values()):
        shown = ", ".join(f"{len(k)} keys {what} (e.g. {k[0]})" for what, k in problems.items() if k)
        name = type(module).__name__
        raise UserError(f"weights {source} do not fit {name}: {shown}; give weights of the same architecture")
    check_finite(given, source)
    module.load_state_dict(given, strict=False)


def _state_dict(content: object, path: Path) -> dict[str, Tensor]:
    for key in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    content = _only_tensors(content)
    if not isinstance(content, dict) or not content:
        what = "nothing" if content == {} else type(content).__name__
        raise UserError(f"weights {path}: holds {what}, not a state dict")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise UserError(f"weights {path}: not a state dict, entry {name!r} is not a tensor")
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise UserError(f"weights {path}: entry {name!r} is no plain tensor (sparse, quantised or empty)")
    if all(k.startswith("module.") for k in content):
        return {k.removeprefix("module."): v for k, v in content.items()}
    return dict(content)


def _only_tensors(content: object) -> object:
    """The only dictionary of tensors in a dictionary that holds no tensor itself; others as they are."""
    if not isinstance(content, dict) or any(isinstance(value, Tensor) for value in content.values()):
        return content
    inner = [value for value in content.values() if isinstance(value, dict) and value]
    inner = [value for value in inner if all(isinstance(tensor, Tensor) for tensor in value.values())]
    return inner[0] if len(inner) == 1 else content


def _starts_with(key: str, prefixes: Collection[str]) -> bool:
    return any(key == p or key.startswith(p.rstrip(".") + ".") for p in prefixes)
