"""From the names of a source to the images that are there, with the tags and splits to write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Literal

from tag2mask.core import UserError
from tag2mask.data.image_ids import held_out, image_id_of
from tag2mask.data.imports.source import ImageIndex, Item, Source

OnUntagged = Literal["error", "negative", "skip"]
_SHOWN = 5


@dataclass(frozen=True)
class Choices:
    """What the user decided.

    Attributes:
        untagged: what to do with images without tags.
        negative: a name that means that none of the classes is there.
        skip_bad: leave out images that do not exist.
        val_fraction: share of images to hold out where the source has no validation split.
    """

    untagged: OnUntagged = "error"
    negative: str | None = None
    skip_bad: bool = False
    val_fraction: float = 0.2


def resolve(source: Source, index: ImageIndex, choices: Choices) -> list[Item]:
    """The items whose images exist, named by their path below the index's root.

    Notes on what is left out are added to the source.

    Raises:
        UserError: images do not exist or have no tags, and nobody said what to do with them; or some
            have no split.
    """
    if not source.items:
        raise UserError(f"{source.form}: it names no image")
    items = [_without_negative(item, choices.negative) for item in source.items]
    if choices.negative and all(a is b for a, b in zip(items, source.items, strict=True)):
        raise UserError(f"--negative {choices.negative}: no image has this tag")
    found = _existing(source, items, index, choices.skip_bad)
    kept = _tagged(source, found, choices)
    if not kept:
        raise UserError(f"{source.form}: no image is left")
    return _with_val(kept, choices.val_fraction)


def common_folder(items: Sequence[Item]) -> str:
    """The deepest folder that holds all images, "" for the root itself."""
    folders = [PurePosixPath(item.image).parent.parts for item in items]
    depth = 0
    while all(len(f) > depth and f[depth] == folders[0][depth] for f in folders):
        depth += 1
    return "/".join(folders[0][:depth])


def _without_negative(item: Item, negative: str | None) -> Item:
    if negative is None or negative not in item.names:
        return item
    if len(item.names) > 1:
        raise UserError(
            f"{item.image} has the tag {negative!r} (--negative) and others: {', '.join(item.names)}"
        )
    return replace(item, names=())


def _existing(source: Source, items: Sequence[Item], index: ImageIndex, skip: bool) -> list[Item]:
    found: dict[str, Item] = {}
    missing = []
    for item in items:
        path = _find(index, item)
        if path is None:
            missing.append(item)
        elif path in found:
            raise UserError(f"{item.where}: {path} is named twice (also in {found[path].where})")
        else:
            found[path] = replace(item, image=path)
    if missing and not skip:
        shown = "\n  ".join(f"{item.image} ({item.where})" for item in missing[:_SHOWN])
        more = f"\n  ... and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise UserError(
            f"{len(missing)} of {len(items)} images are not in {index.root}:\n  {shown}{more}\n"
            "correct the names, or leave these images out with --skip-bad"
        )
    if missing:
        source.notes.append(f"{len(missing)} images are not in {index.root}: left out")
    extra = len(index.paths) - len(found)
    if extra and not source.form.startswith("a folder"):
        source.notes.append(f"{extra} images in {index.root} are not named: left out")
    return list(found.values())


def _find(index: ImageIndex, item: Item) -> str | None:
    try:
        return index.find(item.image)
    except UserError as error:
        raise UserError(f"{item.where}: {error}") from None


def _tagged(source: Source, items: Sequence[Item], choices: Choices) -> list[Item]:
    bare = [item for item in items if not item.names]
    negative = choices.untagged == "negative" or choices.negative is not None
    if not bare or negative:
        return list(items)
    if choices.untagged == "skip":
        source.notes.append(f"{len(bare)} images without tags: left out")
        return [item for item in items if item.names]
    raise UserError(
        f"{len(bare)} images have no tags, e.g. {bare[0].image} ({bare[0].where}): give --untagged negative "
        "if they show none of the classes, or --untagged skip to leave them out"
    )


def _with_val(items: list[Item], fraction: float) -> list[Item]:
    """Hold images out for validation where the source has splits, but none for that.

    Raises:
        UserError: some images have a split, and others have none.
    """
    without = [item for item in items if not item.split]
    if len(without) == len(items):
        return items
    if without:
        first, others = without[0], len(items) - len(without)
        raise UserError(
            f"{first.where}: {first.image} has no split, and {others} images have one; give all of them one, "
            "or none"
        )
    if any(item.split == "val" for item in items):
        return items
    train = {image_id_of(item.image) for item in items if item.split == "train"}
    val = held_out(train, fraction)
    return [replace(item, split="val") if image_id_of(item.image) in val else item for item in items]
