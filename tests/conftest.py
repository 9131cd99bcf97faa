"""What several test modules share: the optional real images, and a tiny data set in VOC layout."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import pytorch_lightning as pl
import torch
from hypothesis import settings
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[1]

# Numba compiles on the first example, and a suite that draws new examples every time fails at random.
settings.register_profile("tag2mask", deadline=None, derandomize=True)
settings.load_profile("tag2mask")

TINY_SIZE = (64, 48)  # width, height
TINY_CLASSES = {"bird": (3, (200, 40, 40)), "cat": (8, (40, 180, 60)), "dog": (12, (50, 70, 210))}
"""Name -> VOC mask id and colour of the shape."""
TINY_TRAIN, TINY_VAL = 8, 4


@pytest.fixture(scope="session")
def first_losses() -> Callable[[pl.LightningModule, Any, float], list[float]]:
    """The losses of a module's first three steps of SGD on one batch, at a rate: for golden tests."""

    def losses(module: pl.LightningModule, batch: Any, rate: float) -> list[float]:
        optimizer = torch.optim.SGD(module.parameters(), lr=rate)
        seen = []
        for _ in range(3):
            loss = module.training_step(batch, 0)
            assert isinstance(loss, torch.Tensor)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen.append(float(loss.detach()))
        return seen

    return losses


@pytest.fixture
def full_disk() -> Callable[[int], AbstractContextManager[None]]:
    """A block in which no file can grow beyond so many bytes, as on a disk that is full then."""

    @contextmanager
    def limited(most: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real images and weights, beside the project or named by TAG2MASK_SHARED."""
    folder = Path(os.environ.get("TAG2MASK_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no real images: {folder} does not exist (set TAG2MASK_SHARED)")
    return folder


@pytest.fixture(scope="session")
def animals(shared: Path) -> Path:
    """Root of voc-animals: 750 real images of 6 VOC classes in VOC layout, tags in image_labels.csv."""
    root = shared / "voc-animals"
    if not root.is_dir():
        pytest.skip(f"no real images: {root} does not exist")
    return root


@pytest.fixture(scope="session")
def tiny_voc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of a VOC-layout data set of 12 generated images, 64 x 48, 3 VOC classes; 8 train, 4 val.

    JPEGImages/<id>.jpg, SegmentationClass/<id>.png (palette, VOC ids, a 255 rim around each shape),
    ImageSets/Segmentation/{train,val}.txt and image_labels.csv (`image,labels`: file
    name, class names joined by spaces). Written without the package, so that readers are tested against
    something that is not theirs. Tests only read it: whoever breaks a file copies the folder first.
    """
    root = tmp_path_factory.mktemp("tiny_voc")
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    ids = [f"2007_{number:06d}" for number in range(TINY_TRAIN + TINY_VAL)]
    rows = ["image,labels"]
    for number, image_id in enumerate(ids):
        names = _tags_of(number)
        image, mask = _scene(names, rng)
        Image.fromarray(image).save(root / "JPEGImages" / f"{image_id}.jpg", quality=95)
        _save_palette(mask, root / "SegmentationClass" / f"{image_id}.png")
        rows.append(f"{image_id}.jpg,{' '.join(names)}")
    splits = {"train": ids[:TINY_TRAIN], "val": ids[TINY_TRAIN:]}
    for split, members in splits.items():
        (root / "ImageSets/Segmentation" / f"{split}.txt").write_text("\n".join(members) + "\n")
    (root / "image_labels.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture(scope="session")
def odd_voc(tiny_voc: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny data set with one train and one val image fewer."""
    root = tmp_path_factory.mktemp("odd") / "voc"
    root.mkdir()
    for name in ("JPEGImages", "SegmentationClass", "image_labels.csv"):
        (root / name).symlink_to(tiny_voc / name)
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for split in ("train", "val"):
        ids = (tiny_voc / "ImageSets" / "Segmentation" / f"{split}.txt").read_text().split()
        (lists / f"{split}.txt").write_text("\n".join(ids[:-1]) + "\n")
    return root


def _tags_of(number: int) -> list[str]:
    """One class in most images, two in every fourth, so that both cases occur in both splits."""
    names = list(TINY_CLASSES)
    first = names[number % len(names)]
    return [first, names[(number + 1) % len(names)]] if number % 4 == 3 else [first]


def _scene(names: list[str], rng: np.random.Generator) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """A noisy grey ground with one shape per name, side by side: image (H, W, 3) and mask (H, W)."""
    width, height = TINY_SIZE
    ground = rng.integers(90, 150, size=(height, width, 3), dtype=np.uint8)
    image, mask = Image.fromarray(ground), Image.new("L", TINY_SIZE, 0)
    slot = width // len(names)
    for place, name in enumerate(names):
        mask_id, colour = TINY_CLASSES[name]
        left, top = place * slot + int(rng.integers(3, 8)), int(rng.integers(4, 12))
        box = (left, top, left + min(slot, height) - 16, top + 28)
        for canvas, fill, rim in ((image, colour, colour), (mask, mask_id, 255)):
            pen = ImageDraw.Draw(canvas)
            shape = pen.ellipse if name == "cat" else pen.rectangle
            shape(box, fill=fill, outline=rim)
    noise = rng.normal(0, 6, size=(height, width, 3))
    noisy = np.clip(np.asarray(image, dtype=np.float64) + noise, 0, 255).astype(np.uint8)
    return noisy, np.asarray(mask, dtype=np.uint8)


def _save_palette(mask: npt.NDArray[np.uint8], path: Path) -> None:
    """A P-mode PNG whose pixel values are the mask ids; the colours do not matter to readers."""
    image = Image.fromarray(mask)  # gray; putpalette makes it a palette image and keeps the values
    palette = np.zeros((256, 3), dtype=np.uint8)
    palette[255] = 224, 224, 192
    for mask_id, colour in TINY_CLASSES.values():
        palette[mask_id] = colour
    image.putpalette(palette.ravel().tolist())
    image.save(path)
