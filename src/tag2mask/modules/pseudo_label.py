"""Stage 2: from class activation maps to pseudo-labels by a chain of refinements."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from tag2mask.artifacts import require_step
from tag2mask.core import ImageSample, LabelsResult, MapsResult, UserError, map_threads
from tag2mask.modules.affinity import AffinityLearner
from tag2mask.modules.base import load_stage
from tag2mask.modules.refinements import ImageView, Refinement, ScoreMaps, unknown_below


class PseudoLabelGenerator(pl.LightningModule):
    """Runs score maps through a chain of refinements; there is nothing to train.

    The images of a batch are refined in parallel threads: CRF and walk leave the interpreter free.

    Args:
        refinements: the chain, first link first; null or an empty list passes the maps through.
        output: maps stores the refined scores for a next step, labels their argmax.
        affinity_from: folder of the step that trained the AffinityNet; only for a random walk.
        unknown: confidence below which a pixel is labelled 255 (unknown); 0 labels every pixel.
        threads: images refined at once; null takes the number of cores.
    """

    done_folder = ""

    def __init__(
        self,
        refinements: list[Refinement] | None = None,
        output: Literal["maps", "labels"] = "labels",
        affinity_from: str | None = None,
        unknown: float = 0.0,
        threads: int | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= unknown < 1:
            raise UserError(f"unknown must be a confidence from 0 up to 1, got {unknown}")
        self.chain = [r for r in refinements or [] if r.enabled]
        self.output = output
        self.unknown = unknown
        self.threads = threads
        self.affinity = self._load_affinity(affinity_from)
        self._network_lock = threading.Lock()

    @property
    def kind(self) -> str:
        """What a step with this module leaves on disk (see `Manifest`)."""
        return self.output

    def _load_affinity(self, step_dir: str | None) -> AffinityLearner | None:
        if not any(r.needs_affinity for r in self.chain):
            return None
        if step_dir is None:
            raise UserError("a random walk needs an AffinityNet: give model.init_args.affinity_from")
        manifest = require_step(step_dir, kinds=("checkpoint",))
        module = load_stage(Path(step_dir) / manifest.checkpoint)
        if not isinstance(module, AffinityLearner):
            raise UserError(f"{step_dir} holds a {type(module).__name__}, not an AffinityNet")
        return module

    def predict_step(
        self, batch: Sequence[ImageSample], batch_index: int
    ) -> Sequence[MapsResult | LabelsResult]:
        """Refined maps or labels of the images of a batch that are not on disk yet."""
        todo = [sample for sample in batch if not sample.get("done")]
        return map_threads(self.refine, todo, self.threads)

    def refine(self, sample: ImageSample) -> MapsResult | LabelsResult:
        """The result of one image."""
        image = ImageView(sample["image"], self._features if self.affinity else None)
        scores = self.run_chain(self.chain, sample, image)
        if self.output == "maps":
            return MapsResult(sample["id"], scores.maps.numpy(), scores.classes, image.size)
        scores = _with_background(scores).resized(image.size)
        labels = unknown_below(scores, self.unknown)
        return LabelsResult(sample["id"], {"": labels}, _confidence(scores))

    def run_chain(self, chain: Sequence[Refinement], sample: ImageSample, image: ImageView) -> ScoreMaps:
        """The stored maps of an image after every link of a chain."""
        scores = ScoreMaps(sample["maps"].float().cpu(), list(sample["map_classes"]))
        for link in chain:
            scores = link(scores, image)
        return scores

    @torch.no_grad()
    def _features(self, pixels: Tensor) -> Tensor:
        if self.affinity is None:
            raise RuntimeError("no AffinityNet was loaded")
        # One image at a time: the network uses all cores by itself.
        with self._network_lock:
            features: Tensor = self.affinity(pixels[None])[0]
        return features


class AffinityLabelGenerator(PseudoLabelGenerator):
    """Two label maps per image for AffinityNet: sure foreground and sure background.

    Amplified background leaves only sure foreground, weakened background only sure background
    (Ahn and Kwak, CVPR 2018, section 3.3.1).

    Args:
        foreground: chain whose foreground labels are trusted (paper: alpha 4).
        background: chain whose background labels are trusted (paper: alpha 24, code: 32).
        threads: see `PseudoLabelGenerator`.
    """

    done_folder = "bg"

    def __init__(
        self, foreground: list[Refinement], background: list[Refinement], threads: int | None = None
    ) -> None:
        super().__init__([], "labels", threads=threads)
        self.chains = {"fg": foreground, "bg": background}

    @property
    def kind(self) -> str:
        """See `PseudoLabelGenerator.kind`."""
        return "affinity_labels"

    def refine(self, sample: ImageSample) -> LabelsResult:
        """The two label maps of one image."""
        image = ImageView(sample["image"])
        labels = {
            name: _with_background(self.run_chain([r for r in chain if r.enabled], sample, image))
            .resized(image.size)
            .labels()
            for name, chain in self.chains.items()
        }
        return LabelsResult(sample["id"], labels)


def _with_background(scores: ScoreMaps) -> ScoreMaps:
    if 0 not in scores.classes:
        raise UserError("labels need a background map: put a Background link first in the chain")
    return scores


def _confidence(scores: ScoreMaps) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    best = scores.maps.amax(0) / scores.maps.sum(0).clamp(min=1e-6)
    values: np.ndarray[tuple[int, int], np.dtype[np.float32]] = best.numpy().astype(np.float32)
    return values
