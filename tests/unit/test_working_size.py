"""Very large images are worked on at a smaller size, and their results have the size of the image."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch

from tag2mask.backbones import Backbone, BackboneSpec
from tag2mask.core import ImageSample, LabelsResult, RegionsResult, ScoreMaps
from tag2mask.heads import HeadSpec
from tag2mask.modules import (
    AffinityLabelGenerator,
    Classifier,
    Predictor,
    PseudoLabelGenerator,
    SegmentationModel,
)
from tag2mask.modules.classifier import CamSpec
from tag2mask.modules.inference import InferenceSpec
from tag2mask.modules.working_size import enlarged, shrunk

SIZE = (60, 80)


def _sample(size: tuple[int, int] = SIZE) -> ImageSample:
    image = torch.zeros((3, *size), dtype=torch.uint8)
    image[:, :, size[1] // 2 :] = 200
    maps = ScoreMaps("a", np.ones((1, 4, 5), np.float32), [0], size)
    return {"id": "a", "image": image, "maps": maps, "tags": torch.ones(2), "done": False}


class Bright(Predictor):
    """Bright pixels are class 1."""

    kind = "labels"
    largest_image = SIZE[0] * SIZE[1] // 4

    def predict_image(self, sample: ImageSample) -> LabelsResult:
        assert sample["image"].shape[-2] * sample["image"].shape[-1] <= self.largest_image
        labels = (sample["image"][0] > 100).numpy().astype(np.uint8)
        return LabelsResult("a", {"": labels}, labels.astype(np.float32))


def test_image_and_what_lies_on_it_are_shrunk() -> None:
    sample: Any = _sample()
    sample["superpixels"] = torch.arange(60 * 80).reshape(60, 80)
    small: Any = shrunk(sample, 1200)
    assert small["image"].shape == (3, 30, 40) and small["image"].dtype == torch.uint8
    assert small["superpixels"].shape == (30, 40) and small["maps"].image_size == (30, 40)
    assert set(small["superpixels"].flatten().tolist()) <= set(range(4800))
    assert small["tags"] is sample["tags"] and sample["image"].shape == (3, *SIZE)
    assert shrunk(sample, 60 * 80) is sample


def test_results_have_the_size_of_the_image(caplog: pytest.LogCaptureFixture) -> None:
    predictor = Bright()
    with caplog.at_level(logging.INFO, logger="tag2mask"):
        large, small, _ = predictor.predict_step(
            [_sample(), _sample((20, 30)), {"id": "b", "done": True}, _sample()], 0
        )
    assert large.labels[""].shape == SIZE == large.confidence.shape and small.labels[""].shape == (20, 30)
    assert np.array_equal(large.labels[""], (_sample()["image"][0] > 100).numpy())
    assert caplog.text.count("are worked on at that size") == 1


def test_every_kind_of_result_is_enlarged() -> None:
    maps = ScoreMaps("a", np.zeros((1, 3, 4), np.float32), [0], (6, 8))
    assert enlarged(maps, (12, 17)).image_size == (12, 17)
    regions = enlarged(RegionsResult("a", np.arange(4).reshape(2, 2)), (3, 4)).regions
    assert regions.tolist() == [[0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
    assert enlarged("else", (3, 4)) == "else"


def test_every_kind_of_step_works_at_that_size() -> None:
    for name in ("ial", "rrm", "sc_cam", "self_guided"):
        import_module(f"tag2mask.recipes.{name}")
    kinds = list(_all_below(Predictor))
    assert {Classifier, SegmentationModel, PseudoLabelGenerator, AffinityLabelGenerator} < set(kinds)
    own = [kind for kind in kinds if kind.__module__.startswith("tag2mask.")]
    assert len(own) > 12
    # what shrinks is in the base class, and no step goes around it
    names = {"predict_step", "on_validation_batch_start"}
    assert {kind.__name__: names & set(vars(kind)) for kind in own if names & set(vars(kind))} == {}


def _all_below(kind: type[Predictor]) -> Iterator[type[Predictor]]:
    for child in kind.__subclasses__():
        yield child
        yield from _all_below(child)


LIGHT = BackboneSpec("test_resnet", "none")


@pytest.mark.parametrize(
    "network",
    [
        Classifier(2, LIGHT, cam=CamSpec(scales=(0.5, 1.0), images=1)),
        SegmentationModel(2, LIGHT, head=HeadSpec("deeplabv2"), test=InferenceSpec(scales=(0.5, 1.0))),
    ],
    ids=["classifier", "segmentation"],
)
def test_no_network_sees_more_pixels(
    network: Classifier | SegmentationModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[int]()
    whole = Backbone.normalise
    monkeypatch.setattr(
        Backbone, "normalise", lambda self, x: seen.append(x.shape[-2] * x.shape[-1]) or whole(self, x)
    )
    network.eval().largest_image = 32 * 48
    sample: Any = _sample((320, 480)) | {"mask": torch.zeros(320, 480, dtype=torch.long)}
    with torch.inference_mode():
        (result,) = network.predict_step([sample], 0)
        assert seen and max(seen) <= network.largest_image
        assert getattr(result, "image_size", (320, 480)) == (320, 480)
        seen.clear()
        batch = [sample]
        network.on_validation_batch_start(batch, 0)
        network.validation_step(batch, 0)
        assert seen and max(seen) <= network.largest_image
