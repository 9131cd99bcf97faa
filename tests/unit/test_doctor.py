"""`tag2mask doctor`: one finding for each thing, whatever is broken."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import pytest

from tag2mask import doctor
from tag2mask.cli import main
from tag2mask.core import UserError

NAMES = [
    "tag2mask", "configurations", "packages", "torch", "GPU", "CPU", "CRF", "pydensecrf", "weights", "disk",
    "temporary files",
]  # fmt: skip


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test asks the hub."""

    def refuse(url: str, timeout: float) -> None:
        raise OSError("no network")

    monkeypatch.setattr(doctor.urllib.request, "urlopen", refuse)


def test_everything_that_a_run_needs_works_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json", "--dir", str(tmp_path / "later")]) == 0
    found = {f["name"]: (f["state"], f["text"]) for f in json.loads(capsys.readouterr().out)}
    assert list(found) == NAMES
    assert found["CRF"][0] == found["torch"][0] == "ok"
    assert found["weights"][0] == "note" and "gives no answer (no network)" in found["weights"][1]
    assert str(tmp_path) in found["disk"][1] and not (tmp_path / "later").exists()


def test_broken_things_are_named_and_the_others_still_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken(types.ModuleType):
        def __getattr__(self, name: str) -> object:
            raise RuntimeError("operator torchvision::nms does not exist")

    def no_library() -> None:
        raise UserError("no folder of configurations found")

    def no_crf(engine: str) -> str:
        raise UserError("not here")

    monkeypatch.setitem(sys.modules, "torchvision", Broken("torchvision"))
    monkeypatch.setattr(doctor, "open_library", no_library)
    monkeypatch.setattr(doctor, "_time_crf", no_crf)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda place: types.SimpleNamespace(free=2e9))
    assert main(["doctor", "--dir", str(tmp_path)]) == 1
    lines = {line[6:22].strip(): line for line in capsys.readouterr().out.splitlines()}
    assert list(lines) == NAMES
    assert lines["configurations"] == "bad   configurations   no folder of configurations found"
    assert lines["torch"] == "bad   torch            RuntimeError: operator torchvision::nms does not exist"
    assert lines["CRF"].startswith("bad ") and lines["pydensecrf"].startswith(
        "note  pydensecrf       not installed"
    )
    assert lines["disk"] == f"note  disk             2.0 GB free in {tmp_path}: less than 5 GB may not do"


def test_folder_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.os, "access", lambda place, mode: False)
    finding = doctor._disk(tmp_path)
    assert (
        finding.state == "bad" and finding.text == f"{tmp_path} cannot be written to: choose another folder"
    )


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    finding = doctor._disk(tmp_path / "runs" / "psa")
    assert finding.state == "bad" and finding.text == f"{tmp_path / 'runs'} is a file: choose a folder"
