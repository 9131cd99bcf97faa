"""The whole psa recipe on generated images: killed in the middle, gone on with, and done only once."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

import tag2mask
from tag2mask import cli
from tag2mask.artifacts import load_labels, load_maps, manifest_hash, read_manifest
from tag2mask.artifacts.names import IMAGE_SCORES_NAME, SCORE_NAME
from tag2mask.data import Shapes
from tests.step_files import step_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
TRAIN, VAL = 24, 8
SIZE = (64, 80)
KINDS = {
    "cam": "maps",
    "affinity_labels": "affinity_labels",
    "affinity": "checkpoint",
    "walk": "maps",
    "pseudo_label": "labels",
    "segmentation": "segmentation",
}
STRAY = ".train_00023.npz.x1y2z3.tmp"
"""What a kill within the writing of a file leaves behind."""


class TinyRun:
    """A run folder that was filled by three calls of the same command.

    Attributes:
        killed: output of the first call, whose step was killed while it wrote maps.
        resumed: output of the second.
        idle: output of the third, which had nothing to do.
        codes: exit codes of the three.
        early: the maps that were there after the kill, with the time at which they were written.
        made: manifest of each step -> time at which it was written, before the third call.
    """

    def __init__(self, folder: Path) -> None:
        self.images = Shapes(str(folder / "shapes"), train=TRAIN, val=VAL, size=SIZE)
        self.run_dir = folder / "run"
        self.data = folder / "data.yaml"
        self.data.write_text(yaml.safe_dump({"data": {"init_args": {"dataset": self.images.describe()}}}))
        self.early: dict[str, int] = {}
        self.killed, first = self._call(kill=True)
        self.resumed, second = self._call()
        self.made = _times(self.run_dir.glob("*/manifest.json"))
        self.idle, third = self._call()
        self.codes = (first, second, third)

    def words(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "tag2mask", *words]

    def _call(self, kill: bool = False) -> tuple[str, int]:
        words = self.words("run", "psa", "--data", str(self.data), "--budget", "tiny")
        words += ["--run-dir", str(self.run_dir), "--seed", "3"]
        log = self.run_dir.with_name("output.txt")
        with log.open("w") as file:
            process = subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT, env=environment())
            if kill:
                self._kill_while_maps_are_written(process)
            process.wait()
        return log.read_text(), process.returncode

    def _kill_while_maps_are_written(self, runner: subprocess.Popen[bytes]) -> None:
        out = self.run_dir / "cam" / "out"
        while runner.poll() is None and not any(out.glob("*.npz")):
            time.sleep(0.002)
        for child in _children(runner.pid):
            os.kill(child, signal.SIGKILL)
        runner.wait()
        self.early = _times(out.glob("*.npz"))
        (out / STRAY).write_bytes(b"half a fi")


def environment() -> dict[str, str]:
    """No GPU and one thread, so that two runs give the same numbers."""
    return {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}


def _children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in path.read_text().split()] if path.is_file() else []


def _times(paths: object) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in paths}  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    if not Path(f"/proc/self/task/{os.getpid()}/children").is_file():
        pytest.skip("needs /proc/PID/task/PID/children to find the process of the step")
    return TinyRun(tmp_path_factory.mktemp("tiny"))


def test_killed_run_says_how_to_go_on_and_does(run: TinyRun) -> None:
    assert run.codes == (128 + signal.SIGKILL, 0, 0), run.resumed[-2000:]
    assert "go on with: tag2mask run psa" in run.killed
    assert 0 < len(run.early) < TRAIN
    assert "goes on where it stopped" in run.resumed
    # the classifier was trained by then: neither that nor the first maps are made again
    assert {path: Path(path).stat().st_mtime_ns for path in run.early} == run.early
    assert read_manifest(run.run_dir / "cam").commands["fit"].complete  # type: ignore[union-attr]
    assert "Trainable params" not in run.resumed.split("affinity_labels")[0]


def test_resumed_maps_are_those_of_a_run_that_was_not_killed(run: TinyRun, tmp_path: Path) -> None:
    again = tmp_path / "cam"
    shutil.copytree(run.run_dir / "cam", again, ignore=shutil.ignore_patterns("out", "score.json"))
    words = run.words("step", "classifier", "predict", "--step-dir", str(again), "--seed_everything", "3")
    words += ["--config", str(step_file(again.parent / "cam.yaml", "psa", "cam", "tiny", str(run.data)))]
    subprocess.run(words, check=True, env=environment(), capture_output=True)
    for image_id in run.images.ids("train"):
        name = f"out/{image_id}.npz"
        assert (again / name).read_bytes() == (run.run_dir / "cam" / name).read_bytes()


def test_each_step_is_complete_and_knows_its_inputs(run: TinyRun) -> None:
    inputs = {
        "cam": set(),
        "affinity_labels": {"cam"},
        "affinity": {"affinity_labels"},
        "walk": {"cam", "affinity"},
        "pseudo_label": {"walk"},
        "segmentation": {"pseudo_label", "cam"},
    }
    for step, kind in KINDS.items():
        manifest = read_manifest(run.run_dir / step)
        assert manifest is not None and manifest.complete
        assert (manifest.step, manifest.kind, manifest.recipe) == (step, kind, "psa")
        assert manifest.class_list() == run.images.classes
        assert all(r.complete and r.fingerprint and r.seconds > 0 for r in manifest.commands.values())
        assert manifest.parents == {name: manifest_hash(run.run_dir / name) for name in inputs[step]}
        if kind != "checkpoint":
            split = "val" if step == "segmentation" else "train"
            assert (manifest.split, manifest.image_ids) == (split, run.images.ids(split))


def test_maps_are_compact_and_of_the_tagged_classes(run: TinyRun) -> None:
    for image_id in run.images.ids("train"):
        tagged = tuple(int(k) + 1 for k in run.images.tags(image_id).nonzero()[0])
        for step, expected in (("cam", tagged), ("walk", (0, *tagged))):
            path = run.run_dir / step / "out" / f"{image_id}.npz"
            stored = load_maps(path.parent, image_id, run.images.classes)
            assert stored.classes == expected
            assert stored.maps.shape == (len(expected), SIZE[0] // 8, SIZE[1] // 8)
            assert tuple(stored.image_size) == SIZE
            assert path.stat().st_size < 50_000


def test_labels_have_the_size_of_the_image_and_ids_of_its_tags(run: TinyRun) -> None:
    for image_id in run.images.ids("train"):
        tagged = {run.images.classes.ids[k] for k in run.images.tags(image_id).nonzero()[0]}
        for folder in ("pseudo_label/out", "affinity_labels/out/fg", "affinity_labels/out/bg"):
            labels = load_labels(run.run_dir / folder / f"{image_id}.png")
            assert labels.shape == SIZE
            assert set(labels.flat) <= {0, *tagged}
        assert (run.run_dir / "pseudo_label/out/confidence" / f"{image_id}.png").is_file()


def test_model_predicts_the_val_split_in_three_ways(run: TinyRun) -> None:
    for way in ("single_scale", "multi_scale", "multi_scale_crf"):
        folder = run.run_dir / "segmentation" / "out" / way
        assert sorted(p.stem for p in folder.iterdir()) == sorted(run.images.ids("val"))
        labels = [load_labels(path) for path in folder.iterdir()]
        assert all(x.shape == SIZE and set(x.flat) <= {0, *run.images.classes.ids} for x in labels)


def test_half_written_file_is_no_result(run: TinyRun) -> None:
    names = {p.name for p in (run.run_dir / "cam" / "out").iterdir()} - {STRAY}
    assert names == {f"{image_id}.npz" for image_id in run.images.ids("train")}


def test_scorecard_and_report_have_every_step(run: TinyRun) -> None:
    card = json.loads((run.run_dir / "scorecard.json").read_text())
    assert list(card["steps"]) == [step for step in KINDS if step != "affinity"]
    assert all(0 < score["miou"] <= 1 for score in card["steps"].values())
    assert set(card["seconds"]) == set(KINDS) and card["seed"] == 3 and card["budget"] == "tiny"
    trained = ["cam", "affinity", "segmentation"]
    assert card["initial_weights"] == dict.fromkeys(trained, "none")
    page = (run.run_dir / "report.html").read_text()
    assert all(step in page for step in card["steps"])
    assert all(f"training of {step}" in page for step in trained)
    assert f"report: {run.run_dir / 'report.html'}" in run.resumed


def test_nothing_is_made_twice(run: TinyRun) -> None:
    assert run.idle.count("skipped (done before)") == len(KINDS)
    assert _times(run.run_dir.glob("*/manifest.json")) == run.made
    assert not list(run.run_dir.glob("*.previous"))


def test_the_notebook_runs_on_it(run: TinyRun, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = NOTEBOOKS / "from_tags_to_masks.py"
    text = notebook.read_text().replace('Path("runs") / BUDGET', f"Path({str(run.run_dir)!r})")
    asked = []
    monkeypatch.setattr(cli, "main", lambda words: asked.append(words) or 0)
    names: dict[str, Any] = {}
    exec(compile(text, str(notebook), "exec"), names)
    assert asked[0][-1] == str(run.run_dir)
    card = json.loads((run.run_dir / "scorecard.json").read_text())["steps"]["cam"]
    # The scorecard enlarges the maps before it compares them with the threshold, the notebook after.
    assert names["miou"](card["threshold"]) == pytest.approx(card["miou"], abs=0.02)


@pytest.fixture
def execute(run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """Executes a notebook where each run that it asks for is there, and gives its names."""

    def started(recipe: str, run_dir: Path, **options: Any) -> None:
        if not Path(run_dir).exists():
            shutil.copytree(run.run_dir, run_dir)

    def execute(notebook: str) -> dict[str, Any]:
        names: dict[str, Any] = {}
        path = NOTEBOOKS / f"{notebook}.py"
        exec(compile(path.read_text(), str(path), "exec"), names)
        return names

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tag2mask, "run", started, raising=False)
    return execute


def test_the_notebook_on_own_images(execute: Callable[[str], dict[str, Any]]) -> None:
    names = execute("own_images")
    assert Path("runs/mine/tune/settings.yaml").is_file()
    assert names["same"] > 0.999 and len(names["files"]) == 3
    assert [entry["name"] for entry in names["facts"]["classes"]] == [
        "background",
        *names["segment"].classes.names,
    ]


def test_the_notebook_that_compares(execute: Callable[[str], dict[str, Any]]) -> None:
    names = execute("comparing_recipes")
    scores = names["scores"]
    assert [scores[i] for i in names["worst"]] == sorted(scores.values())[:4]
    assert [panel.caption for panel in names["rows"][0]] == ["image", "demo", "demo-no-walk", "truth"]


def test_the_notebook_with_figures(execute: Callable[[str], dict[str, Any]]) -> None:
    execute("paper_figures")
    for name in ("rows", "thresholds"):
        pdf = Path(f"runs/figures/{name}.pdf").read_bytes()
        assert b"STIXGeneral" in pdf and b"/FontFile2" in pdf, "TrueType fonts are part of the file"
        assert b"/Type3" not in pdf, "which publishers refuse"
        assert Image.open(f"runs/figures/{name}.png").info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_the_notebook_with_figures_of_a_run_without_masks(
    run: TinyRun, execute: Callable[[str], dict[str, Any]]
) -> None:
    shutil.copytree(run.run_dir, "runs/demo")
    for name in (SCORE_NAME, IMAGE_SCORES_NAME):
        for path in Path("runs/demo").glob(f"*/{name}"):
            path.unlink()
    names = execute("paper_figures")
    assert names["chosen"][0] == names["run"].step("pseudo_label").manifest.image_ids[0]
    assert [path.name for path in sorted(Path("runs/figures").iterdir())] == ["rows.pdf", "rows.png"]


def test_the_page_about_figures(run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first example of docs/notebooks.md runs as it stands; the second needs runs of four recipes."""
    shutil.copytree(run.run_dir, tmp_path / "runs" / "demo")
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "notebooks.md").read_text()
    exec(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)[0], {})
    made = sorted(path.name for path in Path("figures").iterdir())
    assert made == ["rows.pdf", "rows.png", "thresholds.pdf", "thresholds.png"]


