"""Stage 2: from class activation maps to pseudo-labels by a chain of refinements."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tag2mask.artifacts.step_folder import StepFolder
from tag2mask.core import IGNORE, ImageSample, LabelsResult, ScoreMaps, UserError, map_threads
from tag2mask.modules.affinity import PairNetwork
from tag2mask.modules.agreement import Agreement
from tag2mask.modules.chain import label_map, look_ahead, refine, refine_batch
from tag2mask.modules.loading import load_network
from tag2mask.modules.predictor import Predictor
from tag2mask.modules.refinements import ImageView, Refinement, resized


class PseudoLabelGenerator(Predictor):
    """Runs score maps through a chain of refinements; there is nothing to train.

    The images of a batch are refined in parallel threads: CRF and walk leave the interpreter free.

    Args:
        refinements: the chain, first link first; null or an empty list passes the maps through.
        output: maps stores the refined scores for a next step, labels their argmax.
        affinity_from: folder of the step that trained the network of a random walk's affinities.
        unknown: confidence, the best score's share of all, below which a pixel is labelled 255 (unknown);
            0 labels every pixel.
        absent: what becomes of an image's background where a class of its maps wins no pixel. background
            keeps it; unknown makes it 255: an object hides in it, which a network would learn to miss.
        agreement_dir: folder of a step with labels of the same images: where they name another class, a
            label becomes 255, see `Agreement`. Null keeps all labels.
        threads: images refined at once; null takes one for each usable CPU.
    """

    def __init__(
        self,
        refinements: list[Refinement] | None = None,
        output: Literal["maps", "labels"] = "labels",
        affinity_from: StepFolder | None = None,
        unknown: float = 0.0,
        absent: Literal["background", "unknown"] = "background",
        agreement_dir: StepFolder | None = None,
        threads: int | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= unknown < 1:
            raise UserError(f"unknown must be a confidence from 0 up to 1, got {unknown}")
        self.chain = [r for r in refinements or [] if r.enabled]
        self.kind = output
        self.unknown = unknown
        self.keeps_background = absent == "background"
        self.agreement = None if agreement_dir is None else Agreement(agreement_dir)
        self.threads = threads
        self.affinity = self._load_affinity(affinity_from)
        self._network_lock = threading.Lock()

    def _load_affinity(self, step_dir: StepFolder | None) -> PairNetwork | None:
        kinds = {link.reads for link in self.chain if link.reads is not None}
        if not kinds:
            return None
        names = " and ".join(sorted(kind.__name__ for kind in kinds))
        if len(kinds) > 1:
            raise UserError(
                f"one step reads one network, its refinements ask for {names}: make them two steps"
            )
        if step_dir is None:
            raise UserError(f"the random walk needs a trained {names}: give model.init_args.affinity_from")
        return load_network(step_dir, kinds.pop())

    def on_predict_start(self) -> None:
        """Show the data set's maps to the links that want to see them before the first image."""
        look_ahead(self.chain, partial(_example_maps, self))

    def predict_image(self, sample: ImageSample) -> ScoreMaps | LabelsResult:
        """Refined maps or labels of an image."""
        return self._result(refine(sample["maps"], self._view(sample), self.chain))

    def predict_images(self, samples: Sequence[ImageSample]) -> list[ScoreMaps | LabelsResult]:
        """The results of some images; on a GPU they walk together."""
        if self.affinity is None or self.device.type == "cpu":
            return super().predict_images(samples)
        return self.predict_together(samples)

    def predict_together(self, samples: Sequence[ImageSample]) -> list[ScoreMaps | LabelsResult]:
        """`predict_images` link by link, on any device."""
        views = [self._view(sample) for sample in samples]
        scores = refine_batch([sample["maps"] for sample in samples], views, self.chain, self.threads)
        return map_threads(self._result, scores, self.threads)

    def _view(self, sample: ImageSample) -> ImageView:
        return ImageView(sample["image"], self._cues if self.affinity else None)

    def _result(self, scores: ScoreMaps) -> ScoreMaps | LabelsResult:
        if self.kind == "maps":
            return scores
        labels, confidence = label_map(scores), _confidence(scores)
        labels[confidence < self.unknown] = IGNORE
        if not self.keeps_background and not set(scores.classes) - {0} <= set(np.unique(labels).tolist()):
            labels[labels == 0] = IGNORE
        if self.agreement is not None:
            labels = self.agreement(labels, scores.image_id)
        return LabelsResult(scores.image_id, {"": labels}, confidence)

    @torch.no_grad()
    def _cues(self, pixels: Tensor) -> Tensor:
        if self.affinity is None:
            raise RuntimeError("no network of affinities was loaded")
        # One image at a time: the network uses all cores by itself.
        with self._network_lock:
            cues: Tensor = self.affinity.cues(pixels[None])[0]
        return cues


class AffinityLabelGenerator(Predictor):
    """Two label maps per image for AffinityNet: sure foreground and sure background.

    Amplified background leaves only sure foreground, weakened background only sure background
    (Ahn and Kwak, CVPR 2018, section 3.2.1).

    Args:
        foreground: chain whose foreground labels are trusted (paper: alpha 4).
        background: chain whose background labels are trusted (paper: alpha 24, code: 32).
        threads: see `PseudoLabelGenerator`.
        surer: which one counts where the first has a class and the second has background. PSA's code takes
            background, IRN's (Ahn, Cho and Kwak, CVPR 2019) the class: the second map has it there then.
    """

    kind = "affinity_labels"

    def __init__(
        self,
        foreground: list[Refinement],
        background: list[Refinement],
        threads: int | None = None,
        surer: Literal["background", "foreground"] = "background",
    ) -> None:
        super().__init__()
        self.chains = {"fg": foreground, "bg": background}
        self.threads = threads
        self.surer = surer

    def on_predict_start(self) -> None:
        """See `PseudoLabelGenerator.on_predict_start`."""
        links = [link for chain in self.chains.values() for link in chain]
        look_ahead(links, partial(_example_maps, self))

    def predict_image(self, sample: ImageSample) -> LabelsResult:
        """The two label maps of one image."""
        image = ImageView(sample["image"])
        sides = {side: label_map(refine(sample["maps"], image, chain)) for side, chain in self.chains.items()}
        if self.surer == "foreground":
            sides["bg"] = np.where(sides["fg"] == 0, sides["bg"], sides["fg"])
        return LabelsResult(sample["id"], sides)


def _example_maps(module: Predictor) -> list[ScoreMaps]:
    """Maps of some of the images that a step is to refine."""
    found: list[ScoreMaps] = module.trainer.datamodule.example_maps()  # type: ignore[attr-defined]
    return found


def _confidence(scores: ScoreMaps) -> npt.NDArray[np.float32]:
    maps = torch.from_numpy(resized(scores, scores.image_size).maps)
    best: Tensor = maps.amax(0) / maps.sum(0).clamp(min=1e-6)
    return best.numpy().astype(np.float32)
