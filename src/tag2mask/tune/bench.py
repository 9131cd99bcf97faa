"""Labels some images with each setting, and notes what the signals say of each image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from tag2mask.artifacts import example_maps, load_maps
from tag2mask.core import ScoreMaps, UserError
from tag2mask.data import ImageSet
from tag2mask.data.samples import to_chw
from tag2mask.modules import Classifier, DenseCRF, PairNetwork
from tag2mask.modules.chain import label_map, refine
from tag2mask.modules.loading import load_network
from tag2mask.modules.refinements import ImageView, Refinement
from tag2mask.ops import multi_scale_cam
from tag2mask.ops.cam import maps_of
from tag2mask.tune.chain import Chain, Trial
from tag2mask.tune.signals import Labels, agreement, edge_contrast, evidence, foreground

Row = dict[str, float]
"""Signal -> what it says of the labels of one image."""

Seen = Callable[[Trial, str, Labels], object]
"""Called with a trial, the image's id and its labels."""


@dataclass(frozen=True)
class _View:
    """An image with what every trial needs of it."""

    image_id: str
    image: ImageView
    maps: ScoreMaps
    other: ScoreMaps
    tags: list[int]


@dataclass(frozen=True)
class _Walked:
    """The maps of an image before its CRF, by which settings, and their agreement with another view's."""

    settings: list[dict[str, Any]]
    maps: ScoreMaps
    views: float


def tagged_images(chain: Chain) -> list[str]:
    """Ids of the images that have maps and tags.

    Raises:
        UserError: there is none.
    """
    dataset = ImageSet.from_description(chain.maps.manifest.data, origin=chain.maps.folder)
    tagged = [i for i in chain.maps.manifest.image_ids if dataset.tag_names(i)]
    if not tagged:
        raise UserError(f"no image of {chain.maps.folder} is tagged: there is nothing to choose by")
    return tagged


class Bench:
    """Images, maps of two views, and the networks of a run.

    Args:
        chain: how the run makes its labels.
        images: ids of tagged images to look at.
        seen: gets all labels.
        witness: the classifier that is asked about labels; by default the one that made the maps.

    Raises:
        UserError: the run lacks a network or a map, or its maps are not those of a classifier.
    """

    def __init__(
        self,
        chain: Chain,
        images: Sequence[str],
        seen: Seen = lambda *_: None,
        witness: Classifier | None = None,
    ) -> None:
        chain.made.require_tunable()
        self.classifier = load_network(chain.maps.folder, Classifier)
        self.witness = witness or self.classifier
        folder = chain.labels.folder.parent / chain.affinity
        self.affinity = load_network(folder, PairNetwork) if chain.affinity else None
        self.dataset = ImageSet.from_description(chain.maps.manifest.data, origin=chain.maps.folder)
        self.out = chain.maps.folder / "out"
        self.seen = seen
        self._latest: dict[str, _Walked] = {}
        self.examples = example_maps(self.out, chain.maps.manifest.image_ids, self.dataset.classes)
        present = chain.trial().refinements(self.examples)
        self.crf = next((link for link in present if isinstance(link, DenseCRF)), DenseCRF())
        self.images = images

    @cached_property
    def views(self) -> list[_View]:
        """The images, read when the first trial is judged."""
        return [self._view(image_id) for image_id in tqdm(self.images, "images", disable=None)]

    def judge(self, trial: Trial) -> list[Row]:
        """What the signals say of each image's labels."""
        links = [link for link in trial.refinements(self.examples) if link.enabled]
        crf = links.pop() if links and isinstance(links[-1], DenseCRF) else None
        rows = []
        for view in tqdm(self.views, trial.name, disable=None):
            labels, signals = self._signals(view, self._before_crf(view, trial, links), crf)
            self.seen(trial, view.image_id, labels)
            rows.append(signals)
        return rows

    def _view(self, image_id: str) -> _View:
        pixels = to_chw(self.dataset.read_image(image_id))
        maps = load_maps(self.out, image_id, self.dataset.classes)
        grid = (maps.maps.shape[1], maps.maps.shape[2])
        tags = [k for k in maps.classes if k]
        with torch.no_grad():
            single = multi_scale_cam(self.classifier.cam, pixels, (1.0,), False, grid)
        other = replace(maps, maps=self.classifier.normalised(maps_of(single, tags)).numpy())
        return _View(image_id, ImageView(pixels, self._cues), maps, other, tags)

    @torch.no_grad()
    def _cues(self, pixels: Tensor) -> Tensor:
        if self.affinity is None:
            raise UserError("the chain has a random walk, but the run has no network of affinities")
        cues: Tensor = self.affinity.cues(pixels[None])[0]
        return cues

    def _before_crf(self, view: _View, trial: Trial, links: Sequence[Refinement]) -> _Walked:
        """Trials that differ in their CRF alone follow each other: they walk once."""
        settings = _settings_before_crf(trial)
        latest = self._latest.get(view.image_id)
        if latest is None or latest.settings != settings:
            maps = refine(view.maps, view.image, links)
            other = label_map(refine(view.other, view.image, links))
            latest = self._latest[view.image_id] = _Walked(settings, maps, agreement(label_map(maps), other))
        return latest

    def _signals(self, view: _View, walk: _Walked, crf: Refinement | None) -> tuple[Labels, Row]:
        walked, smooth = label_map(walk.maps), label_map((crf or self.crf)(walk.maps, view.image))
        labels = smooth if crf else walked
        return labels, {
            "classifier": evidence(self.witness, view.image.pixels, labels, view.tags),
            "edges": edge_contrast(view.image.pixels, labels),
            "views": walk.views,
            "walk and CRF": agreement(walked, smooth),
            "foreground": foreground(labels),
        }


def _settings_before_crf(trial: Trial) -> list[dict[str, Any]]:
    links = [link for links in trial.links.values() for link in links]
    kept = [link for link in links if (link.get("init_args") or {}).get("enabled", True)]
    return kept[:-1] if kept and kept[-1]["class_path"].endswith(".DenseCRF") else kept
