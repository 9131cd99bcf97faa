from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tag2mask.cli import main
from tag2mask.core import UserError
from tag2mask.data import ImageSet, Shapes
from tag2mask.data.shapes_draw import NAMES, Creature, draw_scene


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Shapes:
    made = Shapes(str(tmp_path_factory.mktemp("data") / "shapes"), train=24, val=8)
    assert made.make()
    return made


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_is_a_whole_set_in_voc_layout(shapes: Shapes) -> None:
    shapes.check("train")
    shapes.check("val")
    assert (len(shapes.ids("train")), len(shapes.ids("val"))) == (24, 8)
    assert shapes.classes.names == NAMES and shapes.classes.ids == (1, 2, 3, 4)
    assert all(shapes.mask_path(i) for split in ("train", "val") for i in shapes.ids(split))
    assert shapes.read_image("train_00000").shape == (96, 128, 3)
    with Image.open(shapes.root / "SegmentationClass" / "val_00000.png") as mask:
        assert mask.mode == "P"
    # nothing hidden is left over from writing
    assert not [p for p in shapes.root.parent.iterdir() if p != shapes.root]


@pytest.mark.parametrize("skew", [0, -3600, 3600])
def test_what_a_killed_process_has_left_is_cleared_away(
    skew: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + skew)  # beside the clock of a shared file system
    names = (".shapes.abandon_", ".shapes.running_", ".shapes.just_now", ".shapes.mine", ".other.abandon_")
    abandoned, running, new, *others = drafts = [tmp_path / name for name in names]
    for draft in drafts:
        (draft / "JPEGImages").mkdir(parents=True)
        if draft != new:
            os.utime(draft, (now - 120, now - 120))
    with open_folder(running) as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert Shapes(str(tmp_path / "shapes"), train=1, val=1).make()
    assert not abandoned.exists()
    assert running.exists() and new.exists() and all(other.exists() for other in others)


@contextmanager
def open_folder(folder: Path) -> Iterator[int]:
    handle = os.open(folder, os.O_RDONLY)
    yield handle
    os.close(handle)


def test_tags_are_what_the_masks_show(shapes: Shapes) -> None:
    seen = np.zeros(4)
    for image_id in shapes.ids("train"):
        mask = shapes.read_mask(image_id)
        assert mask is not None
        shown = set(np.unique(mask)) - {0}
        assert shown == {index + 1 for index in np.flatnonzero(shapes.tags(image_id))}
        for kind in shown:
            assert (mask == kind).sum() > 100  # large enough to be learned from
        seen += shapes.tags(image_id)
    assert (seen >= 6).all()  # each class comes first in every fourth image
    assert seen.sum() > 24  # and some images have several tags


def test_heads_are_small_and_bodies_are_shared() -> None:
    def parts(kind: int) -> tuple[np.ndarray, np.ndarray]:
        creature = Creature(kind, x=100, y=80, length=40, angle=0.2, flip=False, shade=(0, 0, 0))
        return creature.parts((160, 200))

    for one, other in ((0, 1), (2, 3)):
        body, head = parts(one)
        assert 0.1 < head.sum() / (head | body).sum() < 0.3
        assert not (head & body).any()
        assert (body == parts(other)[0]).all() and (head == parts(other)[1]).all()
    assert not (parts(0)[0] == parts(2)[0]).all()


def test_only_the_head_tells_the_class_within_a_pair() -> None:
    for one, other in ((0, 1), (2, 3)):
        image, mask = draw_scene([one], (96, 128), 0.5, np.random.default_rng(5))
        changed, _ = draw_scene([other], (96, 128), 0.5, np.random.default_rng(5))
        differs = np.abs(image.astype(int) - changed).max(2) > 8
        assert 0 < differs.sum() < 0.3 * (mask > 0).sum()
        # a pixel on the rim is drawn at twice the size and then shrunk: allow the rim
        assert (differs & (mask == 0)).sum() <= 0.05 * differs.sum()


def test_bodies_stand_out_from_the_ground(shapes: Shapes) -> None:
    for image_id in shapes.ids("train"):
        image, mask = shapes.read_image(image_id).astype(float), shapes.read_mask(image_id)
        assert mask is not None
        ground = np.median(image[mask == 0], axis=0)
        for kind in set(np.unique(mask)) - {0}:
            distance = np.abs(np.median(image[mask == kind], axis=0) - ground).max()
            assert distance > 20, image_id  # noise has a deviation of 5


def test_the_seed_tells_every_byte(shapes: Shapes, tmp_path: Path) -> None:
    again = Shapes(str(tmp_path / "again"), train=24, val=8)
    again.make()
    assert contents(again.root) == contents(shapes.root)
    other = Shapes(str(tmp_path / "other"), train=1, val=1, seed=1)
    assert (other.ids("train"), other.read_image("train_00000").shape) == (["train_00000"], (96, 128, 3))
    assert not (other.read_image("train_00000") == shapes.read_image("train_00000")).all()


def test_more_images_leave_the_earlier_ones(shapes: Shapes, tmp_path: Path) -> None:
    fewer = Shapes(str(tmp_path / "fewer"), train=2, val=1)
    for image_id in (*fewer.ids("train"), *fewer.ids("val")):
        assert (fewer.read_image(image_id) == shapes.read_image(image_id)).all()


def test_size_and_difficulty(tmp_path: Path) -> None:
    made = Shapes(str(tmp_path / "s"), train=1, val=1, size=(60, 50), difficulty=1)
    assert made.read_image(made.ids("train")[0]).shape == (60, 50, 3)
    for bad in ({"size": (20, 60)}, {"difficulty": 2}, {"train": 0}):
        with pytest.raises(UserError, match="shapes need"):
            Shapes(str(tmp_path / "t"), **bad)  # type: ignore[arg-type]


def test_is_made_once_and_nothing_is_overwritten(shapes: Shapes, tmp_path: Path) -> None:
    before = contents(shapes.root)
    assert not Shapes(str(shapes.root), train=24, val=8).make()
    with pytest.raises(UserError, match=r"not made with \{'train': 25\}"):
        Shapes(str(shapes.root), train=25, val=8).ids("train")
    assert contents(shapes.root) == before
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="holds other files"):
        Shapes(str(tmp_path), train=1, val=1).ids("train")
    assert contents(tmp_path) == {"thesis.txt": b"mine"}


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert Shapes(str(tmp_path / "empty"), train=1, val=1).ids("val") == ["val_00000"]


def test_a_broken_off_start_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tag2mask.data.shapes.save_labels", stop)
    with pytest.raises(KeyboardInterrupt):
        Shapes(str(tmp_path / "s"), train=1, val=1).make()
    assert list(tmp_path.iterdir()) == []


def test_processes_that_start_together_agree(tmp_path: Path) -> None:
    root = str(tmp_path / "s")
    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(lambda _: Shapes(root, train=3, val=1).make(), range(3)))
    assert made.count(True) == 1
    Shapes(root, train=3, val=1).check("train")
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_description(shapes: Shapes) -> None:
    plain = json.loads(json.dumps(shapes.describe()))
    again = ImageSet.from_description(plain)
    assert again.ids("val") == shapes.ids("val") and again.describe() == plain


def test_prepare_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["data", "prepare", "shapes", "--root", str(tmp_path / "s"), "--train", "2", "--val", "1"]
    assert main(arguments) == 0
    assert "2 + 1 images" in capsys.readouterr().out
    assert main(arguments) == 0
    assert "there already" in capsys.readouterr().out
    assert main([*arguments, "--seed", "9"]) == 2
