"""Kinds of artifacts: what a step of each kind leaves for an image, and what it can be compared with.

The writer, the scorer, the runner and the manifest ask this registry. A package of its own adds a kind
with `register_kind`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tag2mask.artifacts.features import load_features, load_sub_labels, save_features, save_sub_labels
from tag2mask.artifacts.files import safe_join
from tag2mask.artifacts.labels import load_confidence, load_labels, save_confidence, save_labels
from tag2mask.artifacts.maps import MAPS_SUFFIX, load_maps, save_maps
from tag2mask.artifacts.names import PLAIN_NAME, PLAIN_NAME_WORDS, VARIANTS
from tag2mask.artifacts.regions import load_regions, save_regions
from tag2mask.core.classes import ClassList
from tag2mask.core.errors import UserError, unknown_name
from tag2mask.core.plugins import import_plugins
from tag2mask.core.results import FeaturesResult, LabelsResult, RegionsResult, ScoreMaps, SubLabelsResult

SCORERS = ("maps", "labels", "affinity_labels", "segmentation")
"""Ways to compare what a step leaves with true masks.

maps reads `ScoreMaps` (``<id>.npz``), labels label maps (``<id>.png``), affinity_labels those in ``fg`` and
``bg``, segmentation those in the folders of `VARIANTS`.
"""


@dataclass(frozen=True)
class ResultFiles:
    """The file of each image that is written last: where it is, the image is done.

    Attributes:
        folder: where the files lie.
        suffix: their ending.
    """

    folder: Path
    suffix: str

    def path(self, image_id: str) -> Path:
        """The file of an image."""
        return safe_join(self.folder, f"{image_id}{self.suffix}")

    def has(self, image_id: str) -> bool:
        """Whether the image is done."""
        return self.path(image_id).is_file()


@dataclass(frozen=True)
class Kind:
    """What the steps of one kind leave in their folder ``out/`` for each image.

    As it stands, a kind leaves nothing for an image; a subclass writes and reads it.

    Attributes:
        name: lower-case letters, digits and underscores.
        suffix: ending of the file of an image.
        folders: folders below ``out/`` in the order in which they are written; "" is ``out/`` itself.
        scored_as: one of `SCORERS`, or None where there is nothing to compare with masks.
    """

    name: str
    suffix: str = ".png"
    folders: tuple[str, ...] = ("",)
    scored_as: str | None = None

    @property
    def done_folder(self) -> str:
        """The folder whose file is written last, unless a step writes only some of them."""
        return self.folders[-1]

    def files(self, out: str | Path, done_folder: str | None = None) -> ResultFiles:
        """The file of each image that is written last.

        Args:
            out: the step's folder ``out/``.
            done_folder: its folder; None takes that of the kind.
        """
        return ResultFiles(
            Path(out) / (self.done_folder if done_folder is None else done_folder), self.suffix
        )

    def save(self, out: Path, result: Any, classes: ClassList) -> None:
        """Write the result of one image, each file atomically.

        Args:
            out: the step's folder ``out/``.
            result: what `predict_image` gave; it has an ``image_id``.
            classes: gives class indices their mask ids.
        """
        raise UserError(f"a step of kind {self.name} leaves nothing for an image")

    def load(self, out: Path, image_id: str, classes: ClassList) -> Any:
        """Read what `save` wrote for an image.

        Raises:
            UserError: a file is missing, broken, or of other classes.
        """
        raise UserError(f"a step of kind {self.name} leaves nothing for an image")


class MapsKind(Kind):
    """Score maps."""

    def save(self, out: Path, result: ScoreMaps, classes: ClassList) -> None:
        """Write them to a compressed ``<id>.npz``."""
        save_maps(out, result, classes)

    def load(self, out: Path, image_id: str, classes: ClassList) -> ScoreMaps:
        """Read them from ``<id>.npz``."""
        return load_maps(out, image_id, classes)


class LabelsKind(Kind):
    """Label maps, one in each folder, and the confidence of the main one."""

    def save(self, out: Path, result: LabelsResult, classes: ClassList) -> None:
        """Write each label map, and first the confidence if there is one."""
        name = f"{result.image_id}{self.suffix}"
        if result.confidence is not None:
            save_confidence(safe_join(out / "confidence", name), result.confidence)
        for folder, labels in result.labels.items():
            save_labels(safe_join(out / folder, name), classes.to_ids(labels))

    def load(self, out: Path, image_id: str, classes: ClassList) -> LabelsResult:
        """Read the folders that hold the image, which may be only some of the kind's."""
        name = f"{image_id}{self.suffix}"
        paths = {folder: safe_join(out / folder, name) for folder in self.folders}
        there = {folder: path for folder, path in paths.items() if path.is_file()}
        if not there:
            raise UserError(f"no labels at {' or '.join(map(str, paths.values()))}: run the step again")
        labels = {folder: classes.to_index(load_labels(path)) for folder, path in there.items()}
        confidence = safe_join(out / "confidence", name)
        return LabelsResult(image_id, labels, load_confidence(confidence) if confidence.is_file() else None)


