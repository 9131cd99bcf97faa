"""Reading weight files safely and telling the user what does not fit."""

from __future__ import annotations

import pickle
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from tag2mask.core import UserError

_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
_WRAPPERS = ("state_dict", "model_state_dict", "model")


def load_state(path: str | Path) -> dict[str, Tensor]:
    """Read a weight file without running code from it.

    Args:
        path: a ``.safetensors`` file, or a ``.pth``, ``.pt``, ``.bin`` or ``.ckpt`` file that
            `torch.load` reads with ``weights_only=True``. A dictionary that holds the weights under
            ``state_dict``, ``model_state_dict`` or ``model`` is unwrapped, and a ``module.`` prefix
            (DataParallel) is taken off.

    Returns:
        parameter name -> tensor on the CPU.

    Raises:
        UserError: there is no such file, it cannot be read, or it holds no weights.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"weights {path}: no such file; give imagenet, none or the path of a weight file")
    if path.suffix not in _SUFFIXES:
        raise UserError(f"weights {path}: unknown file type; use one of {', '.join(_SUFFIXES)}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"weights {path}: refused, since the file is not plain weights and reading it could run code; "
            "save its state_dict() with torch.save or as .safetensors"
        ) from error
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise UserError(f"weights {path}: cannot be read ({error}); is the download complete?") from error
    return _state_dict(content, path)


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
        UserError: keys are missing or unexpected, or shapes differ.
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
    module.load_state_dict(given, strict=False)


def _state_dict(content: object, path: Path) -> dict[str, Tensor]:
    for key in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content:
        raise UserError(f"weights {path}: holds {type(content).__name__}, not a state dict")
    bad = [k for k, v in content.items() if not isinstance(k, str) or not isinstance(v, Tensor)]
    if bad:
        raise UserError(f"weights {path}: not a state dict, entry {bad[0]!r} is not a tensor")
    if all(k.startswith("module.") for k in content):
        return {k.removeprefix("module."): v for k, v in content.items()}
    return dict(content)


def _starts_with(key: str, prefixes: Collection[str]) -> bool:
    return any(key == p or key.startswith(p.rstrip(".") + ".") for p in prefixes)
