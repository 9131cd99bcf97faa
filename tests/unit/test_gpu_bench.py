"""`python -m benchmarks.gpu` without a GPU: parts and their limits, the meter, the page."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks.gpu import report
from benchmarks.gpu.meter import Meter, bound, count_images
from benchmarks.gpu.parts import Options, Part, outcomes
from benchmarks.gpu.record import append, read
from benchmarks.gpu.throughput import one_size

ROW = {"gpu": 0.2, "busy_cores": 3.0, "cores": 16, "waited": 0.1}


@pytest.fixture
def options(tmp_path: Path) -> Options:
    return Options("cpu", True, tmp_path, tmp_path, tmp_path)


def python(code: str, seconds: float = 30) -> Part:
    return Part("part", seconds, lambda options, rows: [sys.executable, "-c", code, str(rows)])


def test_a_part_that_hangs_is_stopped_with_all_that_it_started(options: Options) -> None:
    leave = "import subprocess, sys; print(subprocess.Popen(['sleep', '60']).pid, flush=True)"
    started = time.monotonic()
    part = python(f"{leave}; import time; time.sleep(60)", seconds=2)
    part.run(options, 60)
    assert time.monotonic() - started < 20
    assert part.found(options)[-1]["how"] == "stopped after 2 s"
    child = int(part.log(options).read_text())
    # The signal is on its way to it when its parent has been collected: soon, long before its 60 s are over.
    while _runs(child) and time.monotonic() - started < 20:
        time.sleep(0.05)
    assert not _runs(child)


def _runs(process: int) -> bool:
    """False for a process that is gone, or a zombie that nobody has collected yet."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_part_that_fails_keeps_its_rows(options: Options) -> None:
    code = "import sys; open(sys.argv[1], 'w').write('{\"a\": 1}\\n'); sys.exit(3)"
    part = python(code)
    part.run(options, 60)
    first, last = part.found(options)
    assert first == {"a": 1} and last["how"] == "ended with 3"


def test_a_line_that_was_cut_off_is_no_row(tmp_path: Path) -> None:
    append(tmp_path / "rows", {"a": 1})
    with (tmp_path / "rows").open("a") as file:
        file.write('{"b": ')
    assert read(tmp_path / "rows") == [{"a": 1}]


def test_outcomes_are_read_with_and_without_xdist(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        "[gw0] [ 50%] PASSED tests/gpu/test_a.py::test_one[psa] \n"
        "tests/gpu/test_a.py::test_two FAILED [100%]\n"
        "FAILED tests/gpu/test_a.py::test_two - assert 1 == 2\n"
    )
    found = {row["test"]: row["outcome"] for row in outcomes(log)}
    assert found == {
        "tests/gpu/test_a.py::test_one[psa]": "passed",
        "tests/gpu/test_a.py::test_two": "failed",
    }


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"gpu": 0.9}, "GPU"),
        ({"busy_cores": 14.0}, "cores"),
        ({"waited": 0.5}, "loader"),
        ({}, "one thread of Python"),
        ({"gpu": None}, "one thread of Python"),
    ],
)
def test_what_bounds_a_step(change: dict, expected: str) -> None:
    assert bound({**ROW, **change}) == expected


def test_the_meter_counts_neither_the_first_batches_nor_validation(tmp_path: Path) -> None:
    meter = Meter(str(tmp_path / "rows"), skip=2)
    trainer, batch = (
        SimpleNamespace(precision="32-true", default_root_dir="run/cam"),
        {"image": torch.zeros(4, 3, 2, 2)},
    )
    for number in range(5):
        meter.on_train_batch_start(trainer)
        meter.on_train_batch_end(trainer, None, None, batch)
        if number == 3:
            meter.on_validation_start(trainer, None)
            time.sleep(0.5)
            meter.on_validation_end(trainer, None)
    meter.on_train_end(trainer, None)
    (row,) = read(tmp_path / "rows")
    assert row["images"] == 3 * 4 and row["seconds"] < 0.4 and row["step"] == "cam"


def test_a_command_with_too_few_batches_says_so(tmp_path: Path) -> None:
    meter = Meter(str(tmp_path / "rows"), skip=6)
    meter.on_predict_batch_end(SimpleNamespace(), None, None, [{}])
    meter.on_predict_end(SimpleNamespace(default_root_dir="run/walk"), None)
    assert "1 batches" in read(tmp_path / "rows")[0]["failed"]


def test_images_of_a_batch() -> None:
    assert count_images([{}, {}]) == 2
    assert count_images({"id": ["a"] * 3, "image": torch.zeros(3, 1)}) == 3


def test_the_slice_has_one_size_and_as_many_images_as_asked(tiny_voc: Path, tmp_path: Path) -> None:
    root = one_size(tiny_voc, tmp_path, 20)
    ids = (root / "ImageSets/Segmentation/train.txt").read_text().split()
    assert len(ids) == len(set(ids)) == 20
    assert all((root / "JPEGImages" / f"{i}.jpg").is_file() for i in ids)
    assert len((root / "image_labels.csv").read_text().splitlines()) > 20


def test_the_page_shows_what_failed() -> None:
    about = {"card": "card", "processor": "cpu", "cores": 2, "versions": {"torch": "2"}}
    found = {
        "tests": [{"test": "tests/gpu/a.py::b", "outcome": "failed"}],
        "throughput": [{"step": "cam", "command": "fit", "failed": "no memory"}],
        "sizes": [
            {"network": "n", "precision": "float32", "cudnn": False, "first_seconds": 1.5, "seconds": 0.02},
            {"pass": "maps", "cudnn": True, "images": 4, "of": 40, "sizes": 3, "seconds": 8.0},
        ],
    }
    page = report.page(about, found)
    assert "- failed: `tests/gpu/a.py::b`" in page and "- failed: cam fit: no memory" in page
    assert "| n | float32 | off | 1500 | 20 |" in page
    assert "| maps | on | 4 of 40 | 3 | 8.0 | 2000 |" in page
