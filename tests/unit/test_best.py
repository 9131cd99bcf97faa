"""Cross-fitting: folds of the images, and maps by the network that did not train on an image."""

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
from tag2mask.core.folds import fold_of
from tag2mask.data import OtherFolds, Shapes
from tag2mask.data.transforms import AugmentSpec
from tag2mask.modules import fold_networks
from tag2mask.pipeline import Choice, load_recipe, resolve
from tag2mask.recipes.best import CrossFittedMaps
from tests.step_files import LIBRARY

IN_0, IN_1 = "img3", "img0"
"""Checked below: one image of each of two folds."""


def test_folds_are_of_equal_size_and_never_change() -> None:
    assert (fold_of(IN_0, 2), fold_of(IN_1, 2)) == (0, 1)
    counts = Counter(fold_of(f"2007_{number:06}", 4) for number in range(2000))
    # three standard deviations of a fair die with four sides
    assert all(abs(counts[fold] - 500) < 3 * (2000 * 3 / 16) ** 0.5 for fold in range(4))


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


def other_folds(fold: int, folds: int, tmp_path: Path) -> OtherFolds:
    shapes, labels = labelled(tmp_path)
    return OtherFolds(fold, folds, dataset=shapes, labels_dir=labels, augment=AugmentSpec(32), num_workers=0)


def test_a_teacher_trains_on_the_other_folds_only(tmp_path: Path) -> None:
    left_out: list[str] = []
    for fold in range(3):
        data = other_folds(fold, 3, tmp_path / str(fold))
        seen = set(data.train_crops().image_ids)
        assert all(fold_of(image_id, 3) != fold for image_id in seen)
        left_out += [image_id for image_id in data.dataset.ids("train") if image_id not in seen]
    assert sorted(left_out) == sorted(data.dataset.ids("train"))


def test_too_few_images_and_wrong_folds_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"fold must lie in 0..folds - 1.*got 2 of 2"):
        OtherFolds(2, 2, dataset=Shapes(str(tmp_path)))
    data = other_folds(0, 2, tmp_path)
    monkeypatch.setattr("tag2mask.data.folds.fold_of", lambda image_id, folds: 0)
    with pytest.raises(UserError, match=r"all of the 12 training images fall into fold 0.*psa"):
        data.train_crops()


class Teacher(torch.nn.Module):
    """Gives one class the probability 0.7 everywhere; the asked scales are those of its tests."""

    test = SimpleNamespace(scales=(0.75, 1.0), flip=True)

    def __init__(self, sure_of: int) -> None:
        super().__init__()
        self.sure_of = sure_of

    def probabilities(self, image: torch.Tensor, scales: Any, flip: bool) -> torch.Tensor:
        assert tuple(scales) == self.test.scales and flip
        found = torch.full((4, *image.shape[-2:]), 0.1)
        found[self.sure_of] = 0.7
        return found


@pytest.fixture
def mixed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Mixes maps; the teacher without fold 0 is sure of class 1, that without fold 1 of background."""
    sure_of = {"without_0": 1, "without_1": 0}
    monkeypatch.setattr(fold_networks, "load_network", lambda folder, kind: Teacher(sure_of[str(folder)]))

    def mix(image_id: str, before: ScoreMaps, **options: Any) -> ScoreMaps:
        folders = {str(fold): StepFolder(f"without_{fold}") for fold in range(2)}
        module = CrossFittedMaps(**{"teachers": folders, "grid": 4, **options})
        sample: Any = {"id": image_id, "image": torch.zeros(3, 18, 24, dtype=torch.uint8), "maps": before}
        return module.predict_image(sample)

    return mix


def walked(image_id: str, classes: tuple[int, ...] = (0, 1)) -> ScoreMaps:
    values = np.stack([np.full((3, 3), v, np.float32) for v in (0.6, 0.2)])
    return ScoreMaps(image_id, values, list(classes), (18, 24))


@pytest.mark.parametrize(("image_id", "seen", "sure_of"), [
    (IN_0, False, 1), (IN_1, False, 0), (IN_0, True, 0), (IN_1, True, 1),
])  # fmt: skip
def test_the_teacher_that_left_it_out_is_asked(mixed: Any, image_id: str, seen: bool, sure_of: int) -> None:
    found = mixed(image_id, walked(image_id), weight=1.0, seen=seen)
    assert found.maps.shape == (2, 5, 6) and found.image_size == (18, 24)
    # among background and the tag: 0.7 and 0.1 of 0.8
    np.testing.assert_allclose(found.maps[sure_of], 0.875, atol=1e-6)
    np.testing.assert_allclose(found.maps.sum(0), 1, atol=1e-6)


def test_teacher_and_maps_are_averaged_as_shares(mixed: Any) -> None:
    """Walked maps are 0.75 and 0.25 of their sum; the teacher without fold 1 gives 0.875 and 0.125."""
    for weight, expected in ((0.0, 0.75), (0.5, (0.75 + 0.875) / 2), (1.0, 0.875)):
        found = mixed(IN_1, walked(IN_1), weight=weight)
        # shares in float32
        np.testing.assert_allclose(found.maps[0], expected, atol=1e-6)


def test_wrong_values_are_refused(mixed: Any) -> None:
    with pytest.raises(UserError, match="no background"):
        mixed(IN_0, walked(IN_0, (1, 2)))
    with pytest.raises(UserError, match="weight"):
        mixed(IN_0, walked(IN_0), weight=1.5)
    with pytest.raises(UserError, match=r"networks of folds must be those of folds 0, 1.*got \['0', '2'\]"):
        mixed(IN_0, walked(IN_0), teachers={"0": StepFolder("without_0"), "2": StepFolder("without_1")})


def test_the_page_chains_rounds() -> None:
    recipe = load_recipe(LIBRARY, "best", rounds=2)
    read = {step.name: step.inputs for step in recipe.steps}
    labels, fold = "data.init_args.labels_dir", "data.init_args.fold"
    assert {read[f"teacher_{k}_1"][labels] for k in range(4)} == {"pseudo_label"}
    assert {read[f"teacher_{k}_2"][labels] for k in range(4)} == {"labels_1"}
    assert read["teacher_maps_2"] == {
        "data.init_args.maps_dir": "walk",
        **{f"model.init_args.teachers.{k}": f"teacher_{k}_2" for k in range(4)},
    }
    assert read["labels_2"] == {
        "data.init_args.maps_dir": "teacher_maps_2", "model.init_args.agreement_dir": "pseudo_label",
    }  # fmt: skip
    assert read["segmentation"][labels] == "labels_2"
    for k in range(4):
        assert resolve(LIBRARY, recipe.step(f"teacher_{k}_1"), Choice("small"))[fold].value == k
