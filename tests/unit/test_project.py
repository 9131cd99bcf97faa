"""The project around the code: import rules, version bounds, the Makefile, and what files must not hold."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import tag2mask

ROOT = Path(__file__).resolve().parents[2]
OWN_FOLDERS = (".ci", "benchmarks", "conf", "docs", "notebooks", "src", "stages", "tests")
BINARY_SUFFIXES = {".gif", ".gz", ".jpg", ".jpeg", ".npy", ".npz", ".png", ".pyc", ".safetensors", ".webp"}


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def requirements(pyproject: dict[str, Any], *, dev: bool = True) -> list[Requirement]:
    """What the project asks for; with `dev` also what its extras ask for."""
    project = pyproject["project"]
    extras = [item for items in project["optional-dependencies"].values() for item in items]
    return [Requirement(line) for line in project["dependencies"] + (extras if dev else [])]


def constraints() -> dict[str, str]:
    """Distribution name -> the one version that constraints.txt pins."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pins}


def text_files() -> Iterator[Path]:
    """Every text file of the project, without what runs, builds and tools write."""
    at_root = (path for path in ROOT.iterdir() if path.is_file() and path.suffix not in BINARY_SUFFIXES)
    # in a work tree of git, .git is a file with the path of the clone
    yield from (path for path in at_root if path.name != ".git")
    for folder in OWN_FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            hidden = {"__pycache__", ".ipynb_checkpoints"} & set(path.parts)
            if path.is_file() and path.suffix not in BINARY_SUFFIXES and not hidden:
                yield path


def make(*args: str) -> str:
    """What `make ARGS` prints in the project root."""
    program = shutil.which("make")
    if program is None:
        pytest.skip("make is not installed")
    # `make test ARGS=...` hands its own variables on to every make below it
    own = {k: v for k, v in os.environ.items() if k not in ("ARGS", "MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS")}
    done = subprocess.run([program, *args], cwd=ROOT, capture_output=True, text=True, check=True, env=own)
    return done.stdout


def test_imports_keep_to_the_rules() -> None:
    # In a process of its own: it disables the loggers of all that was imported before it.
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_runner_starts_without_torch() -> None:
    """Static rules do not see what an import pulls in at run time."""
    code = "import sys, tag2mask.pipeline.command; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_bounds_admit_the_pinned_versions(pyproject: dict[str, Any]) -> None:
    pins = constraints()
    for wanted in requirements(pyproject):
        pinned = pins.get(canonicalize_name(wanted.name))
        assert pinned is not None, f"constraints.txt does not pin {wanted.name}; run `make lock`"
        assert wanted.specifier.contains(pinned), f"{wanted} does not admit the pinned {pinned}"


def test_every_bound_has_a_reason() -> None:
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    bounds = [line for line in lines if re.match(r'\s+"[\w.\[\]-]+\s*[<>=~!]', line)]
    assert len(bounds) > 10
    assert [line for line in bounds if "#" not in line] == []


def test_every_import_is_a_declared_dependency(pyproject: dict[str, Any]) -> None:
    declared = {canonicalize_name(wanted.name) for wanted in requirements(pyproject, dev=False)}
    extras = pyproject["project"]["optional-dependencies"]
    declared |= {
        "pydensecrf2",
        "tag2mask",
        *(canonicalize_name(Requirement(r).name) for e in ("export", "figures", "heic") for r in extras[e]),
    }
    distributions = packages_distributions()
    missing = set()
    for path in (ROOT / "src").rglob("*.py"):
        for module in _imported(path):
            names = {canonicalize_name(name) for name in distributions.get(module, [])}
            if names and not names & declared:
                missing.add(f"{path.relative_to(ROOT)}: {module}")
    assert missing == set()


