"""Compares settings on some images of a run, and chooses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from tag2mask.artifacts import example_maps, load_maps
from tag2mask.core import ScoreMaps, UserError, spread
from tag2mask.data import ImageSet
from tag2mask.modules import AffinityNet, Classifier, DenseCRF
from tag2mask.modules.loading import load_network
from tag2mask.modules.refinements import ImageView, Refinement, label_map, refine
from tag2mask.ops import multi_scale_cam, normalise_cams
from tag2mask.tune.chain import Chain, Trial, beta_trials, crf_trials, level_trials
from tag2mask.tune.signals import Labels, agreement, edge_contrast, evidence, foreground

DECIDING = ("classifier", "edges")
"""Signals that count in the choice: the two that rank settings best on real photos (docs/tuning.md)."""
FOREGROUND = "foreground"
SIGNALS = (*DECIDING, "views", "walk and CRF", FOREGROUND)
"""What is measured and shown."""
STAGES = (level_trials, beta_trials, crf_trials)

Seen = Callable[[str, str, Labels], object]
"""Called with the trial's name, the image's id and its labels."""


@dataclass
class Comparison:
    """Signals of each trial.

    Attributes:
        trials: what was tried, in order.
        signals: for each trial, the mean of each signal over the images.
        stages: numbers of the trials that were compared with each other, in turn.
        images: ids of the images.
        chosen: number of the trial that is chosen.
    """

    trials: list[Trial] = field(default_factory=list)
    signals: list[dict[str, float]] = field(default_factory=list)
    stages: list[list[int]] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    chosen: int = 0

    def add(self, trial: Trial, signals: dict[str, float]) -> int:
        """Note a trial, and give its number."""
        self.trials.append(trial)
        self.signals.append(signals)
        return len(self.trials) - 1

    def to_dict(self) -> dict[str, Any]:
        """Plain form for JSON."""
        pairs = zip(self.trials, self.signals, strict=True)
        return {
            "trials": [
                {"name": t.name, "signals": signals, "settings": t.settings()} for t, signals in pairs
            ],
            "stages": self.stages,
            "images": self.images,
            "chosen": self.trials[self.chosen].name,
        }

    @property
    def tells(self) -> bool:
        """Whether the deciding signals differ between any two trials."""
        return len({tuple(signals[name] for name in DECIDING) for signals in self.signals}) > 1

    def scores(self, numbers: Sequence[int]) -> list[float]:
        """One number for each of some trials: the mean of the deciding signals, in standard deviations."""
        values = np.array([[self.signals[n][name] for name in DECIDING] for n in numbers])
        spread = values.std(0)
        return list(((values - values.mean(0)) / np.where(spread > 0, spread, 1)).mean(1))


def tune(chain: Chain, images: int, seen: Seen = lambda *_: None) -> Comparison:
    """Try levels, then powers of the walk, then CRFs, each with the best of what was tried before.

    Args:
        chain: how the run makes its labels.
        images: how many tagged images to look at.
        seen: gets all labels.

    Raises:
        UserError: the run lacks a network or a map, or no image is tagged.
    """
    bench = _Bench(chain, images)
    found = Comparison(images=[view.image_id for view in bench.views])
    found.add(chain.trial(), bench.judge(chain.trial(), seen))
    for stage in STAGES:
        places = [found.chosen]
        for trial in stage(found.trials[found.chosen], bench.examples):
            places.append(found.add(trial, bench.judge(trial, seen)))
        found.stages.append(places)
        found.chosen = places[int(np.argmax(found.scores(places)))]
    return found


@dataclass(frozen=True)
class _View:
    """An image with what every trial needs of it."""

    image_id: str
    image: ImageView
    maps: ScoreMaps
    other: ScoreMaps
    tags: list[int]


class _Bench:
    """Images, maps of two views, and the networks of a run."""

    def __init__(self, chain: Chain, images: int) -> None:
        self.classifier = load_network(chain.maps.folder, Classifier)
        folder = chain.labels.folder.parent / chain.affinity
        self.affinity = load_network(folder, AffinityNet) if chain.affinity else None
        self.dataset = ImageSet.from_description(chain.maps.manifest.data, origin=chain.maps.folder)
        self.out = chain.maps.folder / "out"
        self.examples = example_maps(self.out, chain.maps.manifest.image_ids, self.dataset.classes)
        present = chain.trial().refinements(self.examples)
        self.crf = next((link for link in present if isinstance(link, DenseCRF)), DenseCRF())
        tagged = [i for i in chain.maps.manifest.image_ids if self.dataset.tag_names(i)]
        if not tagged:
            raise UserError(f"no image of {chain.maps.folder} is tagged: there is nothing to choose by")
        self.views = [self._view(i) for i in tqdm(spread(tagged, images), "images", disable=None)]

    def _view(self, image_id: str) -> _View:
        pixels = torch.from_numpy(np.ascontiguousarray(self.dataset.read_image(image_id).transpose(2, 0, 1)))
        maps = load_maps(self.out, image_id, self.dataset.classes)
        grid = (maps.maps.shape[1], maps.maps.shape[2])
        tags = [k for k in maps.classes if k]
        with torch.no_grad():
            single = multi_scale_cam(self.classifier.cam, pixels, (1.0,), False, grid)
        other = replace(maps, maps=normalise_cams(single[[k - 1 for k in tags]]).numpy())
        return _View(image_id, ImageView(pixels, self._features), maps, other, tags)

    @torch.no_grad()
    def _features(self, pixels: Tensor) -> Tensor:
        if self.affinity is None:
            raise UserError("the chain has a random walk, but the run has no AffinityNet")
        features: Tensor = self.affinity(pixels[None])[0]
        return features

    def judge(self, trial: Trial, seen: Seen) -> dict[str, float]:
        """The mean of each signal over the images."""
        links = [link for link in trial.refinements(self.examples) if link.enabled]
        rows = []
        for view in tqdm(self.views, trial.name, disable=None):
            labels, signals = self._signals(view, links)
            seen(trial.name, view.image_id, labels)
            rows.append(signals)
        return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}

    def _signals(self, view: _View, links: Sequence[Refinement]) -> tuple[Labels, dict[str, float]]:
        smooth = bool(links) and isinstance(links[-1], DenseCRF)
        maps = refine(view.maps, view.image, links[:-1] if smooth else links)
        other = refine(view.other, view.image, links[:-1] if smooth else links)
        walked, crf = label_map(maps), label_map((links[-1] if smooth else self.crf)(maps, view.image))
        labels = crf if smooth else walked
        return labels, {
            "classifier": evidence(self.classifier, view.image.pixels, labels, view.tags),
            "views": agreement(walked, label_map(other)),
            "walk and CRF": agreement(walked, crf),
            "edges": edge_contrast(view.image.pixels, labels),
            FOREGROUND: foreground(labels),
        }
