from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tag2mask.ops import affinity_labels, pool_labels

FG = np.array([[1, 1, 0, 0], [2, 0, 0, 255]], np.uint8)
BG = np.array([[1, 0, 1, 0], [2, 2, 0, 255]], np.uint8)
JOINED = [[1, 0, 255, 0], [2, 255, 0, 255]]


def test_three_class_toy_with_neutral_zone_and_padding():
    joined = affinity_labels(FG, BG)
    assert joined.tolist() == JOINED and joined.dtype == np.uint8


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_tensors_and_batches(dtype):
    fg, bg = (torch.tensor(np.stack([x, x])).to(dtype) for x in (FG, BG))
    joined = affinity_labels(fg, bg)
    assert joined.tolist() == [JOINED, JOINED] and joined.dtype == dtype


def test_inputs_stay_as_they_are():
    fg, bg = torch.tensor(FG), torch.tensor(BG)
    affinity_labels(fg, bg)
    assert fg.tolist() == FG.tolist() and bg.tolist() == BG.tolist()


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="differ in shape"):
        affinity_labels(FG, BG[:1])


@pytest.mark.parametrize(("height", "width", "stride"), [(32, 24, 8), (30, 21, 8), (7, 5, 3), (4, 4, 1)])
def test_pooling_is_the_argmax_of_the_pooled_one_hot_map(height, width, stride):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 5, (3, height, width), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 0.4] = 255
    labels[0, :stride, :stride] = 255
    one_hot = F.one_hot(labels.masked_fill(labels == 255, 5), 6)[..., :5].permute(0, 3, 1, 2).double()
    pooled = F.avg_pool2d(one_hot, stride, ceil_mode=True)
    expected = pooled.argmax(1).masked_fill(pooled.sum(1) == 0, 255)
    result = pool_labels(labels.byte(), num_classes=5, stride=stride)
    assert result.dtype == torch.uint8
    assert torch.equal(result.long(), expected)


def test_ties_go_to_the_lower_label():
    assert pool_labels(torch.tensor([[[2, 1], [1, 2]]]), num_classes=3, stride=2).tolist() == [[[1]]]


@pytest.mark.parametrize(
    ("labels", "stride", "message"),
    [
        (torch.zeros(4, 4).long(), 8, "B, H, W"),
        (torch.zeros(1, 4, 4), 8, "integers"),
        (torch.full((1, 4, 4), 3), 8, "must lie in 0..2"),
        (torch.full((1, 4, 4), -1), 8, "must lie in 0..2"),
        (torch.zeros(1, 4, 4).long(), 0, "stride"),
    ],
)
def test_wrong_labels_are_named(labels, stride, message):
    with pytest.raises(ValueError, match=message):
        pool_labels(labels, num_classes=3, stride=stride)
