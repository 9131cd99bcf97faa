"""What is wrong with a page or an option is said before anything starts: `tag2mask run` as users call it."""

from __future__ import annotations

import io
import re
import subprocess
from contextlib import redirect_stderr
from pathlib import Path
from types import SimpleNamespace

import pytest
import timm
import torch

from tag2mask.backbones import BackboneSpec
from tag2mask.cli import main
from tag2mask.core import UserError
from tag2mask.pipeline import own_classes, own_weights, process, run_commands, runner

OWN = """import torch
raise RuntimeError("the runner imports no class")
from tag2mask.modules import AffinityNet, Classifier


class Mine(Classifier):
    def __init__(self, bend: float = 1.0, **classifier):
        super().__init__(**classifier)


class Near(AffinityNet):
    pass
"""


class Folder:
    """A working folder with a page and a package of one's own that registers nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.page = path / "mine.yaml"
        (path / "my_nets").mkdir()
        (path / "my_nets" / "__init__.py").touch()
        (path / "my_nets" / "mine.py").write_text(OWN)

    def write(self, steps: str) -> None:
        self.page.write_text(f"base: psa\ntitle: mine\nsteps:\n{steps}")

    def run(self, *words: str, budget: str = "tiny") -> int:
        return main(["run", "mine.yaml", "--data", "shapes", "--budget", budget, "--run-dir", "run", *words])


@pytest.fixture(autouse=True)
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process opens the images of a data set, as it does for the estimate of a run that can start."""

    def sizes_of(_: object) -> None:
        raise UserError("not measured here")

    monkeypatch.setattr(run_commands, "sizes_of", sizes_of)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """With classes that are not imported, which is slow: for what their source tells."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "require_imports", lambda *_: None)
    return Folder(tmp_path)


def refused(folder: Folder, capsys: pytest.CaptureFixture[str], *words: str, budget: str = "tiny") -> str:
    """The message of a run that has to end with code 2 and leave nothing behind."""
    capsys.readouterr()
    assert folder.run(*words, budget=budget) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and not (folder.path / "run").exists()
    return printed.err.removeprefix("error: ").removesuffix("\n")


CLASS = "  cam:\n    model.class_path: my_nets.mine.Mine\n"


def test_class_of_a_package_that_is_not_registered(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.write(CLASS)
    assert refused(folder, capsys) == (
        f"{folder.page}:5: step segmentation loads the network of step cam, a my_nets.mine.Mine, and only "
        'classes of registered packages are built from a checkpoint; put [project.entry-points."tag2mask.'
        'recipes"] with my_nets = "my_nets" into the pyproject.toml of my_nets and install it with pip'
    )
    # the step that loads it need not be made together with the one that trains it
    assert "step segmentation loads" in refused(folder, capsys, "--stage", "3")


def test_it_may_train_where_no_step_loads_it(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    folder.write(CLASS)
    assert folder.run("--dry-run", budget="full") == 0  # the paper's schedule starts from ImageNet
    assert folder.run("--dry-run", "--segmentation.model.init_args.start", "weights") == 0
    assert folder.run("--dry-run", "--stage", "1") == 0
    started = "--segmentation.model.init_args.start", "classifier"
    assert "step segmentation loads" in refused(folder, capsys, *started, budget="full")


def test_networks_that_a_step_always_loads(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    folder.write("  affinity: {model.class_path: my_nets.mine.Near}\n")
    message = refused(folder, capsys, "--stage", "2")
    assert message.startswith(
        f"{folder.page}:4: step walk loads the network of step affinity, a my_nets.mine.Near"
    )


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (
            "  cam: {trainer.max_epochs: many}",
            "max_epochs of Trainer must be a whole number or null, got 'many'",
        ),
        (
            "  cam: {model.init_args.optimization.lr: fast}",
            "lr of optimization must be a number, got 'fast' (in model.init_args.optimization.lr)",
        ),
        (
            "  cam: {model.init_args.cam.scales: [1, x]}",
            "scales of cam must be a list, each a number, got [1, 'x'] (in model.init_args.cam.scales)",
        ),
        (
            "  cam: {data.init_args.augment.scale: [1, 2, 3]}",
            "scale of augment must be a list of 2 values or null, got [1, 2, 3] "
            "(in data.init_args.augment.scale)",
        ),
        (
            "  segmentation: {model.init_args.start: clasifier}",
            "unknown start of SegmentationModel 'clasifier'; did you mean classifier? "
            "(in model.init_args.start)",
        ),
        (
            "  cam: {data.class_path: tag2mask.data.ClasificationData}",
            "unknown class of tag2mask.data 'ClasificationData'; did you mean ClassificationData",
        ),
        (
            "  walk: {model.init_args.refinements: [{class_path: tag2mask.modules.RandomWalk, "
            "init_args: {beta: steep}}]}",
            "beta of RandomWalk must be a number, got 'steep' "
            "(in model.init_args.refinements[0].init_args.beta)",
        ),
        ("  cam: {trainer.precision: bf17}", "precision of Trainer must be "),
    ],
)
def test_values_of_a_wrong_type(
    steps: str, message: str, folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.write(steps + "\n")
    assert refused(folder, capsys, budget="full").startswith(f"{folder.page}:4: {message}")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--cam.trainer.max_epochs", "many"),
            "--cam.trainer.max_epochs: max_epochs of Trainer must be a whole number or null, got 'many' "
            "(in trainer.max_epochs)",
        ),
        (
            ("--", "--trainer.max_epochs=many"),
            "--trainer.max_epochs (behind --): max_epochs of Trainer must be a whole number or null, "
            "got 'many' (in trainer.max_epochs)",
        ),
        (
            ("--stage", "1", "--", "--model.init_args.dropuot", "0.1"),
            "--model.init_args.dropuot (behind --): unknown setting of Classifier 'dropuot'; did you mean "
            "dropout? (in model.init_args.dropuot)",
        ),
    ],
)
def test_options_of_a_wrong_type(
    words: tuple[str, ...], message: str, folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.write("  cam: {}\n")
    assert refused(folder, capsys, *words, budget="full") == message


# --- classes that cannot be imported -------------------------------------------------------------


class Imported(Folder):
    """A package whose class is imported, in a process that is started for it."""

    def __init__(self, path: Path, source: str) -> None:
        super().__init__(path)
        self.module = path / f"nets_{path.name}.py"  # sources that were read once are not read again
        self.module.write_text(source)
        # a step of the recipe's end: all others would be made before it
        self.write(f"  segmentation: {{data.class_path: {self.module.stem}.Mine}}\n")


TAKES_ALL = "Mine = dict\n"  # no class whose settings the source tells
BROKEN = {
    "import no_such_library\n": "ModuleNotFoundError: No module named 'no_such_library' (PLACE:1)",
    "from json import dumbs\n": "ImportError: cannot import name 'dumbs' from 'json' ",
    "from other_nets import x\n": "SyntaxError: '(' was never closed (other_nets.py, line 1)",
    "raise RuntimeError('no card')\n": "RuntimeError: no card (PLACE:1)",
    "import sys\nsys.exit('no card')\n": "SystemExit: no card (PLACE:2)",
    "def __getattr__(name):\n    raise AttributeError(name + '?')\n": "AttributeError: Mine? (PLACE:2)",
}
"""Source before the class -> what is said of it."""


WAYS = [("--dry-run",), ("--launcher", "slurm")]


@pytest.mark.parametrize(
    ("source", "words"),
    [*((source, ()) for source in BROKEN), *(("from json import dumbs\n", way) for way in WAYS)],
)
def test_a_broken_import_of_the_last_step_is_found_before_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], source: str,
    words: tuple[str, ...],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    body = "" if "__getattr__" in source else TAKES_ALL
    folder = Imported(tmp_path, source + body)
    (tmp_path / "other_nets.py").write_text("x = (\n")
    message = refused(folder, capsys, *words)
    start = f"{folder.page}:4: {folder.module.stem}.Mine cannot be imported: {BROKEN[source]}"
    assert message.startswith(start.replace("PLACE", str(folder.module)))
    assert message.endswith("mend the module or install what it needs")


def test_only_classes_of_others_in_steps_that_are_made_are_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Imported(tmp_path, "raise RuntimeError('not imported')\n" + TAKES_ALL)
    assert folder.run("--dry-run", "--stage", "1") == 0
    monkeypatch.setattr(own_classes, "require_ends_well", None)  # nothing is started for tag2mask's own
    folder.write("  cam: {}\n")
    assert folder.run("--dry-run") == 0


def test_what_can_be_imported_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Imported(tmp_path, TAKES_ALL)
    assert folder.run("--dry-run") == 0
    # the last dot may stand between a class and one within it
    assert main(["import-classes", "json.decoder.JSONDecoder.decode", "mine.yaml:4"]) == 0
    assert main(["import-classes", "json.decoder.JSONDecoder.nothing", "mine.yaml:4"]) == 2


# --- weights and backbones -----------------------------------------------------------------------


@pytest.fixture
def tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """A folder in which backbones are tried, in this process: another would have to import torch first."""

    def started(words: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        told = io.StringIO()
        with redirect_stderr(told):
            code = main(words[words.index("-m") + 2 :])
        return subprocess.CompletedProcess(words, code, "", told.getvalue())

    monkeypatch.setattr(process, "subprocess", SimpleNamespace(run=started))
    monkeypatch.chdir(tmp_path)
    folder = Folder(tmp_path)
    folder.write("  cam: {}\n")
    torch.save(timm.create_model("test_resnet").state_dict(), "test_resnet.pth")
    torch.save({"conv_stem.weight": torch.zeros(1)}, "other.pth")
    (tmp_path / "page.pth").write_text("<html>")
    return folder


PLACE = "--segmentation.model.init_args.backbone"
MISFIT = r"do not fit ResNet: \d+ keys missing .* \(step {} builds on test_resnet, which \S+ names\)"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--weights", "other.pth"], f"--weights: weights .*/other.pth {MISFIT.format('cam')}"),
        ([f"{PLACE}.weights", "other.pth"], f"{PLACE}.weights: .* {MISFIT.format('segmentation')}"),
        (
            ["--step", "cam", "--", "--model.init_args.backbone.weights", "other.pth"],
            rf"--model.init_args.backbone.weights \(behind --\): weights other.pth {MISFIT.format('cam')}",
        ),
        ([f"{PLACE}.weights", "page.pth"], f"{PLACE}.weights: weights page.pth: .* it is a web page"),
        ([f"{PLACE}.weights", "none.pth"], f"{PLACE}.weights: weights none.pth: no such file"),
        (
            [f"{PLACE}.name", "resnt50"],
            rf"{PLACE}.name: unknown backbone 'resnt50'; .* \(in step segmentation\)",
        ),
    ],
)
def test_weights_and_backbones_of_every_step_are_tried_before_the_first(
    words: list[str], message: str, tried: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert re.match(message, refused(tried, capsys, "--dry-run", *words))


def test_weights_that_fit_are_tried_once(
    tried: Folder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    built = []
    monkeypatch.setattr(BackboneSpec, "build", lambda spec, role="cam": built.append(spec))
    assert tried.run("--dry-run", "--weights", "test_resnet.pth") == 0
    assert [(spec.name, Path(spec.weights).name) for spec in built] == [("test_resnet", "test_resnet.pth")]
    monkeypatch.setattr(own_weights, "require_ends_well", None)  # nothing is started for what is shipped
    assert tried.run("--dry-run") == 0
