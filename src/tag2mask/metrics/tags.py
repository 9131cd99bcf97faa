"""Scores of predicted tags over a whole data set, for any number of classes."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import binary_average_precision
from torchmetrics.utilities import dim_zero_cat


class TagAveragePrecision(Metric):
    """Average precision of each class; NaN for a class of no image, or of all: any order is as good.

    torchmetrics' multi-label score refuses a single class, and gives 0 where there is no positive image and 1
    where there is no other, which move a mean over classes in small validation splits.

    Shape:
        - update: scores (N, K) in [0, 1], tags (N, K) of 0 and 1
        - compute: (K,); torchmetrics makes it a single number for one class, so flatten it

    Example:
        >>> metric = TagAveragePrecision()
        >>> scores = torch.tensor([[0.9, 0.4, 0.1], [0.2, 0.3, 0.2]])
        >>> metric.update(scores, torch.tensor([[1, 0, 1], [0, 0, 1]]))
        >>> metric.compute()
        tensor([1., nan, nan])
    """

    full_state_update = False
    higher_is_better = True
    scores: list[Tensor]
    tags: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("scores", [], dist_reduce_fx="cat")
        self.add_state("tags", [], dist_reduce_fx="cat")

    def update(self, scores: Tensor, tags: Tensor) -> None:
        """Add the images of a batch."""
        self.scores.append(scores.detach())
        self.tags.append(tags.detach().long())

    def compute(self) -> Tensor:
        """The average precision of each class."""
        scores, tags = dim_zero_cat(self.scores), dim_zero_cat(self.tags)
        nothing = scores.new_tensor(float("nan"))
        return torch.stack(
            [
                binary_average_precision(column, tag) if tag.any() and not tag.all() else nothing
                for column, tag in zip(scores.T, tags.T, strict=True)
            ]
        )


class AboveChance(TagAveragePrecision):
    """How far the average precisions lie above those of guessing: 1 for a perfect order, about 0 for guesses.

    A random order of N images, R of them positive, has an average precision of
    ((N - H_N) (R - 1) / (N - 1) + H_N) / N on average, with H_N the N-th harmonic number (Bestgen 2015).
    The score of a class is the share of the way from there to 1, and the result their mean.

    Shape:
        - update: as for `TagAveragePrecision`
        - compute: one number, at most 1; NaN where each class is in every image, or in none

    Example:
        >>> metric = AboveChance()
        >>> metric.update(torch.tensor([[0.9], [0.2], [0.1]]), torch.tensor([[1], [0], [0]]))
        >>> metric.compute()
        tensor(1.)
    """

    def compute(self) -> Tensor:
        """The mean over the classes that some images have and some have not."""
        values = super().compute()
        tags = dim_zero_cat(self.tags)
        images, positives = len(tags), tags.sum(0)
        harmonic = float((1 / torch.arange(1, images + 1)).sum())
        chance = ((images - harmonic) * (positives - 1) / max(1, images - 1) + harmonic) / images
        told = (positives > 0) & (positives < images)
        return ((values - chance) / (1 - chance))[told].mean()


class ScoreSpread(TagAveragePrecision):
    """The largest difference, over the classes, between the scores that two images have.

    Shape:
        - update: as for `TagAveragePrecision`
        - compute: one number in [0, 1]
    """

    def compute(self) -> Tensor:
        """0 for a classifier that gives every image the same scores."""
        scores = dim_zero_cat(self.scores)
        return (scores.amax(0) - scores.amin(0)).max()


class TagF1(Metric):
    """F1 score at 0.5: 2 TP / (2 TP + FP + FN).

    torchmetrics' multi-label score refuses a single class, and gives 0 for a class that no image has and none
    is said to have, which pulls a mean over classes down in small validation splits.

    Args:
        num_classes: number of classes K.
        average: none gives a score for each class, micro one for all decisions together.

    Shape:
        - update: scores (N, K) in [0, 1], tags (N, K) of 0 and 1
        - compute: (K,), a single number for one class or micro; NaN for what is nowhere and is found nowhere

    Example:
        >>> metric = TagF1(3)
        >>> metric.update(torch.tensor([[0.9, 0.6, 0.1]]), torch.tensor([[1, 0, 0]]))
        >>> metric.compute()
        tensor([1., 0., nan])
    """

    full_state_update = False
    higher_is_better = True
    right: Tensor
    wrong: Tensor

    def __init__(self, num_classes: int, average: Literal["none", "micro"] = "none") -> None:
        super().__init__()
        self.average = average
        for state in ("right", "wrong"):
            self.add_state(state, torch.zeros(num_classes, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, scores: Tensor, tags: Tensor) -> None:
        """Add the images of a batch."""
        said, true = scores > 0.5, tags > 0
        self.right += (said & true).sum(0)
        self.wrong += (said != true).sum(0)

    def compute(self) -> Tensor:
        """The score of each class, or of all."""
        right, wrong = self.right, self.wrong
        if self.average == "micro":
            right, wrong = right.sum(), wrong.sum()
        return 2 * right / (2 * right + wrong)