def test_the_run_from_python(run: TinyRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same run asked for by a function call: nothing is left to do, and its network predicts."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    done = tag2mask.run("psa", run.run_dir, data=str(run.data), budget="tiny", seed=3)
    assert done.scorecard["steps"]["segmentation"]["miou"] > 0
    segment = tag2mask.load(done, device="cpu")
    image_id = run.images.ids("val")[0]
    labels = segment(run.images.read_image(image_id))
    stored = load_labels(run.run_dir / "segmentation" / "out" / "single_scale" / f"{image_id}.png")
    assert (segment.classes.to_ids(labels) == stored).mean() > 0.99


def test_a_replaced_image_makes_the_steps_that_read_it_again(
    run: TinyRun, capsys: pytest.CaptureFixture[str]
) -> None:
    first, last = (run.images.image_path(run.images.ids(split)[0]) for split in ("train", "val"))
    words = ["run", "psa", "--run-dir", str(run.run_dir), "--dry-run"]
    image, before = last.read_bytes(), last.stat()
    try:
        last.write_bytes(first.read_bytes())
        assert cli.main(words) == 0
        out = capsys.readouterr().out
        assert f"cam  to be made again: {last} has other content now" in out
        last.write_bytes(image)
        assert cli.main(words) == 0
        assert capsys.readouterr().out.count("skipped (done before)") == len(KINDS)
    finally:
        last.write_bytes(image)
        os.utime(last, ns=(before.st_atime_ns, before.st_mtime_ns))
