from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tag2mask.ops import alpha_for_level, background_score, multi_scale_cam, normalise_cams


def colours(images: torch.Tensor) -> torch.Tensor:
    """A stand-in for a network of stride 8: signed mean colours."""
    return F.avg_pool2d(images, 8, ceil_mode=True) - 100


def noise_image(height: int, width: int) -> torch.Tensor:
    return torch.randint(0, 256, (3, height, width), generator=torch.Generator().manual_seed(0)).byte()


def test_background_score_is_the_papers_formula():
    cams = torch.tensor([[[0.2, 0.0]], [[0.6, 1.0]]])
    assert background_score(cams, 2).tolist() == [pytest.approx([0.16, 0.0])]
    assert background_score(cams.numpy(), 2).tolist() == [pytest.approx([0.16, 0.0])]


def test_a_smaller_alpha_gives_more_background():
    cams = torch.rand(3, 4, 5)
    assert bool((background_score(cams, 4) >= background_score(cams, 32)).all())


@pytest.mark.parametrize("kind", [torch.zeros(0, 2, 3), np.zeros((0, 2, 3), np.float32)])
def test_a_image_without_tags_is_background(kind):
    assert background_score(kind, 4).tolist() == [[1, 1, 1], [1, 1, 1]]
    assert tuple(normalise_cams(kind).shape) == (0, 2, 3)


def test_scores_above_one_do_not_give_nan():
    assert float(background_score(torch.full((1, 1, 1), 1.5), 2.5)) == 0


@pytest.mark.parametrize("level", [0.05, 0.2, 0.35, 0.5, 0.9])
def test_alpha_for_level_puts_the_crossing_at_the_level(level):
    crossing = background_score(torch.full((1, 1, 1), level, dtype=torch.float64), alpha_for_level(level))
    assert float(crossing) == pytest.approx(level)


def test_normalised_maps_reach_one_and_never_more():
    cams = torch.tensor([[[-3.0, 50.0, 25.0]], [[-1.0, -2.0, -3.0]]])
    normal = normalise_cams(cams)
    # the divisor is 50 + 1e-5
    assert normal.tolist() == [[pytest.approx([0, 1, 0.5], abs=1e-6)], [[0, 0, 0]]]
    assert float(normal.max()) < 1
    assert np.allclose(normalise_cams(cams.numpy()), normal)


def test_one_pass_at_scale_one_is_the_plain_network():
    image = noise_image(32, 48)
    single = multi_scale_cam(colours, image, scales=(1,), flip=False)
    # scale 1 and a grid of the network's own size resample nothing
    assert torch.allclose(single, colours(image.float()[None])[0].relu())


def test_flipped_pass_is_flipped_back():
    image = noise_image(32, 48)
    single = multi_scale_cam(colours, image, scales=(1,), flip=False)
    both = multi_scale_cam(colours, image, scales=(1,), flip=True)
    # the stand-in commutes with flips, so both passes see the same maps up to rounding
    assert torch.allclose(both, 2 * single, atol=1e-4)


def test_passes_are_cut_at_zero_before_they_are_summed():
    def sign_by_size(images: torch.Tensor) -> torch.Tensor:
        side = 1.0 if images.shape[2] == 16 else -5.0
        return images.new_full((len(images), 1, 2, 2), side)

    assert float(multi_scale_cam(sign_by_size, noise_image(16, 16), scales=(1, 2)).max()) == 2


def test_scales_sizes_and_batches_that_the_network_sees():
    seen = []

    def spy(images: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(images.shape))
        assert float(images.min()) >= 0 and float(images.max()) <= 255
        return colours(images)

    result = multi_scale_cam(spy, noise_image(30, 41), scales=(0.5, 1, 2))
    # on the CPU the mirrored copy is a pass of its own
    assert seen == [(1, 3, h, w) for h, w in ((15, 20), (30, 41), (60, 82)) for _ in range(2)]
    assert result.shape == (3, 4, 6) and result.dtype == torch.float32


def test_a_given_size_is_the_size_of_the_result():
    assert multi_scale_cam(colours, noise_image(30, 41), size=(30, 41)).shape == (3, 30, 41)


def test_resizing_is_pillows_bicubic():
    from PIL import Image

    image = noise_image(40, 32)
    small = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((16, 20), Image.Resampling.BICUBIC)
    result = multi_scale_cam(lambda x: x, image, scales=(0.5,), flip=False, size=(20, 16))
    difference = result.permute(1, 2, 0).numpy() - np.asarray(small, np.float32)
    # Pillow rounds after each of its two directions
    assert np.abs(difference).max() <= 1.01


@pytest.mark.parametrize("size", [(20, 26), (47, 60), (120, 168)])
def test_bytes_on_a_gpu_are_resized_as_on_the_cpu(size):
    """One pass of floats, without rounding between the directions, is up to 30 of 255 away on this image."""
    from tag2mask.ops.cam.inference import _in_two_passes, _resize_bytes

    image = noise_image(60, 84)[None]
    difference = (_in_two_passes(image, *size) - _resize_bytes(image, *size)).abs()
    # The CPU's weights are whole numbers of 16 bits: few bytes are rounded the other way.
    assert difference.max() <= 2 and (difference > 0).double().mean() < 0.05


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: background_score(torch.zeros(2, 2), 4), "cams must be"),
        (lambda: background_score(torch.zeros(1, 2, 2), 0), "alpha must be above 0"),
        (lambda: normalise_cams(torch.zeros(2, 2)), "cams must be"),
        (lambda: alpha_for_level(1.0), "level must lie"),
        (lambda: multi_scale_cam(colours, torch.zeros(1, 8, 8)), "image must be"),
        (lambda: multi_scale_cam(colours, torch.zeros(3, 8, 8), scales=()), "scales must be"),
        (lambda: multi_scale_cam(colours, torch.zeros(3, 8, 8), scales=(0,)), "scales must be"),
    ],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
