"""What is wrong or odd with a data set, found before anything is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tag2mask.artifacts.labels import load_labels
from tag2mask.core import IGNORE, ClassList, UserError
from tag2mask.core.tables import Table
from tag2mask.data.class_names import numbered_names, similar_names
from tag2mask.data.image_set import ImageSet
from tag2mask.data.progress import map_with_bar

_FEW = 0.5
"""Share of a class's masks whose image has the tag, below which the ids are taken for mixed up."""


@dataclass
class Found:
    """The result of a check.

    Attributes:
        problems: image id -> what is wrong with it.
        ids: split -> its images without those.
        errors: what is wrong with the masks as a whole.
        notes: what is odd, but no reason to stop.
    """

    problems: dict[str, str] = field(default_factory=dict)
    ids: dict[str, list[str]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check_dataset(images: ImageSet, splits: Sequence[str], decode: bool = False) -> Found:
    """Read every file of some splits, with a progress bar, and every mask as a whole.

    Args:
        images: the data set.
        splits: the splits.
        decode: also decode every image, which finds damage in the middle of a file.

    Raises:
        UserError: a list, the table of tags or the class list is wrong.
    """
    found = Found()
    _ = images.classes
    for split in splits:
        ids = images.ids(split)
        with tqdm(total=len(ids), desc=f"checking {split}", unit="image", disable=None) as bar:
            bad = images.problems(ids, seen=bar.update)
        if decode:
            bad |= _undecodable(images, [i for i in ids if i not in bad], split)
        found.problems |= bad
        found.ids[split] = [i for i in ids if i not in bad]
    kept = [image_id for ids in found.ids.values() for image_id in ids]
    if not kept:
        return found
    counts = Counter(n for i in kept for n in images.tag_names(i))
    found.notes += [*similar_names(counts), *numbered_names(counts)]
    found.notes += _missing_classes(images, found.ids)
    found.notes += _in_every_image(images, found.ids.get("train", []))
    found.notes += _never_apart(images, found.ids.get("train", []))
    found.notes += images.notes(kept)
    try:
        found.notes += check_masks(images, kept)
    except UserError as error:
        found.errors.append(str(error))
    return found


def class_table(images: ImageSet, ids: dict[str, list[str]]) -> Table:
    """The number of images for each class and split."""
    counts = {split: Counter(n for i in some for n in images.tag_names(i)) for split, some in ids.items()}
    none = {split: sum(not images.tag_names(i) for i in some) for split, some in ids.items()}
    rows = [[name, *(str(counts[s][name]) for s in ids)] for name in images.classes.names]
    if any(none.values()):
        rows.append(["(without tags)", *(str(none[s]) for s in ids)])
    return Table(["class", *ids], rows, foot=[["images", *(str(len(some)) for some in ids.values())]])


def check_masks(images: ImageSet, image_ids: Sequence[str]) -> list[str]:
    """Compare the ids in masks with the classes and the tags.

    Returns:
        sentences on classes whose masks and tags do not fit.

    Raises:
        UserError: masks hold nothing that could be scored, or ids that no class has.
    """
    masked = [(i, path) for i in image_ids if (path := images.mask_path(i)) is not None]
    if not masked:
        return []

    def values(job: tuple[str, Path]) -> frozenset[int]:
        return frozenset(np.unique(load_labels(job[1])).tolist())

    seen = map_with_bar(values, masked, "checking masks", "mask")
    tags = [images.tag_names(image_id) for image_id, _ in masked]
    counts = Counter(value for present in seen for value in present)
    known = images.mask_classes
    _require_ids([path for _, path in masked], counts, known, tags, seen)
    return _mixed_up(images.classes, counts, tags, seen)


def _require_ids(
    paths: Sequence[Path],
    counts: Counter[int],
    known: ClassList,
    tags: Sequence[Sequence[str]],
    seen: Sequence[frozenset[int]],
) -> None:
    folder = paths[0].parent
    classes = ", ".join(f"{i} {n}" for n, i in zip(known.names, known.ids, strict=True))
    shown = ", ".join(f"{value} (in {count})" for value, count in sorted(counts.items()))
    if set(counts) <= {0, IGNORE}:
        raise UserError(
            f"the masks in {folder} hold no class, only {shown}: 0 is background and 255 is not scored, so "
            f"every score would be 100. Write the id of the class in its place ({classes}), e.g. with "
            "tag2mask data import --mask-value 255=NAME, or set masks: null"
        )
    strange = sorted(set(counts) - {0, IGNORE, *known.ids})
    if strange:
        value = strange[0]
        example = next(path.name for path, present in zip(paths, seen, strict=True) if value in present)
        raise UserError(
            f"the masks in {folder} hold ids that no class has: {value} in {counts[value]} masks"
            f"{_usual_tag(value, tags, seen)}, as in {example}; "
            f"they hold {shown}, and the classes are {classes}. Give classes in the order of the ids in the "
            f"data set's YAML, or convert the masks: tag2mask data import --mask-value {value}=NAME"
        )


def _mixed_up(
    classes: ClassList,
    counts: Counter[int],
    tags: Sequence[Sequence[str]],
    seen: Sequence[frozenset[int]],
) -> list[str]:
    notes = []
    for name, value in zip(classes.names, classes.ids, strict=True):
        there = [names for present, names in zip(seen, tags, strict=True) if value in present]
        agree = sum(name in names for names in there)
        if there and agree < _FEW * len(there):
            notes.append(
                f"mask id {value} is {name}, but only {agree} of the {counts[value]} masks with it belong to "
                f"an image with that tag{_usual_tag(value, tags, seen)}: "
                "give classes in the order of the masks' ids in the data set's YAML"
            )
    return notes


def _usual_tag(value: int, tags: Sequence[Sequence[str]], seen: Sequence[frozenset[int]]) -> str:
    """The tag that most images have whose masks hold an id: what the id may mean."""
    names = Counter(n for present, some in zip(seen, tags, strict=True) if value in present for n in some)
    return f" (most of these images have the tag {names.most_common(1)[0][0]!r})" if names else ""


def _missing_classes(images: ImageSet, ids: dict[str, list[str]]) -> list[str]:
    missing = {
        split: sorted(set(images.classes.names) - {n for i in some for n in images.tag_names(i)})
        for split, some in ids.items()
    }
    return [
        f"no image of split {split} shows {', '.join(names)}" for split, names in missing.items() if names
    ]


def _in_every_image(images: ImageSet, image_ids: Sequence[str]) -> list[str]:
    """A classifier that is always right with "yes" has no reason to look at the object."""
    counts = Counter(name for i in image_ids for name in images.tag_names(i))
    always = [name for name in images.classes.names if image_ids and counts[name] == len(image_ids)]
    return [
        f"every train image is tagged {', '.join(always)}: a classifier finds where a class is by comparing "
        "with images that do not show it. Add some (those that show none of the classes need no tag with "
        "untagged: negative)"
    ][: len(always)]


def _never_apart(images: ImageSet, image_ids: Sequence[str]) -> list[str]:
    """Classes that the tags do not tell from each other; perhaps one name with a separator in it."""
    shown: dict[str, list[str]] = {name: [] for name in images.classes.names}
    for image_id in image_ids:
        for name in images.tag_names(image_id):
            shown[name].append(image_id)
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, some in shown.items():
        groups.setdefault(tuple(some), []).append(name)
    return [
        f"{' and '.join(map(repr, names))} are tags of the same train images ({len(some)}), so nothing tells "
        "a classifier which is which: if they are one name, set another separator (none: one name in each "
        "cell), else add images that show one of them"
        for some, names in groups.items()
        if some and len(names) > 1
    ]


def _undecodable(images: ImageSet, image_ids: Sequence[str], split: str) -> dict[str, str]:
    def look(image_id: str) -> str:
        try:
            images.read_image(image_id)
        except UserError as error:
            return str(error)
        return ""

    problems = map_with_bar(look, image_ids, f"decoding {split}", "image")
    return {i: problem for i, problem in zip(image_ids, problems, strict=True) if problem}
