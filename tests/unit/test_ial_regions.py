"""IAL's region rule, mask pooling, mining, energy and patches against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tag2mask.core import UserError
from tag2mask.recipes.ial.energy import energy, mined_energy
from tag2mask.recipes.ial.patches import NO_REGION, PatchSampler, nearest, smooth
from tag2mask.recipes.ial.regions import confident_labels, pool_regions, region_labels


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize(("pixels", "expected"), [(79, 255), (80, 255), (81, 2)])
def test_region_is_a_sample_above_80_of_100_pixels(pixels: int, expected: int) -> None:
    labels = torch.full((10, 10), 1)
    labels.view(-1)[:pixels] = 2
    assert region_labels(torch.zeros(10, 10, dtype=torch.int32), labels, num_classes=3).tolist() == [expected]


def test_unknown_pixels_count_against_a_region() -> None:
    labels = torch.zeros(10, 10, dtype=torch.uint8)
    labels.view(-1)[:20] = 255
    # 80 of 100 pixels are background; without the unknown ones it would be all of them.
    assert region_labels(torch.zeros(10, 10, dtype=torch.int64), labels, num_classes=3).tolist() == [255]


def test_region_labels_against_a_loop() -> None:
    rng = np.random.default_rng(0)
    regions = rng.integers(0, 9, (12, 14))
    regions[0, 0] = 9  # a region of one pixel
    labels = np.where(rng.random((12, 14)) < 0.85, regions % 4, rng.choice([0, 1, 2, 3, 255], (12, 14)))
    expected = []
    for region in range(10):
        inside = labels[regions == region]
        best = [c for c in range(4) if (inside == c).sum() > 0.8 * inside.size]
        expected.append(best[0] if best else 255)
    found = region_labels(torch.from_numpy(regions), torch.from_numpy(labels), num_classes=3)
    assert found.tolist() == expected
    assert 255 in expected and len(set(expected)) > 2


def test_region_maps_must_agree_in_shape() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        region_labels(torch.zeros(4, 4, dtype=torch.long), torch.zeros(4, 5, dtype=torch.long), 2)


def test_mask_pooling_is_the_mean_over_pixels() -> None:
    features = noise(5, 3, 4, dtype=torch.float64)
    regions = torch.from_numpy(np.random.default_rng(1).integers(0, 6, (10, 15)))
    regions[0, 0] = 6  # smaller than a cell of the features
    rows, columns = (
        [int((i + 0.5) * cells / size) for i in range(size)] for cells, size in ((3, 10), (4, 15))
    )
    pixels = torch.stack([torch.stack([features[:, y, x] for x in columns], 1) for y in rows], 1)
    expected = torch.stack([pixels[:, regions == r].mean(1) for r in range(7)])
    # The same sums in another order, in float64.
    torch.testing.assert_close(pool_regions(features, regions), expected, atol=1e-12, rtol=1e-12)


def test_mask_pooling_has_the_right_gradient() -> None:
    features = noise(2, 2, 3, dtype=torch.float64).requires_grad_()
    regions = torch.from_numpy(np.random.default_rng(2).integers(0, 4, (5, 7)))
    assert torch.autograd.gradcheck(lambda f: pool_regions(f, regions), (features,))


def test_only_regions_above_the_confidence_are_mined() -> None:
    probabilities = torch.tensor([[0.1, 0.71, 0.19], [0.7, 0.2, 0.1], [0.05, 0.05, 0.9]], dtype=torch.float64)
    regions = torch.tensor([[0, 0, 1], [2, 2, 1]])
    labels, confidence = confident_labels(probabilities, regions, 0.7)
    # 0.7 itself is not above 0.7.
    assert labels.tolist() == [[1, 1, 255], [2, 2, 255]]
    assert confidence.tolist() == [[0.71, 0.71, 0.7], [0.9, 0.9, 0.7]]


def test_classes_that_are_no_tags_are_not_mined() -> None:
    probabilities = torch.tensor([[0.05, 0.05, 0.9], [0.8, 0.1, 0.1]])
    allowed = torch.tensor([True, True, False])
    labels, _ = confident_labels(probabilities, torch.tensor([[0, 1]]), 0.7, allowed)
    assert labels.tolist() == [[255, 0]]


def test_energy_is_the_quadratic_form_of_equation_1() -> None:
    # Two pixels; G mixes a share w of the neighbour in, so that L = I - G is a graph's Laplacian and
    # the energy the sum of equation 2: 1/2 sum_ij w_ij (alpha_i - alpha_j)^2.
    alpha = torch.tensor([[[0.9, 0.2]], [[0.1, 0.8]]], dtype=torch.float64)
    weight = 0.3
    refined = (1 - weight) * alpha + weight * alpha.flip(-1)
    quadratic = weight * ((alpha[..., 0] - alpha[..., 1]) ** 2).sum()
    assert float(energy(alpha, refined)) == pytest.approx(float(quadratic) / 2, abs=1e-12)
    assert float(energy(alpha, alpha)) == 0


def test_mined_energy_against_a_loop() -> None:
    unary, refined = noise(3, 4, 5).softmax(0), noise(3, 4, 5, seed=1).softmax(0)
    labels = torch.from_numpy(np.random.default_rng(3).choice([0, 1, 2, 255], (4, 5)))
    total, known = 0.0, 0
    for y, x in np.ndindex(4, 5):
        if labels[y, x] != 255:
            total += float(unary[labels[y, x], y, x] - refined[labels[y, x], y, x])
            known += 1
    per_known, per_pixel = mined_energy(labels, unary, refined)
    # float32 rounding of sums of 20 values below 1.
    assert float(per_known) == pytest.approx(total / known, abs=1e-6)
    assert float(per_pixel) == pytest.approx(total / 20, abs=1e-6)


def test_mined_energy_of_the_hard_unary_result_is_at_known_pixels_only() -> None:
    unary = noise(3, 2, 2).softmax(0)
    assert [float(v) for v in mined_energy(torch.full((2, 2), 255), unary, unary)] == [0.0, 0.0]


def test_patch_without_changes_is_a_piece_of_the_image() -> None:
    image = noise(3, 40, 60) * 255
    regions = torch.arange(40 * 60).view(40, 60)
    sampler = PatchSampler(size=20, scale=0, rotation=0, flip=0)
    theta = sampler.transform(40, 60)
    theta[:, 2] = torch.tensor([2 * 30 / 60 - 1, 2 * 14 / 40 - 1])  # centre at column 30, row 14
    grid = F.affine_grid(theta[None], [1, 1, 20, 20], align_corners=False)
    # float32 coordinates miss the pixel centres by 1e-6 of a pixel, of values up to 255.
    torch.testing.assert_close(smooth(image, grid), image[:, 4:24, 20:40], atol=2e-3, rtol=0)
    assert nearest(regions, grid, NO_REGION).tolist() == regions[4:24, 20:40].tolist()


def test_patch_reads_maps_of_any_size_at_the_same_place() -> None:
    maps = noise(2, 5, 8)
    grid = PatchSampler(size=16, flip=1).grid(torch.zeros(40, 64, dtype=torch.long))
    full = F.interpolate(maps[None], (40, 64), mode="bilinear", align_corners=False)[0]
    # Sampling coarse maps and sampling their enlargement differ by the second interpolation: its error
    # is below the change between neighbours of the enlargement, at most 1/8 of two cells.
    assert float((smooth(maps, grid) - smooth(full, grid)).abs().max()) < 0.15


def test_patch_beyond_the_image_is_unknown() -> None:
    grid = PatchSampler(size=32, scale=0, rotation=0, flip=0).grid(torch.zeros(16, 64, dtype=torch.long))
    labels = nearest(torch.zeros(16, 64, dtype=torch.long), grid, 255)
    assert (labels == 255).sum() == 16 * 32 and (labels == 0).sum() == 16 * 32


def test_patches_look_for_a_second_class() -> None:
    labels = torch.zeros(200, 200, dtype=torch.long)
    labels[:, 150:] = 1
    torch.manual_seed(0)
    sampler = PatchSampler(size=32)
    several = [len(nearest(labels, sampler.grid(labels), 255).unique()) > 1 for _ in range(40)]
    # A patch at random has both classes with probability about 0.2, ten tries miss with about 0.1.
    assert sum(several) > 28


def test_patch_turns_by_its_angle() -> None:
    torch.manual_seed(1)
    rows = torch.stack([PatchSampler(size=50, scale=0.1, rotation=15).transform(100, 100) for _ in range(50)])
    angle = torch.atan2(-rows[:, 0, 1], rows[:, 1, 1])
    factor = 0.5 / torch.hypot(rows[:, 0, 1], rows[:, 1, 1])
    assert float(angle.abs().max()) <= math.radians(15) + 1e-6 and float(angle.abs().max()) > 0.2
    assert 0.9 - 1e-6 <= float(factor.min()) < 0.93 and 1.07 < float(factor.max()) <= 1.1 + 1e-6


@pytest.mark.parametrize("wrong", [{"size": 8}, {"scale": 1.0}, {"flip": 2.0}])
def test_patch_settings_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match=r"patches\.size must be 16 or more"):
        PatchSampler(**wrong)  # type: ignore[arg-type]
