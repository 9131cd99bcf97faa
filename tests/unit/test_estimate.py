"""Estimates of time, disk and memory, beside what real runs took."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import estimates as printed
from tag2mask.artifacts.image_sizes import ImageSizes
from tag2mask.cli import main
from tag2mask.core import UserError
from tag2mask.core.tables import duration
from tag2mask.data import Shapes
from tag2mask.data.sizes import image_sizes
from tag2mask.pipeline import Devices, Extras, Request, Settings, prepare
from tag2mask.pipeline.costs import CRF
from tag2mask.pipeline.estimate import Estimate, estimate_step
from tag2mask.pipeline.forecast import Forecast, sources_of
from tag2mask.pipeline.machine import Machine, this_machine
from tests.conftest import ROOT

VOC_ANIMALS = ImageSizes(
    counts={"train": 600, "val": 150},
    sampled=64,
    pixels=181_000,
    largest=250_000,
    long_side=492,
    tags=1.3,
    classes=6,
)
ONE_CORE = Machine(cores=1, speed=1.0, memory_mb=22_000, disk_mb=100_000)
# psa at the small budget with MobileNetV2 on one core: seconds, MB on disk, MB of memory, from the manifests
REAL = {
    "cam": (764, 30.7, 3256),
    "affinity_labels": (99, 4.7, 1171),
    "affinity": (422, 33.1, 2420),
    "walk": (81, 4.5, 1677),
    "pseudo_label": (120, 7.7, 1154),
    "segmentation": (994, 39.2, 1723),
}

# best beyond psa's steps, on a core beside another busy one: seconds, from the manifests of seed 1
BEST = {"teacher_0_1": 453, "teacher_3_1": 470, "teacher_maps_1": 234, "labels_1": 159, "segmentation": 699}
# whole runs on these images, minutes of seed 0: benchmarks/results/recipes-voc-animals.json
MINUTES = {"sc_cam": 78, "rrm": 132, "ial": 72, "self_guided": 51}


def estimates(machine: Machine = ONE_CORE, extras: Extras | None = None, **asked: Any) -> dict[str, Estimate]:
    given = {"recipe": "psa", "data": "voc", "budget": "small", "backbone": "mobilenetv2_100", **asked}
    plans = prepare(Request(Settings(**given), Path("nowhere"), extras=extras or Extras())).plans
    planned = {plan.folder: plan.settings for plan in plans.values()}
    return {
        name: estimate_step(plan, plan.step.commands, VOC_ANIMALS, machine, sources_of(plan, planned))
        for name, plan in plans.items()
    }


@pytest.mark.parametrize("step", REAL)
def test_estimates_are_near_what_a_real_run_took(step: str) -> None:
    # A factor of 2 tells hours from minutes, which is what an estimate is for; machines differ by more.
    seconds, disk, memory = REAL[step]
    found = estimates()[step]
    assert found.seconds is not None and 0.5 < found.seconds / seconds < 2
    assert found.disk_mb is not None and 0.5 < found.disk_mb / disk < 3.5  # two checkpoints while it trains
    assert found.memory_mb is not None and 0.5 < found.memory_mb / memory < 2


def test_networks_of_earlier_steps_and_images_of_other_folds_count() -> None:
    found = estimates(recipe="best")
    for step, seconds in BEST.items():
        assert 0.5 < _seconds(found[step]) / seconds < 2, step


def test_maps_of_two_halves_take_as_long_as_those_of_one_network() -> None:
    halves, whole = estimates(recipe="ial", variant="cross_fit"), estimates(recipe="ial")
    assert _seconds(halves["fitted_1"]) == pytest.approx(_seconds(whole["maps_1"]))
    # of 600 images, half of the steps
    assert 0.4 < _seconds(halves["half_0_1"]) / _seconds(whole["unary_1"]) < 0.65


@pytest.mark.parametrize("recipe", MINUTES)
def test_whole_recipes_take_about_what_they_took(recipe: str) -> None:
    minutes = sum(_seconds(step) for step in estimates(recipe=recipe).values()) / 60
    assert 0.5 < minutes / MINUTES[recipe] < 2


@pytest.mark.parametrize("page", ["benchmarks/results/estimates.md", "docs/scaling.md"])
def test_the_kept_table_is_what_make_estimates_prints_today(page: str) -> None:
    """It was that of smaller crops. One row of each table: all of them take seconds."""
    text = (ROOT / page).read_text(encoding="utf-8")
    run = printed.estimates("small, mobilenetv2_100", printed.DATA["VOC, 1,464"], "1 core")
    assert f"| VOC, 1,464 | 1 core | {duration(run.seconds)} |" in text
    assert f"| {' | '.join(printed.beside_kept('self_guided'))} |" in text


@pytest.mark.parametrize("recipe", ["psa", "best", "sc_cam", "rrm", "ial", "self_guided", "seam"])
def test_the_papers_networks_have_estimates_too(recipe: str) -> None:
    found = estimates(recipe=recipe, budget="full", backbone=None)
    assert [step for step, estimate in found.items() if estimate.seconds is None] == []


def test_further_sizes_of_a_network_count_in_training_and_test() -> None:
    """MSC puts 1 + 0.5 ** 2 + 0.75 ** 2 times the pixels through the network; loading stays, 1 % here."""
    plain = Extras(overrides={"segmentation": {"model.init_args.head.msc_scales": None}})
    asked: dict[str, Any] = {"recipe": "sc_cam", "budget": "full", "backbone": None}
    msc, once = (estimates(extras=extras, **asked)["segmentation"] for extras in (None, plain))
    assert _seconds(msc) / _seconds(once) == pytest.approx(1.8125, rel=0.01)
    assert (msc.memory_mb or 0) > 1.6 * (once.memory_mb or 0)


def test_the_small_view_of_a_crop_counts_in_training() -> None:
    """0.5 ** 2 times its pixels; loading stays, some percent of the small network's time."""
    twice = estimates(recipe="seam")["cam"]
    plain = Extras(overrides={"cam": {"model.init_args.shrink": 0.001}})
    once = estimates(recipe="seam", extras=plain)["cam"]
    assert (twice.memory_mb or 0) > 1.1 * (once.memory_mb or 0)
    assert 1.1 < _seconds(twice) / _seconds(once) < 1.25


