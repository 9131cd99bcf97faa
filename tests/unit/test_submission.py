"""``tag2mask submit-voc``: the archive for VOC's server, and what it refuses."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tag2mask.artifacts import CommandRecord, Manifest, load_labels, save_labels, voc_palette, write_manifest
from tag2mask.cli import main
from tag2mask.core import ClassList

IDS = ("2008_000006", "2008_000011")
PLACE = "results/VOC2012/Segmentation/comp6_test_cls"


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Label maps of two images of the list and one more, the list, and the images."""
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for name in (*IDS, "2008_999999"):
        save_labels(tmp_path / "labels" / f"{name}.png", rng.integers(0, 21, (6, 9), dtype=np.uint8))
        Image.new("RGB", (9, 6)).save(tmp_path / "images" / f"{name}.jpg")
    (tmp_path / "test.txt").write_text("\n".join(IDS) + "\n")
    return tmp_path / "labels"


def submit(source: Path, *more: str) -> int:
    root = source.parent
    return main(["submit-voc", str(source), "--out", str(root / "results.tgz"), *more])


def listed(source: Path) -> tuple[str, ...]:
    return ("--ids", str(source.parent / "test.txt"), "--images", str(source.parent / "images"))


def test_archive_as_the_server_wants_it(labels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(load_labels(labels / f"{IDS[1]}.png")).save(labels / f"{IDS[1]}.png")  # gray, no palette
    assert submit(labels, *listed(labels)) == 0
    assert f"2 label maps, of the sizes of the images, as {PLACE} in" in capsys.readouterr().out
    with tarfile.open(labels.parent / "results.tgz") as archive:
        assert archive.getnames() == [f"{PLACE}/{name}.png" for name in IDS]
        for name in IDS:
            file = archive.extractfile(f"{PLACE}/{name}.png")
            assert file is not None
            with Image.open(io.BytesIO(file.read())) as image:
                assert image.mode == "P" and image.getpalette() == voc_palette().ravel().tolist()
                assert np.array_equal(np.asarray(image), load_labels(labels / f"{name}.png"))


def test_what_the_server_would_refuse(labels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert submit(labels) == 2 and "--ids" in capsys.readouterr().err
    Image.new("RGB", (6, 9)).save(labels.parent / "images" / f"{IDS[0]}.jpg")
    assert submit(labels, *listed(labels)) == 2
    assert "has (6, 9) rows and columns, its image (9, 6)" in capsys.readouterr().err
    save_labels(labels / f"{IDS[0]}.png", np.full((9, 6), 255, np.uint8))
    assert submit(labels, *listed(labels)) == 2 and "the value 255" in capsys.readouterr().err
    (labels / f"{IDS[1]}.png").unlink()
    assert submit(labels, *listed(labels)) == 2 and "1 of 2 label maps are missing" in capsys.readouterr().err
    assert not (labels.parent / "results.tgz").exists()
    (labels.parent / "results.tgz").write_bytes(b"mine")
    assert submit(labels, *listed(labels)) == 2 and "is there already" in capsys.readouterr().err
    assert submit(labels / "none", *listed(labels)) == 2


def test_ids_cannot_leave_the_folder(labels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (labels.parent / "test.txt").write_text("../secret\n")
    assert submit(labels, "--ids", str(labels.parent / "test.txt")) == 2
    assert "is not a file name inside" in capsys.readouterr().err


def test_predictions_of_a_run(labels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    step = labels.parent / "run" / "segmentation"
    for variant in ("single_scale", "multi_scale"):
        for name in IDS:
            value = 20 if variant == "multi_scale" else 1
            save_labels(step / "out" / variant / f"{name}.png", np.full((6, 9), value, np.uint8))
    done = Manifest(
        step="segmentation", kind="segmentation", recipe="psa", classes=ClassList.voc().to_dict(),
        split="val", image_ids=list(IDS), commands={"predict": CommandRecord(complete=True)}, complete=True,
    )  # fmt: skip
    write_manifest(step, done)
    assert submit(labels.parent / "run") == 0
    printed = capsys.readouterr().out
    assert "sizes not compared" in printed and "these are the images of val" in printed
    with tarfile.open(labels.parent / "run" / ".." / "results.tgz") as archive:
        file = archive.extractfile(archive.getmembers()[0])
        assert file is not None and np.asarray(Image.open(io.BytesIO(file.read()))).min() == 20
    assert submit(step, "--variant", "multi_scale_crf") == 2


def test_ids_of_other_classes_than_those_of_voc(labels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The values alone would pass: 1 is a cat here, and an aeroplane on the server."""
    (labels / "classes.json").write_text('{"background": 0, "cat": 1, "dog": 2}')
    assert submit(labels, *listed(labels)) == 2
    assert "1 is cat, and VOC has aeroplane there" in capsys.readouterr().err
    step = labels.parent / "run" / "segmentation"
    save_labels(step / "out" / "single_scale" / f"{IDS[0]}.png", np.ones((6, 9), np.uint8))
    classes = ClassList(("aeroplane", "kite"), (1, 21))
    done = Manifest(
        step="segmentation", kind="segmentation", recipe="psa", classes=classes.to_dict(),
        image_ids=[IDS[0]], commands={"predict": CommandRecord(complete=True)}, complete=True,
    )  # fmt: skip
    write_manifest(step, done)
    assert submit(labels.parent / "run") == 2
    assert "21 is kite, and VOC ends with 20" in capsys.readouterr().err
    (labels / "classes.json").write_text('{"background": 0, "cat": 8}')  # some of VOC's
    assert submit(labels, *listed(labels)) == 0
