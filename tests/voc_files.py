"""Small files in VOC's layout, for the tests of data sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tag2mask.artifacts.labels import save_labels

SIZE = (6, 9)  # height, width


def write_image(path: Path, size: tuple[int, int] = SIZE, mode: str = "RGB", **save: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size[::-1]).save(path, **save)


def write_mask(path: Path, value: int = 1, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_labels(path, np.full(size, value, np.uint8))


def write_list(root: Path, split: str, lines: list[str]) -> None:
    folder = root / "ImageSets" / "Segmentation"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{split}.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two training images and one for validation, with masks that show other classes than the tags."""
    for image_id in ("a", "b", "c"):
        write_image(tmp_path / "JPEGImages" / f"{image_id}.jpg")
        write_mask(tmp_path / "SegmentationClass" / f"{image_id}.png", value=20)
    write_list(tmp_path, "train", ["a", "b"])
    write_list(tmp_path, "val", ["c"])
    (tmp_path / "image_labels.csv").write_text("image,labels\na.jpg,dog\nb,sheep dog\nc.jpg,dog cat\n")
    return tmp_path
