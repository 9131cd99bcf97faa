"""The whole IAL recipe on generated images, with two rounds, through `tag2mask run`."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tag2mask import load
from tag2mask.artifacts import load_labels, load_maps, load_regions, manifest_hash, read_manifest
from tag2mask.data import Shapes
from tag2mask.modules import SegmentationModel
from tag2mask.pipeline import load_recipe
from tests import one_process
from tests.step_files import LIBRARY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TRAIN, VAL, SIZE = 16, 4, (64, 80)
RECIPE = load_recipe(LIBRARY, "ial", rounds=2)


class Run:
    """A run folder, filled by one call of `tag2mask run`; a second call had nothing to do.

    Attributes:
        codes: exit codes of the two.
        idle: what the second one printed.
    """

    def __init__(self, folder: Path) -> None:
        self.images = Shapes(str(folder / "shapes"), train=TRAIN, val=VAL, size=SIZE)
        self.folder = folder / "run"
        data = folder / "data.yaml"
        data.write_text(yaml.safe_dump({"data": {"init_args": {"dataset": self.images.describe()}}}))
        # networks of this size may find nothing, which would end the run
        words = ["run", "ial", "--run-dir", str(self.folder), "--allow-empty"]
        more = ["--data", str(data), "--budget", "tiny", "--rounds", "2", "--seed", "3"]
        first = one_process.main([*words, *more])
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            # the folder remembers the number of rounds with the rest
            second = one_process.main(words)
        self.codes, self.idle = (first, second), printed.getvalue()

    def card(self) -> dict[str, Any]:
        plain: dict[str, Any] = json.loads((self.folder / "scorecard.json").read_text())
        return plain


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("ial"))


def test_two_rounds_end_in_a_scored_model(run: Run) -> None:
    assert run.codes == (0, 0)
    names = [step.name for step in RECIPE.steps]
    assert list(run.card()["steps"]) == [name for name in names if name != "superpixels"]
    assert names.count("segmentation") == 1 and "unary_2" not in names
    assert run.idle.count("skipped (done before)") == len(names)


def test_each_step_is_complete_and_knows_its_inputs(run: Run) -> None:
    for step in RECIPE.steps:
        manifest = read_manifest(run.folder / step.name)
        assert manifest is not None and manifest.complete and manifest.kind == step.kind
        inputs = set(step.inputs.values())
        assert manifest.parents == {name: manifest_hash(run.folder / name) for name in inputs}


def test_results_are_of_the_images_tags(run: Run) -> None:
    for image_id in run.images.ids("train"):
        classes = run.images.classes
        present = [0, *(int(k) + 1 for k in run.images.tags(image_id).nonzero()[0])]
        assert load_maps(run.folder / "maps_1" / "out", image_id, classes).classes == tuple(present)
        there = {classes.all_ids[k] for k in present}
        for step, unknown in (("seeds", {255}), ("regions_1", {255}), ("pairwise_1", set())):
            labels = load_labels(run.folder / step / "out" / f"{image_id}.png")
            assert labels.shape == SIZE and set(labels.flat) <= there | unknown


def test_mined_regions_are_whole_superpixels(run: Run) -> None:
    for image_id in run.images.ids("train"):
        regions = load_regions(run.folder / "superpixels" / "out" / f"{image_id}.png")
        labels = load_labels(run.folder / "regions_1" / "out" / f"{image_id}.png")
        assert regions.shape == SIZE and len(set(regions.flat)) > 1
        assert all(len(set(labels[regions == region])) == 1 for region in set(regions.flat))


def test_energy_before_and_after_mining_is_in_the_scorecard(run: Run) -> None:
    for number in (1, 2):
        metrics = run.card()["steps"][f"pairwise_{number}"]["metrics"]
        assert {"val/energy_before", "val/energy_after_all_pixels"} <= set(metrics)


def test_model_and_both_networks_together_are_scored_on_val(run: Run) -> None:
    card = run.card()["steps"]
    assert all(card[step]["split"] == "val" for step in ("unary_1", "segmentation", "unary_pairwise"))
    for step in ("segmentation", "unary_pairwise"):
        folder = run.folder / step / "out" / "single_scale"
        assert sorted(p.stem for p in folder.iterdir()) == sorted(run.images.ids("val"))


def test_predict_takes_the_unary_network_of_the_last_round(run: Run) -> None:
    model = load(run.folder, device="cpu").model
    last = load(run.folder / "segmentation", device="cpu").model
    assert isinstance(model, SegmentationModel)
    assert all(a.equal(b) for a, b in zip(model.parameters(), last.parameters(), strict=True))
