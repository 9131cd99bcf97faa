"""What is written for each image, and for all of them."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tag2mask.artifacts import (
    atomic_write_bytes,
    atomic_write_json,
    atomic_write_text,
    load_labels,
    save_labels,
)
from tag2mask.artifacts.prediction_folder import AREAS_NAME, PredictionFolder, coco_name
from tag2mask.core import ClassList
from tag2mask.data.images import read_rgb
from tag2mask.predict.inputs import Job
from tag2mask.predict.outlines import Region, coco_polygons, coco_run_lengths, labelme, regions

if TYPE_CHECKING:
    from tag2mask.api.segmenter import Segmenter


@dataclass(frozen=True)
class Wanted:
    """What a call writes beside the label maps.

    Attributes:
        overlay: a picture with a legend for each image.
        scores: the class probabilities of each image.
        labelme: LabelMe's file for each image.
        areas: one table of the classes' areas.
        coco: forms of COCO's annotations: polygons, rle.
        least: pixels that a region has at least to get an outline.
    """

    overlay: bool = False
    scores: bool = False
    labelme: bool = False
    areas: bool = False
    coco: Sequence[str] = ()
    least: int = 1


class Writer:
    """Writes the results of a call. The label map is an image's last file: where it is, all of it is.

    Args:
        folder: where to.
        wanted: what.
        segment: the network.
        anew: names of the images that get a new label map.
    """

    def __init__(
        self, folder: PredictionFolder, wanted: Wanted, segment: Segmenter, anew: Sequence[str]
    ) -> None:
        self.folder = folder
        self.wanted = wanted
        self.segment = segment
        self.classes: ClassList = segment.classes
        self.anew = set(anew)

    def lacks(self, job: Job) -> bool:
        """Whether a file of an image is missing."""
        return job.name in self.anew or any(not path.is_file() for path in self._extras(job))

    def write(self, job: Job) -> None:
        """Write what an image lacks; the network is asked only where the label map or scores are missing."""
        view = _View(job, self)
        fresh = job.name in self.anew
        for path in self._extras(job):
            if fresh or not path.is_file():
                self._write_extra(view, path)
        if fresh:
            save_labels(self.folder.labels(job.name), view.ids)

    def finish(self, jobs: Sequence[Job]) -> None:
        """Write the files on all images, from the label maps in the folder."""
        if self.wanted.areas:
            atomic_write_text(self.folder.path / AREAS_NAME, self._area_table(jobs))
        for form in self.wanted.coco:
            atomic_write_json(self.folder.path / coco_name(form), self._coco(jobs, form))

    def _extras(self, job: Job) -> list[Path]:
        asked = {
            self.folder.overlay(job.name): self.wanted.overlay,
            self.folder.scores(job.name): self.wanted.scores,
            self.folder.labelme(job.name): self.wanted.labelme,
        }
        return [path for path, is_asked in asked.items() if is_asked]

    def _write_extra(self, view: _View, path: Path) -> None:
        if path == self.folder.overlay(view.job.name):
            from tag2mask.predict.overlay import overlay_jpeg

            atomic_write_bytes(path, overlay_jpeg(view.image, view.ids, self.classes))
        elif path == self.folder.scores(view.job.name):
            atomic_write_bytes(path, _npz(view.scores, self.classes))
        else:
            found = regions(view.ids, self.classes, self.wanted.least)
            where = Path(os.path.relpath(view.job.image, path.parent)).as_posix()
            height, width = view.ids.shape
            atomic_write_json(path, labelme(found, self.classes, where, (height, width)))

    def _area_table(self, jobs: Sequence[Job]) -> str:
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["image", "class", "id", "pixels", "percent"])
        names = list(zip(self.classes.all_names, self.classes.all_ids, strict=True))
        for job in jobs:
            ids = load_labels(self.folder.labels(job.name))
            counts = np.bincount(ids.ravel(), minlength=256)
            for name, mask_id in names:
                if counts[mask_id]:
                    share = 100 * counts[mask_id] / ids.size
                    table.writerow([job.file_name, name, mask_id, counts[mask_id], f"{share:.3f}"])
        return text.getvalue()

    def _coco(self, jobs: Sequence[Job], form: str) -> dict[str, Any]:
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, job in enumerate(jobs, 1):
            ids = load_labels(self.folder.labels(job.name))
            height, width = ids.shape
            images.append({"id": number, "file_name": job.file_name, "height": height, "width": width})
            for entry in self._annotations(ids, form):
                annotations.append({"id": len(annotations) + 1, "image_id": number, **entry})
        pairs = zip(self.classes.names, self.classes.ids, strict=True)
        categories = [{"id": mask_id, "name": name, "supercategory": ""} for name, mask_id in pairs]
        return {"images": images, "categories": categories, "annotations": annotations}

    def _annotations(self, ids: npt.NDArray[np.uint8], form: str) -> Iterator[dict[str, Any]]:
        if form == "rle":
            return coco_run_lengths(ids, self.classes)
        found: list[Region] = regions(ids, self.classes, self.wanted.least)
        return coco_polygons(found)


class _View:
    """What is known of an image, each part made when it is first asked for."""

    def __init__(self, job: Job, writer: Writer) -> None:
        self.job = job
        self._writer = writer

    @cached_property
    def image(self) -> npt.NDArray[np.uint8]:
        """RGB (H, W, 3)."""
        return read_rgb(self.job.image)

    @cached_property
    def _predicted(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32] | None]:
        segment = self._writer.segment
        if self._writer.wanted.scores:
            return segment.labels_and_scores(self.image)
        return segment(self.image), None

    @property
    def scores(self) -> npt.NDArray[np.float32]:
        """Probabilities (K + 1, H, W)."""
        found = self._predicted[1]
        if found is None:
            raise RuntimeError("scores were not asked for")
        return found

    @cached_property
    def ids(self) -> npt.NDArray[np.uint8]:
        """Mask ids (H, W): those on disk, or new ones."""
        if self.job.name not in self._writer.anew:
            return load_labels(self._writer.folder.labels(self.job.name))
        return self._writer.classes.to_ids(self._predicted[0])


def _npz(scores: npt.NDArray[np.float32], classes: ClassList) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(
        stream,
        scores=scores.astype(np.float16),
        class_ids=np.array(classes.all_ids, np.uint8),
        class_names=np.array(classes.all_names),
    )
    return stream.getvalue()
