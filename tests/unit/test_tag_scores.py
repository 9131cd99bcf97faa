from __future__ import annotations

import pytest
import torch
from torchmetrics.classification import MultilabelAveragePrecision, MultilabelF1Score

from tag2mask.metrics import TagAveragePrecision, tag_f1

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
def test_f1_of_a_single_class(average: str) -> None:
    ours, theirs = tag_f1(1, average), MultilabelF1Score(3, average="none")  # type: ignore[arg-type]
    ours.update(SCORES[:, :1], TAGS[:, :1])
    theirs.update(SCORES, TAGS)
    torch.testing.assert_close(ours.compute().flatten(), theirs.compute()[:1])


def test_a_class_without_positives_has_no_average_precision() -> None:
    metric = TagAveragePrecision()
    metric.update(torch.tensor([[0.9, 0.1]]), torch.tensor([[1, 0]]))
    assert metric.compute().isnan().tolist() == [False, True]
