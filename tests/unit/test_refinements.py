"""The links of the pseudo-label chain, on hand-made maps."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tag2mask.core import ScoreMaps, UserError
from tag2mask.modules import Background, DenseCRF, PseudoLabelGenerator, RandomWalk
from tag2mask.modules.chain import label_map, look_ahead, refine
from tag2mask.modules.refinements import ImageView, resized
from tag2mask.ops import alpha_for_level


def _scores(maps: torch.Tensor, classes: list[int], size: tuple[int, int] | None = None) -> ScoreMaps:
    """Maps of an image that is as large as they are, or of another size."""
    return ScoreMaps("a", maps.numpy(), classes, size or (maps.shape[1], maps.shape[2]))


def _image(height: int = 16, width: int = 24) -> ImageView:
    pixels = torch.zeros(3, height, width, dtype=torch.uint8)
    pixels[:, :, width // 2 :] = 255
    return ImageView(pixels)


def test_background_with_alpha_against_equation_2() -> None:
    scores = _scores(torch.tensor([[[0.2, 0.9]], [[0.5, 0.1]]]), [1, 3])
    out = Background(alpha=4)(scores, _image())
    assert out.classes == (0, 1, 3)
    assert out.maps[0, 0].tolist() == pytest.approx([(1 - 0.5) ** 4, (1 - 0.9) ** 4])


def test_background_level_is_where_class_and_background_tie() -> None:
    level = 0.3
    scores = _scores(torch.tensor([[[level - 0.01, level + 0.01]]]), [2])
    assert label_map(Background(level=level)(scores, _image())).tolist() == [[0, 2]]


def test_background_is_not_added_twice() -> None:
    scores = _scores(torch.rand(2, 3, 3), [0, 1])
    assert Background(alpha=1)(scores, _image()) is scores


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either alpha or level"),
        ({"alpha": 1, "level": 0.5}, "either alpha or level"),
        ({"level": 1.0}, "between 0 and 1"),
        ({"alpha": -1}, "above 0"),
        ({"level": 0.3, "most_foreground": 1.0}, "most_foreground must lie between 0 and 1"),
    ],
)
def test_background_refuses_senseless_settings(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Background(**arguments)


def _data_set(low: float) -> list[ScoreMaps]:
    """Ten images whose scores are spread evenly from `low` to 1, one without tags, one that is walked."""
    rng = np.random.default_rng(0)
    maps = [rng.uniform(low, 1, (2, 30, 40)).astype(np.float32) for _ in range(10)]
    for one in maps:
        one[1] = one[0] * rng.uniform(0, 1, one[0].shape)  # the other class is lower everywhere
    walked = ScoreMaps("w", np.ones((2, 3, 4), np.float32), [0, 1], (24, 32))
    none = ScoreMaps("n", np.zeros((0, 3, 4), np.float32), [], (24, 32))
    return [*(ScoreMaps(str(n), one, [1, 2], (240, 320)) for n, one in enumerate(maps)), walked, none]


@pytest.mark.parametrize("given", [{"level": 0.3}, {"alpha": alpha_for_level(0.3)}])
@pytest.mark.parametrize(("low", "most", "share"), [(0.4, 0.5, 0.5), (0.0, 0.8, 0.7), (0.0, 0.6, 0.6)])
def test_flat_maps_leave_no_more_than_a_share_of_foreground(
    given: dict[str, float], low: float, most: float, share: float
) -> None:
    """Counted in the labels: the level stays at 0.3 where that leaves less, else it leaves the share."""
    link, maps = Background(**given, most_foreground=most), _data_set(low)
    look_ahead([link], lambda: maps)
    look_ahead([link], lambda: maps)
    labels = [label_map(link(replace(one, image_size=(30, 40)), _image())) for one in maps[:10]]
    # where the level stays, a share of 12,000 draws, with a standard deviation of 0.4 %
    assert np.mean([found == 1 for found in labels]) == pytest.approx(share, abs=0.02)


def test_only_links_that_look_ahead_cause_maps_to_be_read() -> None:
    def never() -> list[ScoreMaps]:
        raise AssertionError("nobody asked for maps")

    look_ahead([Background(level=0.3), RandomWalk()], never)
    look_ahead([Background(level=0.3, most_foreground=0.5, enabled=False)], never)


def test_a_level_stays_below_the_highest_score_and_without_maps_as_it_is() -> None:
    flat = [ScoreMaps("a", np.ones((1, 4, 5), np.float32), [1], (32, 40))]
    for maps, level in ((flat, 0.95), ([], 0.3), (_data_set(0)[10:], 0.3)):
        link = Background(level=0.3, most_foreground=0.5)
        link.look_ahead(maps)
        assert link.alpha == pytest.approx(alpha_for_level(level))


def test_walk_on_equal_features_spreads_a_map_evenly() -> None:
    image = ImageView(torch.zeros(3, 24, 24, dtype=torch.uint8), lambda pixels: torch.zeros(4, 3, 3))
    spread = RandomWalk(steps=256)(_scores(torch.eye(3)[None], [1]), image).maps
    # All affinities are 1 and the 3x3 grid is within the radius, so each cell becomes the
    # average weighted by the number of neighbours; 1e-4 is ten times the walk's own tolerance.
    assert float(spread.max() - spread.min()) < 1e-4


def test_walk_without_a_network_says_what_to_give() -> None:
    with pytest.raises(UserError, match="affinity_from"):
        PseudoLabelGenerator([RandomWalk()])


def test_crf_moves_a_blurred_border_to_the_edge_of_the_image() -> None:
    image = _image(32, 48)
    ramp = torch.linspace(0, 1, 48).repeat(32, 1)
    shifted = (ramp * 1.4).clamp(0.02, 0.98)  # the tie lies 7 pixels left of the image's edge
    scores = _scores(torch.stack([1 - shifted, shifted]), [0, 5])
    before = label_map(scores)
    after = label_map(DenseCRF("cam")(scores, image))
    truth = np.where(np.arange(48) < 24, 0, 5)[None].repeat(32, 0)
    assert (before != truth).mean() > 0.1
    assert (after != truth).mean() < 0.02


def test_crf_from_labels_sharpens_flat_scores() -> None:
    scores = _scores(torch.full((2, 8, 12), 0.5) + torch.tensor([0.0, 0.01]).view(2, 1, 1), [0, 1], (16, 24))
    out = DenseCRF("labels", unary="labels", probability=0.7)(scores, _image())
    assert out.maps.shape == (2, 16, 24)
    assert (label_map(out) == 1).all()
    assert float(out.maps[1].min()) > 0.7


def test_crf_refuses_an_unknown_parameter_set() -> None:
    with pytest.raises(UserError, match=r"CRF parameter set 'camm'.*did you mean cam"):
        DenseCRF("camm")


def test_unknown_below_marks_uncertain_pixels() -> None:
    """0.4 against a background of 0.6 ** 2 and 0.3 against one of 0.7 ** 2: shares of 0.53 and 0.62."""
    sample = {
        "id": "a",
        "image": torch.zeros(3, 1, 2, dtype=torch.uint8),
        "maps": _scores(torch.tensor([[[0.4, 0.3]]]), [1], (1, 2)),
    }
    result = PseudoLabelGenerator([Background(alpha=2)], unknown=0.58).predict_image(sample)
    assert result.labels[""].tolist() == [[255, 0]]
    assert result.confidence[0].tolist() == pytest.approx([0.4 / 0.76, 0.49 / 0.79], abs=1e-6)  # float32


def test_disabled_links_are_left_out() -> None:
    sample = {
        "id": "a",
        "image": torch.zeros(3, 8, 8, dtype=torch.uint8),
        "maps": _scores(torch.tensor([[[0.8]]]), [1], (8, 8)),
    }
    generator = PseudoLabelGenerator([Background(alpha=2), DenseCRF(enabled=False)])
    result = generator.predict_image(sample)
    assert (result.labels[""] == 1).all()
    # confidence is the winner's share: 0.8 against (1 - 0.8) ** 2
    assert float(result.confidence[0, 0]) == pytest.approx(0.8 / (0.8 + 0.04), abs=1e-6)
    assert math.isfinite(float(result.confidence.max()))


def test_an_image_without_tags_goes_through_the_chain_as_background() -> None:
    image = ImageView(torch.zeros(3, 16, 24, dtype=torch.uint8), lambda pixels: torch.zeros(4, 2, 3))
    none = _scores(torch.zeros(0, 5, 5), [], (16, 24))
    assert refine(none, image, [RandomWalk(steps=4)]).maps.shape == (0, 2, 3)
    assert resized(none, (8, 9)).maps.shape == (0, 8, 9)
    scores = refine(none, image, [Background(alpha=4), RandomWalk(steps=4), DenseCRF()])
    assert scores.classes == (0,) and label_map(scores).tolist() == [[0] * 24] * 16


def test_labels_without_a_background_are_refused() -> None:
    sample = {
        "id": "a",
        "image": torch.zeros(3, 8, 8, dtype=torch.uint8),
        "maps": _scores(torch.ones(1, 1, 1), [1], (8, 8)),
    }
    with pytest.raises(UserError, match="Background link"):
        PseudoLabelGenerator([]).predict_image(sample)


@pytest.mark.parametrize(("won", "expected"), [([0.9, 0.1], [1, 0]), ([0.4, 0.1], [255, 255])])
def test_background_is_unknown_where_a_tag_has_no_pixel(won: list[float], expected: list[int]) -> None:
    """Where the class wins a pixel, the other one is background; where it wins none, neither is."""
    maps = torch.tensor([[[0.5, 0.5]], [won]])
    sample = {"id": "a", "image": torch.zeros(3, 1, 2, dtype=torch.uint8), "maps": _scores(maps, [0, 1])}
    result = PseudoLabelGenerator([], absent="unknown").predict_image(sample)
    assert result.labels[""].tolist() == [expected]
    kept = PseudoLabelGenerator([]).predict_image(sample)
    assert kept.labels[""].tolist() == [[value % 255 for value in expected]]


def test_a_batch_refined_together_is_refined_as_each_alone() -> None:
    generator = PseudoLabelGenerator([Background(alpha=2), DenseCRF()], output="maps", threads=2)
    generator.chain.insert(1, RandomWalk(steps=16))
    network = SimpleNamespace(cues=lambda images: images[:, :, ::8, ::8].float() / 99)
    generator.affinity = network  # type: ignore[assignment]
    samples = []
    for index, (height, width) in enumerate([(40, 56), (48, 33), (40, 56)]):
        rng = np.random.default_rng(index)
        pixels = torch.from_numpy(rng.integers(0, 256, (3, height, width), dtype=np.uint8))
        maps = ScoreMaps(str(index), rng.random((index, 5, 7), np.float32), [2, 4][:index], (height, width))
        samples.append({"id": str(index), "image": pixels, "maps": maps})
    alone = [generator.predict_image(sample) for sample in samples]
    for one, found in zip(alone, generator.predict_together(samples), strict=True):
        assert (found.image_id, found.classes) == (one.image_id, one.classes)
        np.testing.assert_array_equal(found.maps, one.maps)
