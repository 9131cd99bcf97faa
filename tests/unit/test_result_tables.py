"""The tables over seeds and over recipes, from made-up scorecards whose means are known by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import recipe_table, results_table
from tag2mask.artifacts import CommandRecord, Manifest, write_manifest
from tag2mask.pipeline.settings import Settings, write_run

CLASSES = {"names": ["cat"], "ids": [8], "ignore": 255}
STEPS = {"cam": ("maps", 0.40), "walk": ("maps", 0.60), "pseudo_label": ("labels", 0.65)}


def make_run(folder: Path, gain: float = 0.0, rounds: int | None = None, **more: Any) -> Path:
    scores: dict[str, Any] = {
        name: {
            "kind": kind,
            "miou": miou + gain,
            "precision": 0.8,
            "coverage": 1.0,
            "best_miou": miou + gain + 0.02,
        }
        for name, (kind, miou) in STEPS.items()
    }
    scores["pseudo_label"] |= {"best_miou": None, "coverage": 0.9}
    scores["cam"]["metrics"] = {"val/mAP": 0.9 + gain}
    variants = {v: {"miou": 0.58 + gain} for v in ("single_scale", "multi_scale")}
    variants["multi_scale_crf"] = {"miou": 0.59 + gain}
    scores["segmentation"] = {"kind": "segmentation", "miou": 0.58 + gain, "variants": variants}
    card = {
        "recipe": "psa", "variant": "", "data": "voc", "budget": "small", "backbone": "b", "seed": 0,
        "steps": scores, "seconds": {"cam": 60.0, "walk": 120.0}, **more,
    }  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "scorecard.json").write_text(json.dumps(card))
    write_run(folder, Settings(card["recipe"], data="voc", rounds=rounds))
    for name, peak in (("cam", 700.0), ("walk", 900.0)):
        record = CommandRecord(complete=True, peak_memory_mb=peak)
        manifest = Manifest(
            step=name, kind="maps", recipe="psa", classes=CLASSES, split="train", commands={"predict": record}
        )
        write_manifest(folder / name, manifest)
    return folder


def test_recipe_row_takes_the_last_step_of_each_kind(tmp_path: Path) -> None:
    row = recipe_table.collect([make_run(tmp_path / "a")])["psa"][0]
    assert row["cam"] == pytest.approx(40) and row["refined"] == pytest.approx(60)
    assert row["label"] == pytest.approx(65) and row["precision"] == pytest.approx(80)
    assert row["segmentation"] == pytest.approx(58)
    assert row["minutes"] == pytest.approx(3) and row["memory"] == 900


def test_row_of_a_recipe_with_rounds_has_the_last_round(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", rounds=1, recipe="sc_cam")
    card = json.loads((run / "scorecard.json").read_text())
    card["steps"]["cam_1"] = {**card["steps"]["cam"], "miou": 0.44}
    (run / "scorecard.json").write_text(json.dumps(card))
    row = recipe_table.collect([run])["sc_cam"][0]
    assert row["cam"] == pytest.approx(44) and row["refined"] == pytest.approx(60)


def test_seeds_become_mean_and_half_range(tmp_path: Path) -> None:
    rows = recipe_table.collect([make_run(tmp_path / "a"), make_run(tmp_path / "b", gain=0.02)])
    assert "| psa | 41.0 ± 1.0 | 61.0 ± 1.0 |" in recipe_table.markdown(rows, "make table", "")


def test_a_value_that_not_every_seed_has_says_so(tmp_path: Path) -> None:
    rows = {"psa": [{"cam": 40.0, "segmentation": 50.0}, {"cam": 42.0}]}
    text = recipe_table.markdown(rows, "make table", "")
    assert "| psa | 41.0 ± 1.0 |" in text and "| 50.0 (1 of 2) |" in text


def test_every_step_of_every_recipe_is_listed(tmp_path: Path) -> None:
    rows = recipe_table.collect([make_run(tmp_path / "a"), make_run(tmp_path / "b", gain=0.02)])
    steps = (
        "cam 41.0 ± 1.0, cam at its best threshold 43.0 ± 1.0, walk 61.0 ± 1.0, "
        "walk at its best threshold 63.0 ± 1.0, pseudo_label 66.0 ± 1.0, pseudo_label coverage 90.0 ± 0.0, "
        "segmentation 59.0 ± 1.0, segmentation with scales, flip and CRF 60.0 ± 1.0"
    )
    assert f"- psa: {steps}\n" in recipe_table.markdown(rows, "make table", "")


def test_the_table_names_its_data_backbone_and_budget(tmp_path: Path) -> None:
    options = [str(make_run(tmp_path / "a")), "--name", "n", "--out", str(tmp_path / "out")]
    assert recipe_table.main(options) == 0
    first = (tmp_path / "out" / "n.md").read_text().splitlines()[0]
    assert first == "Data voc, backbone b, budget small; mIoU in percent."


def test_runs_of_different_data_make_no_table(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b", data="shapes")]
    with pytest.raises(SystemExit, match="has data shapes, others have voc"):
        recipe_table.collect(runs)


def test_results_with_upper_bound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, bound = make_run(tmp_path / "a"), make_run(tmp_path / "true", gain=0.145)
    options = [str(run), "--bound", str(bound), "--name", "n", "--out", str(tmp_path / "out")]
    assert results_table.main(options) == 0
    # 58 / 72.5 = 0.8
    assert "| segmentation / upper bound, single scale | 0.800 |" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "n.json").read_text())["rows"][results_table.BOUND] == [72.5]


def test_a_kept_card_names_no_folder_of_the_machine_that_made_it(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", weights="/data/net.pt", initial_weights={"cam": "/data/net.pt"})
    card = results_table.read_card(run)
    assert card["weights"] == "net.pt" and card["initial_weights"] == {"cam": "net.pt"}


def test_missing_scorecard_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="run the recipe first"):
        results_table.read_card(tmp_path)


def test_maps_of_val_are_among_the_steps_and_in_no_column(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a")
    write_run(run, Settings("psa", data="voc", val_labels=True))
    card = json.loads((run / "scorecard.json").read_text())
    card["steps"]["cam_val"] = {**card["steps"]["cam"], "miou": 0.38}
    (run / "scorecard.json").write_text(json.dumps(card))
    row = recipe_table.collect([run])["psa"][0]
    assert row["cam"] == pytest.approx(40) and row["step cam_val"] == pytest.approx(38)
