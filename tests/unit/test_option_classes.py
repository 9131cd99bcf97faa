"""Classes that a logger's file or an option behind ``--`` names are looked at before the first step."""

from __future__ import annotations

from pathlib import Path

import pytest

from tag2mask.cli import main
from tag2mask.core import UserError
from tag2mask.pipeline import own_classes, runner
from tag2mask.pipeline.options import option_settings

BROKEN = "from json import dumbs\n"


class Folder:
    """A working folder with a module whose import fails, under a name of its own: sources are read once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.module = path / f"log_{path.name}.py"
        self.module.write_text(f"{BROKEN}Mine = dict\n")
        self.mine = f"{self.module.stem}.Mine"

    def write(self, text: str) -> None:
        (self.path / "mine.yaml").write_text(text.replace("MINE", self.mine))

    def run(self, *words: str) -> int:
        named = [word.replace("MINE", self.mine) for word in words]
        return main(["run", "psa", "--data", "shapes", "--budget", "tiny", "--run-dir", "run", *named])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.chdir(tmp_path)
    return Folder(tmp_path)


def refused(folder: Folder, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The message of a run that ends with code 2 and leaves nothing behind."""
    capsys.readouterr()
    assert folder.run(*words) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and not (folder.path / "run").exists()
    return printed.err.removeprefix("error: ")


LOGGER = "trainer: {logger: {class_path: MINE}}\n"


@pytest.mark.parametrize(
    ("text", "words", "place"),
    [
        (LOGGER, ("--logger", "mine.yaml"), "FOLDER/mine.yaml:1"),
        ("trainer:\n  logger: MINE\n", ("--logger", "mine.yaml"), "FOLDER/mine.yaml:2"),
        (LOGGER, ("--", "--config", "mine.yaml"), "mine.yaml:1"),
        (LOGGER, ("--", "-c", "mine.yaml"), "mine.yaml:1"),
        ("", ("--", "--trainer.logger.class_path", "MINE"), "--trainer.logger.class_path (behind --)"),
        ("", ("--", "--trainer.logger=MINE"), "--trainer.logger (behind --)"),
        ("", ("--", "--trainer.callbacks+", "MINE"), "--trainer.callbacks (behind --)"),
        ("", ("--", "--trainer.callbacks", "[{class_path: MINE}]"), "--trainer.callbacks (behind --)"),
        ("", ("--", "--trainer", "{logger: MINE}"), "--trainer (behind --)"),
        ("", ("--", "--data", "MINE"), "--data (behind --)"),
        ("", ("--cam.trainer.logger", "MINE"), "--cam.trainer.logger"),
        ("", ("--cam.trainer.callbacks", "[MINE]"), "--cam.trainer.callbacks"),
    ],
)
def test_a_class_that_cannot_be_imported(
    folder: Folder, capsys: pytest.CaptureFixture[str], text: str, words: tuple[str, ...], place: str
) -> None:
    folder.write(text)
    start = f"{place.replace('FOLDER', str(folder.path))}: {folder.mine} cannot be imported: ImportError: "
    assert refused(folder, capsys, *words).startswith(start)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "trainer: {logger: {class_path: pytorch_lightning.loggers.CSVLoger}}",
            "unknown class of pytorch_li",
        ),
        (
            "trainer:\n  logger:\n    class_path: pytorch_lightning.loggers.CSVLogger\n"
            "    init_args: {save_dr: logs}",
            "unknown setting of CSVLogger 'save_dr'; did you mean save_dir?",
        ),
        ("logger: {class_path: MINE}", "unknown key 'logger'"),
        ("trainer: logs", "trainer must be a mapping of settings, got 'logs'"),
        ("trainer: {", "is not valid YAML"),
    ],
)
def test_a_file_of_a_logger_that_the_steps_would_refuse(
    folder: Folder, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    folder.write(text)
    found = refused(folder, capsys, "--logger", "mine.yaml")
    assert found.startswith(f"{folder.path}/mine.yaml") and message in found


def test_a_file_that_is_not_there(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(folder, capsys, "--", "--config", "nothing.yaml").startswith("cannot read nothing.yaml")


def test_a_part_is_no_class(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(folder, capsys, "--cam.data", "MINE")
    assert message == f"--cam.data: data must be a mapping of settings, got {folder.mine!r}\n"


@pytest.mark.parametrize("name", ["csv", "tensorboard", "wandb"])
def test_nothing_is_imported_for_the_loggers_that_come_along(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    def stop(*_: object) -> None:
        raise UserError("this far")

    monkeypatch.setattr(own_classes, "require_ends_well", None)
    monkeypatch.setattr(runner, "require_batches", stop)  # what comes after the imports
    words = "--logger", name, "--", "--trainer.strategy", "ddp", "--trainer.logger", "true"
    assert refused(folder, capsys, *words) == "this far\n"


def test_later_options_stand_behind_earlier_ones() -> None:
    words = ["--tf32", "--seed_everything", "3", "--data={init_args: {batch_size: 2}}", "--trainer.devices"]
    assert [(path, setting.value) for path, setting in option_settings(words)] == [
        ("seed_everything", 3),
        ("data.init_args.batch_size", 2),
    ]
