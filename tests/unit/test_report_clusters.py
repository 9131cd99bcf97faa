"""Contact sheets of sub-categories in the report."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tag2mask.artifacts import CommandRecord, Manifest, save_sub_labels, write_manifest
from tag2mask.data import VOC
from tag2mask.report import build_page, read_runs
from tag2mask.report.clusters import ACROSS, SIDE

COLOURS = {"cat": (220, 40, 40), "dog": (40, 60, 220)}
COUNT = 10


@pytest.fixture
def images(tmp_path: Path) -> VOC:
    """Ten images: even ones show a cat and are red, odd ones show a dog and are blue."""
    root = tmp_path / "images"
    for folder in ("JPEGImages", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    lines = ["image,labels"]
    for number in range(COUNT):
        name = list(COLOURS)[number % 2]
        pixels = np.full((20, 30, 3), COLOURS[name], np.uint8)
        Image.fromarray(pixels).save(root / "JPEGImages" / f"p{number}.jpg", quality=95)
        lines.append(f"p{number},{name}")
    for split in ("train", "val"):
        names = "\n".join(f"p{n}" for n in range(COUNT))
        (root / "ImageSets/Segmentation" / f"{split}.txt").write_text(names)
    (root / "image_labels.csv").write_text("\n".join(lines) + "\n")
    return VOC(str(root), classes=["cat", "dog"])


def add_round(run: Path, number: int, images: VOC) -> None:
    """Cats fall apart into image 0 and the rest, dogs stay together."""
    folder = run / f"clusters_{number}"
    manifest = Manifest(
        step=folder.name,
        kind="sub_labels",
        recipe="sc_cam",
        classes=images.classes.to_dict(),
        data=images.describe(),
    )
    manifest.split, manifest.image_ids = "train", images.ids("train")
    manifest.parents = {f"clusters_{number - 1}": "0"} if number > 1 else {}
    manifest.commands, manifest.complete = {"predict": CommandRecord(complete=True)}, True
    write_manifest(folder, manifest)
    for image_id in images.ids("train"):
        (index,) = images.tags(image_id).nonzero()[0]
        save_sub_labels(
            folder / "out" / f"{image_id}.json",
            {int(index) + 1: int(image_id != "p0" and index == 0)},
            images.classes,
        )


def sheets(page: str) -> dict[str, np.ndarray]:
    """Caption -> the picture of each sheet."""
    found = re.findall(
        r'<img src="data:image/\w+;base64,([^"]+)"[^>]*>\s*</button>\s*'
        r"<figcaption>([^<]*sub-categories of[^<]*)",
        page,
    )
    return {
        caption: np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).astype(int)
        for data, caption in found
    }


def test_one_sheet_per_class_with_a_row_of_images_for_each_sub_category(tmp_path: Path, images: VOC) -> None:
    add_round(tmp_path / "run", 1, images)
    found = sheets(build_page(read_runs([tmp_path / "run"])))
    cats, dogs = found["cat: 2 sub-categories of 1, 4 images"], found["dog: 1 sub-categories of 5 images"]
    cell = SIDE + 2
    assert cats.shape == (2 * cell, ACROSS * cell, 3) and dogs.shape == (cell, ACROSS * cell, 3)

    def shown(sheet: np.ndarray, row: int) -> list[str]:
        """The class whose colour each cell of a row has; JPEG moves flat colours by a few levels."""
        centres = [sheet[row * cell + SIDE // 2, at * cell + SIDE // 2] for at in range(ACROSS)]
        near = [[name for name, c in COLOURS.items() if abs(centre - c).max() < 20] for centre in centres]
        return [name for names in near for name in names]

    assert shown(cats, 0) == ["cat"] and shown(cats, 1) == ["cat"] * 4 and shown(dogs, 0) == ["dog"] * 5


def test_each_round_has_its_sheets(tmp_path: Path, images: VOC) -> None:
    for number in (1, 2):
        add_round(tmp_path / "run", number, images)
    page = build_page(read_runs([tmp_path / "run"]))
    assert page.index("clusters_1</summary>") < page.index("clusters_2</summary>")
    assert page.count("cat: 2 sub-categories of 1, 4 images</figcaption>") == 2
    # the last round is the one that the maps were made with: only it is unfolded
    assert page.count("<details open>") == 1 and "<details open><summary>clusters_2" in page


def test_page_is_written_without_the_images(tmp_path: Path, images: VOC) -> None:
    add_round(tmp_path / "run", 1, images)
    (tmp_path / "images" / "JPEGImages" / "p1.jpg").unlink()
    page = build_page(read_runs([tmp_path / "run"]))
    assert "cat: 2 sub-categories" in page and '<div class="problem">' in page and "p1.jpg" in page
