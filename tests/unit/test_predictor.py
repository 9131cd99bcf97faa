"""What every predict step shares."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl

from tag2mask import modules, recipes
from tag2mask.backbones import BackboneSpec
from tag2mask.core import ImageSample, LabelsResult
from tag2mask.heads import HeadSpec
from tag2mask.modules import AffinityLabelGenerator, PseudoLabelGenerator, SegmentationModel, TrainableNetwork
from tag2mask.modules.predictor import Predictor

SAMPLES: list[ImageSample] = [{"id": "a"}, {"id": "b", "done": True}, {"id": "c", "done": False}]


class Threads(Predictor):
    """Says in which thread an image was predicted."""

    kind = "labels"

    def predict_image(self, sample: ImageSample) -> Any:
        return sample["id"], threading.get_ident()


def test_images_that_are_done_are_skipped_and_the_order_is_kept() -> None:
    found = Threads().predict_step(SAMPLES, 0)
    assert [name for name, _ in found] == ["a", "c"]
    assert {thread for _, thread in found} == {threading.get_ident()}
    assert Threads().predict_step([{"id": "b", "done": True}], 0) == []


def test_images_of_a_batch_run_in_threads_where_a_module_says_so() -> None:
    both = threading.Barrier(2, timeout=20)  # passes only if two images are predicted at a time

    class Waits(Threads):
        threads = 2

        def predict_image(self, sample: ImageSample) -> Any:
            both.wait()
            return super().predict_image(sample)

    found = Waits().predict_step(SAMPLES, 0)
    assert [name for name, _ in found] == ["a", "c"] and len({thread for _, thread in found}) == 2


def test_a_module_that_predicts_nothing_says_so() -> None:
    with pytest.raises(NotImplementedError, match="Predictor must write predict_image"):
        Predictor().predict_step([{"id": "a"}], 0)


def test_where_the_last_file_of_an_image_lies() -> None:
    assert Threads().done_folder == "" and PseudoLabelGenerator().done_folder == ""
    assert AffinityLabelGenerator([], []).done_folder == "bg"


def test_only_the_base_writes_predict_step() -> None:
    """Every module of the package that predicts goes through the one base."""
    for module in _subclasses(pl.LightningModule):
        if module.__module__.startswith("tag2mask") and module is not Predictor:
            assert "predict_step" not in vars(module), module
            assert issubclass(module, Predictor) or issubclass(module, TrainableNetwork), module
            if issubclass(module, PseudoLabelGenerator):
                assert module is PseudoLabelGenerator, "the chain is one step, not a base"


def _subclasses(base: type) -> set[type]:
    assert modules and recipes  # imported for their classes
    found = {sub for child in base.__subclasses__() for sub in (child, *_subclasses(child))}
    return found


def test_segmentations_of_a_batch_are_those_of_single_images(tmp_path: Path) -> None:
    import torch

    torch.manual_seed(0)
    module = SegmentationModel(2, BackboneSpec("test_resnet", "none"), head=HeadSpec("deeplabv2")).eval()
    image = torch.randint(0, 255, (2, 3, 32, 40), dtype=torch.uint8)
    samples: list[ImageSample] = [{"id": name, "image": image[n]} for n, name in enumerate("ab")]
    with torch.no_grad():
        together = module.predict_step(samples, 0)
        alone = [module.predict_image(sample) for sample in samples]
    for ours, theirs in zip(together, alone, strict=True):
        assert isinstance(ours, LabelsResult) and ours.image_id == theirs.image_id
        assert list(ours.labels) == list(module.variants) and module.done_folder == module.variants[-1]
        for name, labels in ours.labels.items():
            np.testing.assert_array_equal(labels, theirs.labels[name])
