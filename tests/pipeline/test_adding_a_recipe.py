"""The page on adding a recipe, carried out word for word in a copy of the project."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tag2mask.data import Shapes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "adding_a_recipe.md").read_text(encoding="utf-8")
FILES = re.findall(r"^`([^`\n]+\.py)`:\n\n```python\n(.*?)^```$", PAGE, re.M | re.S)
COMMANDS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sixth")
    for part in ("src", "conf"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name, code in FILES:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code, encoding="utf-8")
    for script in COMMANDS[:2]:
        run(folder, ["bash", "-ec", script])
    return folder


def run(folder: Path, command: list[str]) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    own = {"PYTHONPATH": str(folder / "src"), "TAG2MASK_CONF": str(folder / "conf"), "PATH": path}
    env = {**os.environ, **own}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_the_page_has_its_files_and_commands() -> None:
    assert [name for name, _ in FILES] == [
        "src/tag2mask/recipes/equivariant/classifier.py",
        "src/tag2mask/recipes/equivariant/__init__.py",
        "tests/unit/test_equivariant.py",
    ]
    assert len(COMMANDS) == 3 and "cp -r" in COMMANDS[0] and "recipe.yaml" in COMMANDS[1]


def test_its_unit_test_passes(project: Path) -> None:
    said = run(project, [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit"])
    assert "1 passed" in said


def test_the_recipe_is_listed_and_its_first_stage_runs(project: Path) -> None:
    assert "equivariant:no_equivariance" in run(project, [sys.executable, "-m", "tag2mask", "recipes"])
    images = Shapes(str(project / "shapes"), train=8, val=2, size=(64, 80))
    data = project / "data.yaml"
    data.write_text(yaml.safe_dump({"data": {"init_args": {"dataset": images.describe()}}}))
    words = ["run", "equivariant", "--data", str(data), "--budget", "tiny", "--stage", "1"]
    words += ["--run-dir", "runs/try", "--step-args", "cam", "--trainer.log_every_n_steps 1"]
    run(project, [sys.executable, "-m", "tag2mask", *words])
    card = json.loads((project / "runs/try/scorecard.json").read_text())
    assert card["steps"]["cam"]["images"] == 8
    metrics = (project / "runs/try/cam/logs/version_0/metrics.csv").read_text().splitlines()
    assert "train/equivariance" in metrics[0].split(",")
