"""What the labels of a step hold, counted without masks: empty ones, lost classes, share of foreground."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tag2mask.artifacts import Kind
from tag2mask.core import IGNORE, ClassList, LabelsResult, ScoreMaps, UserError
from tag2mask.core.results import cut_maps
from tag2mask.data import ImageSet
from tag2mask.evaluate.loop import load_ahead
from tag2mask.ops import affinity_labels

Counts = npt.NDArray[np.int64]


@dataclass
class LabelFacts:
    """Counts over the labels of a step.

    Attributes:
        images: images looked at.
        tagged: those that are tagged with a class at least, and so should show one.
        empty: those of `tagged` without a foreground pixel.
        full: those of `tagged` without a background pixel.
        negative: images that are known to show none of the classes.
        marked: those of `negative` with a foreground pixel.
        foreground: mean share of foreground among the known pixels.
        tags: class name -> images tagged with it.
        found: class name -> those of them that have a pixel of it.
        cut: whether these are maps without a background, cut at a level that no later step takes: steps
            that make labels of them add a background of their own, so the extent here is not the labels'.
    """

    images: int = 0
    tagged: int = 0
    empty: int = 0
    full: int = 0
    negative: int = 0
    marked: int = 0
    foreground: float = 0.0
    tags: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    cut: bool = False

    def add(self, counts: Counts, names: Iterable[str] | None, classes: ClassList) -> None:
        """Count one image.

        Args:
            counts: (256,) pixels of each index; 255 is unknown.
            names: the image's tags, None where nobody knows them.
            classes: the K foreground classes.
        """
        inside = counts[1:IGNORE].sum()
        share = inside / max(1, inside + counts[0])
        self.foreground += (float(share) - self.foreground) / (self.images + 1)
        self.images += 1
        if names is not None and not names:
            self.negative += 1
            self.marked += int(inside > 0)
        if not names:
            return
        self.tagged += 1
        self.empty += int(inside == 0)
        self.full += int(inside > 0 and counts[0] == 0)
        self.tags.update(names)
        self.found.update(name for name in names if counts[classes.all_names.index(name)])

    def to_dict(self) -> dict[str, Any]:
        """Plain form for JSON."""
        return {
            "images": self.images,
            "tagged": self.tagged,
            "empty": self.empty,
            "full": self.full,
            "negative": self.negative,
            "marked": self.marked,
            "foreground": round(self.foreground, 4),
            "tags": dict(self.tags),
            "found": {name: self.found[name] for name in self.tags},
        }


def label_facts(out: Path, kind: Kind, dataset: ImageSet, ids: Iterable[str], threshold: float) -> LabelFacts:
    """Look at the labels of each image, or at what its score maps would give.

    Args:
        out: a step's folder ``out/``.
        kind: its kind, one of those that are scored.
        dataset: has the tags.
        ids: the images.
        threshold: level above which maps without a background count as their class.

    Raises:
        UserError: a result is missing or broken.
    """
    facts, classes = LabelFacts(), dataset.classes

    def load(image_id: str) -> tuple[Counts, bool]:
        result = kind.load(out, image_id, classes)
        indices = _indices(result, kind.scored_as or "", threshold)
        cut = isinstance(result, ScoreMaps) and bool(result.classes) and 0 not in result.classes
        return np.bincount(indices.ravel(), minlength=IGNORE + 1), cut

    for image_id, (counts, cut) in load_ahead(load, list(ids), "looking at labels"):
        facts.add(counts, _tags(dataset.tag_names, image_id), classes)
        facts.cut |= cut
    return facts


def _indices(result: ScoreMaps | LabelsResult, scored_as: str, threshold: float) -> npt.NDArray[np.uint8]:
    if isinstance(result, ScoreMaps):
        return cut_maps(result.maps, result.classes, threshold)
    if scored_as == "affinity_labels":
        sides = [result.labels[side] for side in ("fg", "bg") if side in result.labels]
        if len({side.shape for side in sides}) != 1 or len(sides) != 2:
            raise UserError(
                f"the labels fg and bg of {result.image_id} are not two maps of one size: run the step again"
            )
        return np.asarray(affinity_labels(*sides))
    return next(iter(result.labels.values()))


def _tags(tag_names: Callable[[str], tuple[str, ...]], image_id: str) -> tuple[str, ...] | None:
    try:
        return tag_names(image_id)
    except UserError:
        return None  # images to predict need no tags
