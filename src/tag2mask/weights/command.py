"""``tag2mask weights``: convert published weights."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tag2mask.artifacts import sha256_file
from tag2mask.artifacts.files import require_absent
from tag2mask.core import ClassList, UserError
from tag2mask.core.commands import add_command

if TYPE_CHECKING:
    from torch import Tensor

    from tag2mask.modules.base import TrainableNetwork

TEXT = (
    "Convert weights that others published to .safetensors. Read are MXNet's .params of ResNet38, Caffe's\n"
    ".caffemodel of VGG16, and the .pth files of PSA, IRN, SC-CAM, RRM, SEAM, DeepLab; as data, never run."
)
EXAMPLES = """examples:
  tag2mask weights convert ilsvrc-cls_rna-a1_cls1000_ep-0001.params resnet38.safetensors
  tag2mask weights convert vgg16_20M.caffemodel vgg16.safetensors
  tag2mask weights convert res38_cls.pth psa_classifier.safetensors
  tag2mask run psa ... --weights resnet38.safetensors"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``weights`` to the command line."""
    parser = add_command(commands, "weights", "convert published weights", TEXT, EXAMPLES)
    inner = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    convert = add_command(inner, "convert", "write a weight file that this program reads", TEXT, EXAMPLES)
    convert.add_argument("source", type=Path, help="a .params, .caffemodel, .pth or .pt file")
    convert.add_argument("target", type=Path, help="the .safetensors file to write")
    convert.add_argument(
        "--classes", nargs="+", metavar="NAME", help="classes of a trained network (default: VOC's 20)"
    )
    convert.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Convert one file, and print what it was and the checksums.

    Raises:
        UserError: the file cannot be read, is none that is known, or the target is there already.
    """
    from tag2mask.backbones.weights import check_finite
    from tag2mask.weights.published import backbone_of, recognise

    _check_files(args.source, args.target)
    state = _read(args.source)
    check_finite(state, args.source)
    classes = ClassList.from_names(args.classes) if args.classes else None
    network = recognise(state, classes)
    if network is None and classes is not None:
        raise UserError(f"{args.source} holds a backbone, which has no classes: leave out --classes")
    if network is None:
        use = f"{backbone_of(state, args.source)} --weights {args.target}"
        _write(state, args.target, None)
        print(f"backbone: {len(state)} tensors. Use: {use}")
    else:
        _write(network.state, args.target, network.module)
        left = f"; left out: {', '.join(network.dropped)}" if network.dropped else ""
        print(f"{network.what}: {len(network.state)} tensors{left}")
    for path in (args.source, args.target):
        print(f"{sha256_file(path)}  {path}")
    return 0


def _check_files(source: Path, target: Path) -> None:
    from tag2mask.modules.loading import is_checkpoint

    if target.suffix != ".safetensors":
        raise UserError(f"{target} must end in .safetensors")
    require_absent(target)
    if not source.is_file():
        raise UserError(f"{source} is no file: give a .params, .caffemodel, .pth or .pt file")
    if is_checkpoint(source):
        raise UserError(
            f"{source} is tag2mask's own: --weights and --checkpoint read it as it is, and "
            "tag2mask export makes .safetensors of a run"
        )


def _read(path: Path) -> dict[str, Tensor]:
    from tag2mask.backbones import load_state
    from tag2mask.weights.names import (
        resnet38_of_mxnet,
        resnet50_of_irn,
        resnet101_of_deeplab,
        vgg16_of_caffe,
    )

    if path.suffix.lower() == ".params":
        from tag2mask.weights.mxnet_file import read_mxnet

        return resnet38_of_mxnet(read_mxnet(path))
    if path.suffix.lower() == ".caffemodel":
        from tag2mask.weights.caffe_file import read_caffemodel

        return vgg16_of_caffe(read_caffemodel(path))
    return resnet50_of_irn(resnet101_of_deeplab(load_state(path)))


def _write(state: dict[str, Tensor], target: Path, module: TrainableNetwork | None) -> None:
    """Write the file under another name first, so that it is whole or not there."""
    from safetensors.torch import save

    from tag2mask.artifacts import atomic_write_bytes
    from tag2mask.modules.loading import network_metadata

    # Names that share memory are refused by safetensors: each gets its own.
    plain = {name: value.detach().clone().contiguous() for name, value in state.items()}
    metadata = {"format": "pt"} if module is None else network_metadata(module)
    atomic_write_bytes(target, save(plain, metadata))
