"""The page on adding a recipe, carried out word for word: in a copy of the project, then as a package."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from tag2mask.data import Shapes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "adding_a_recipe.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^`([^`\n]+\.\w+)`:\n\n```(?:python|yaml|toml)\n(.*?)^```$", PAGE, re.M | re.S))
RECIPE, MODULE = "conf/recipes/equivariant.yaml", "src/tag2mask/recipes/equivariant/classifier.py"
COMMANDS = "my_papers/my_papers/commands.py"
LINK, LINKED = "my_papers/my_papers/guided.py", "my_papers/my_papers/conf/recipes/guided.yaml"


class Project:
    """A folder with the page's files, and the way to run commands there."""

    def __init__(self, folder: Path, path: list[Path]) -> None:
        self.folder = folder
        self.path = path

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def start(self, *words: str, program: Sequence[str] = ("-m",)) -> subprocess.CompletedProcess[str]:
        own = {"PYTHONPATH": os.pathsep.join(map(str, self.path)), "CUDA_VISIBLE_DEVICES": ""}
        command = [sys.executable, *program, *words]
        env = {**os.environ, **own}
        return subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, check=False)

    def run(self, *words: str, program: Sequence[str] = ("-m",)) -> str:
        done = self.start(*words, program=program)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def whole_run(self, *words: str) -> str:
        """Run the recipe from end to end at its smallest, with all steps in one new process."""
        words = (
            "run",
            "equivariant",
            "--data",
            self.data(),
            "--budget",
            "tiny",
            "--run-dir",
            "runs/try",
            *words,
        )
        return self.run(*words, program=(str(ROOT / "tests" / "one_process.py"),))

    def data(self) -> str:
        images = Shapes(str(self.folder / "shapes"), train=8, val=2, size=(64, 80))
        self.write("data.yaml", yaml.safe_dump({"data": {"init_args": {"dataset": images.describe()}}}))
        return str(self.folder / "data.yaml")


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the project with the page's files in it."""
    folder = tmp_path_factory.mktemp("inside")
    for part in ("src", "conf"):  # with the compiled kernels, which lie beside their sources
        shutil.copytree(ROOT / part, folder / part)
    project = Project(folder, [folder / "src"])
    for name, text in FILES.items():
        if not name.startswith("my_papers"):
            project.write(name, text)
    return project


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The package, built from the page's files and installed by pip into the folder."""
    project = Project(folder := tmp_path_factory.mktemp("outside"), [folder, ROOT / "src"])
    page = FILES[RECIPE].replace("tag2mask.recipes.equivariant.", "my_papers.equivariant.")
    package = "source/my_papers/my_papers"
    project.write(f"{package}/conf/recipes/equivariant.yaml", page)
    project.write(f"{package}/__init__.py", '"""Recipes of my papers."""\n')
    project.write(f"{package}/equivariant.py", FILES[MODULE])
    for name in ("my_papers/pyproject.toml", COMMANDS, LINK, LINKED):
        project.write(f"source/{name}", FILES[name])
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    project.run("pip", "install", "-q", *offline, "--target", str(folder), "source/my_papers")
    return project


@pytest.fixture(scope="module")
def whole_run(outside: Project) -> str:
    """What a run of the package's recipe, from end to end, printed; it lies in ``runs/try``."""
    return outside.whole_run()


def test_the_page_has_its_files() -> None:
    assert list(FILES) == [
        RECIPE,
        MODULE,
        "src/tag2mask/recipes/equivariant/__init__.py",
        "tests/unit/test_equivariant.py",
        "my_papers/pyproject.toml",
        LINK,
        LINKED,
        COMMANDS,
    ]
    assert len(FILES[RECIPE].splitlines()) <= 40


def test_its_unit_test_passes(inside: Project) -> None:
    assert "1 passed" in inside.run("pytest", "-q", "-p", "no:cacheprovider", "tests/unit")


