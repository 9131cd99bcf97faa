"""The commands of README and docs/ are such as tag2mask takes: options, recipes, variants, settings."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from tag2mask import cli
from tag2mask.artifacts.image_sizes import ImageSizes
from tag2mask.core.commands import parse
from tag2mask.data import VOC
from tag2mask.pipeline import Settings, run_commands
from tag2mask.pipeline.settings import write_run
from tests.conftest import ROOT
from tests.step_files import finished_step

pytestmark = pytest.mark.slow

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
OWN = ("docs/adding_a_recipe.md",)
"""Pages whose commands another test gives to the recipe that they write."""


def commands(page: Path) -> list[str]:
    """The lines of a page's blocks, without comments and output files; none with something to fill in."""
    found = []
    for block in re.findall(r"^```(?:sh)?\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            found.append(re.sub(r"\s+(#|> ).*", "", line.removeprefix(".venv/bin/")).strip())
    return [line for line in found if not re.search(r"\.\.\.$|\b(ANIMALS|FILE|FOLDER)\b", line)]


def lines_of(program: str) -> list[tuple[str, str]]:
    """(page, line) of each command of a program."""
    pages = ((str(page.relative_to(ROOT)), page) for page in PAGES)
    return [(name, line) for name, page in pages for line in commands(page) if line.startswith(f"{program} ")]


@pytest.fixture(scope="module")
def world(tiny_voc: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data sets that the pages name; the absolute ones are below ``data``."""
    root = tmp_path_factory.mktemp("pages")
    voc, coco, mine = root / "data" / "VOC2012", root / "data" / "COCO2014", root / "my_photos"
    shutil.copytree(tiny_voc, voc)
    lists = voc / "ImageSets" / "Segmentation"
    shutil.copy(lists / "train.txt", lists / "train_aug.txt")
    table = "image,labels,split\na.jpg,cat,train\nb.jpg,dog,train\nc.jpg,cat;dog,val\n"
    for folder, images in ((coco, coco), (mine, mine / "images")):
        images.mkdir(parents=True)
        (folder / "labels.csv").write_text(table)
        for name in "abc":
            Image.new("RGB", (40, 30)).save(images / f"{name}.jpg")
    assert cli.main(["data", "import", str(mine)]) == 0
    write_run(root / "earlier", Settings(recipe="psa", data="voc", data_root=str(voc)))
    finished_step(root / "runs" / "other" / "pseudo_label", "labels", VOC(str(voc)))
    (root / "my_paper.yaml").write_text("base: psa\ntitle: a paper\n")
    (root / "settings.yaml").write_text("walk: {data.init_args.num_workers: 0}\n")
    cluster = (ROOT / "docs" / "cluster.md").read_text()
    (root / "mine.yaml").write_text(re.findall(r"```yaml\n(.*?)```", cluster, re.DOTALL)[0])
    return root


@pytest.fixture
def here(world: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder as the working directory; no process is started to measure its images."""
    sizes = ImageSizes(
        counts={"train": 2, "val": 1}, sampled=2, pixels=1200, largest=1200, long_side=40, tags=1, classes=2
    )
    monkeypatch.setattr(run_commands, "sizes_of", lambda words: sizes)
    monkeypatch.chdir(world)
    return world


RUNS = [(page, line) for page, line in lines_of("tag2mask") if line.startswith("tag2mask run")]
OTHERS = [(page, line) for page, line in lines_of("tag2mask") if not line.startswith("tag2mask run")]


def words_of(line: str, world: Path) -> list[str]:
    line = re.sub(r"--reuse \S+", "--reuse earlier", line).replace("runs/mine/tune/settings", "settings")
    return shlex.split(re.sub(r"(?<=\s)/data/(VOCdevkit/)?", f"{world}/data/", line))[1:]


@pytest.mark.parametrize(("page", "line"), [pair for pair in RUNS if pair[0] not in OWN])
def test_runs_can_be_planned(page: str, line: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As typed, in a run folder in which nothing is done; runs to reuse are there, and as empty."""
    words = words_of(line, here)
    at = words.index("--") if "--" in words else len(words)
    known = [] if "--data" in words else ["--data", "voc", "--data-root", f"{here}/data/VOC2012"]
    code = cli.main([*words[:at], *known, "--dry-run", *words[at:]])
    told = capsys.readouterr().err
    assert code == 0 or "make it first: tag2mask run" in told, told


@pytest.mark.parametrize(("page", "line"), OTHERS)
def test_other_commands_have_the_options(page: str, line: str, here: Path) -> None:
    words = words_of(line, here)
    if words[0] == "recipes":
        assert cli.main(words) == 0
    elif words[0] not in ("step", "bench"):
        parse(cli.build_parser(words[0]), words)


@pytest.mark.parametrize(("page", "line"), lines_of("make"))
def test_make_has_the_targets(page: str, line: str) -> None:
    words = ["make", "-n", *shlex.split(line)[1:]]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
