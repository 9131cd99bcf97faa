"""The folder that ``tag2mask predict`` fills; it protects the inputs and holds results of one model only."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tag2mask.artifacts.files import (
    atomic_write_json,
    read_json,
    remove_temporaries,
    safe_join,
)
from tag2mask.artifacts.names import SOURCES_NAME
from tag2mask.artifacts.predicted_images import PredictedImages
from tag2mask.artifacts.sources import note_sources
from tag2mask.artifacts.trouble import disk_trouble
from tag2mask.core.errors import UserError

CLASSES_NAME = "classes.json"
RECORD_NAME = "predict.json"
"""Says what made the label maps beside it."""
AREAS_NAME = "areas.csv"
COCO_FORMS = ("polygons", "rle")
"""Forms of outlines in COCO's annotations."""


def coco_name(form: str) -> str:
    """The file of COCO's annotations in one of `COCO_FORMS`."""
    return f"coco_{form}.json"


@dataclass(frozen=True)
class Maker:
    """What decides on the label maps of a folder.

    Attributes:
        checkpoint: SHA-256 of the checkpoint file.
        variant: one of `VARIANTS`.
        max_side: the longer side in pixels that the network sees at most.
    """

    checkpoint: str
    variant: str
    max_side: int


class PredictionFolder:
    """Label maps of images, their overlays, and the record of what made them.

    Args:
        path: the folder; it need not be there.
        images: name of each image, relative and without ending -> its file.
    """

    def __init__(self, path: Path, images: Mapping[str, Path]) -> None:
        self.path = path
        self.images = dict(images)
        self.names = list(images)

    def labels(self, name: str) -> Path:
        """The label map of an image."""
        return safe_join(self.path, f"{name}.png")

    def overlay(self, name: str) -> Path:
        """The picture of an image with its label map."""
        return safe_join(self.path / "overlay", f"{name}.jpg")

    def scores(self, name: str) -> Path:
        """The class probabilities of an image."""
        return safe_join(self.path / "scores", f"{name}.npz")

    def labelme(self, name: str) -> Path:
        """LabelMe's file of an image."""
        return safe_join(self.path / "labelme", f"{name}.json")

    def tables(self, areas: bool = True, coco: Iterable[str] = COCO_FORMS) -> list[Path]:
        """The files on all images: those that are asked for, or all that there can be."""
        names = [AREAS_NAME] if areas else []
        return [self.path / name for name in (*names, *map(coco_name, coco))]

    def spare(self) -> None:
        """Make sure that nothing is written over the images.

        Raises:
            UserError: a result would take the place of an image.
        """
        given = {os.path.realpath(image): image for image in self.images.values()}
        for name in self.names:
            for path in (self.labels(name), self.overlay(name)):
                if os.path.realpath(path) in given:
                    raise UserError(
                        f"the result {path} would be written over an image that was given: "
                        "choose another folder as --out"
                    )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder and keep other calls out of it: they would take half-written files for lost ones.

        Raises:
            UserError: another call is at work in it, or it cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise UserError(f"cannot make the folder {self.path}: {disk_trouble(error)}") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            # PermissionError is a share of Windows; anything else a file system without locks
            if isinstance(error, BlockingIOError | PermissionError):
                os.close(handle)
                raise UserError(
                    f"another prediction is writing to {self.path}: wait for it, or give another --out"
                ) from error
        try:
            yield
        finally:
            os.close(handle)

    def begin(self, maker: Maker, classes: Mapping[str, int], overwrite: bool) -> list[str]:
        """Note what makes the label maps, and give the names that have none of this image yet.

        Args:
            maker: what makes them now.
            classes: name -> mask id.
            overwrite: make those again that are there.

        Raises:
            UserError: the folder holds label maps of another maker or of other images, or files that no
                record tells about.
        """
        record = read_json(self.path / RECORD_NAME)
        if record is None:
            self._require_free()
        same = record == asdict(maker)
        there = [name for name in self.names if self.labels(name).is_file()]
        if record is None:
            self._require_no_neighbours(there)
        if not same:
            self._require_only(there if overwrite else [])
        if record is not None:
            remove_temporaries(self.path)
        # Taken away before the records change: what a stopped call leaves is then of one maker and image.
        images = PredictedImages(self.path, self.images)
        stale = there if overwrite else images.replaced(there)
        for name in stale:
            self.labels(name).unlink()
        if overwrite or stale:
            self._remove_extras(self.names if overwrite else stale)
        done = set(there) - set(stale)
        todo = [name for name in self.names if name not in done]
        for path in (path for name in todo for path in (self.overlay(name), self.scores(name))):
            path.unlink(missing_ok=True)  # by a call that was stopped, perhaps of another image or model
        atomic_write_json(self.path / RECORD_NAME, asdict(maker))
        atomic_write_json(self.path / CLASSES_NAME, dict(classes))
        gone = [other for name in todo for other in images.others(name)]
        note_sources(self.path / SOURCES_NAME, self.images.values(), replace=True, without=gone)
        return todo

    def _require_free(self) -> None:
        """Refuse a folder in which files of others have the names of ours."""
        for path in (*self.tables(), *(extra for name in self.names for extra in self._extras(name))):
            if path.exists():
                raise UserError(
                    f"{path} is there, but no {RECORD_NAME} that says that a prediction made it: choose "
                    "another folder as --out"
                )

    def _require_no_neighbours(self, names: Iterable[str]) -> None:
        """Refuse to take PNGs that lie beside their images for label maps: they may be masks of the user."""
        for name in names:
            path = self.labels(name)
            if os.path.realpath(path.parent) == os.path.realpath(self.images[name].parent):
                raise UserError(
                    f"{path} lies beside its image, and no {RECORD_NAME} says that a prediction made it: "
                    "choose another folder as --out"
                )

    def _remove_extras(self, names: Iterable[str]) -> None:
        """Take away what was made from label maps that are gone."""
        for path in (*self.tables(), *(extra for name in names for extra in self._extras(name))):
            path.unlink(missing_ok=True)

    def _extras(self, name: str) -> tuple[Path, ...]:
        return self.overlay(name), self.scores(name), self.labelme(name)

    def _require_only(self, names: Iterable[str]) -> None:
        """Refuse a folder with other label maps than these; images that are given may lie in it."""
        expected = {self.labels(name) for name in names}
        images = {os.path.realpath(image) for image in self.images.values()}
        record = self.path / RECORD_NAME
        for path in sorted(self.path.rglob("*.png")):
            if path in expected or os.path.realpath(path) in images:
                continue
            told = f"see {record}" if record.exists() else f"{record} is not there"
            raise UserError(
                f"{path} was not made by this model in this way ({told}): choose another folder as --out, or "
                "make all of its images again with --overwrite"
            )