def test_inside_the_recipe_is_listed_and_all_of_it_runs(inside: Project) -> None:
    assert "equivariant:no_equivariance" in inside.run("tag2mask", "recipes")
    differences = inside.run("tag2mask", "recipes", "show", "equivariant", "--diff", "psa").splitlines()
    assert [line for line in differences if not line.startswith(" ")] == [
        "cam:", "affinity_labels: the same", "affinity: the same", "walk: the same", "pseudo_label: the same",
        "segmentation: the same",
    ]  # fmt: skip
    assert "report:" in inside.whole_run("--cam.trainer.log_every_n_steps", "1")
    card = json.loads((inside.folder / "runs/try/scorecard.json").read_text())
    assert card["steps"]["cam"]["images"] == 8 and 0 <= card["steps"]["segmentation"]["miou"] <= 1
    metrics = (inside.folder / "runs/try/cam/logs/version_0/metrics.csv").read_text().splitlines()
    assert "train/equivariance" in metrics[0].split(",")


def test_outside_the_whole_recipe_runs_and_its_networks_load(outside: Project, whole_run: str) -> None:
    assert "report:" in whole_run
    assert "equivariant:no_equivariance" in outside.run("tag2mask", "recipes")
    assert outside.run("tag2mask", "hello") == "hello from my_papers\n"
    card = json.loads((outside.folder / "runs/try/scorecard.json").read_text())
    assert card["recipe"] == "equivariant" and 0 <= card["steps"]["segmentation"]["miou"] <= 1
    # the segmentation network started from the checkpoint of the package's class
    config = yaml.safe_load((outside.folder / "runs/try/segmentation/fit.yaml").read_text())
    assert config["model"]["init_args"]["start"] == "classifier"
    words = ("tag2mask", "run", "equivariant", "--run-dir", "runs/try")
    assert outside.run(*words).count("skipped (done before)") == 6


def test_a_link_of_its_own_makes_labels(outside: Project, whole_run: str) -> None:
    words = ("run", "guided", "--data", outside.data(), "--budget", "tiny", "--run-dir", "runs/guided")
    maps = ("--step", "pseudo_label", "--pseudo_label.data.init_args.maps_dir", "runs/try/cam")
    outside.run("tag2mask", *words, *maps)
    config = yaml.safe_load((outside.folder / "runs/guided/pseudo_label/predict.yaml").read_text())
    links = [link["class_path"] for link in config["model"]["init_args"]["refinements"]]
    assert links == ["tag2mask.modules.Background", "my_papers.guided.GuidedFilter"]
    assert len(list((outside.folder / "runs/guided/pseudo_label/out").glob("*.png"))) == 8
    # the smaller budget that the page does not speak of has psa's links
    refused = outside.start("tag2mask", *words[:4], "--budget", "demo", "--run-dir", "runs/never")
    assert refused.returncode == 2
    assert "is Background, GuidedFilter in recipes/guided.yaml:7, and Background, DenseCRF" in refused.stderr


def test_a_page_by_its_path_and_a_package_that_is_not_registered(outside: Project, whole_run: str) -> None:
    mine = Project(outside.folder, outside.path)
    mine.write("mine.yaml", "base: equivariant\ntitle: mine\nsteps: {cam: {model.init_args.shrink: 0.25}}\n")
    shown = mine.run("tag2mask", "run", "mine.yaml", "--data", mine.data(), "--budget", "tiny", "--dry-run")
    assert "# [1/6] cam  to be made" in shown and "--recipe mine" in shown
    # without its entry point the package's checkpoints are not built
    code = "import sys; from tag2mask.modules.loading import load_checkpoint; load_checkpoint(sys.argv[1])"
    checkpoint = outside.folder / "runs/try/cam/checkpoints/last.ckpt"
    for name in ("my_papers", "my_papers-0.1.dist-info"):
        assert (outside.folder / name).is_dir()
    entry = outside.folder / "my_papers-0.1.dist-info"
    hidden = entry.rename(outside.folder / "hidden")
    refused = subprocess.run(
        [sys.executable, "-c", code, str(checkpoint)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, outside.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    hidden.rename(entry)
    assert "is not part of tag2mask or of a package that registered itself" in refused.stderr


def test_a_package_whose_import_fails(outside: Project) -> None:
    init = outside.folder / "my_papers" / "__init__.py"
    whole = init.read_text()
    init.write_text("import no_such_module\n")
    try:
        done = outside.start("tag2mask", "run", "psa", "--data", "shapes", "--run-dir", "runs/never")
    finally:
        init.write_text(whole)
    assert done.returncode == 2
    assert done.stderr == (
        "error: the package my_papers (entry point my_papers of tag2mask.recipes) cannot be imported: "
        "ModuleNotFoundError: No module named 'no_such_module'; mend or uninstall it\n"
    )
    assert not (outside.folder / "runs/never").exists()
