"""Choosing settings without masks: the signals, what is tried, and what is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from benchmarks import tune_table
from benchmarks.tune_rows import described
from tag2mask import cli
from tag2mask.artifacts import (
    CommandRecord,
    Manifest,
    load_maps,
    read_manifest,
    save_maps,
    write_manifest,
)
from tag2mask.backbones import BackboneSpec
from tag2mask.core import ScoreMaps, UserError
from tag2mask.data import Shapes
from tag2mask.evaluate.alarms import step_alarms
from tag2mask.evaluate.facts import LabelFacts
from tag2mask.metrics import Confusion
from tag2mask.modules import Classifier
from tag2mask.modules.chain import label_map, refine
from tag2mask.modules.refinements import ImageView
from tag2mask.ops import alpha_for_level
from tag2mask.pipeline import Request, command
from tag2mask.report import read_runs
from tag2mask.tune import Trial, bench, choice, compare, read_chain, sensitivity
from tag2mask.tune.compare import search
from tag2mask.tune.signals import agreement, edge_contrast, evidence, foreground
from tag2mask.tune.trials import beta_trials, change, crf_trials, level_trials, present_level

BACKGROUND = {"class_path": "tag2mask.modules.Background", "init_args": {"alpha": None, "level": 0.3}}
WALK = {"class_path": "tag2mask.modules.RandomWalk", "init_args": {"beta": 8.0}}
CRF = {"class_path": "tag2mask.modules.DenseCRF", "init_args": {"params": "labels"}}

MAPS = [ScoreMaps("a", np.linspace(0, 1, 101, dtype=np.float32).reshape(1, 1, -1) ** 3, [1], (8, 808))]

LEFT = np.zeros((20, 40), np.uint8)
LEFT[4:16, 4:16] = 1


def square() -> Tensor:
    """A black image with a white square where `LEFT` has its class."""
    return torch.from_numpy(np.stack([255 * LEFT] * 3))


class Bright:
    """Stands in for a classifier: class 1 is there if a fifth of the image is bright in the red channel."""

    def __call__(self, images: Tensor) -> Tensor:
        bright = (images[:, 0] > 200).float().mean((1, 2))
        return torch.stack([100 * (bright - 0.1), -torch.ones_like(bright)], 1)


# --- signals ------------------------------------------------------------------------------------


def test_evidence_wants_the_object_and_not_much_more() -> None:
    judge: Any = Bright()
    whole, nothing = np.ones_like(LEFT), np.zeros_like(LEFT)
    right = evidence(judge, square(), LEFT, [1])
    assert right > 0.9
    assert evidence(judge, square(), whole, [1]) == 0  # it needs every pixel
    assert evidence(judge, square(), nothing, [1]) < 0.1
    assert right > evidence(judge, square(), np.roll(LEFT, 20, 1), [1])


def test_evidence_reads_the_label_in_the_middle_of_what_becomes_one_pixel() -> None:
    square = np.zeros((128, 256), np.uint8)
    square[26:102, 26:102] = 1
    middle = np.zeros((3, 3), np.uint8)
    middle[1, 1] = 1
    pixels = torch.from_numpy(np.stack([255 * np.kron(square, np.ones_like(middle))] * 3))
    judge: Any = Bright()
    # rounded down, it would read the corners, where no pixel has the class
    assert evidence(judge, pixels, np.kron(square, middle), [1]) > 0.8  # its share of the image is 0.18


def test_agreement_of_labels() -> None:
    moved = np.roll(LEFT, 6, 1)
    assert agreement(LEFT, LEFT) == 1 and agreement(LEFT * 0, LEFT * 0) == 1
    assert agreement(LEFT, moved) == pytest.approx(6 / 18)
    assert agreement(LEFT, np.where(LEFT == 1, 2, 0).astype(np.uint8)) == 0
    unknown = np.where(moved > LEFT, 255, LEFT).astype(np.uint8)
    assert agreement(LEFT, unknown) == 1


def test_edges_and_share() -> None:
    right = edge_contrast(square(), LEFT)
    assert right > 0.5 > edge_contrast(square(), np.roll(LEFT, 20, 1))
    assert edge_contrast(square(), LEFT * 0) == 0
    assert foreground(LEFT) == pytest.approx(144 / 800)


# --- what is tried ------------------------------------------------------------------------------


def test_trials_change_one_thing_each() -> None:
    before = Trial("as it is", {"walk": [BACKGROUND, WALK], "pseudo_label": [BACKGROUND, CRF]})
    levels = level_trials(before, MAPS)
    assert [trial.name for trial in levels][:2] == ["level 0.16", "level 0.22"]
    assert all(links[0]["init_args"]["level"] == 0.16 for links in levels[0].links.values())
    assert before.links["walk"][0]["init_args"]["level"] == 0.3
    betas = beta_trials(levels[0], MAPS)
    assert [trial.name for trial in betas] == ["level 0.16, beta 4", "level 0.16, beta 16"]
    crfs = {trial.name: trial for trial in crf_trials(before, MAPS)}
    assert list(crfs) == ["CRF cam", "CRF dsrg", "CRF deeplab", "no CRF"]
    assert [link.enabled for link in crfs["no CRF"].refinements(MAPS)] == [True, True, True, False]
    assert crf_trials(crfs["no CRF"], MAPS) == []
    bare = Trial("as it is", {"pseudo_label": []})
    assert level_trials(bare, MAPS) == beta_trials(bare, MAPS) == crf_trials(bare, MAPS) == []


def test_levels_begin_where_flat_maps_leave_background() -> None:
    """Scores of 0.4 to 0.9: 60 % of them lie above 0.6. Levels that are tried are not bounded any more."""
    bounded = deepcopy(BACKGROUND)
    bounded["init_args"]["most_foreground"] = 0.5
    before = Trial("as it is", {"walk": [bounded, WALK]})
    flat = [ScoreMaps("a", np.linspace(0.4, 0.9, 101, dtype=np.float32).reshape(1, 1, -1), [1], (8, 808))]
    levels = level_trials(before, flat)
    assert [trial.name for trial in levels] == [f"level {0.48 + 0.08 * n:.2f}" for n in range(6)]
    alphas = [trial.refinements(flat)[0].alpha for trial in (before, levels[1])]
    assert alphas == pytest.approx([alpha_for_level(0.65), alpha_for_level(0.56)])


@pytest.mark.parametrize("level", [0.1, 0.34, 0.7])
def test_level_of_an_alpha(level: float) -> None:
    link = {"class_path": "tag2mask.modules.Background", "init_args": {"alpha": alpha_for_level(level)}}
    # it is rounded to six digits
    assert present_level(Trial("", {"walk": [link]}), []) == pytest.approx(level, abs=1e-6)


@pytest.mark.parametrize(
    ("class_path", "message"),
    [
        ("os.path.Background", "is not imported"),
        ("tag2mask.modules.Nothing", "cannot be made"),
        ("tag2mask.modules.CamSpec", "is no refinement"),
    ],
)
def test_refinements_that_are_not_built(class_path: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Trial("", {"walk": [{"class_path": class_path}]}).refinements([])


def rows(*scores: float) -> list[dict[str, float]]:
    """Signals of some images that are worth these scores."""
    return [dict.fromkeys(compare.SIGNALS, 0.0) | dict.fromkeys(choice.DECIDING, score) for score in scores]


def test_what_is_there_stays_unless_another_setting_is_better_by_more_than_the_noise() -> None:
    present = rows(0.1, 0.5, 0.9, 0.3)
    mixed = rows(0.5, 0.4, 0.9, 0.3)  # better by 0.075 in the mean, because of one image
    everywhere = rows(0.18, 0.59, 0.98, 0.39)  # by 0.085, in each image
    assert choice.choose([present, mixed], [0, 1]) == 0
    assert choice.choose([present, everywhere], [0, 1]) == 1
    assert choice.choose([everywhere, mixed, present], [0, 1, 1]) == 0
    assert choice.choose([rows(0.1), rows(0.9)], [0, 1]) == 0  # one image says nothing about others
    found = choice.gain(everywhere, present)
    assert (found.mean, found.error) == pytest.approx((0.085, np.std([8, 9, 8, 9], ddof=1) / 2 / 100))


def test_the_smallest_change_is_taken_that_is_as_good_as_the_best() -> None:
    present, little = rows(0.1, 0.2, 0.3), rows(0.11, 0.22, 0.33)
    good, best = rows(0.5, 0.6, 0.72), rows(0.6, 0.6, 0.71)
    assert choice.choose([present, little, good, best], [0, 0.1, 0.2, 0.3]) == 2
    assert choice.choose([present, little, best, good], [0, 0.1, 0.2, 0.2]) == 2  # of equal ones the better


def test_changes_are_measured_by_the_levels_that_hold_for_the_maps() -> None:
    before = Trial("as it is", {"walk": [BACKGROUND, WALK]})
    level, beta = level_trials(before, MAPS)[0], beta_trials(before, MAPS)[0]
    assert [change(before, trial, MAPS) for trial in (before, level, beta)] == pytest.approx([0, 0.14, 1])


def test_each_stage_goes_on_from_what_was_chosen_before() -> None:
    start = Trial("as it is", {"walk": [BACKGROUND, WALK], "pseudo_label": [CRF]})
    worth = {"level 0.28": 0.2, "level 0.28, beta 16": 0.3, "level 0.28, beta 16, CRF cam": 0.29}
    found = search(start, lambda trial: rows(*(worth.get(trial.name, 0.1) + n / 10 for n in range(3))), MAPS)
    assert found.trials[found.chosen].name == "level 0.28, beta 16" and len(found.trials) == 1 + 6 + 2 + 4
    assert found.gains[0] is None and found.gains[-1] is not None and found.gains[-1].mean < 0
    stays = search(start, lambda trial: rows(0.1, 0.2), MAPS)
    assert stays.chosen == 0 and not stays.tells and found.tells


# --- the command --------------------------------------------------------------------------------


def write_step(folder: Path, kind: str, dataset: Shapes, split: str, **init_args: Any) -> None:
    folder.mkdir()
    manifest = Manifest(
        step=folder.name, kind=kind, recipe="psa", classes=dataset.classes.to_dict(),
        data=dataset.describe(), split=split, image_ids=dataset.ids(split), complete=True,
        commands={"fit": CommandRecord(complete=True)} if folder.name == "cam" else {},
    )  # fmt: skip
    write_manifest(folder, manifest)
    maps = {"maps_dir": str(folder.with_name("cam"))}
    model = {"class_path": f"tag2mask.modules.{'PseudoLabelGenerator' if init_args else 'Classifier'}"}
    config = {"model": {**model, "init_args": init_args}, "data": {"init_args": maps}}
    (folder / "predict.yaml").write_text(yaml.safe_dump(config))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    dataset = Shapes(str(tmp_path / "shapes"), train=4, val=1, size=(64, 64))
    dataset.make()
    folder = tmp_path / "run"
    folder.mkdir()
    write_step(folder / "cam", "maps", dataset, "train")
    write_step(folder / "pseudo_label", "labels", dataset, "train", refinements=[BACKGROUND, CRF])
    for image_id in dataset.ids("train"):
        classes = [dataset.classes.all_names.index(name) for name in dataset.tag_names(image_id)]
        maps = np.random.default_rng(0).random((len(classes), 8, 8)).astype(np.float32)
        save_maps(folder / "cam" / "out", ScoreMaps(image_id, maps, classes, (64, 64)), dataset.classes)
    network = Classifier(len(dataset.classes), BackboneSpec("test_resnet", weights="none")).eval()
    monkeypatch.setattr(bench, "load_network", lambda *_: network)
    return folder


def test_from_a_run_to_settings(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tune", str(run), "--images", "3"]) == 0
    printed = capsys.readouterr().out
    assert f"next: tag2mask run RECIPE --run-dir {run} --settings {run}/tune/settings.yaml" in printed
    plain = json.loads((run / "tune" / "tune.json").read_text())
    assert len(plain["trials"]) == 1 + 6 + 4 and len(plain["images"]) == 3
    settings = yaml.safe_load((run / "tune" / "settings.yaml").read_text())
    chosen = next(trial for trial in plain["trials"] if trial["name"] == plain["chosen"])
    assert settings == chosen["settings"]
    assert [link["class_path"] for link in settings["pseudo_label"]["model.init_args.refinements"]] == [
        BACKGROUND["class_path"], CRF["class_path"],
    ]  # fmt: skip
    page = (run / "tune" / "tune.html").read_text()
    # scores that are spread evenly up to 1 leave too little background at the lower levels
    assert page.count("<h3>") == 3 and "level 0.64" in page and "http:" not in page and "https:" not in page


def test_a_run_that_cannot_be_written_to_is_found_before_the_work(
    run: Path,
    full_disk: Callable[[int], AbstractContextManager[None]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On somebody else's run, it was the last thing to be said: after two minutes for three small images."""
    monkeypatch.setattr(compare, "tune", lambda *_: pytest.fail("it has begun"))
    (run / "tune").write_text("in the way, as a disk that is read-only")
    assert cli.main(["tune", str(run)]) == 2
    told = capsys.readouterr().err
    assert f"cannot write to {run / 'tune'}: " in told and f"--reuse {run} copies the run" in told
    (run / "tune").unlink()
    with full_disk(0):  # files without content can still be made
        assert cli.main(["tune", str(run)]) == 2
    assert f"cannot write to {run / 'tune'}: File too large; make room" in capsys.readouterr().err


