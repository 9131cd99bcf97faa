"""Pages stay short and say a thing once (what is counted: see count_settings)."""

from __future__ import annotations

from tests.config.count_settings import CONF, count


def test_configurations_are_short_and_say_little_twice() -> None:
    lines, total, repeated, _ = count()
    assert lines <= 1000
    assert repeated / total <= 0.15


def test_psa_reads_in_one_screen_and_a_half() -> None:
    assert len((CONF / "recipes" / "psa.yaml").read_text().splitlines()) <= 80


def test_nothing_but_pages_lies_there() -> None:
    folders = {"recipes", "steps", "budgets", "backbones", "data", "logger", "cluster", "sweeps"}
    assert {path.name for path in CONF.iterdir()} == folders
    lists = {path.name for path in CONF.rglob("*") if path.is_file() and path.suffix != ".yaml"}
    # the images of voc-animals, and what a sweep starts for a trial
    assert lists == {"train.txt", "val.txt", "train-500.txt", "holdout.txt", "trial.sh"}
