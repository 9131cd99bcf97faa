from __future__ import annotations

import numpy as np
import pytest
import torch

from tag2mask.metrics import Confusion, ThresholdSweep

LEVELS = [0.0, 0.15, 0.2, 0.35, 0.5, 0.9, 1.0]


def image(seed: int, present: list[int], steps: int = 20) -> tuple[torch.Tensor, list[int], np.ndarray]:
    """Coarse scores, so that many pixels tie and lie exactly on a threshold."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, steps + 1, (len(present), 19, 23)) / steps
    true = rng.choice([0, 1, 2, 3, 255], (19, 23)).astype(np.uint8)
    return torch.tensor(scores, dtype=torch.float32), present, true


def test_every_threshold_equals_a_pass_of_its_own():
    images = [image(0, [1, 3]), image(1, [2]), image(2, []), image(3, [3, 1, 2])]
    sweep = ThresholdSweep(4, LEVELS)
    for item in images:
        sweep.update(*item)
    for threshold in LEVELS:
        single = Confusion(4)
        for cams, present, true in images:
            single.update(thresholded(cams.numpy(), present, threshold, true.shape), true)
        assert torch.equal(sweep.confusion(threshold), single.matrix[:, :4])
        assert sweep.miou_at(threshold) == pytest.approx(single.miou)


def thresholded(cams: np.ndarray, present: list[int], threshold: float, shape: tuple[int, ...]) -> np.ndarray:
    if not present:
        return np.zeros(shape, np.uint8)
    winner = np.array(present, np.uint8)[cams.argmax(0)]
    return np.where(cams.max(0) > np.float32(threshold), winner, 0)


def test_best_is_the_highest_of_all():
    sweep = ThresholdSweep(4, LEVELS)
    sweep.update(*image(0, [1, 3]))
    scores = {t: sweep.miou_at(t) for t in LEVELS}
    threshold, miou = sweep.best()
    assert miou == max(scores.values()) == scores[threshold]
    assert sweep.compute().tolist() == pytest.approx(list(scores.values()))


def test_thresholds_are_sorted_and_unique():
    assert ThresholdSweep(2, [0.5, 0.2, 0.5]).thresholds == (0.2, 0.5)


def test_a_threshold_outside_the_sweep_is_refused():
    with pytest.raises(ValueError, match=r"threshold 0\.3 is not in the sweep"):
        ThresholdSweep(2, [0.2]).confusion(0.3)


@pytest.mark.parametrize(
    ("cams", "present", "message"),
    [
        (torch.zeros(1, 2, 3), [1], "size of target"),
        (torch.zeros(2, 2, 2), [1], "2 maps in cams but 1"),
        (torch.zeros(1, 2, 2), [0], "must lie in 1..2"),
        (torch.zeros(1, 2, 2), [3], "must lie in 1..2"),
        (torch.full((1, 2, 2), torch.nan), [1], "NaN"),
    ],
)
def test_wrong_images_are_named(cams, present, message):
    with pytest.raises(ValueError, match=message):
        ThresholdSweep(3, [0.5]).update(cams, present, np.zeros((2, 2), int))


def test_settings_are_checked():
    with pytest.raises(ValueError, match="thresholds is empty"):
        ThresholdSweep(3, [])
    with pytest.raises(ValueError, match="num_classes"):
        ThresholdSweep(1, [0.5])
