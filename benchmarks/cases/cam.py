"""Multi-scale class activation maps beside the published loop, with the same weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmarks.harness import RGB, ROOT, Agreement, Case, Inputs
from benchmarks.reference.cam import multi_scale_cam as published
from tag2mask.backbones import build_backbone, fold_batchnorm
from tag2mask.ops import multi_scale_cam, normalise_cams

HEIGHT, WIDTH = 375, 500
SCALES = (0.5, 1.0, 1.5, 2.0)
CLASSES, TAGGED = 20, 3
NETWORK = "mobilenetv2_100"
WEIGHTS = ROOT.parent / "shared" / "weights" / f"{NETWORK}.safetensors"
"""Trained on ImageNet, whose classes then stand for those of the data; random ones if it is missing."""
LEVEL = 0.2
"""Score of the background, as published."""

Model = Callable[[Tensor], Tensor]


def cases(inputs: Inputs) -> list[Case]:
    return [_case(inputs.image(HEIGHT, WIDTH), stride) for stride in (16, 8)]


def _case(image: RGB, stride: int) -> Case:
    pixels = torch.tensor(image).permute(2, 0, 1).contiguous()
    networks = partial(_networks, stride)
    return Case(
        name="cam",
        piece=f"CAM inference, 4 scales + flip, {NETWORK} at stride {stride}, {WIDTH}x{HEIGHT}",
        reference="float32, one image a pass",
        run_reference=lambda: published(networks().plain, image, SCALES),
        run_ours=lambda: multi_scale_cam(networks().ours, pixels, SCALES, size=(HEIGHT, WIDTH)),
        agreement=_agreement,
        bar=2,
    )


@dataclass(frozen=True)
class _Networks:
    """The same network twice: as timm builds it, and as the classifier's prediction runs it."""

    plain: Model
    ours: Model


@cache
def _networks(stride: int) -> _Networks:
    torch.manual_seed(0)
    trained = WEIGHTS.is_file()
    backbone = build_backbone(NETWORK, str(WEIGHTS) if trained else "none", stride).eval()
    plain = timm.create_model(NETWORK, num_classes=0, global_pool="", output_stride=stride).eval()
    plain.load_state_dict(backbone.get_submodule("model").state_dict())
    folded = fold_batchnorm(backbone, torch.zeros(1, 3, 64, 64))
    head = nn.Conv2d(backbone.taps["out"].channels, CLASSES, 1, bias=False)
    if trained:
        # Twenty of ImageNet's classes, evenly from its list, which is ordered by kind.
        rows = load_file(WEIGHTS)["classifier.weight"][::50]
        head.weight = nn.Parameter(rows[:, :, None, None], requires_grad=False)
    return _Networks(
        lambda images: head(plain.forward_features(images)), lambda images: head(folded(images)["out"])
    )


def _agreement(expected: Tensor, result: Tensor) -> Agreement:
    """Labels at the image's size, of the classes with the strongest maps and the background."""
    tagged = expected.amax((1, 2)).topk(TAGGED).indices
    share = float((_labels(expected[tagged]) == _labels(result[tagged])).double().mean())
    return Agreement(f"labels equal on {100 * share:.2f} %", share >= 0.99)


def _labels(maps: Tensor) -> Tensor:
    background = torch.full((1, *maps.shape[1:]), LEVEL)
    return torch.cat([background, normalise_cams(maps)]).argmax(0)
