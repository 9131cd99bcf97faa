"""Data sets of a folder of images and a table of tags."""

from __future__ import annotations

from pathlib import Path

import pytest

from tag2mask.core import UserError
from tag2mask.data import ImageSet, Table
from tests.voc_files import SIZE, write_image, write_mask


@pytest.fixture
def table(tmp_path: Path) -> Path:
    for name in ("one.jpg", "sub/two.png", "sub/three 3.jpg"):
        write_image(tmp_path / "images" / name)
    write_mask(tmp_path / "masks" / "sub" / "two.png", value=2)
    (tmp_path / "labels.csv").write_text(
        "image,labels,split\none.jpg,zebra,train\nsub/two.png,ant zebra,train\nsub/three 3,ant,val\n"
    )
    return tmp_path


def test_table(table: Path) -> None:
    images = Table("images", "labels.csv", masks="masks", root=str(table))
    assert images.classes.names == ("ant", "zebra")
    assert images.classes.ids == (1, 2)
    assert images.ids("train") == ["one", "sub__two"]
    assert images.ids("val") == ["sub__three_3"]
    assert images.tags("sub__two").tolist() == [1, 1]
    assert images.read_image("sub__three_3").shape == (*SIZE, 3)
    mask = images.read_mask("sub__two")
    assert mask is not None and (mask == 2).all()
    assert images.read_mask("one") is None
    assert images.mask_path("sub__three_3") is None
    images.check("train")
    images.check("val")
    assert ImageSet.from_description(images.describe()).describe() == images.describe()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,labels\n../secret.jpg,ant\n", "secret"),
        ("image,labels\n/etc/passwd,ant\n", "passwd"),
        ("image,labels\none.jpg,ant\none.png,ant\n", "line 3: one.png and one.jpg"),
        ("image,labels\none.jpg,bee\n", r"'bee'.*labels\.csv, line 2"),
        ("image,labels\none.jpg,\n", r"one\.jpg has no tags .*line 2"),
        ("image,labels,split\none.jpg,ant,train\nsub/two.png,ant,\n", "line 3: the column split is empty"),
        ("image,labels,split\none.jpg,ant,test\n", "unknown split 'train'"),
        ("image,labels\n", "no rows"),
    ],
)
def test_bad_table_is_named(table: Path, text: str, message: str) -> None:
    (table / "labels.csv").write_text(text)
    images = Table("images", "labels.csv", root=str(table), classes=["ant", "zebra"])
    with pytest.raises(UserError, match=message):
        images.check("train")


def test_table_without_folder(table: Path) -> None:
    with pytest.raises(UserError, match=r"the folder .*pictures does not exist"):
        Table("pictures", "labels.csv", root=str(table)).check("train")


def test_table_splits_by_id_and_keeps_the_split_as_images_come(tmp_path: Path) -> None:
    def split_of(count: int) -> dict[str, str]:
        rows = "".join(f"p{i}.jpg,ant\n" for i in range(count))
        (tmp_path / "t.csv").write_text("image,labels\n" + rows)
        images = Table(".", "t.csv", root=str(tmp_path))
        return {i: split for split in ("train", "val") for i in images.ids(split)}

    few, many = split_of(300), split_of(1000)
    assert len(many) == 1000
    assert all(many[i] == split for i, split in few.items())
    # binomial: 200 expected of 1000, standard deviation 13; the ids are fixed, so this never flickers
    assert 150 < sum(split == "val" for split in many.values()) < 250


@pytest.mark.parametrize("fraction", [0.001, 0.999])
def test_table_leaves_no_split_empty(tmp_path: Path, fraction: float) -> None:
    (tmp_path / "t.csv").write_text("image,labels\na.jpg,ant\nb.jpg,bee\nc.jpg,bee\n")
    images = Table(".", "t.csv", root=str(tmp_path), val_fraction=fraction)
    assert sorted(images.ids("train") + images.ids("val")) == ["a", "b", "c"]
