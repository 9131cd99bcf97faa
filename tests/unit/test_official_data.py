"""Data sets of the papers from generated files in their original formats."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from torchvision.datasets import utils as downloads

from tag2mask.cli import main
from tag2mask.data import VOC
from tag2mask.data.command import dataset_from_config
from tests.conftest import TINY_SIZE

TRAFFIC_LIGHT, PERSON, TOOTHBRUSH = 10, 1, 90
"""COCO's ids, which have gaps: 80 classes up to 90."""


@pytest.fixture
def voc(tiny_voc: Path, tmp_path: Path) -> Path:
    """The tiny set with VOC's XML files in place of the table of tags."""
    root = tmp_path / "VOC2012"
    shutil.copytree(tiny_voc, root)
    rows = (root / "image_labels.csv").read_text().splitlines()[1:]
    (root / "image_labels.csv").unlink()
    (root / "Annotations").mkdir()
    for row in rows:
        name, tags = row.split(",")
        objects = "".join(f"<object><name>{tag}</name></object>" for tag in tags.split())
        (root / "Annotations" / f"{Path(name).stem}.xml").write_text(f"<annotation>{objects}</annotation>")
    return root


def run(*words: object) -> int:
    return main(["data", *map(str, words)])


def test_voc(voc: Path, tiny_voc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("prepare", "voc", "--root", voc) == 0
    said = capsys.readouterr().out
    assert "train: 8 images, while the published list has 1,464: this is a part of it" in said
    assert "val: 4 images, while the published list has 1,449" in said
    assert "tags of 12 images" in said and f"--data voc --data-root {voc}" in said
    same, images = VOC(str(tiny_voc)), VOC(str(voc))
    assert [images.tag_names(i) for i in images.ids("train")] == [
        same.tag_names(i) for i in same.ids("train")
    ]
    assert run("prepare", "voc", "--root", voc) == 0
    assert "is there already" in capsys.readouterr().out
    assert run("prepare", "voc", "--root", voc / "nowhere") == 2
    assert "name VOCdevkit/VOC2012" in capsys.readouterr().err


def write_sbd(folder: Path, image_id: str, mask: Any) -> Path:
    """A file as SBD's: a struct GTcls with Segmentation, Boundaries and CategoriesPresent."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{image_id}.mat"
    record = {
        "Segmentation": mask,
        "Boundaries": np.zeros((20, 1)),
        "CategoriesPresent": np.unique(mask[mask > 0]),
    }
    savemat(path, {"GTcls": record})
    return path


def test_sbd(voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two images of no list, one of train and one of val, which stays out of train_aug."""
    lists = voc / "ImageSets" / "Segmentation"
    train = (lists / "train.txt").read_text().split()
    extra, kept = train[:2], train[2:]
    (lists / "train.txt").write_text("\n".join(kept) + "\n")
    for image_id in extra:
        (voc / "SegmentationClass" / f"{image_id}.png").unlink()
    val = (lists / "val.txt").read_text().split()[0]
    folder = tmp_path / "sbd" / "benchmark_RELEASE" / "dataset" / "cls"
    mask = np.zeros(TINY_SIZE[::-1], np.uint8)
    mask[5:20, 10:30] = 12
    for image_id in (*extra, kept[0], val):
        write_sbd(folder, image_id, mask)
    words = ("prepare", "sbd", "--sbd", tmp_path / "sbd", "--root", voc)
    assert run("prepare", "voc", "--root", voc) == 0
    assert run(*words) == 0
    said = capsys.readouterr().out
    assert "4 masks written, 0 were there" in said
    assert "train_aug: 8 images, while the published list has 10,582" in said
    images = dataset_from_config("voc_aug", str(voc))
    assert images.ids("train") == sorted(train)
    found = images.read_mask(extra[0])
    assert (
        found is not None and (found == np.where(mask == 12, images.classes.names.index("dog") + 1, 0)).all()
    )
    (voc / "SegmentationClassAug" / f"{val}.png").unlink()
    assert run(*words) == 0
    assert "1 masks written, 3 were there" in capsys.readouterr().out
    for image_id, wrong, message in (
        ("2007_999999", mask, "2007_999999.jpg does not exist"),
        (val, mask[:9], "64x9, its image 64x48"),
        (val, mask * 3, "no label map of VOC's 20 classes"),
    ):
        broken = write_sbd(folder, image_id, wrong)
        (voc / "SegmentationClassAug" / f"{broken.stem}.png").unlink(missing_ok=True)
        assert run(*words) == 2
        assert message in capsys.readouterr().err
        broken.unlink()
    (folder / f"{val}.mat").write_bytes(b"MATLAB 5.0 MAT-file, cut")
    assert run(*words) == 2
    assert f"{val}.mat cannot be read as a mask of SBD" in capsys.readouterr().err


def test_lists_and_tables_of_others_are_kept(
    voc: Path, coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A list of train_aug from elsewhere, and a table of tags, were replaced without a word."""
    (image_id,) = (voc / "ImageSets/Segmentation/train.txt").read_text().split()[:1]
    write_sbd(tmp_path / "sbd" / "cls", image_id, np.zeros(TINY_SIZE[::-1], np.uint8))
    words = ("prepare", "sbd", "--sbd", tmp_path / "sbd", "--root", voc)
    assert run(*words) == 0
    made = voc / "ImageSets/Segmentation/train_aug.txt"
    same = "".join(f"{line}\n" for line in reversed(made.read_text().split()))
    for text, code in ((same, 0), (f"{same}2008_000001\n", 2)):
        made.write_text(text)
        assert run(*words) == code
        assert made.read_text() == text
    assert "train_aug.txt is there already, with 1 images" in (said := capsys.readouterr().err)
    assert "(2008_000001): move it away first" in said
    made.write_text(f"{image_id}\n")  # of a part of SBD
    assert run(*words) == 0 and sorted(made.read_text().split()) == sorted(same.split())

    own = coco / "labels.csv"
    own.write_text("image,labels\nmine.jpg,cat\n")
    assert run("prepare", "coco", "--root", coco) == 2
    assert own.read_text().startswith("image,labels\nmine") and not (coco / "masks").exists()
    assert f"{own} is there already, and is not what the annotations give" in capsys.readouterr().err


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """COCO's layout: two images to train on, one to validate on; one of them without an annotation."""
    root = tmp_path / "COCO2014"
    names = dataset_from_config("coco", str(root)).classes.names
    gaps = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
    ids = [number for number in range(1, 91) if number not in gaps]
    categories = [{"id": i, "name": n, "supercategory": ""} for i, n in zip(ids, names, strict=True)]
    square = [[2, 2, 8, 2, 8, 8, 2, 8]]
    boxes = {
        "train": [(9, TRAFFIC_LIGHT, square), (9, PERSON, [[20, 4, 30, 4, 30, 12, 20, 12]])],
        "val": [(42, TOOTHBRUSH, square)],
    }
    for split, numbers in (("train", (9, 25)), ("val", (42,))):
        (root / f"{split}2014").mkdir(parents=True)
        images = []
        for number in numbers:
            name = f"COCO_{split}2014_{number:012d}.jpg"
            Image.new("RGB", (40, 30), (9 * number % 256, 90, 90)).save(root / f"{split}2014" / name)
            images.append({"id": number, "file_name": name, "width": 40, "height": 30})
        annotations = [
            {"image_id": image, "category_id": category, "segmentation": outline, "area": 36, "iscrowd": 0}
            for image, category, outline in boxes[split]
        ]
        plain = {"images": images, "annotations": annotations, "categories": categories}
        path = root / "annotations" / f"instances_{split}2014.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(plain))
    return root


def test_coco(coco: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("prepare", "coco", "--root", coco) == 0
    said = capsys.readouterr().out
    assert "train: 2 images, while the published list has 82,783" in said
    assert "val: 1 images, while the published list has 40,504" in said
    assert "3 masks drawn, 0 were there" in said
    images = dataset_from_config("coco", str(coco))
    assert len(images.classes) == 80
    first, second = images.ids("train")
    assert first == "train2014__COCO_train2014_000000000009"
    assert images.tag_names(first) == ("traffic light", "person") and images.tag_names(second) == ()
    mask = images.read_mask(first)
    assert mask is not None
    # COCO's code takes the pixels from 2 up to, not including, 8
    assert (mask[2:8, 2:8] == 10).all() and (mask == 10).sum() == 36 and (mask == 1).sum() == 80
    (only,) = images.ids("val")
    found = images.read_mask(only)
    assert found is not None and found.max() == 80  # toothbrush, 90 in COCO's ids
    assert run("check", "--data", "coco", "--data-root", coco) == 0
    assert "train 2 images, 1.00 tags each, 2 masks" in capsys.readouterr().out
    (coco / "masks" / "val2014" / "COCO_val2014_000000000042.png").unlink()
    assert run("prepare", "coco", "--root", coco) == 0
    assert "1 masks drawn, 2 were there" in capsys.readouterr().out
    (coco / "val2014" / "COCO_val2014_000000000042.jpg").unlink()
    assert run("prepare", "coco", "--root", coco) == 2
    assert "names COCO_val2014_000000000042.jpg, which is not in" in capsys.readouterr().err


def test_downloads_are_those_of_torchvision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def fetch(url: str, download_root: str, filename: str, md5: str | None) -> None:
        if len(asked) == 2:
            raise OSError("no route to host")
        asked.append(filename)

    monkeypatch.setattr(downloads, "download_and_extract_archive", fetch)
    words = ("download", "coco", "--root", tmp_path)
    assert run(*words, "--dry-run") == 0
    assert capsys.readouterr().out.count(f"to {tmp_path}") == 3 and asked == []
    assert run(*words) == 2
    assert asked == ["annotations_trainval2014.zip", "train2014.zip"]
    assert (
        "val2014.zip could not be downloaded" in (said := capsys.readouterr()).err and "no route" in said.err
    )
    asked.clear()
    assert run(*words) == 0  # goes on with what is missing
    assert asked == ["val2014.zip"]
    assert run("download", "voc", "--root", tmp_path, "--dry-run") == 0
    said = capsys.readouterr()
    assert "VOCtrainval_11-May-2012.tar (md5 6cd6e144f989b92b3379bac3b3de84fd)" in said.out
    assert run("download", "sbd", "--root", tmp_path, "--dry-run") == 0
    assert "benchmark.tgz (md5 82b4d87ceb2ed10f6038a1cba92111cb)" in capsys.readouterr().out
