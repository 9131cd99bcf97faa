"""How the labels of a walk depend on its settings: an analysis with the true masks, never a choice."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

from tag2mask.artifacts import example_maps, load_maps
from tag2mask.core import UserError, spread
from tag2mask.core.tables import Table, percent
from tag2mask.data import ImageSet
from tag2mask.data.samples import to_chw
from tag2mask.evaluate.loop import load_ahead
from tag2mask.evaluate.truth import no_mask, scored_images
from tag2mask.metrics import Confusion
from tag2mask.modules import AffinityNet
from tag2mask.modules.chain import label_map, refine
from tag2mask.modules.loading import load_network
from tag2mask.modules.refinements import ImageView
from tag2mask.tune.chain import Chain, Trial
from tag2mask.tune.trials import changed, fixed_level, until

WALK = "RandomWalk"


@dataclass(frozen=True)
class Sensitivity:
    """The score of each setting.

    Attributes:
        trials: what was tried; the first is the run as it is.
        miou: mean IoU in [0, 1] of each, over the scored images.
        images: how many these are.
        split: their split.
    """

    trials: list[Trial]
    miou: list[float]
    images: int
    split: str

    def to_dict(self) -> dict[str, Any]:
        """Plain form for JSON."""
        rows = [
            {"name": trial.name, "miou": miou, "settings": trial.settings()}
            for trial, miou in zip(self.trials, self.miou, strict=True)
        ]
        return {"trials": rows, "images": self.images, "split": self.split}

    def table(self) -> Table:
        """One line for each setting, in percent."""
        note = (
            f"mIoU of the walk's labels (no CRF) on {self.images} images of {self.split}, in percent. "
            "An analysis: settings chosen by it have seen the masks."
        )
        rows = [[t.name, percent(miou)] for t, miou in zip(self.trials, self.miou, strict=True)]
        return Table(["settings", "mIoU"], rows, note=note)


def walk_trials(
    chain: Chain,
    alphas: Sequence[float] = (),
    levels: Sequence[float] = (),
    betas: Sequence[float] = (),
    steps: Sequence[int] = (),
) -> list[Trial]:
    """The chain up to its walk as it is, with each background, and with each pair of power and length.

    Args:
        chain: how the run makes its labels.
        alphas: exponents of the background (Ahn and Kwak, CVPR 2018, equation 2, figure 8 b).
        levels: the same as scores at which background and class tie.
        betas: powers of the affinities (equation 11, figure 8 a).
        steps: lengths t of the walk (equation 12, figure 8 a).

    Raises:
        UserError: the chain has no random walk.
    """
    base = until(chain.trial(), WALK)
    if base is None:
        raise UserError(f"the labels of {chain.labels.folder} were made without a random walk")
    backgrounds = [(f"alpha {a:g}", fixed_level(alpha=a)) for a in alphas]
    backgrounds += [(f"level {v:g}", fixed_level(v)) for v in levels]
    powers: Sequence[float | None] = betas or (None,)
    lengths: Sequence[int | None] = steps or (None,)
    walks = [_walk(b, t) for b, t in product(powers, lengths)] if betas or steps else []
    trials = [changed(base, name, "Background", setting) for name, setting in backgrounds]
    return [base, *trials, *(changed(base, name, WALK, setting) for name, setting in walks)]


def _walk(beta: float | None, steps: int | None) -> tuple[str, dict[str, float]]:
    """A power and a length, as far as they are given, in words and as settings."""
    given: dict[str, tuple[str, float | None]] = {"beta": ("beta", beta), "steps": ("t", steps)}
    known = {key: (word, value) for key, (word, value) in given.items() if value is not None}
    name = ", ".join(f"{word} {value:g}" for word, value in known.values())
    return name, {key: value for key, (_, value) in known.items()}


def score_walks(chain: Chain, trials: Sequence[Trial], images: int | None = None) -> Sensitivity:
    """Walk from the run's kept maps and affinities with each setting, and score the labels.

    Args:
        chain: how the run makes its labels.
        trials: settings, as `walk_trials` gives them.
        images: how many images, spread evenly over the list; None for all that have a mask.

    Raises:
        UserError: a map, mask or network is missing, or no image has a mask.
    """
    manifest = chain.maps.manifest
    dataset = ImageSet.from_description(manifest.data, origin=chain.maps.folder)
    ids = scored_images(dataset, manifest)
    if not ids:
        raise UserError(f"no image of {chain.maps.folder} has a mask: there is nothing to measure with")
    ids = ids if images is None else spread(ids, images)
    bench = _Walks(chain, trials, dataset)
    totals = [Confusion(len(dataset.classes) + 1) for _ in trials]
    for _, found in load_ahead(bench.counts, ids, "walking"):
        for total, counts in zip(totals, found, strict=True):
            total.counts += counts
    return Sensitivity(list(trials), [total.miou for total in totals], len(ids), manifest.split)


class _Walks:
    """Walks of one image with every setting; the network sees one image at a time."""

    def __init__(self, chain: Chain, trials: Sequence[Trial], dataset: ImageSet) -> None:
        self.dataset = dataset
        self.out = chain.maps.folder / "out"
        examples = example_maps(self.out, chain.maps.manifest.image_ids, dataset.classes)
        self.links = [trial.refinements(examples) for trial in trials]
        self.affinity = load_network(chain.labels.folder.parent / chain.affinity, AffinityNet)
        self._lock = threading.Lock()

    def counts(self, image_id: str) -> list[Tensor]:
        """The pixel counts of an image with each setting, as in `Confusion`."""
        view = ImageView(to_chw(self.dataset.read_image(image_id)), self._cues)
        maps = load_maps(self.out, image_id, self.dataset.classes)
        truth = self.dataset.read_mask(image_id)
        if truth is None:
            raise no_mask(image_id)
        found = []
        for links in self.links:
            one = Confusion(len(self.dataset.classes) + 1)
            one.update(label_map(refine(maps, view, links)), truth)
            found.append(one.counts)
        return found

    @torch.no_grad()
    def _cues(self, pixels: Tensor) -> Tensor:
        with self._lock:
            cues: Tensor = self.affinity(pixels[None])[0]
        return cues
