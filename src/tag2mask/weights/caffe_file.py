"""Weights that Caffe saved (``.caffemodel``), read without Caffe."""

from __future__ import annotations

from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from torch import Tensor

from tag2mask.core import UserError

_Field = descriptor_pb2.FieldDescriptorProto
_MESSAGES: dict[str, tuple[tuple[str, int, str], ...]] = {
    "Shape": (("dim", 1, "int64"),),
    # The values as bytes: a list of numbers would take ten times the memory.
    "Blob": (
        ("num", 1, "int64"), ("channels", 2, "int64"), ("height", 3, "int64"), ("width", 4, "int64"),
        ("data", 5, "bytes"), ("shape", 7, "Shape"),
    ),
    "OldLayer": (("name", 4, "bytes"), ("blobs", 6, "Blob")),
    "Layer": (("name", 1, "bytes"), ("blobs", 7, "Blob")),
    "Net": (("layers", 2, "OldLayer"), ("layer", 100, "Layer")),
}  # fmt: skip
"""The parts of Caffe's ``NetParameter`` that hold weights: message -> name, number and type of its fields."""


def read_caffemodel(path: Path) -> dict[str, Tensor]:
    """The weights of a file that Caffe saved, of its old or new form of layers.

    Args:
        path: the file.

    Returns:
        ``<layer>.weight`` and ``<layer>.bias`` -> float32 tensor, for layers with one or two blobs.

    Raises:
        UserError: the file cannot be read, is cut off, holds something else or no weights.
    """
    try:
        net = _net_message()()
        net.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise UserError(f"{path} is not a whole caffemodel: {error}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    weights: dict[str, Tensor] = {}
    for layer in (*net.layers, *net.layer):
        name = b"".join(layer.name).decode("utf-8", "replace")
        for kind, blob in zip(("weight", "bias"), layer.blobs, strict=False):
            weights[f"{name}.{kind}"] = _tensor(blob, f"{path}, layer {name}", kind)
    if not weights:
        raise UserError(f"{path} holds no layer with weights: is it a caffemodel?")
    return weights


def _tensor(blob: Any, origin: str, kind: str) -> Tensor:
    old = [*blob.num, *blob.channels, *blob.height, *blob.width]
    shape = list(blob.shape[-1].dim) if blob.shape else old
    data = b"".join(blob.data)
    if any(side < 1 for side in shape) or prod(shape) * 4 != len(data):
        raise UserError(
            f"{origin}: {len(data)} bytes do not fill the shape {shape}; is the download complete?"
        )
    values = np.frombuffer(data, "<f4").reshape(shape)
    # In the old form a bias has four axes, of which three are 1.
    return torch.tensor(values.reshape(-1) if kind == "bias" else values)


@cache
def _net_message() -> Any:
    """The class of the message ``Net``."""
    file = descriptor_pb2.FileDescriptorProto(name="tag2mask_caffe.proto", package="tag2mask_caffe")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            added = message.field.add(name=field, number=number, label=_Field.LABEL_REPEATED)
            if kind in _MESSAGES:
                added.type, added.type_name = _Field.TYPE_MESSAGE, f".tag2mask_caffe.{kind}"
            else:
                added.type = _Field.TYPE_BYTES if kind == "bytes" else _Field.TYPE_INT64
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tag2mask_caffe.Net"))