class RegionsKind(Kind):
    """Superpixels."""

    def save(self, out: Path, result: RegionsResult, classes: ClassList) -> None:
        """Write the number of each pixel's superpixel to ``<id>.png``."""
        save_regions(self.files(out).path(result.image_id), result.regions)

    def load(self, out: Path, image_id: str, classes: ClassList) -> RegionsResult:
        """Read them from ``<id>.png``."""
        return RegionsResult(image_id, load_regions(self.files(out).path(image_id)))


class FeaturesKind(Kind):
    """Feature vectors."""

    def save(self, out: Path, result: FeaturesResult, classes: ClassList) -> None:
        """Write the vector to ``<id>.npy``."""
        save_features(self.files(out).path(result.image_id), result.features)

    def load(self, out: Path, image_id: str, classes: ClassList) -> FeaturesResult:
        """Read the vector from ``<id>.npy``."""
        return FeaturesResult(image_id, load_features(self.files(out).path(image_id)))


class SubLabelsKind(Kind):
    """Sub-categories."""

    def save(self, out: Path, result: SubLabelsResult, classes: ClassList) -> None:
        """Write the sub-category of each tag to ``<id>.json``."""
        save_sub_labels(self.files(out).path(result.image_id), result.clusters, classes)

    def load(self, out: Path, image_id: str, classes: ClassList) -> SubLabelsResult:
        """Read them from ``<id>.json``."""
        return SubLabelsResult(image_id, load_sub_labels(self.files(out).path(image_id), classes))


_KINDS: dict[str, Kind] = {}


def register_kind(kind: Kind) -> Kind:
    """Make a kind known under its name; registering the same one again changes nothing.

    Returns:
        the kind.

    Raises:
        UserError: the name has another form or is taken, or there is no such scorer.
    """
    if not PLAIN_NAME.fullmatch(kind.name):
        raise UserError(f"kind {kind.name!r} must be {PLAIN_NAME_WORDS}: rename it")
    if kind.scored_as is not None and kind.scored_as not in SCORERS:
        raise unknown_name(f"scorer of kind {kind.name}", kind.scored_as, SCORERS)
    if not kind.folders:
        raise UserError(f'kind {kind.name!r} names no folder: give folders ("",) for out/ itself')
    if _KINDS.setdefault(kind.name, kind) != kind:
        raise UserError(f"a kind {kind.name!r} exists already: give the new one another name")
    return kind


def find_kind(name: str) -> Kind:
    """The kind of a name; the packages that register themselves are asked for one that is not known yet.

    Raises:
        UserError: there is none, or a package cannot be imported.
    """
    if name not in _KINDS:
        import_plugins()
    if name not in _KINDS:
        raise unknown_name("kind", name, _KINDS, "The package that brings it may not be installed.")
    return _KINDS[name]


def kind_names() -> tuple[str, ...]:
    """The names of all kinds, in the order in which they were registered."""
    return tuple(_KINDS)


for _kind in (
    MapsKind("maps", MAPS_SUFFIX, scored_as="maps"),
    LabelsKind("labels", scored_as="labels"),
    LabelsKind("affinity_labels", folders=("fg", "bg"), scored_as="affinity_labels"),
    Kind("checkpoint"),
    LabelsKind("segmentation", folders=VARIANTS, scored_as="segmentation"),
    RegionsKind("superpixels"),
    FeaturesKind("features", ".npy"),
    SubLabelsKind("sub_labels", ".json"),
):
    register_kind(_kind)