def test_noise_of_one_image_and_the_name_of_a_variant(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "run.json").write_text('{"recipe": "psa", "variant": "crops_224"}')
    assert cli.main(["tune", str(run), "--images", "1"]) == 0
    printed = capsys.readouterr().out
    # the run folder refuses the recipe without its variant
    assert f"next: tag2mask run psa:crops_224 --run-dir {run} --settings" in printed
    assert "± ?" in printed and "chosen by 1 image(s) only" in printed
    plain = json.loads((run / "tune" / "tune.json").read_text())
    assert plain["chosen"] == "as it is" and plain["trials"][1]["gain"]["error"] is None


def untrained(run: Path) -> None:
    manifest = read_manifest(run / "cam")
    assert manifest is not None
    manifest.commands.clear()
    write_manifest(run / "cam", manifest)


def changed_config(run: Path, step: str, old: str, new: str) -> None:
    path = run / step / "predict.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


SPOILT: dict[str, Callable[[Path], object]] = {
    "maps of no classifier": untrained,
    "no labels yet": lambda run: (run / "pseudo_label" / "manifest.json").unlink(),
    "labels of another generator": lambda run: changed_config(run, "pseudo_label", ".Pseudo", ".SelfGuided"),
    "a link that is not built": lambda run: changed_config(run, "pseudo_label", "tag2mask", "my_links"),
    "a classifier that is not built": lambda run: changed_config(run, "cam", "tag2mask", "my_nets"),
}


