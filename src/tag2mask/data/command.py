"""``tag2mask data``: checks a data set before a long run, and makes data sets ready."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from tag2mask.artifacts.files import require_own
from tag2mask.core import UserError
from tag2mask.core.commands import add_data_set
from tag2mask.core.library import dataset_config, open_library
from tag2mask.data.check import Found, check_dataset
from tag2mask.data.config_file import write_config
from tag2mask.data.image_set import ImageSet
from tag2mask.data.imports.command import add_import
from tag2mask.data.official.command import add_official
from tag2mask.data.problems import problems_error
from tag2mask.data.sizes import image_sizes

_DEFAULT = "voc"
_CHECKED = "Written by tag2mask data check --skip-bad."


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``data`` with its actions ``check``, ``sizes``, ``import``, ``prepare`` and ``download``."""
    parser = subparsers.add_parser("data", help="check, import, download or prepare a data set")
    actions = parser.add_subparsers(dest="action", required=True)

    check = actions.add_parser("check", help="check images, lists, tags and masks without training")
    add_data_set(check, _DEFAULT)
    check.add_argument(
        "--split", action="append", help="split to check, again for more (default: train, val)"
    )
    check.add_argument("--decode", action="store_true", help="also decode every image (slower)")
    check.add_argument(
        "--skip-bad", action="store_true", help="write a data configuration that leaves bad images out"
    )
    check.add_argument("--out", metavar="FILE", help="that file (default: checked.yaml)")
    check.set_defaults(handler=_check)

    sizes = actions.add_parser("sizes", help="print how many images there are, and how large, as JSON")
    add_data_set(sizes, _DEFAULT)
    sizes.set_defaults(handler=_sizes)

    add_import(actions)

    add_official(actions)


def dataset_from_config(data: str, root: str | None = None, tags: str | None = None) -> ImageSet:
    """The data set of a data configuration.

    Args:
        data: name of a file in ``conf/data``, or the path of a YAML file.
        root: replaces the configuration's root.
        tags: replaces the configuration's tags (its CSV, for a table).

    Raises:
        UserError: no such configuration, or it does not name a data set.
    """
    description = dataset_config(open_library(), data)
    arguments = description["init_args"]
    if root is not None:
        arguments["root"] = root
    if tags is not None:
        key = "csv" if "csv" in arguments else "tags"
        arguments[key] = str(Path(tags).absolute())
    try:
        return ImageSet.from_description(description, own=True)
    except UserError as error:
        raise UserError(f"data configuration {data}: {error}") from error


def _check(args: argparse.Namespace) -> int:
    if args.out and not args.skip_bad:
        raise UserError("--out names the file that --skip-bad writes: give both or neither")
    dataset = dataset_from_config(args.data, args.data_root, args.tags)
    found = check_dataset(dataset, args.split or ["train", "val"], args.decode)
    wrong = [*found.errors, *(() if args.skip_bad else found.problems.values())]
    if wrong:
        raise problems_error(wrong)
    for note in found.notes:
        print(f"note: {note}")
    names = dataset.classes.names
    parts = "; ".join(_summary(dataset, split, ids) for split, ids in found.ids.items())
    print(f"{args.data}: {parts}; {len(names)} class{'es' * (len(names) > 1)}: {_listed(names)}; ok")
    if args.skip_bad:
        # also where nothing is wrong: the next command of a script names this file
        _write_without(dataset, found, args.out or "checked.yaml")
    return 0


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) if "," in name else name for name in names)


def _sizes(args: argparse.Namespace) -> int:
    print(image_sizes(dataset_from_config(args.data, args.data_root, args.tags)).model_dump_json())
    return 0


def _summary(dataset: ImageSet, split: str, ids: Sequence[str]) -> str:
    if not ids:
        raise UserError(f"split {split} has no image that can be read")
    tags = sum(len(dataset.tag_names(i)) for i in ids) / len(ids)
    masks = sum(dataset.mask_path(i) is not None for i in ids)
    return f"{split} {len(ids)} images, {tags:.2f} tags each, {masks} masks"


def _write_without(dataset: ImageSet, found: Found, out: str) -> None:
    """Write a data configuration that leaves the bad images out."""
    plain = dataset.describe()
    plain["init_args"]["skip"] = sorted(dataset.skip | found.problems.keys())
    require_own(out, f"# {_CHECKED}")
    write_config(Path(out), plain, _CHECKED)
    for image_id, problem in found.problems.items():
        print(f"left out {image_id}: {problem}")
    print(f"left out {len(found.problems)} images; go on with --data {out}")
