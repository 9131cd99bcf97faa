"""The images of a step are those that the recipe names, whatever number of devices shares them."""

from __future__ import annotations

import logging
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from tag2mask.core import UserError, images_at_once
from tag2mask.data import VOC, ClassificationData
from tag2mask.data.transforms import AugmentSpec


def data_of(root: Path, batch: int, processes: int = 1, rank: int = 0, passes: int = 1) -> ClassificationData:
    augment = AugmentSpec(crop=40, long_side=(48, 64))
    data = ClassificationData(VOC(str(root)), batch_size=batch, augment=augment, num_workers=0)
    data.trainer = types.SimpleNamespace(  # type: ignore[assignment]
        world_size=processes,
        global_rank=rank,
        is_global_zero=rank == 0,
        accumulate_grad_batches=passes,
        min_steps=None,
        max_epochs=2,
        strategy=types.SimpleNamespace(root_device=torch.device("cpu")),
    )
    return data


def epochs(data: ClassificationData) -> list[dict[str, Any]]:
    data.setup("fit")
    loader = data.train_dataloader()
    return [batch for _ in range(2) for batch in loader]


def test_processes_share_the_batches_of_one(tiny_voc: Path) -> None:
    """The same images in each step, with the same crops; the last 8 - 6 images are left out by all."""
    alone = epochs(data_of(tiny_voc, 6))
    assert [len(batch["id"]) for batch in alone] == [6, 6]
    assert alone[0]["id"] != alone[1]["id"]
    for processes in (2, 3):
        shares = [epochs(data_of(tiny_voc, 6, processes, rank)) for rank in range(processes)]
        for whole, *parts in zip(alone, *shares, strict=True):
            assert {len(part["id"]) for part in parts} == {6 // processes}
            crops = {i: image for part in parts for i, image in zip(part["id"], part["image"], strict=True)}
            assert crops.keys() == set(whole["id"])
            for image_id, image in zip(whole["id"], whole["image"], strict=True):
                assert torch.equal(crops[image_id], image)


def test_passes_make_up_the_batch(tiny_voc: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "tag2mask"):
        batches = epochs(data_of(tiny_voc, 6, processes=1, passes=3))
    assert [len(batch["id"]) for batch in batches] == [2] * 6
    assert caplog.messages == ["batches of 6 images in all: 2 on each of 1 devices, 3 times"]
    alone = epochs(data_of(tiny_voc, 6))
    assert [i for batch in batches for i in batch["id"]] == [i for batch in alone for i in batch["id"]]


def test_what_cannot_be_shared_out_is_refused_with_numbers_that_work(tiny_voc: Path) -> None:
    with pytest.raises(
        UserError, match=r"a batch of 6 images .* among 4 devices: it can with 1, 2, 3, 6 devices"
    ):
        data_of(tiny_voc, 6, processes=4).setup("fit")
    with pytest.raises(
        UserError, match=r"batch of all 8 training images.* data.init_args.batch_size of 6$"
    ):  # 9 would be 8 again, all images
        data_of(tiny_voc, 16, processes=3).setup("fit")
    with pytest.raises(UserError, match=r"batch of all 3 training images: one .* it can with 1, 3 devices$"):
        images_at_once(8, devices=4, images=3)
    with pytest.raises(UserError, match=r"2 devices with 2 passes each.* 1, 3 devices"):
        images_at_once(6, devices=2, passes=2)
    with pytest.raises(UserError, match=r"fewer trainer.accumulate_grad_batches, or .*_size of 4$"):
        images_at_once(3, devices=1, passes=4)


def test_each_process_gets_its_share_of_a_list_once(tiny_voc: Path) -> None:
    """The four images of val in three processes: as many batches for each, and no image twice."""
    shares = [list(data_of(tiny_voc, 1, 3, rank).val_dataloader()) for rank in range(3)]
    assert [len(batches) for batches in shares] == [2, 2, 2]
    seen = [sample["id"] for batches in shares for batch in batches for sample in batch]
    assert sorted(seen) == VOC(str(tiny_voc)).ids("val")
    assert shares[2][1] == []