def test_each_size_of_localisation_maps_counts_and_again_where_labels_are_made_of_them() -> None:
    several, once = (estimates(recipe="self_guided", variant=variant) for variant in ("views", None))
    for step in ("localise_1", "pseudo_label_1"):
        assert _seconds(several[step]) > 1.2 * _seconds(once[step])
    assert _seconds(several["segmentation"]) == _seconds(once["segmentation"])


def test_maps_mined_without_a_crf_take_less() -> None:
    found = estimates(recipe="rrm", variant="mined_labels")
    crfs = 600 * 0.181 * 2 * CRF["cam"]
    assert _seconds(found["mined_40"]) - _seconds(found["maps_alone"]) == pytest.approx(crfs)


def test_a_step_that_was_made_before_tells_its_network(tmp_path: Path) -> None:
    settings = Settings("psa", data="voc", budget="small", backbone="mobilenetv2_100")
    plan = prepare(Request(settings, tmp_path)).plans["walk"]
    (tmp_path / "affinity").mkdir()
    assert estimate_step(plan, ["predict"], VOC_ANIMALS, ONE_CORE, sources_of(plan, {})).seconds is None
    (tmp_path / "affinity" / "settings.yaml").write_text("model: {init_args: {backbone: {name: resnet38}}}")
    before = estimate_step(plan, ["predict"], VOC_ANIMALS, ONE_CORE, sources_of(plan, {}))
    assert _seconds(before) > 10 * _seconds(estimates()["walk"])


def test_what_makes_a_step_longer() -> None:
    plain, cam = estimates(), "cam"
    assert _seconds(estimates(replace(ONE_CORE, cores=4))[cam]) == pytest.approx(_seconds(plain[cam]) / 4)
    assert _seconds(estimates(replace(ONE_CORE, speed=2.0))[cam]) == pytest.approx(_seconds(plain[cam]) / 2)
    assert _seconds(estimates(backbone="resnet38", budget="full")[cam]) > 50 * _seconds(plain[cam])
    longer = Extras(overrides={cam: {"trainer.max_epochs": 12}})
    assert 1.4 < _seconds(estimates(extras=longer)[cam]) / _seconds(plain[cam]) < 2.1
    card = replace(ONE_CORE, gpu="some card", gpu_memory_mb=80_000.0)
    assert _seconds(estimates(card)[cam]) < 0.1 * _seconds(plain[cam])
    two = Extras(Devices(2))
    assert (estimates(card, two)[cam].memory_mb or 0) < 0.8 * (estimates(card)[cam].memory_mb or 0)
    other = Extras(overrides={cam: {"model.init_args.backbone.name": "convnext_tiny"}})
    assert estimates(extras=other)[cam].seconds is None  # never measured


