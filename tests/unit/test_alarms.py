"""Alarms: signs of a result that is of no use, where there is no mask to score with."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_lightning.trainer.states import TrainerFn

from tag2mask.artifacts import Manifest, find_kind, read_alarms, save_labels, save_maps, write_manifest
from tag2mask.callbacks import StopWhenNotFinite
from tag2mask.core import IGNORE, Alarm, ClassList, NotFiniteError, ScoreMaps, UserError, training_alarms
from tag2mask.data import Table
from tag2mask.evaluate import score_step
from tag2mask.evaluate.alarms import step_alarms
from tag2mask.evaluate.facts import LabelFacts, label_facts
from tag2mask.metrics import AboveChance, ScoreSpread
from tag2mask.modules.predictor import Predictor
from tag2mask.ops import normalise_cams
from tag2mask.pipeline.scorecard import alarm_line, status_line
from tag2mask.step.messages import mistake_of

CLASSES = ClassList.from_names(["cat", "dog"])


def pixels(background: int = 0, cat: int = 0, dog: int = 0, unknown: int = 0) -> Any:
    counts = np.zeros(256, np.int64)
    counts[[0, 1, 2, IGNORE]] = background, cat, dog, unknown
    return counts


def facts(*images: tuple[Any, tuple[str, ...] | None]) -> LabelFacts:
    found = LabelFacts()
    for counts, names in images:
        found.add(counts, names, CLASSES)
    return found


def names(alarms: list[Alarm]) -> list[str]:
    return [alarm.name for alarm in alarms]


GOOD_CAT, GOOD_DOG = (pixels(8, cat=2), ("cat",)), (pixels(8, dog=2), ("dog",))
EMPTY = (pixels(10), ("dog",))


def test_counts() -> None:
    found = facts(
        GOOD_CAT, EMPTY, (pixels(0, dog=5, unknown=5), ("cat", "dog")), (pixels(10), ()), (pixels(4), None)
    )
    assert found.to_dict() == {
        "images": 5, "tagged": 3, "empty": 1, "full": 1, "negative": 1, "marked": 0,
        "foreground": pytest.approx(0.24),
        "tags": {"cat": 2, "dog": 2}, "found": {"cat": 1, "dog": 1},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("images", "trained", "expected"),
    [
        ([GOOD_CAT, GOOD_DOG] * 10 + [EMPTY], False, []),
        ([GOOD_CAT, GOOD_DOG, EMPTY], False, [("empty_labels", False)]),
        ([EMPTY] * 4, False, [("empty_labels", True)]),
        ([EMPTY] * 4, True, [("empty_predictions", False)]),
        ([(pixels(10), ()), (pixels(10), None)], True, []),  # negatives, and images that nobody has tagged
        ([GOOD_CAT] * 30 + [EMPTY] * 3, True, [("lost_classes", False)]),
        ([(pixels(0, cat=9), ("cat",))] * 2 + [GOOD_CAT], False, [("no_background", False)]),
        ([(pixels(2, cat=8), ("cat",)), (pixels(3, dog=7), ("dog",))], False, [("overgrown", False)]),
        ([(pixels(2, cat=8), ("cat",)), GOOD_DOG], False, []),
        ([GOOD_CAT] + [(pixels(8, cat=2), ())] * 3, True, [("marked_negatives", False)]),
        ([GOOD_CAT] + [(pixels(8, cat=2), ())] * 2 + [(pixels(9), ())] * 2, True, []),
    ],
)
def test_alarms_about_labels(images: list[Any], trained: bool, expected: list[tuple[str, bool]]) -> None:
    found = step_alarms(facts(*images), {}, trained)
    assert [(alarm.name, alarm.unusable) for alarm in found] == expected
    assert all(alarm.todo for alarm in found)


def test_alarms_about_a_training() -> None:
    fine = {"train/steps": 400.0, "val/above_chance": 0.8, "val/spread": 0.7}
    assert training_alarms(fine) == training_alarms({}) == []
    assert "12 steps" in training_alarms({**fine, "train/steps": 12.0})[0].text
    assert names(training_alarms({**fine, "val/above_chance": 0.1})) == ["ignorant_classifier"]
    one_class_everywhere = {"train/steps": 400.0, "val/spread": 0.001}
    assert names(training_alarms(one_class_everywhere)) == ["nothing_to_compare"]
    assert "same scores" in training_alarms({**fine, "val/above_chance": 0.1, "val/spread": 0.001})[0].text


# --- what a classifier knows --------------------------------------------------------------------


@given(st.integers(2, 7), st.data())
def test_chance_is_the_mean_over_all_orders(images: int, data: st.DataObject) -> None:
    """The expected score of a random order is 0, by adding up every place that the positives can have."""
    from itertools import combinations

    positives = data.draw(st.integers(1, images - 1))
    values = []
    for places in combinations(range(images), positives):
        metric = AboveChance()
        tags = torch.zeros(images, 1, dtype=torch.long)
        tags[list(places)] = 1
        metric.update(torch.linspace(1, 0, images)[:, None], tags)
        values.append(float(metric.compute()))
    # each a mean of float32
    assert np.mean(values) == pytest.approx(0, abs=1e-5)
    assert max(values) == pytest.approx(1)


def test_a_class_in_every_image_tells_nothing() -> None:
    metric, spread = AboveChance(), ScoreSpread()
    for one in (metric, spread):
        one.update(torch.tensor([[0.9, 0.5], [0.1, 0.5]]), torch.tensor([[1, 1], [0, 1]]))
    assert float(metric.compute()) == pytest.approx(1) and float(spread.compute()) == pytest.approx(0.8)
    nothing = AboveChance()
    nothing.update(torch.tensor([[0.9]]), torch.tensor([[1]]))
    assert math.isnan(float(nothing.compute()))


class _Broken(Predictor):
    kind = "maps"

    def predict_image(self, sample: Any) -> ScoreMaps:
        return ScoreMaps(sample["id"], np.full((1, 2, 2), np.nan, np.float32), [1], (2, 2))


def test_scores_that_are_no_numbers_end_the_prediction() -> None:
    with pytest.raises(UserError, match="scores of image a are not finite: predict with"):
        _Broken().predict_step([{"id": "a", "image": torch.zeros(3, 2, 2), "done": False}], 0)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (TrainerFn.FITTING, r"after step 7 \(epoch 3\) .*\(cams holds NaN .*smaller .*lr$"),
        (TrainerFn.PREDICTING, "output is not finite .*: predict with --trainer.precision 32, or train it"),
    ],
)
def test_what_an_operator_refuses_is_told_as_a_training_that_diverged(command: str, message: str) -> None:
    state = SimpleNamespace(fn=command)
    trainer: Any = SimpleNamespace(state=state, global_step=7, current_epoch=2, precision="32-true")
    with pytest.raises(NotFiniteError) as caught:
        normalise_cams(torch.tensor([[[math.inf]]]))
    StopWhenNotFinite().on_exception(trainer, _Broken(), caught.value)
    assert re.search(message, mistake_of(caught.value))
    bug = ValueError("holds NaN or infinity")
    StopWhenNotFinite().on_exception(trainer, _Broken(), bug)
    assert mistake_of(bug) == ""


# --- in files, and on the terminal --------------------------------------------------------------


@pytest.fixture
def table(tmp_path: Path) -> Table:
    rows = [f"{n}.jpg,{'cat' if n % 2 else 'dog'},train" for n in range(4)]
    (tmp_path / "labels.csv").write_text("\n".join(["image,labels,split", *rows]))
    (tmp_path / "images").mkdir()
    for n in range(4):
        (tmp_path / "images" / f"{n}.jpg").touch()  # nothing reads them
    return Table("images", "labels.csv", root=str(tmp_path))


def make_step(folder: Path, kind: str, table: Table) -> Path:
    manifest = Manifest(
        step=folder.name, kind=kind, recipe="psa", classes=table.classes.to_dict(), data=table.describe(),
        split="train", image_ids=table.ids("train"), complete=True,
    )  # fmt: skip
    folder.mkdir()
    write_manifest(folder, manifest)
    return folder


def test_the_extent_of_maps_without_background_is_not_that_of_labels(tmp_path: Path, table: Table) -> None:
    """Later steps add a background, at a level of their own; what they leave is judged."""
    for classes, expected in (([1], []), ([0, 1], ["overgrown"])):
        maps = np.full((len(classes), 4, 5), 0.1, np.float32)
        maps[-1, :, :4] = 0.9
        for image_id in table.ids("train"):
            save_maps(tmp_path / "out", ScoreMaps(image_id, maps, classes, (8, 10)), table.classes)
        found = label_facts(tmp_path / "out", find_kind("maps"), table, table.ids("train"), 0.3)
        assert found.foreground == pytest.approx(0.8)
        assert names(step_alarms(found, {}, trained=False)) == expected


def test_a_step_without_masks_has_alarms(tmp_path: Path, table: Table) -> None:
    step = make_step(tmp_path / "pseudo_label", "labels", table)
    for image_id in table.ids("train"):
        save_labels(step / "out" / f"{image_id}.png", np.zeros((4, 4), np.uint8))
    score = score_step(step)
    assert not score["scored"] and score["labels"]["empty"] == 4
    (alarm,) = read_alarms(step)
    assert alarm.unusable and alarm.text.startswith("4 of 4 labels have no foreground")


def test_maps_have_a_label_at_their_threshold(tmp_path: Path, table: Table) -> None:
    step = make_step(tmp_path / "cam", "maps", table)
    for number, image_id in enumerate(table.ids("train")):
        maps = np.full((1, 2, 2), 0.2 if number else 0.9, np.float32)
        save_maps(step / "out", ScoreMaps(image_id, maps, [1 + number % 2], (4, 4)), table.classes)
    assert score_step(step)["labels"]["empty"] == 3  # at 0.3, which the step does not name
    (step / "metrics.json").write_text(json.dumps({"cam_threshold": 0.1, "train/steps": 5}))
    score = score_step(step)
    assert score["labels"]["empty"] == 0 and score["labels"]["full"] == 4
    assert names(read_alarms(step)) == ["few_steps"]  # later steps cut maps without a background elsewhere


def test_a_step_that_is_not_scored_has_those_of_its_training(tmp_path: Path) -> None:
    assert read_alarms(tmp_path) == []
    (tmp_path / "metrics.json").write_text('{"train/steps": 5}')
    assert names(read_alarms(tmp_path)) == ["few_steps"]
    (tmp_path / "score.json").write_text('{"scored": true}')  # of an earlier version
    assert names(read_alarms(tmp_path)) == ["few_steps"]
    for broken in ('{"alarms": [1]}', '{"alarms": [{"name": "x"}]}', '{"alarms": {}}'):
        (tmp_path / "score.json").write_text(broken)
        with pytest.raises(UserError, match="another form"):
            read_alarms(tmp_path)


def test_lines_of_a_run() -> None:
    alarm = Alarm("few_steps", "trained for 5 steps", "train longer")
    assert status_line(1, 6, "cam", "done", "mIoU 1.0", ["trained for 5 steps"]).splitlines() == [
        "[1/6] cam  done  mIoU 1.0", "  ! trained for 5 steps",
    ]  # fmt: skip
    assert alarm_line({"alarms": {}}) == ""
    line = alarm_line({"alarms": {"cam": [alarm.to_dict()], "walk": [alarm.to_dict()] * 2}})
    assert line.startswith(
        "alarms (cam: few_steps; walk: few_steps, few_steps): what was seen and what to do"
    )


@pytest.mark.parametrize("text", ['{"alarms": [{"name": 1, "text": "a", "todo": "b"}]}', '{"miou": NaN}'])
def test_scores_that_were_edited_badly_are_refused_by_name(tmp_path: Path, text: str) -> None:
    """Both passed, and ended the run in a traceback when its scorecard was written."""
    (tmp_path / "score.json").write_text(text)
    with pytest.raises(UserError, match=r"score\.json"):
        read_alarms(tmp_path)
