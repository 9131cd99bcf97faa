"""A data set as large as COCO, with few pixels, and a finished run on it: hard links to a few files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from tag2mask.artifacts import (
    SOURCES_NAME,
    CommandRecord,
    Manifest,
    find_kind,
    manifest_hash,
    note_sources,
    save_labels,
    save_maps,
    write_manifest,
)
from tag2mask.core import ClassList, ScoreMaps
from tag2mask.data import Table as ImageTable
from tag2mask.pipeline import Request, Settings, prepare
from tag2mask.pipeline.notes import write_input
from tag2mask.pipeline.settings import write_run

CLASSES = tuple(f"class {number:02d}" for number in range(80))
MOST_LINKS = 60_000
"""Names that a file is given; ext4 allows 65,000."""
_SIDE, _VAL = 16, 3


class World:
    """A data set and a finished `psa` run on it.

    Args:
        folder: an empty folder.
        images: how many; two thirds are train, as in COCO.
    """

    def __init__(self, folder: Path, images: int) -> None:
        self.folder = folder
        self.ids = [f"COCO_{number:012d}" for number in range(images)]
        self.data = folder / "data.yaml"
        self.run = folder / "run"
        self._write_data()

    def dataset(self) -> ImageTable:
        """The data set, with nothing read yet."""
        plain = yaml.safe_load(self.data.read_text())["data"]["init_args"]["dataset"]["init_args"]
        return ImageTable(**plain)

    def request(self) -> Request:
        """What a user asks for who goes on with the run."""
        return Request(Settings("psa", data=str(self.data), budget="tiny"), self.run)

    def _write_data(self) -> None:
        rng = np.random.default_rng(0)
        tags = rng.integers(0, len(CLASSES), (len(self.ids), 3))
        lines = [
            f"{image_id}.jpg,{';'.join({CLASSES[k]: None for k in row})},{self._split(n)}"
            for n, (image_id, row) in enumerate(zip(self.ids, tags, strict=True))
        ]
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "labels.csv").write_text("\n".join(["image,labels,split", *lines]) + "\n")
        arguments: dict[str, Any] = {"root": str(self.folder), "images": "images", "csv": "labels.csv"}
        arguments |= {"masks": "masks", "classes": list(CLASSES)}
        dataset = {"class_path": "tag2mask.data.Table", "init_args": arguments}
        self.data.write_text(yaml.safe_dump({"data": {"init_args": {"dataset": dataset}}}))
        Image.new("RGB", (_SIDE, _SIDE), (90, 120, 30)).save(self.folder / "image.jpg")
        save_labels(self.folder / "mask.png", np.full((_SIDE, _SIDE), 1, np.uint8))
        self._link("image.jpg", self.folder / "images", ".jpg", self.ids)
        self._link("mask.png", self.folder / "masks", ".png", self.ids)

    @staticmethod
    def _split(number: int) -> str:
        return "val" if number % _VAL == 0 else "train"

    def _link(self, name: str, folder: Path, suffix: str, ids: Sequence[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        source = self.folder / name
        for number, image_id in enumerate(ids):
            target = folder / f"{image_id}{suffix}"
            if number % MOST_LINKS:
                os.link(source, target)
            else:
                source = Path(shutil.copy2(source, target))

    def finish(self) -> None:
        """Write every step as the runner and the stages would leave it."""
        dataset, classes = self.dataset(), ClassList.from_names(CLASSES)
        save_maps(
            self.folder, ScoreMaps("maps", np.zeros((1, 2, 2), np.float32), [1], (_SIDE, _SIDE)), classes
        )
        prepared = prepare(self.request())
        write_run(self.run, prepared.settings)
        for name, plan in prepared.plans.items():
            split = "val" if name == "segmentation" else "train"
            ids = dataset.ids(split)
            kind = find_kind(plan.step.kind)
            if "predict" in plan.step.commands:
                source = "maps.npz" if kind.suffix == ".npz" else "mask.png"
                for folder in kind.folders:
                    self._link(source, plan.folder / "out" / folder, kind.suffix, ids)
            note_sources(
                plan.folder / SOURCES_NAME,
                [dataset.image_path(i) for i in self.ids],
                [self.run / "cam" / SOURCES_NAME],
            )
            parents = {source: manifest_hash(self.run / source) for source in plan.step.inputs.values()}
            commands = {}
            for command in plan.step.commands:
                fingerprint, parts = plan.fingerprinted(command, parents)
                write_input(plan.folder, command, fingerprint, parts)
                commands[command] = CommandRecord(complete=True, fingerprint=fingerprint)
            manifest = Manifest(
                step=name, kind=kind.name, recipe="psa", classes=classes.to_dict(), data=dataset.describe(),
                split=split, image_ids=ids, parents=parents, commands=commands, checkpoint="", commit="",
                versions={}, complete=True,
            )  # fmt: skip
            write_manifest(plan.folder, manifest)
