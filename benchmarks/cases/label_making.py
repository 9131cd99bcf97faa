"""All that makes the labels of one image, as the published code does it beside ours."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.cases.cam import CLASSES, HEIGHT, NETWORK, SCALES, WEIGHTS, WIDTH
from benchmarks.harness import RGB, Agreement, Case, Inputs, channels_first
from benchmarks.reference.cam import multi_scale_cam as published_cam
from benchmarks.reference.random_walk import dense_walk
from tag2mask.backbones import BackboneSpec, fold_batchnorm
from tag2mask.core import ScoreMaps
from tag2mask.modules import AffinityNet, Background, Classifier, DenseCRF, RandomWalk
from tag2mask.modules.chain import label_map, refine
from tag2mask.modules.refinements import ImageView
from tag2mask.ops import background_score, multi_scale_cam, normalise_cams

TAGGED = 3
ALPHAS = {"fg": 4.0, "bg": 32.0, "walk": 16.0}
"""Powers of the background: of sure foreground, of sure background, and of the maps that walk."""
GRID = (-(-HEIGHT // 8), -(-WIDTH // 8))
DOUBLINGS = 8

Labels = dict[str, np.ndarray]


def cases(inputs: Inputs) -> list[Case]:
    image = inputs.image(HEIGHT, WIDTH)
    installed = find_spec("pydensecrf") is not None
    return [
        Case(
            name="label_making",
            piece=f"labels of one image: 4 scales + flip, 2 CRFs, walk, CRF; {NETWORK}, {WIDTH}x{HEIGHT}",
            reference="float32 passes, pydensecrf2, dense matrix" + ("" if installed else " (not installed)"),
            run_reference=(lambda: _published(_networks(), image, _tags(inputs))) if installed else None,
            run_ours=lambda: _ours(_networks(), image, _tags(inputs)),
            agreement=_agreement,
            bar=2.5,
        )
    ]


class _Networks(NamedTuple):
    classifier: Classifier
    folded: nn.Module
    affinity: AffinityNet


@cache
def _networks() -> _Networks:
    torch.manual_seed(0)
    spec = BackboneSpec(NETWORK, str(WEIGHTS) if WEIGHTS.is_file() else "none", output_stride=16)
    classifier, affinity = Classifier(CLASSES, spec).eval(), AffinityNet(CLASSES, spec).eval()
    return _Networks(classifier, fold_batchnorm(classifier.backbone, torch.zeros(1, 3, 64, 64)), affinity)


@torch.no_grad()
def _published(networks: _Networks, image: RGB, tags: Tensor) -> Labels:
    """Everything at the image's size and in the order of the published scripts."""
    from benchmarks.reference.dense_crf import dense_crf

    backbone, pixels = networks.classifier.backbone, torch.tensor(channels_first(image))[None].float()
    model = networks.classifier.class_maps

    def raw(batch: Tensor) -> Tensor:
        return model(backbone.features(batch)["out"])

    summed = published_cam(raw, image, SCALES)
    maps = normalise_cams(summed[tags])
    found = {
        name: dense_crf(image, _with_background(maps, ALPHAS[name]).numpy()).argmax(0)
        for name in ("fg", "bg")
    }
    features = networks.affinity(pixels)[0]
    small = F.interpolate(_with_background(maps, ALPHAS["walk"])[None], features.shape[-2:], mode="area")[0]
    walked = dense_walk(features, small, DOUBLINGS)
    large = F.interpolate(walked[None], (HEIGHT, WIDTH), mode="bilinear", align_corners=False)[0]
    return {**found, "label": dense_crf(image, large.clamp(0, 1).numpy()).argmax(0)}


@torch.no_grad()
def _ours(networks: _Networks, image: RGB, tags: Tensor) -> Labels:
    """As the steps of `psa` do it, files left out."""
    pixels = torch.from_numpy(channels_first(image))

    def raw(images: Tensor) -> Tensor:
        return networks.classifier.class_maps(networks.folded(images)["out"])

    summed = multi_scale_cam(raw, pixels, SCALES, size=GRID)
    maps = normalise_cams(summed[tags]).numpy()
    scores = ScoreMaps("image", maps, list(range(1, TAGGED + 1)), (HEIGHT, WIDTH))
    view = ImageView(pixels, lambda given: networks.affinity(given[None])[0])
    found = {
        name: label_map(refine(scores, view, [Background(ALPHAS[name]), DenseCRF("cam")]))
        for name in ("fg", "bg")
    }
    chain = [Background(ALPHAS["walk"]), RandomWalk(steps=2**DOUBLINGS), DenseCRF("cam")]
    return {**found, "label": label_map(refine(scores, view, chain))}


@cache
@torch.no_grad()
def _tags(inputs: Inputs) -> Tensor:
    """The classes with the strongest maps stand for the tags of the image."""
    networks, image = _networks(), inputs.image(HEIGHT, WIDTH)
    pixels = torch.from_numpy(channels_first(image))[None].float()
    maps = networks.classifier.class_maps(networks.classifier.backbone(pixels)["out"])[0]
    return maps.amax((1, 2)).topk(TAGGED).indices.sort().values


def _with_background(maps: Tensor, alpha: float) -> Tensor:
    return torch.cat([background_score(maps, alpha)[None], maps])


def _agreement(expected: Labels | None, result: Labels) -> Agreement:
    """Maps at the image's size against maps at stride 8: the labels differ along edges."""
    if expected is None:
        return Agreement("not compared", True)
    shares = {name: float((expected[name] == result[name]).mean()) for name in expected}
    text = ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares.items())
    return Agreement(f"labels equal: {text}", min(shares.values()) >= 0.9)
