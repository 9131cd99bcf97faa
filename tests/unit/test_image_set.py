from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tag2mask.artifacts import Manifest, write_manifest
from tag2mask.artifacts.labels import save_labels
from tag2mask.cli import main
from tag2mask.core import VOC_NAMES, ClassList, UserError
from tag2mask.data import VOC, ImageSet, Table
from tag2mask.data.command import dataset_from_config
from tag2mask.data.image_set import import_data_set

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


def test_description_makes_the_same_set(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root.parent)
    plain = VOC(root.name, classes=["dog"]).describe()
    monkeypatch.chdir("/")  # paths in it are absolute
    again = ImageSet.from_description(plain)
    assert again.describe() == plain
    assert again.ids("train") == ["a", "b"]
    assert again.classes.names == ("dog",)


@pytest.mark.parametrize(
    "path", ["VOC", "tag2mask.data.Nope", "no.such.Set", "pathlib.Path", "", "../../etc", "\0.a"]
)
def test_description_of_no_data_set(path: str) -> None:
    with pytest.raises(UserError, match="is not a data set"):
        ImageSet.from_description({"class_path": path, "init_args": {}})
    if path:
        with pytest.raises(UserError, match="is not a data set"):
            import_data_set(path)


def test_the_step_of_a_description_is_named() -> None:
    for path in ("tag2mask.data.VOC", "tag2mask.data.Nope"):
        with pytest.raises(UserError, match="manifest of runs/psa/cam: "):
            ImageSet.from_description({"class_path": path, "init_args": {}}, origin=Path("runs/psa/cam"))


def test_a_description_imports_other_packages_for_the_user_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine_and_yours.py").write_text(
        "from pathlib import Path\nfrom tag2mask.data import VOC as Base\n"
        "Path('ran').touch()\nclass Own(Base): pass\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    plain = {"class_path": "mine_and_yours.Own", "init_args": {"root": str(tmp_path)}}
    with pytest.raises(UserError, match=r"'mine_and_yours\.Own' is not a data set of tag2mask .*register"):
        ImageSet.from_description(plain)
    assert not Path("ran").exists()
    Path("own.yaml").write_text(yaml.safe_dump({"data": {"init_args": {"dataset": plain}}}))
    try:
        made = dataset_from_config("own.yaml")
        assert Path("ran").exists() and type(made).__name__ == "Own"
        # what this process has imported for the user, it takes in the manifests of the run as well
        assert ImageSet.from_description(plain).describe() == made.describe()
    finally:
        sys.modules.pop("mine_and_yours", None)


@pytest.mark.parametrize("command", ["tune", "sensitivity", "wandb"])
def test_commands_that_read_images_take_the_class_of_the_data_set(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "run", "--data-class", "nowhere.Photos"]) == 2
    assert "'nowhere.Photos' is not a data set" in capsys.readouterr().err


def test_a_report_imports_the_class_that_the_user_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine_for_report.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    facts = {"kind": "maps", "recipe": "", "classes": ClassList.voc(["cat"]).to_dict()}
    data = {"class_path": "mine_for_report.Own", "init_args": {}}
    write_manifest(tmp_path / "run" / "cam", Manifest(step="cam", **facts, data=data, complete=True))
    try:
        assert main(["report", "run"]) == 0 and not Path("ran").exists()
        assert main(["report", "run", "--data-class", "mine_for_report.Own"]) == 2  # it holds no class
        assert Path("ran").exists()
    finally:
        sys.modules.pop("mine_for_report", None)


def test_description_of_a_table_from_an_earlier_version() -> None:
    given = {"photos": "/p", "csv": "/p/tags.csv", "masks": None}
    old = ImageSet.from_description({"class_path": "tag2mask.data.table.Table", "init_args": given})
    assert old.describe()["init_args"]["images"] == "/p"


def test_description_with_an_unknown_argument() -> None:
    with pytest.raises(UserError, match="colour"):
        ImageSet.from_description(
            {"class_path": "tag2mask.data.VOC", "init_args": {"root": "x", "colour": 1}}
        )


# ------------------------------------------------------------------ table


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
    from tag2mask.data.command import dataset_from_config

    shared = Path(os.environ.get("TAG2MASK_SHARED", Path(__file__).parents[3] / "shared"))
    if not (shared / "voc-animals").is_dir():
        pytest.skip("no real images here")
    images = dataset_from_config("voc-animals", root=str(shared / "voc-animals"))
    images.check("train")
    images.check("val")
    assert (len(images.ids("train")), len(images.ids("val"))) == (600, 150)
    assert images.classes.names == ("cat", "cow", "dog", "horse", "person", "sheep")
    assert images.classes == VOC(str(shared / "voc-animals")).classes
