from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tag2mask.core import UserError
from tag2mask.data.transforms import PAD_COLOURS, Augment, AugmentSpec, resize_long_side

COLOURS = np.array([[20, 40, 60], [200, 40, 60], [20, 200, 60], [20, 40, 240]], np.uint8)


def blocks(height: int, width: int, seed: int = 0, size: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """An image whose colour tells its label, in blocks that survive resizing."""
    coarse = np.random.default_rng(seed).integers(0, 4, (height // size + 1, width // size + 1))
    label = np.kron(coarse, np.ones((size, size), int))[:height, :width].astype(np.uint8)
    return COLOURS[label], label


def inner(label: np.ndarray, margin: int = 5) -> np.ndarray:
    """Pixels whose neighbourhood has one label (bicubic: 2 source pixels, up to 2x here, and 1 to round)."""
    same = np.zeros(label.shape, bool)
    core = label[margin:-margin, margin:-margin]
    ok = np.ones(core.shape, bool)
    for dy in range(-margin, margin + 1):
        for dx in range(-margin, margin + 1):
            window = label[
                margin + dy : label.shape[0] - margin + dy, margin + dx : label.shape[1] - margin + dx
            ]
            ok &= window == core
    same[margin:-margin, margin:-margin] = ok
    return same


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(65, 120),
    width=st.integers(65, 120),
    crop=st.integers(32, 160),
    how=st.sampled_from(["long_side", "scale", "none"]),
    pad=st.sampled_from(["mean", "black"]),
    seed=st.integers(0, 10**6),
)
def test_labels_move_with_their_image(
    height: int, width: int, crop: int, how: str, pad: str, seed: int
) -> None:
    image, label = blocks(height, width, seed)
    size = {"long_side": {"long_side": (60, 130)}, "scale": {"scale": (0.5, 1.5)}, "none": {}}[how]
    augment = Augment(AugmentSpec(crop, jitter=0, hue=0, pad=pad, **size))  # type: ignore[arg-type]
    torch.manual_seed(seed)
    out, maps = augment(image, {"fg_labels": label, "bg_labels": 3 - label})
    got = maps["fg_labels"]
    assert out.shape == (crop, crop, 3) and out.dtype == np.uint8
    assert got.shape == (crop, crop) and got.dtype == np.uint8
    assert set(np.unique(got)) <= {0, 1, 2, 3, 255}
    valid = got != 255
    assert (maps["bg_labels"][valid] == 3 - got[valid]).all()
    assert (maps["bg_labels"][~valid] == 255).all()
    sure = inner(got)
    wanted = np.where(valid[..., None], COLOURS[np.where(valid, got, 0)], PAD_COLOURS[pad])
    # 2: rounding of the interpolation inside areas of one colour
    assert np.abs(out.astype(int) - wanted)[sure].max(initial=0) <= 2


def test_padding_is_at_a_random_place_and_keeps_the_whole_image() -> None:
    image, label = blocks(40, 50)
    augment = Augment(AugmentSpec(64, jitter=0, hue=0))
    corners = set()
    for seed in range(30):
        torch.manual_seed(seed)
        _, maps = augment(image, {"label": label})
        rows, columns = np.nonzero(maps["label"] != 255)
        assert len(rows) == 40 * 50
        corners.add((rows.min(), columns.min()))
    assert len(corners) > 20


def test_flip_does_not_depend_on_the_crop() -> None:
    """Seeding each step alike would tie them: the crop's place would tell whether the image is flipped."""
    width = 256
    image = np.repeat(np.arange(width, dtype=np.uint8)[None, :, None], 3, 2).repeat(64, 0)
    augment = Augment(AugmentSpec(64, jitter=0, hue=0))
    places: dict[bool, list[int]] = {True: [], False: []}
    for seed in range(400):
        torch.manual_seed(seed)
        row = augment(image, {})[0][0, :, 0].astype(int)
        flipped = bool(row[1] < row[0])
        places[flipped].append(width - 1 - row[0] if flipped else row[0])
    # a fair coin, 400 times: standard deviation 10
    assert 150 < len(places[True]) < 250
    for crops in places.values():
        # uniform over 0..192: mean 96, standard deviation of the mean of 150 or more: at most 4.6
        assert abs(np.mean(crops) - 96) < 4 * 4.6


def test_long_side_covers_its_whole_range() -> None:
    image, label = blocks(60, 80)
    augment = Augment(AugmentSpec(40, long_side=(20, 23), jitter=0, hue=0))
    seen = set()
    for seed in range(60):
        torch.manual_seed(seed)
        _, maps = augment(image, {"label": label})
        valid = maps["label"] != 255
        seen.add((int(valid.any(1).sum()), int(valid.any(0).sum())))
    assert seen == {(15, 20), (16, 21), (16, 22), (17, 23)}
    assert {w for _, w in seen} == {20, 21, 22, 23}


def test_jitter_changes_colours_only() -> None:
    image, label = blocks(64, 64)
    torch.manual_seed(0)
    changed, maps = Augment(AugmentSpec(64, flip=0))(image, {"label": label})
    assert (maps["label"] == label).all()
    assert not (changed == image).all()
    torch.manual_seed(0)
    same, _ = Augment(AugmentSpec(64, flip=0, jitter=0, hue=0))(image, {})
    assert (same == image).all()


def test_torch_seeds_repeat_and_differ() -> None:
    image, label = blocks(90, 100)
    augment = Augment(AugmentSpec(48, scale=(0.5, 1.5)))

    def run(seed: int) -> list[np.ndarray]:
        torch.manual_seed(seed)
        return [augment(image, {"label": label})[0] for _ in range(3)]

    first, again, other = run(1), run(1), run(2)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert not all((a == b).all() for a, b in zip(first, other, strict=True))
    assert not (first[0] == first[1]).all()


def test_augment_can_be_sent_to_spawned_workers() -> None:
    image, _ = blocks(50, 50)
    augment = Augment(AugmentSpec(32))
    copy = pickle.loads(pickle.dumps(augment))
    torch.manual_seed(3)
    first = augment(image, {})[0]
    torch.manual_seed(3)
    assert (copy(image, {})[0] == first).all()


def test_bad_arguments_are_named() -> None:
    with pytest.raises(UserError, match=r"augment\.long_side must be two positive numbers"):
        AugmentSpec(32, long_side=(50, 40))
    with pytest.raises(UserError, match="not both"):
        AugmentSpec(32, long_side=(40, 50), scale=(0.5, 1))
    with pytest.raises(UserError, match=r"augment\.pad must be"):
        AugmentSpec(32, pad="grey")  # type: ignore[arg-type]
    for name, value in (("crop", 0), ("flip", 1.5), ("jitter", -0.1), ("hue", 0.6)):
        with pytest.raises(UserError, match=rf"augment\.{name} must"):
            AugmentSpec(**{name: value})  # type: ignore[arg-type]
    image, label = blocks(40, 40)
    with pytest.raises(ValueError, match=r"labels\['label'\] has shape"):
        Augment(AugmentSpec(32))(image, {"label": label[1:]})
    with pytest.raises(ValueError, match="mask"):
        Augment(AugmentSpec(32))(image, {"mask": label})


@pytest.mark.parametrize(("size", "shape"), [(40, (20, 40)), (160, (80, 160))])
def test_resize_long_side(size: int, shape: tuple[int, int]) -> None:
    image, label = blocks(40, 80)
    out, maps = resize_long_side(image, {"label": label}, size)
    assert out.shape == (*shape, 3)
    assert maps["label"].shape == shape
    sure = inner(maps["label"])
    assert np.abs(out.astype(int) - COLOURS[maps["label"]])[sure].max() <= 2  # rounding
