"""The one layout of images: every operator and loss refuses channels that come last, and says what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from tag2mask import losses, ops
from tag2mask.ops.lattice import bilateral_sums
from tag2mask.ops.layout import as_array, as_given, check_floats, check_image

PIXELS = np.zeros((6, 8, 3), np.uint8)
BATCH = torch.zeros(2, 6, 8, 3)
MAPS = torch.rand(2, 2, 6, 8, generator=torch.Generator().manual_seed(0)).softmax(1)
LABELS = torch.zeros(2, 6, 8, dtype=torch.long)

SINGLE: dict[str, Callable[[], Any]] = {
    "dense_crf": lambda: ops.dense_crf(PIXELS, MAPS[0]),
    "felzenszwalb": lambda: ops.felzenszwalb(PIXELS),
    "guided_filter": lambda: ops.guided_filter(PIXELS / 255.0, MAPS[0]),
    "self_guided_filter": lambda: ops.self_guided_filter(PIXELS / 255.0, MAPS[0]),
    "multi_scale_cam": lambda: ops.multi_scale_cam(lambda images: images, torch.from_numpy(PIXELS)),
}
BATCHED: dict[str, Callable[[], Any]] = {
    "bilateral_sums": lambda: bilateral_sums(BATCH, MAPS, 15, 100),
    "colour_affinity_loss": lambda: losses.colour_affinity_loss(MAPS, BATCH),
    "dense_energy_loss": lambda: losses.dense_energy_loss(BATCH, MAPS, LABELS, LABELS == 0),
}


@pytest.mark.parametrize("name", SINGLE)
def test_an_image_with_its_channels_last_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"got \(6, 8, 3\); put the channels first: .*permute\(2, 0, 1\)"):
        SINGLE[name]()


@pytest.mark.parametrize("name", BATCHED)
def test_a_batch_with_its_channels_last_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"images must be \(2, 3, H, W\) .*permute\(0, 3, 1, 2\)"):
        BATCHED[name]()


@pytest.mark.parametrize("shape", [(3, 5, 3), (3, 1, 1)])
def test_channels_first_pass(shape: tuple[int, ...]) -> None:
    check_image(np.zeros(shape, np.uint8))
    check_image(torch.zeros(4, *shape), batch=4)


@pytest.mark.parametrize("shape", [(3,), (5, 6), (4, 5, 6), (3, 0, 6), (1, 3, 5, 6)])
def test_other_shapes_are_no_image(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"image must be \(3, H, W\) and not empty, got \(.*\)$"):
        check_image(np.zeros(shape, np.uint8))


def test_a_gray_plane_passes_where_it_may() -> None:
    check_image(np.zeros((5, 6)), gray=True)
    with pytest.raises(ValueError, match=r"guide must be \(H, W\) or \(3, H, W\)"):
        check_image(np.zeros((0, 6)), "guide", gray=True)


def test_tensors_become_arrays_and_results_come_back_as_what_was_given() -> None:
    tensor = torch.tensor([1.5, 2.0], dtype=torch.bfloat16, requires_grad=True)
    array = as_array("x", tensor)
    assert array.dtype == np.float32 and array.tolist() == [1.5, 2.0]
    assert isinstance(as_given(array, tensor), torch.Tensor)
    assert as_given(array, array) is array
    with pytest.raises(ValueError, match="x must be a tensor or an array, got list"):
        as_array("x", [1.0])  # type: ignore[arg-type]


def test_values_that_are_not_finite_floats_are_named() -> None:
    good = torch.zeros(2)
    check_floats(guide=good, maps=good)
    with pytest.raises(ValueError, match="maps must be floating point, got torch"):
        check_floats(guide=good, maps=good.long())
    with pytest.raises(ValueError, match="guide holds NaN or infinity"):
        check_floats(guide=good / 0, maps=good)