@pytest.mark.parametrize("what", ["nothing", *SPOILT])
def test_alarms_advise_what_the_command_does(
    run: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The advice is asked before, the command itself tells whether it was right."""
    if what in SPOILT:
        SPOILT[what](run)
    label_facts = LabelFacts(images=4, tagged=4, empty=3)
    (alarm,) = step_alarms(label_facts, {}, trained=False)
    advice = read_runs([run])[0].advice(alarm, run)
    works = cli.main(["tune", str(run), "--images", "2"]) == 0
    assert works == (what == "nothing") == (f"tag2mask tune {run}" in advice)
    assert works or "docs/troubleshooting.md" in advice


def test_maps_of_another_step_than_a_classifier(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    untrained(run)
    assert cli.main(["tune", str(run)]) == 2
    told = capsys.readouterr().err
    assert f"come from {run / 'cam'}, no classifier" in told and "as psa and sc_cam do" in told


def test_the_table_beside_the_masks_goes_on_where_it_was(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, ids = run / "kept", bench.tagged_images(read_chain(run))[:3]
    first = tune_table.measure(run, ids, work, compare.STAGES[:1])
    assert list(first.found) == ["as it is", "level 0.16", "level 0.48", "with masks"]
    assert {described(found.trials[0]) for found in first.found.values()} == {
        f"level {level}, CRF labels" for level in ("0.30", "0.16", "0.48")
    }
    best = first.judge.judged(first.best)
    assert best.miou == max(first.judge.judged(trial).miou for trial in first.trials)
    by_masks = first.found["with masks"]
    assert by_masks.trials[by_masks.chosen].links == first.best.links
    assert tune_table.lost(best, best) == "0.0 ± 0.0" and best.counts.shape[0] == len(ids)
    monkeypatch.setattr(bench.Bench, "judge", None)
    again = tune_table.measure(run, ids, work, compare.STAGES[:1])
    assert tune_table.choices([again]).rows == tune_table.choices([first]).rows and len(again.trials) == 8


class Even:
    """Stands in for an AffinityNet: all cells are alike."""

    def __call__(self, images: Tensor) -> Tensor:
        return torch.zeros(len(images), 2, *(-(-side // 8) for side in images.shape[-2:]))


def test_sensitivity_scores_the_walk_with_each_setting(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensitivity, "load_network", lambda *_: Even())
    config = run / "pseudo_label" / "predict.yaml"
    plain = yaml.safe_load(config.read_text())
    plain["model"]["init_args"] |= {"refinements": [BACKGROUND, WALK, CRF], "affinity_from": str(run / "aff")}
    config.write_text(yaml.safe_dump(plain))
    words = ["sensitivity", str(run), "--alpha", "0.05", "--level", "0.3", "--beta", "4", "8", "--steps", "2"]
    assert cli.main(words) == 0
    assert "settings chosen by it have seen the masks" in " ".join(capsys.readouterr().out.split())
    found = json.loads((run / "sensitivity.json").read_text())
    rows = {row["name"]: row for row in found["trials"]}
    assert list(rows) == ["as it is", "alpha 0.05", "level 0.3", "beta 4, t 2", "beta 8, t 2"]
    links = rows["beta 4, t 2"]["settings"]["pseudo_label"]["model.init_args.refinements"]
    assert [link["class_path"] for link in links] == [BACKGROUND["class_path"], WALK["class_path"]]  # no CRF
    assert links[1]["init_args"] == {"beta": 4.0, "steps": 2} and found["images"] == 4
    assert rows["level 0.3"]["miou"] == rows["as it is"]["miou"] != rows["alpha 0.05"]["miou"]
    # the same labels by the generator's own links, scored by the same confusion
    dataset = Shapes(str(run.parent / "shapes"), train=4, val=1, size=(64, 64))
    total = Confusion(len(dataset.classes) + 1)
    for image_id in dataset.ids("train"):
        view = ImageView(torch.from_numpy(dataset.read_image(image_id).transpose(2, 0, 1).copy()), _even)
        maps = refine(load_maps(run / "cam" / "out", image_id, dataset.classes), view, _links(links))
        total.update(label_map(maps), dataset.read_mask(image_id))
    assert rows["beta 4, t 2"]["miou"] == pytest.approx(total.miou)
    assert cli.main([*words, "--images", "2"]) == 0
    assert json.loads((run / "sensitivity.json").read_text())["images"] == 2
    plain["model"]["init_args"]["refinements"] = [BACKGROUND]
    config.write_text(yaml.safe_dump(plain))
    assert cli.main(words) == 2 and "made without a random walk" in capsys.readouterr().err


def _even(pixels: Tensor) -> Tensor:
    return Even()(pixels[None])[0]


def _links(links: Any) -> Any:
    return Trial("", {"walk": links}).refinements([])


def test_a_run_without_labels(run: Path) -> None:
    (run / "pseudo_label" / "manifest.json").unlink()
    with pytest.raises(UserError, match="no finished labels made by refinements"):
        read_chain(run)


def test_settings_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Request] = []
    monkeypatch.setattr(command, "run_recipe", lambda request: asked.append(request) or 0)
    file = tmp_path / "settings.yaml"
    file.write_text("walk: {model.init_args.refinements: [1], data: {init_args: {num_workers: 0}}}\n")
    words = ["run", "psa", "--settings", str(file), "--walk.data.init_args.num_workers", "3", "--cam.x", "1"]
    assert cli.main(words) == 0
    assert asked[0].extras.overrides == {
        "walk": {"model.init_args.refinements": [1], "data.init_args.num_workers": 3}, "cam": {"x": 1},
    }  # fmt: skip
    origin = asked[0].extras.origin
    assert origin("walk", "model.init_args.refinements") == origin("walk") == f"{file}:1"
    assert origin("walk", "data.init_args.num_workers") == "--walk.data.init_args.num_workers"  # it won
    assert (origin("cam", "x"), origin("cam")) == ("--cam.x", "--cam...")
    file.write_text("walk: 3\n")
    assert cli.main(words) == 2
