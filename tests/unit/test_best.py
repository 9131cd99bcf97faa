"""Cross-fitting: halves of the images, and maps by the network that did not train on an image."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tag2mask.artifacts import Manifest, save_labels, write_manifest
from tag2mask.artifacts.step_folder import StepFolder
from tag2mask.core import ScoreMaps, UserError
from tag2mask.data import Shapes
from tag2mask.data.transforms import AugmentSpec
from tag2mask.pipeline import Choice, load_recipe, resolve
from tag2mask.recipes.best import CrossFittedMaps, HalfData, half_of, maps
from tests.step_files import LIBRARY

IN_A, IN_B = "img3", "img0"
"""Checked below: one image of each half."""


def test_halves_are_of_equal_size_and_never_change() -> None:
    assert (half_of(IN_A), half_of(IN_B)) == ("a", "b")
    counts = Counter(half_of(f"2007_{number:06}") for number in range(2000))
    assert abs(counts["a"] - 1000) < 3 * 2000**0.5 / 2  # three standard deviations of a fair coin


def labelled(tmp_path: Path) -> tuple[Shapes, StepFolder]:
    shapes = Shapes(str(tmp_path / "shapes"), train=12, val=2, size=(48, 48))
    shapes.make()
    folder = tmp_path / "labels"
    for image_id in shapes.ids("train"):
        save_labels(folder / "out" / f"{image_id}.png", np.zeros((48, 48), np.uint8))
    made = Manifest(step="labels", kind="labels", recipe="best", classes=shapes.classes.to_dict())
    made.split, made.image_ids, made.complete = "train", shapes.ids("train"), True
    write_manifest(folder, made)
    return shapes, StepFolder(folder)


def test_a_teacher_trains_on_its_half_only(tmp_path: Path) -> None:
    shapes, labels = labelled(tmp_path)
    seen: dict[str, list[str]] = {}
    for half in ("a", "b"):
        data = HalfData(half, dataset=shapes, labels_dir=labels, augment=AugmentSpec(32), num_workers=0)  # type: ignore[arg-type]
        seen[half] = list(data.train_crops().image_ids)
    assert all(half_of(image_id) == half for half, ids in seen.items() for image_id in ids)
    assert sorted(seen["a"] + seen["b"]) == sorted(shapes.ids("train")) and min(map(len, seen.values())) > 0


def test_a_half_without_images_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes, labels = labelled(tmp_path)
    monkeypatch.setattr("tag2mask.recipes.best.halves.half_of", lambda image_id: "a")
    data = HalfData("b", dataset=shapes, labels_dir=labels, augment=AugmentSpec(32), num_workers=0)
    with pytest.raises(UserError, match=r"none of the 12 training images falls into half b.*psa"):
        data.train_crops()


class Teacher:
    """Gives one class the probability 0.7 everywhere; the asked scales are those of its tests."""

    test = SimpleNamespace(scales=(0.75, 1.0), flip=True)

    def __init__(self, sure_of: int) -> None:
        self.sure_of = sure_of

    def probabilities(self, image: torch.Tensor, scales: Any, flip: bool) -> torch.Tensor:
        assert tuple(scales) == self.test.scales and flip
        found = torch.full((4, *image.shape[-2:]), 0.1)
        found[self.sure_of] = 0.7
        return found


@pytest.fixture
def mixed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Mixes maps of an image; the teacher of half a is sure of class 1, that of half b of background."""
    teachers = {"a": Teacher(1), "b": Teacher(0)}
    monkeypatch.setattr(maps, "load_network", lambda folder, kind: teachers[str(folder)])

    def mix(image_id: str, before: ScoreMaps, **options: Any) -> ScoreMaps:
        module = CrossFittedMaps("a", "b", grid=4, **options)  # type: ignore[arg-type]
        sample: Any = {"id": image_id, "image": torch.zeros(3, 18, 24, dtype=torch.uint8), "maps": before}
        return module.predict_image(sample)

    return mix


def walked(image_id: str, classes: tuple[int, ...] = (0, 1)) -> ScoreMaps:
    values = np.stack([np.full((3, 3), v, np.float32) for v in (0.6, 0.2)])
    return ScoreMaps(image_id, values, list(classes), (18, 24))


@pytest.mark.parametrize(("image_id", "seen", "sure_of"), [
    (IN_A, False, 0), (IN_B, False, 1), (IN_A, True, 1), (IN_B, True, 0),
])  # fmt: skip
def test_the_teacher_of_the_other_half_is_asked(mixed: Any, image_id: str, seen: bool, sure_of: int) -> None:
    found = mixed(image_id, walked(image_id), weight=1.0, seen=seen)
    assert found.maps.shape == (2, 5, 6) and found.image_size == (18, 24)
    # among background and the tag: 0.7 and 0.1 of 0.8
    np.testing.assert_allclose(found.maps[sure_of], 0.875, atol=1e-6)
    np.testing.assert_allclose(found.maps.sum(0), 1, atol=1e-6)


def test_teacher_and_maps_are_averaged_as_shares(mixed: Any) -> None:
    """Walked maps are 0.75 and 0.25 of their sum; the teacher of half b gives 0.875 and 0.125."""
    for weight, expected in ((0.0, 0.75), (0.5, (0.75 + 0.875) / 2), (1.0, 0.875)):
        found = mixed(IN_A, walked(IN_A), weight=weight)
        np.testing.assert_allclose(found.maps[0], expected, atol=1e-6)


def test_wrong_values_are_refused(mixed: Any) -> None:
    with pytest.raises(UserError, match="no background"):
        mixed(IN_A, walked(IN_A, (1, 2)))
    with pytest.raises(UserError, match="weight"):
        mixed(IN_A, walked(IN_A), weight=1.5)


def test_the_page_chains_rounds() -> None:
    recipe = load_recipe(LIBRARY, "best", rounds=2)
    read = {step.name: step.inputs for step in recipe.steps}
    labels, half = "data.init_args.labels_dir", "data.init_args.half"
    assert {read[f"teacher_{h}_1"][labels] for h in "ab"} == {"pseudo_label"}
    assert {read[f"teacher_{h}_2"][labels] for h in "ab"} == {"labels_1"}
    assert read["teacher_maps_2"] == {
        "data.init_args.maps_dir": "walk",
        "model.init_args.half_a_from": "teacher_a_2",
        "model.init_args.half_b_from": "teacher_b_2",
    }
    assert read["labels_2"] == {"data.init_args.maps_dir": "teacher_maps_2"}
    assert read["segmentation"][labels] == "labels_2"
    for name in "ab":
        assert resolve(LIBRARY, recipe.step(f"teacher_{name}_1"), Choice("small"))[half].value == name
