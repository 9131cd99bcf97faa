"""Signals of settings of a run, and their labels against the masks; kept, so that an ended call goes on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tag2mask.artifacts import atomic_write_json, read_json
from tag2mask.core import ScoreMaps, UserError
from tag2mask.metrics import Confusion, iou_per_class
from tag2mask.tune import Trial, read_chain
from tag2mask.tune.bench import Bench, Row
from tag2mask.tune.trials import present_level

Counts = npt.NDArray[np.int64]
"""(images, K + 1, K + 2) pixel counts of each image, as in `Confusion`."""


@dataclass(frozen=True)
class Judged:
    """What is known of a trial: the signals of each image, and its labels against the masks."""

    rows: list[Row]
    counts: Counts

    @property
    def miou(self) -> float:
        """Over all images."""
        return miou(self.counts)


def miou(counts: Counts) -> float:
    """Mean IoU of some images' counts; pixels without a label are left out."""
    return float(iou_per_class(torch.from_numpy(counts.sum(0)[:, :-1])).nanmean())


def described(trial: Trial) -> str:
    """The settings of a chain in a few words, whatever it was changed from."""
    links = {link["class_path"].rpartition(".")[2]: link for links in trial.links.values() for link in links}
    args = {kind: link.get("init_args") or {} for kind, link in links.items()}
    words = [f"level {present_level(trial, []):.2f}"] if "Background" in args else []
    words += [f"beta {args['RandomWalk'].get('beta', 8):g}"] if "RandomWalk" in args else []
    if "DenseCRF" in args:
        crf = args["DenseCRF"]
        words.append(f"CRF {crf.get('params', 'cam')}" if crf.get("enabled", True) else "no CRF")
    return ", ".join(words)


class Judge:
    """Judges trials of a run with and without masks, each once.

    Args:
        run_dir: a finished run on images with masks.
        images: ids of the images.
        file: where what was judged is kept.
    """

    def __init__(self, run_dir: Path, images: Sequence[str], file: Path) -> None:
        self.chain = read_chain(run_dir)
        self.images = list(images)
        self.file = file
        self._bench: Bench | None = None
        self._counts: list[Any] = []
        kept = read_json(file) or {}
        self._kept: dict[str, Any] = kept["trials"] if kept.get("images") == self.images else {}

    @property
    def bench(self) -> Bench:
        """The run's networks and maps, read when they are needed."""
        if self._bench is None:
            self._bench = Bench(self.chain, self.images, self._compare)
        return self._bench

    @property
    def examples(self) -> list[ScoreMaps]:
        """Maps of the data set."""
        return self.bench.examples

    def rows(self, trial: Trial) -> list[Row]:
        """What the signals say of each image."""
        return self.judged(trial).rows

    def judged(self, trial: Trial) -> Judged:
        """Signals and counts of a trial."""
        key = json.dumps(trial.links, sort_keys=True)
        if key not in self._kept:
            self._counts = []
            rows = self.bench.judge(trial)
            self._kept[key] = {"rows": rows, "counts": self._counts}
            self.file.parent.mkdir(parents=True, exist_ok=True)
            atomic_write_json(self.file, {"images": self.images, "trials": self._kept})
        return Judged(self._kept[key]["rows"], np.array(self._kept[key]["counts"]))

    def _compare(self, trial: Trial, image_id: str, labels: npt.NDArray[np.uint8]) -> None:
        truth = self.bench.dataset.read_mask(image_id)
        if truth is None:
            raise UserError(f"image {image_id!r} has no mask: this table compares with masks")
        one = Confusion(len(self.bench.dataset.classes) + 1)
        one.update(labels, truth)
        self._counts.append(one.counts.tolist())