def _imported(path: Path) -> set[str]:
    """Top-level names that a file imports absolutely."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names)


def test_version_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == tag2mask.__version__


def test_make_alone_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.findall(r"^\.PHONY:(.*)$", makefile, flags=re.MULTILINE)
    targets = {target for line in phony for target in line.split()}
    listed = set(re.findall(r"^  ([\w-]+) +\S", make(), flags=re.MULTILINE))
    assert {"setup", "demo", "test", "stage1", "stage2", "stage3"} <= targets
    assert listed == targets


def test_make_passes_only_the_given_variables() -> None:
    quiet = ("-n", "-o", "setup", "stage2")
    line = next(line for line in make(*quiet).splitlines() if " run " in line)
    assert line.split()[1:] == ["run", "psa", "--stage", "2", "--data", '"shapes"', "--run-dir", '"runs/psa"']

    given = ("DATA=voc", "DATA_ROOT=/data/my images", "BUDGET=small", "ARGS=--trainer.max_epochs 1")
    line = next(line for line in make(*quiet, *given).splitlines() if " run " in line)
    assert '--data "voc"' in line
    assert '--data-root "/data/my images"' in line
    assert '--budget "small"' in line
    assert line.endswith(" -- --trainer.max_epochs 1")
    assert "--backbone" not in line

    cluster = ("DEVICES=2", "NODES=3", "LAUNCHER=slurm", "CLUSTER=mine.yaml")
    lines = [
        line
        for line in make("-n", "-o", "setup", "stage1", "stage2", *cluster).splitlines()
        if " run " in line
    ]
    words = '--devices "2" --nodes "3" --launcher "slurm" --cluster "mine.yaml"'
    assert len(lines) == 2 and all(words in line for line in lines)


def test_stages_run_in_order_even_in_parallel() -> None:
    out = make("-n", "-j", "4", "-o", "setup", "stage1", "stage2", "stage3")
    assert re.findall(r"--stage (\d)", out) == ["1", "2", "3"]


def test_each_stage_script_names_itself() -> None:
    scripts = {path.stem for path in (ROOT / "stages").glob("*.py")}
    assert scripts == {"classifier", "affinity", "pseudo_labels", "segmentation"}
    for script in scripts:
        assert f'main("{script}")' in (ROOT / "stages" / f"{script}.py").read_text()


def test_no_file_carries_a_path_of_one_machine() -> None:
    roots = "|".join(("work", "farm", "root", "home", "Users", "tmp"))
    machine_path = re.compile(rf"(?<![\w.~}})*/-])/(?:{roots})/\w")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in text_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if machine_path.search(line)
    ]
    assert found == []


def _code_of_script(path: Path) -> list[str]:
    """The code cells of a notebook's script in the percent format."""
    cells = re.split(r"^# %%(.*)\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return [
        text.strip() for kind, text in zip(cells[::2], cells[1::2], strict=True) if "[markdown]" not in kind
    ]


@pytest.mark.parametrize("script", sorted((ROOT / "notebooks").glob("*.py")), ids=lambda path: path.stem)
def test_executed_notebooks_are_those_of_their_scripts(script: Path) -> None:
    executed = json.loads(script.with_suffix(".ipynb").read_text(encoding="utf-8"))
    code = [cell for cell in executed["cells"] if cell["cell_type"] == "code"]
    assert ["".join(cell["source"]).strip() for cell in code] == _code_of_script(script)
    assert all(cell["execution_count"] for cell in code), "run `make demo notebooks`"


def test_every_page_is_part_of_the_site_and_links_lead_somewhere() -> None:
    """What `make docs` checks too, which needs packages that the tests do without."""
    docs = ROOT / "docs"
    nav = json.dumps(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    pages = sorted(docs.rglob("*.md"))
    assert [str(p.relative_to(docs)) for p in pages if f'"{p.relative_to(docs)}"' not in nav] == []
    links = [
        (page, link)
        for page in pages
        for link in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    ]
    assert len(links) > 40
    assert [f"{page.name}: {link}" for page, link in links if not (page.parent / link).is_file()] == []
