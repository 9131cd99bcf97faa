"""Reads PSA's ``cls_labels.npy``, a pickled dictionary, without running what a pickle may hold."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tag2mask.core import UserError

# All that numpy needs to rebuild an array of numbers or of objects; "numpy.core" is how
# numpy before 2.0 wrote the names of "numpy._core".
_ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
    *(
        (f"numpy.{core}.{module}", name)
        for core in ("core", "_core")
        for module, name in (
            ("multiarray", "_reconstruct"),
            ("multiarray", "scalar"),
            ("numeric", "_frombuffer"),
        )
    ),
}


class _ArrayUnpickler(pickle.Unpickler):
    """Admits only what numpy arrays, numbers, strings, lists and dictionaries are made of."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which label files never need")
        return super().find_class(module.replace("numpy.core.", "numpy._core."), name)


def load_label_dict(path: Path, num_classes: int) -> dict[str, npt.NDArray[np.bool_]]:
    """The dictionary image id -> multi-hot (num_classes,) of a ``cls_labels.npy``.

    Raises:
        UserError: not such a file, a vector of another length, or a pickle that asks for anything
            but numpy arrays (it is not run).
    """
    try:
        plain = _load_object(path)
    except Exception as error:  # a damaged pickle can raise anything, and the user's way out is the same
        raise UserError(
            f"{path} cannot be read as a dictionary of tags ({error}): give a CSV image,labels instead"
        ) from None
    if not isinstance(plain, dict):
        raise UserError(f"{path} holds a {type(plain).__name__}, not a dictionary id -> tags")
    return {str(image_id): _hot(path, str(image_id), value, num_classes) for image_id, value in plain.items()}


def _load_object(path: Path) -> object:
    with path.open("rb") as stream:
        version = np.lib.format.read_magic(stream)
        header = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = header(stream)
        if not dtype.hasobject or shape != ():
            raise ValueError(f"an array of {dtype} with shape {shape}")
        # latin1: files written under Python 2 keep their strings and array bytes.
        return _ArrayUnpickler(stream, encoding="latin1").load().item()


def _hot(path: Path, image_id: str, value: object, num_classes: int) -> npt.NDArray[np.bool_]:
    array = np.asarray(value)
    if array.dtype.kind not in "biuf" or array.shape != (num_classes,):
        raise UserError(
            f"{path}: the tags of {image_id} are {array.dtype} {array.shape}, not {num_classes} numbers"
        )
    return np.asarray(array > 0)
