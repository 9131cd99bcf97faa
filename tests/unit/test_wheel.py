"""The built wheel: what is in it, and what it gives in an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OFFLINE = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "-q")


def pip(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", *words[:1], *OFFLINE, *words[1:]], check=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "-w", str(folder), str(ROOT))
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_the_package_and_its_configurations(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        metadata = next(name for name in names if name.endswith(".dist-info/METADATA"))
        facts = Parser().parsestr(file.read(metadata).decode())
    assert {"tag2mask/py.typed", "tag2mask/__init__.pyi"} <= names
    package, conf = ROOT / "src" / "tag2mask", ROOT / "conf"
    code = {p for p in package.rglob("*") if p.is_file() and p.suffix not in (".pyc", ".nbi", ".nbc")}
    assert {f"tag2mask/{p.relative_to(package).as_posix()}" for p in code} <= names
    pages = {f"tag2mask/_conf/{p.relative_to(conf).as_posix()}" for p in conf.rglob("*") if p.is_file()}
    assert pages == {name for name in names if name.startswith("tag2mask/_conf/")}
    assert not [name for name in names if name.startswith(("tests", "benchmarks", "docs"))]
    assert {"dev", "notebooks", "pydensecrf"} <= set(facts.get_all("Provides-Extra", []))


def test_in_an_empty_folder_it_gives_the_command_with_its_configurations(wheel: Path) -> None:
    target = wheel.parent / "target"
    pip("install", "--target", str(target), str(wheel))
    env = {k: v for k, v in os.environ.items() if k != "TAG2MASK_CONF"} | {"PYTHONPATH": str(target)}
    command = [str(target / "bin" / "tag2mask"), "recipes", "show", "psa", "--step", "cam"]
    done = subprocess.run(command, cwd=target, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "recipes/psa.yaml:" in done.stdout
    # its own configurations, not those of a checkout around
    code = "from tag2mask.core.library import find_conf; print(find_conf())"
    where = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert Path(where.stdout.strip()) == (target / "tag2mask" / "_conf").resolve()