def test_maps_and_labels_of_val_are_as_many_as_there_are_images_of_val() -> None:
    steps = estimates(val_labels=True)
    for name in ("walk", "pseudo_label"):  # a quarter of the images
        assert _seconds(steps[f"{name}_val"]) == pytest.approx(_seconds(steps[name]) / 4)


def _seconds(step: Estimate) -> float:
    assert step.seconds is not None
    return step.seconds


def test_a_run_without_room_or_memory_is_refused_with_numbers() -> None:
    steps = [Estimate("cam", 60.0, 3000.0, 9000.0), Estimate("own", None, None, None)]
    fits = Forecast(steps, VOC_ANIMALS, ONE_CORE)
    fits.require_fit()
    assert fits.line() == (
        "estimate: 1 min 00 s, 3.0 GB of disk, 8.8 GB of memory without own, whose network was never measured"
    )
    with pytest.raises(UserError, match=r"leaves about 3.0 GB and 1000 MB are free there: make room"):
        replace(fits, machine=replace(ONE_CORE, disk_mb=1000.0)).require_fit()
    with pytest.raises(
        UserError, match=r"step cam takes about 8.8 GB of memory, .* 7.8 GB: give --cam.trainer"
    ):
        replace(fits, machine=replace(ONE_CORE, memory_mb=8000.0)).require_fit()
    card = replace(ONE_CORE, gpu="some card", gpu_memory_mb=8000.0)
    with pytest.raises(UserError, match=r"8.8 GB of GPU memory"):
        replace(fits, machine=card).require_fit()


def test_the_table_says_what_it_was_made_from() -> None:
    shown = Forecast([Estimate("cam", None, 10.0, None)], VOC_ANIMALS, ONE_CORE).table().text().splitlines()
    assert shown[2].split() == ["cam", "-", "10", "MB", "-"]
    assert shown[-1].startswith(
        "Estimates for 600 train and 150 val images of 0.18 megapixels (headers of 64 read)"
    )


def test_sizes_of_a_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = Shapes(str(tmp_path / "photos"), train=5, val=2, size=(48, 56))
    found = image_sizes(photos, sample=4)
    assert (found.counts, found.sampled) == ({"train": 5, "val": 2}, 4)
    assert (found.pixels, found.largest, found.long_side) == (48 * 56, 48 * 56, 56)
    assert found.classes == len(photos.classes) and found.tags >= 1
    page = tmp_path / "data.yaml"
    page.write_text(json.dumps({"data": {"init_args": {"dataset": photos.describe()}}}))
    assert main(["data", "sizes", "--data", str(page)]) == 0
    assert ImageSizes.parse(capsys.readouterr().out).counts == found.counts
    with pytest.raises(UserError, match="not the sizes of images"):
        ImageSizes.parse('{"counts": 3}')


def test_this_machine_has_something(tmp_path: Path) -> None:
    machine = this_machine(tmp_path / "not" / "there")
    assert machine.cores >= 1 and machine.speed > 0 and machine.disk_mb > 0


@pytest.mark.parametrize("text", [b'a: [1, "', b"\xff\xfe", b"[1]"])
def test_broken_settings_of_a_step_that_was_made_before_count_as_unknown(tmp_path: Path, text: bytes) -> None:
    """They ended a run in a traceback."""
    asked = Settings("psa", data="voc", budget="small", backbone="mobilenetv2_100")
    plan = prepare(Request(asked, tmp_path)).plans["walk"]
    (tmp_path / "affinity").mkdir()
    (tmp_path / "affinity" / "settings.yaml").write_bytes(text)
    sources = sources_of(plan, {})
    assert sources["model.init_args.affinity_from"] == {}
    assert estimate_step(plan, ["predict"], VOC_ANIMALS, ONE_CORE, sources).seconds is None
