from __future__ import annotations

from typing import Literal

import pytest
import torch
from torchmetrics.classification import MultilabelAveragePrecision, MultilabelF1Score

from tag2mask.metrics import TagAveragePrecision, TagF1

SCORES = torch.rand(40, 3, generator=torch.Generator().manual_seed(0))
TAGS = (torch.rand(40, 3, generator=torch.Generator().manual_seed(1)) > 0.6).long()


def test_average_precision_is_that_of_torchmetrics_where_every_class_occurs() -> None:
    ours, theirs = TagAveragePrecision(), MultilabelAveragePrecision(3, average="none")
    for metric in (ours, theirs):
        metric.update(SCORES[:25], TAGS[:25])
        metric.update(SCORES[25:], TAGS[25:])
    torch.testing.assert_close(ours.compute(), theirs.compute())


def test_a_single_class() -> None:
    ours, theirs = TagAveragePrecision(), MultilabelAveragePrecision(3, average="none")
    ours.update(SCORES[:, :1], TAGS[:, :1])
    theirs.update(SCORES, TAGS)
    torch.testing.assert_close(ours.compute().flatten(), theirs.compute()[:1])


@pytest.mark.parametrize("average", ["none", "micro"])
def test_f1_is_that_of_torchmetrics(average: Literal["none", "micro"]) -> None:
    ours, theirs = TagF1(3, average), MultilabelF1Score(3, average=average)
    for metric in (ours, theirs):
        metric.update(SCORES[:25], TAGS[:25])
        metric.update(SCORES[25:], TAGS[25:])
    torch.testing.assert_close(ours.compute(), theirs.compute())
    alone = TagF1(1, average)
    alone.update(SCORES[:, :1], TAGS[:, :1])
    torch.testing.assert_close(
        alone.compute().flatten(), MultilabelF1Score(3, average="none")(SCORES, TAGS)[:1]
    )


def test_a_class_of_no_image_or_of_all_has_no_order() -> None:
    metric = TagAveragePrecision()
    metric.update(torch.tensor([[0.9, 0.1, 0.3], [0.2, 0.8, 0.1]]), torch.tensor([[1, 0, 1], [0, 0, 1]]))
    assert metric.compute().isnan().tolist() == [False, True, True]


def test_what_is_nowhere_and_found_nowhere_has_no_f1() -> None:
    metric = TagF1(2)
    metric.update(torch.tensor([[0.1, 0.9]]), torch.tensor([[0, 0]]))
    assert metric.compute().isnan().tolist() == [True, False] and metric.compute()[1] == 0
