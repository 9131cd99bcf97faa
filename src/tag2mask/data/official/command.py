"""``tag2mask data prepare`` and ``download``: the data sets of the papers, and the generated one."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from tag2mask.data.official.coco import prepare_coco
from tag2mask.data.official.download import archives, download, plan
from tag2mask.data.official.voc import prepare_sbd, prepare_voc
from tag2mask.data.shapes import Shapes

_VOC = Path("data/VOC2012")
_COCO = Path("data/COCO2014")
_WHERE = {
    "voc": (Path("data"), "tag2mask data prepare voc --root {root}/VOCdevkit/VOC2012"),
    "sbd": (Path("data/sbd"), "tag2mask data prepare sbd --sbd {root} --root VOCdevkit/VOC2012"),
    "coco": (_COCO, "tag2mask data prepare coco --root {root}"),
}
"""Where a data set is downloaded to, and what comes after."""


def add_official(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the actions ``prepare`` and ``download``."""
    prepare = actions.add_parser("prepare", help="make a data set of the papers ready, or the generated one")
    sets = prepare.add_subparsers(dest="name", required=True)
    _add(sets, "voc", "PASCAL VOC 2012: count its lists, write its tags to one table", _VOC, _prepare_voc)
    sbd = _add(sets, "sbd", "SBD: masks from .mat to PNG beside VOC's, list train_aug", _VOC, _prepare_sbd)
    sbd.add_argument(
        "--sbd", type=Path, required=True, metavar="DIR", help="SBD's folder, which holds cls/*.mat"
    )
    _add(sets, "coco", "COCO 2014: table of tags and masks from its annotations", _COCO, _prepare_coco)
    shapes = _add(sets, "shapes", "write the generated data set", Path("data/shapes"), _prepare_shapes)
    for name, value, what in (
        ("train", 240, "train images"), ("val", 60, "val images"), ("seed", 0, "seed of what is drawn")
    ):  # fmt: skip
        shapes.add_argument(
            f"--{name}", type=int, default=value, metavar="N", help=f"{what} (default: {value})"
        )
    _add_download(actions)


def _add(
    sets: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    summary: str,
    root: Path,
    handler: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    parser = sets.add_parser(name, help=summary, description=summary)
    parser.add_argument(
        "--root", type=Path, default=root, metavar="DIR", help=f"its folder (default: {root})"
    )
    parser.set_defaults(handler=handler)
    return parser


def _add_download(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = actions.add_parser("download", help="download a data set of the papers by torchvision's code")
    parser.add_argument("name", choices=list(_WHERE), help="which data set")
    parser.add_argument("--root", type=Path, metavar="DIR", help="folder to unpack in (default: below data/)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be downloaded, and do nothing")
    parser.set_defaults(handler=_download)


def _prepare_voc(args: argparse.Namespace) -> int:
    return _tell(prepare_voc(args.root), f"tag2mask run psa --data voc --data-root {args.root}")


def _prepare_sbd(args: argparse.Namespace) -> int:
    return _tell(prepare_sbd(args.sbd, args.root), f"tag2mask run psa --data voc_aug --data-root {args.root}")


def _prepare_coco(args: argparse.Namespace) -> int:
    return _tell(prepare_coco(args.root), f"tag2mask run psa --data coco --data-root {args.root}")


def _prepare_shapes(args: argparse.Namespace) -> int:
    shapes = Shapes(str(args.root), train=args.train, val=args.val, seed=args.seed)
    done = "written" if shapes.make() else "there already"
    print(f"shapes: {args.train} + {args.val} images in {args.root}, {done}")
    return 0


def _download(args: argparse.Namespace) -> int:
    place, after = _WHERE[args.name]
    root = args.root or place
    wanted = archives(args.name)
    for line in plan(wanted, root):
        print(line)
    if args.dry_run:
        return 0
    download(wanted, root)
    return _tell([], after.format(root=root))


def _tell(lines: list[str], after: str) -> int:
    for line in lines:
        print(line)
    print(f"next: {after}")
    return 0
