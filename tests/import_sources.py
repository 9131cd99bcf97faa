"""Images and tags in the forms that people have, for the tests of ``tag2mask data import``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tag2mask.cli import main
from tag2mask.data import ImageSet
from tag2mask.data.command import dataset_from_config

SIZE = (6, 9)  # height, width


def write_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE[::-1], (200, 100, 50)).save(path)


def write_json(path: Path, plain: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(plain))
    return path


def imported(root: Path, *options: str) -> ImageSet:
    """The data set that the import writes, by the file that a run is given."""
    assert main(["data", "import", str(root), *options]) == 0
    return dataset_from_config(str(root / "tag2mask" / "data.yaml"))


def tags_of(images: ImageSet) -> dict[str, tuple[str, ...]]:
    return {i: images.tag_names(i) for split in ("train", "val") for i in images.ids(split)}


def refused(root: Path, *options: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["data", "import", str(root), *options]) == 2
    return capsys.readouterr().err


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in "abcde":
        write_image(tmp_path / "photos" / f"{name}.jpg")
    return tmp_path


TAGS = {"a": ("cat", "dog"), "b": ("dog",), "c": ("cat",), "d": ("dog",), "e": ("cat",)}


def coco(names: str, categories: dict[int, str], pairs: list[tuple[str, int]]) -> dict[str, Any]:
    ids = {name: number for number, name in enumerate(names, 100)}
    return {
        "images": [{"id": ids[name], "file_name": f"{name}.jpg"} for name in names],
        "annotations": [{"image_id": ids[name], "category_id": category} for name, category in pairs],
        "categories": [{"id": key, "name": name} for key, name in categories.items()],
    }
