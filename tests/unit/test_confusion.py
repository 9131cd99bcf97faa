from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch

from tag2mask.metrics import Confusion, iou_per_class


def random_labels(seed: int, classes: int, share_255: float = 0.2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, (23, 31)).astype(np.uint8)
    labels[rng.random(labels.shape) < share_255] = 255
    return labels


def naive_iou(pred: np.ndarray, true: np.ndarray, classes: int, unknown: str) -> list[float]:
    """Sets of pixels, class by class, straight from the definition."""
    pred, true = pred.reshape(-1), true.reshape(-1)
    pred, true = pred[true != 255], true[true != 255]
    if unknown == "background":
        pred = np.where(pred == 255, 0, pred)
    if unknown == "ignore":
        pred, true = pred[pred != 255], true[pred != 255]
    scores = []
    for c in range(classes):
        union = ((pred == c) | (true == c)).sum()
        scores.append(((pred == c) & (true == c)).sum() / union if (true == c).any() else math.nan)
    return scores


@pytest.mark.parametrize("unknown", ["ignore", "wrong", "background"])
def test_scores_follow_the_definition_in_every_mode(unknown):
    metric = Confusion(5, unknown=unknown)
    preds = [random_labels(i, 5) for i in range(3)]
    trues = [random_labels(i + 10, 4) for i in range(3)]  # class 4 never occurs in the truth
    for pred, true in zip(preds, trues, strict=True):
        metric.update(pred, true)
    expected = naive_iou(np.stack(preds), np.stack(trues), 5, unknown)
    assert metric.per_class_iou.tolist() == pytest.approx(expected, nan_ok=True)
    assert metric.miou == pytest.approx(np.nanmean(expected))
    assert float(metric.compute()) == pytest.approx(metric.miou)


def test_matrix_counts_pairs_of_true_and_predicted():
    pred, true = random_labels(0, 5), random_labels(1, 5)
    metric = Confusion(5)
    metric.update(pred, true)
    pairs = Counter(zip(true.ravel().tolist(), pred.ravel().tolist(), strict=True))
    for c in range(5):
        assert metric.matrix[c].tolist() == [pairs[c, p] for p in (0, 1, 2, 3, 4, 255)]


def test_one_confusion_for_the_data_set_and_no_mean_of_images():
    metric = Confusion(2)
    metric.update(np.array([1, 1, 1, 1]), np.array([1, 1, 1, 0]))
    metric.update(np.array([0]), np.array([1]))
    # class 1 over both images: 3 hits, union 5; class 0: no hit, union 2
    assert metric.per_class_iou.tolist() == pytest.approx([0.0, 0.6])


def test_class_without_a_true_pixel_is_left_out_even_when_predicted():
    metric = Confusion(3)
    metric.update(np.array([0, 1, 2]), np.array([0, 1, 1]))
    assert metric.per_class_iou.tolist() == pytest.approx([1.0, 0.5, math.nan], nan_ok=True)
    assert metric.miou == pytest.approx(0.75)


def test_precision_recall_and_coverage_do_not_depend_on_the_mode():
    pred, true = np.array([0, 0, 1, 255, 255, 1]), np.array([0, 1, 1, 1, 0, 255])
    for unknown in ("ignore", "wrong", "background"):
        metric = Confusion(3, unknown=unknown)
        metric.update(pred, true)
        assert metric.precision == pytest.approx((1 / 2 + 1) / 2)  # class 2 is never predicted
        assert metric.coverage == pytest.approx(3 / 5)
        recall = (1 / 2 + 1 / 3) / 2  # an unknown pixel is not found
        assert metric.recall == pytest.approx(recall)
        assert metric.f_score == pytest.approx(2 * 0.75 * recall / (0.75 + recall))
        assert metric.strict_miou == pytest.approx(1 / 3)  # one hit of three in both classes


def test_nothing_right_has_an_f_score_of_zero():
    metric = Confusion(2)
    metric.update(np.array([0, 1]), np.array([1, 0]))
    assert metric.f_score == 0


def test_integer_types_arrays_and_tensors_may_be_mixed():
    metric = Confusion(2)
    metric.update(torch.tensor([[0, 1]], dtype=torch.uint8), np.array([[0, 1]], np.int16))
    assert metric.miou == 1


def test_reset_and_empty():
    metric = Confusion(2)
    metric.update(np.array([0]), np.array([0]))
    metric.reset()
    assert math.isnan(metric.miou) and math.isnan(metric.coverage) and math.isnan(metric.precision)
    assert math.isnan(metric.recall) and math.isnan(metric.f_score) and math.isnan(metric.strict_miou)


def test_all_ignored_image_adds_nothing():
    metric = Confusion(2)
    metric.update(np.zeros((2, 2), int), np.full((2, 2), 255))
    assert int(metric.matrix.sum()) == 0


@pytest.mark.parametrize(
    ("pred", "true", "message"),
    [
        (np.zeros((2, 2), int), np.zeros((2, 3), int), "differ in shape"),
        (np.zeros(2), np.zeros(2, int), "pred must hold integer"),
        (np.array([2]), np.array([0]), "pred holds label 2"),
        (np.array([0]), np.array([-1]), "target holds label -1"),
        (np.array([7]), np.array([255]), "pred holds label 7"),
    ],
)
def test_wrong_labels_are_named(pred, true, message):
    with pytest.raises(ValueError, match=message):
        Confusion(2).update(pred, true)


@pytest.mark.parametrize(
    "arguments",
    [{"num_classes": 0}, {"num_classes": 2, "unknown": "x"}, {"num_classes": 3, "ignore_index": 1}],
)
def test_wrong_settings_are_refused(arguments):
    with pytest.raises(ValueError):
        Confusion(**arguments)


def test_iou_counts_an_extra_column_as_misses():
    assert iou_per_class(torch.tensor([[1, 0, 1], [0, 2, 0]])).tolist() == [0.5, 1.0]
