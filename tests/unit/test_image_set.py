"""Data sets in VOC's layout: classes, tags, images, masks, lists, and ``tag2mask data check``."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tag2mask.artifacts.labels import save_labels
from tag2mask.cli import main
from tag2mask.core import VOC_NAMES, UserError
from tag2mask.data import VOC, ImageSet
from tag2mask.data.command import dataset_from_config
from tests.voc_files import SIZE, root, write_image, write_list, write_mask

__all__ = ["root"]  # the fixture of these tests


def write_xml(root: Path, image_id: str, body: str) -> None:
    (root / "Annotations").mkdir(exist_ok=True)
    (root / "Annotations" / f"{image_id}.xml").write_text(body)


def objects(*names: str) -> str:
    inner = "".join(
        f"<object><name>{n}</name><difficult>1</difficult><part><name>head</name></part></object>"
        for n in names
    )
    return f"<annotation>{inner}</annotation>"


# ------------------------------------------------------------------ classes and tags


def test_classes_are_those_of_the_train_tags_with_voc_ids(root: Path) -> None:
    images = VOC(str(root))
    assert images.classes.names == ("dog", "sheep")
    assert images.classes.ids == (12, 17)
    assert images.tags("b").tolist() == [1, 1]
    # the val image's other tag is a VOC class, only not one of this data set
    assert images.tag_names("c") == ("dog",)


def test_given_classes_keep_voc_order_and_mask_ids(root: Path) -> None:
    images = VOC(str(root), classes=["sheep", "cat"])
    assert images.classes.names == ("cat", "sheep")
    assert images.classes.ids == (8, 17)
    assert images.tag_names("a") == ()  # only shows a class that was left out
    with pytest.raises(UserError, match="'shep'; did you mean sheep"):
        _ = VOC(str(root), classes=["shep"]).classes


def test_masks_never_make_tags(root: Path) -> None:
    (root / "image_labels.csv").unlink()
    with pytest.raises(UserError, match="has no tags"):
        VOC(str(root)).tags("a")


def test_xml_tags_take_difficult_objects_and_leave_parts(root: Path) -> None:
    (root / "image_labels.csv").unlink()
    write_xml(root, "a", objects("dog", "person", "dog"))
    write_xml(root, "b", objects("cat"))
    images = VOC(str(root))
    assert images.classes.names == ("cat", "dog", "person")
    assert images.tag_names("a") == ("dog", "person")
    with pytest.raises(UserError, match=r"c\.jpg has no tags in .*Annotations"):
        images.check("val")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('<!DOCTYPE x [<!ENTITY e "dog">]><annotation/>', "document type"),
        ("<annotation>", "cannot be read as XML"),
        (objects("unicorn"), "unknown class 'unicorn'"),
    ],
)
def test_bad_xml_is_named(root: Path, body: str, message: str) -> None:
    (root / "image_labels.csv").unlink()
    write_xml(root, "a", body)
    with pytest.raises(UserError, match=message) as error:
        VOC(str(root)).check("train")
    assert "a.xml" in str(error.value)


def test_unknown_class_in_csv_names_file_and_line(root: Path) -> None:
    (root / "image_labels.csv").write_text("image,labels\na.jpg,dog\nb.jpg,dgo\n")
    with pytest.raises(UserError, match=r"'dgo'; did you mean dog.*image_labels\.csv, line 3"):
        VOC(str(root)).check("train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colour,shape\na,dog\n", "no column of images"),
        ("image,labels\na,dog\na.jpg,cat\n", "line 3: a.jpg is listed twice"),
        ("image,labels\na,dog\nb,\n", r"b\.jpg has no tags"),
        ("image,labels\na,dog\n", r"b\.jpg has no tags"),
    ],
)
def test_bad_csv_is_named(root: Path, text: str, message: str) -> None:
    (root / "image_labels.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        VOC(str(root)).check("train")


# ------------------------------------------------------------------ cls_labels.npy


def hot(*names: str) -> np.ndarray:
    return np.array([n in names for n in VOC_NAMES], np.float32)


def test_npy_labels_as_numpy_writes_them(root: Path) -> None:
    np.save(root / "cls.npy", {"a": hot("cow"), "b": hot("cow", "cat")}, allow_pickle=True)
    images = VOC(str(root), tags=str(root / "cls.npy"))
    assert images.classes.names == ("cat", "cow")
    assert images.tags("a").tolist() == [0, 1]


def write_npy(path: Path, pickled: bytes) -> None:
    with path.open("wb") as stream:
        header = {"descr": "|O", "fortran_order": False, "shape": ()}
        np.lib.format.write_array_header_1_0(stream, header)
        stream.write(pickled)


def test_npy_labels_of_older_numpy(root: Path) -> None:
    """Published files name numpy.core, which is numpy._core since numpy 2."""
    labels = np.array({"a": hot("cow"), "b": hot("cat")}, dtype=object)
    write_npy(root / "cls.npy", pickle.dumps(labels, protocol=2).replace(b"numpy._core", b"numpy.core"))
    assert VOC(str(root), tags=str(root / "cls.npy")).tag_names("a") == ("cow",)


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_npy_pickle_that_would_run_code_is_refused(root: Path) -> None:
    write_npy(root / "cls.npy", pickle.dumps(Evil(root / "ran")))
    with pytest.raises(UserError, match=r"cls\.npy cannot be read .*mkdir"):
        VOC(str(root), tags=str(root / "cls.npy")).check("train")
    assert not (root / "ran").exists()


@pytest.mark.parametrize("value", [np.ones(19, np.float32), "dog", [1, 2]])
def test_npy_vectors_of_another_length_are_refused(root: Path, value: object) -> None:
    np.save(root / "cls.npy", {"a": value}, allow_pickle=True)
    with pytest.raises(UserError, match="the tags of a are"):
        VOC(str(root), tags=str(root / "cls.npy")).tags("a")


@pytest.mark.parametrize("content", [b"", b"not numpy", b"\x93NUMPY\x01\x00"])
def test_npy_that_is_none(root: Path, content: bytes) -> None:
    (root / "cls.npy").write_bytes(content)
    with pytest.raises(UserError, match=r"cls\.npy cannot be read"):
        VOC(str(root), tags=str(root / "cls.npy")).tags("a")


# ------------------------------------------------------------------ images, masks, lists


def test_missing_root_and_split_are_named(root: Path) -> None:
    with pytest.raises(UserError, match="nowhere is not a folder in VOC's layout"):
        VOC("nowhere").check("train")
    with pytest.raises(UserError, match="unknown split 'vla'; did you mean val"):
        VOC(str(root)).ids("vla")


def test_lists_may_hold_paths_and_come_from_elsewhere(root: Path) -> None:
    listed = root / "mine.txt"
    listed.write_text("/JPEGImages/b.jpg /SegmentationClassAug/b.png\n\na\n")
    images = VOC(str(root), splits={"train": str(listed)})
    assert images.ids("train") == ["b", "a"]
    assert images.ids("val") == ["c"]
    listed.write_text("a\nb\na\n")
    with pytest.raises(UserError, match="lists a twice"):
        VOC(str(root), splits={"train": str(listed)}).ids("train")


def test_training_on_train_aug_and_scores_on_train(root: Path) -> None:
    for image_id in ("d", "e"):
        write_image(root / "JPEGImages" / f"{image_id}.jpg")
        write_mask(root / "SegmentationClassAug" / f"{image_id}.png", value=12)
    write_mask(root / "SegmentationClassAug" / "c.png", value=12)  # of val: SBD has masks of some of them
    with (root / "image_labels.csv").open("a") as table:
        table.write("d,dog\ne,dog\n")
    images = VOC(str(root), splits={"train": "train_aug"}, scored={"train": "train"})
    assert images.ids("train") == images.ids("train_aug") == ["a", "b", "d", "e"]
    assert images.scored_ids("train") == ["a", "b"] and images.scored_ids("val") is None
    again = ImageSet.from_description(images.describe())
    assert again.ids("train") == ["a", "b", "d", "e"] and again.scored_ids("train") == ["a", "b"]
    write_list(root, "train_aug", ["e", "a"])  # a list of that name wins over the masks
    assert VOC(str(root), splits={"train": "train_aug"}).ids("train") == ["e", "a"]


def test_train_aug_without_its_list_and_without_sbd(root: Path) -> None:
    with pytest.raises(UserError, match=r"train_aug, which needs .*train_aug\.txt or the masks of SBD in"):
        VOC(str(root)).ids("train_aug")


def test_sbd_masks_fill_in_for_missing_ones(root: Path) -> None:
    images = VOC(str(root))
    (root / "SegmentationClass" / "a.png").unlink()
    assert images.mask_path("a") is None
    assert images.read_mask("a") is None
    assert images.mask_path("b") is not None
    write_mask(root / "SegmentationClassAug" / "a.png")
    assert images.mask_path("a") == root / "SegmentationClassAug" / "a.png"


def test_masks_become_indices(root: Path) -> None:
    mask = np.array([[0, 12, 17, 20, 255, 8, 0, 0, 0]] * 6, np.uint8)
    save_labels(root / "SegmentationClass" / "a.png", mask)
    # dog is 1, sheep 2; tvmonitor and cat are no classes here
    read = VOC(str(root)).read_mask("a")
    assert read is not None
    assert read[0].tolist() == [0, 1, 2, 0, 255, 0, 0, 0, 0]


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
def test_images_of_any_mode_become_rgb(root: Path, mode: str) -> None:
    write_image(root / "JPEGImages" / "a.jpg", mode=mode)
    image = VOC(str(root)).read_image("a")
    assert image.shape == (*SIZE, 3)
    assert image.dtype == np.uint8


def test_images_are_turned_upright(root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    write_image(root / "JPEGImages" / "a.jpg", size=(9, 6), exif=exif)
    images = VOC(str(root))
    assert images.read_image("a").shape == (6, 9, 3)
    images.check("train")  # and its mask fits the upright image
    assert images.read_mask("a") is not None


def test_unreadable_image_is_named(root: Path) -> None:
    path = root / "JPEGImages" / "b.jpg"
    path.write_bytes(b"no image")
    images = VOC(str(root))
    with pytest.raises(UserError, match=r"b\.jpg cannot be read as a picture"):
        images.check("train")
    with pytest.raises(UserError, match=r"b\.jpg cannot be read as a picture"):
        images.read_image("b")
    path.unlink()
    with pytest.raises(UserError, match=r"b\.jpg does not exist"):
        images.check("train")


@pytest.mark.parametrize("which", ["JPEGImages/b.jpg", "SegmentationClass/b.png"])
def test_cut_off_file_is_found_before_training(root: Path, which: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (60, 90), np.uint8)
    Image.fromarray(noise).convert("RGB").save(root / "JPEGImages" / "b.jpg")
    Image.fromarray(noise).save(root / "SegmentationClass" / "b.png")
    VOC(str(root)).check("train")
    path = root / which
    path.write_bytes(path.read_bytes()[:-800])
    with pytest.raises(UserError, match=rf"{path.name} cannot be read"):
        VOC(str(root)).check("train")


def test_bytes_after_the_end_of_a_whole_image_do_no_harm(root: Path) -> None:
    path = root / "JPEGImages" / "b.jpg"
    path.write_bytes(path.read_bytes() + b"trailer of some camera")
    VOC(str(root)).check("train")


def test_mask_of_another_size_names_both(root: Path) -> None:
    write_mask(root / "SegmentationClass" / "b.png", size=(5, 5))
    for act in (lambda p: p.check("train"), lambda p: p.read_mask("b")):
        with pytest.raises(UserError, match=r"b\.png is 5x5 but its image .*b\.jpg is 9x6"):
            act(VOC(str(root)))


# ------------------------------------------------------------------ tag2mask data


def test_check_command(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "--data", "voc", "--data-root", str(root)]) == 0
    out = capsys.readouterr().out
    missing, everywhere, line = out.splitlines()
    assert missing == "note: no image of split val shows sheep"
    assert everywhere.startswith("note: every train image is tagged dog: ")
    assert "train 2 images, 1.50 tags each, 2 masks" in out and "2 classes: dog, sheep" in line


def test_check_command_with_other_tags(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tags = root / "mine.csv"
    tags.write_text("image,labels\na,cow\nb,cow\nc,cow\n")
    arguments = ["data", "check", "--data", "voc", "--data-root", str(root), "--tags", str(tags)]
    assert main(arguments) == 0
    assert "1 class: cow" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "vok"], "unknown data configuration 'vok'; did you mean voc"),
        (["--data", "voc", "--data-root", "/nowhere"], "/nowhere"),
        (["--data", "/nowhere.yaml"], "/nowhere.yaml"),
    ],
)
def test_check_command_errors(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.real
def test_voc_animals_lists_ship_and_fit_the_real_images() -> None:

    shared = Path(os.environ.get("TAG2MASK_SHARED", Path(__file__).parents[3] / "shared"))
    if not (shared / "voc-animals").is_dir():
        pytest.skip("no real images here")
    images = dataset_from_config("voc-animals", root=str(shared / "voc-animals"))
    images.check("train")
    images.check("val")
    assert (len(images.ids("train")), len(images.ids("val"))) == (600, 150)
    assert images.classes.names == ("cat", "cow", "dog", "horse", "person", "sheep")
    assert images.classes == VOC(str(shared / "voc-animals")).classes
