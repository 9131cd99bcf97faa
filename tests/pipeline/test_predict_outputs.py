"""What ``tag2mask predict`` takes and writes beside label maps; the network is a stand-in."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageOps
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from tag2mask.api import segmenter
from tag2mask.artifacts import load_labels
from tag2mask.cli import main
from tag2mask.core import ClassList, UserError
from tag2mask.predict.inputs import find_jobs, require_readable
from tag2mask.predict.outlines import coco_run_lengths, regions
from tag2mask.predict.overlay import overlay_jpeg

CLASSES = ClassList.voc(["cat", "dog"])
Labels = npt.NDArray[np.uint8]


class Brightness:
    """Stands in for a network: dark pixels are background, middle ones cats, bright ones dogs."""

    classes = CLASSES
    calls = 0

    def __call__(self, image: Labels) -> Labels:
        type(self).calls += 1
        return (image[..., 0] // 86).astype(np.uint8)

    def labels_and_scores(self, image: Labels) -> tuple[Labels, npt.NDArray[np.float32]]:
        labels = self(image)
        return labels, np.eye(3, dtype=np.float32)[labels].transpose(2, 0, 1)


@pytest.fixture(autouse=True)
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "w.ckpt").write_bytes(b"weights")
    monkeypatch.setattr(segmenter, "load", lambda *_, **__: Brightness())
    monkeypatch.setattr(Brightness, "calls", 0)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """a.png has a dog of 6 x 4 pixels with a cat of 2 x 2 in it and a cat of one pixel; b.png is dark."""
    scene = np.zeros((10, 12, 3), np.uint8)
    scene[2:6, 3:9], scene[3:5, 5:7], scene[9, 0] = 255, 128, 128
    (tmp_path / "images" / "deep").mkdir(parents=True)
    Image.fromarray(scene).save(tmp_path / "images" / "a.png")
    Image.new("RGB", (5, 7)).save(tmp_path / "images" / "deep" / "b.png")
    return tmp_path / "images"


def predict(*words: str) -> int:
    return main(["predict", *words, "--checkpoint", "w.ckpt", "--out", "out"])


def test_areas_and_the_last_line(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict("images", "--areas", "--coco", "rle", "--overlay") == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "2 label maps (single_scale) and overlay/, areas.csv, coco_rle.json in out"
    rows = list(csv.reader(io.StringIO(Path("out/areas.csv").read_text())))
    assert rows == [
        ["image", "class", "id", "pixels", "percent"],
        ["a.png", "background", "0", "95", "79.167"],
        ["a.png", "cat", "8", "5", "4.167"],
        ["a.png", "dog", "12", "20", "16.667"],
        ["deep/b.png", "background", "0", "35", "100.000"],
    ]


def test_coco_files_are_read_by_its_own_api(images: Path) -> None:
    assert predict("images", "--coco", "polygons", "rle") == 0
    truth = load_labels("out/a.png")
    exact, drawn = COCO("out/coco_rle.json"), COCO("out/coco_polygons.json")
    for mask_id in CLASSES.ids:
        (entry,) = exact.loadAnns(exact.getAnnIds(imgIds=[1], catIds=[mask_id]))
        assert np.array_equal(exact.annToMask(entry).astype(bool), truth == mask_id)
        assert entry["area"] == (truth == mask_id).sum() and entry["iscrowd"] == 1
    # drawn in their order, the cat lies in the hole of the dog
    again = np.zeros_like(truth)
    for entry in drawn.loadAnns(drawn.getAnnIds(imgIds=[1])):
        again[drawn.annToMask(entry).astype(bool)] = entry["category_id"]
    assert np.array_equal(again, truth)
    assert [c["name"] for c in drawn.loadCats(drawn.getCatIds())] == ["cat", "dog"]
    assert [image["file_name"] for image in drawn.loadImgs([1, 2])] == ["a.png", "deep/b.png"]


def test_polygons_of_a_round_region_keep_its_area() -> None:
    rows, columns = np.mgrid[:60, :60]
    ids = np.where((rows - 30) ** 2 + (columns - 25) ** 2 < 400, 8, 0).astype(np.uint8)
    (region,) = regions(ids, CLASSES)
    flat = [region.polygon.ravel().tolist()]
    drawn = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(flat, 60, 60))).astype(bool)
    assert (drawn & (ids == 8)).sum() / (drawn | (ids == 8)).sum() > 0.97
    assert region.area == (ids == 8).sum() and len(region.polygon) < 60
    assert region.box == (6, 11, 39, 39)


def test_small_regions_get_no_polygon_where_asked(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict("images", "--coco", "polygons", "rle", "--labelme", "--min-region", "2") == 0
    entries = json.loads(Path("out/coco_polygons.json").read_text())["annotations"]
    assert sorted(entry["area"] for entry in entries) == [4, 20]
    assert (
        sum(len(json.loads(path.read_text())["shapes"]) for path in Path("out/labelme").rglob("*.json")) == 2
    )
    assert len(list(coco_run_lengths(load_labels("out/a.png"), CLASSES))) == 2
    assert "--min-region changes none" not in capsys.readouterr().out
    assert predict("images", "--labelme", "--min-region", "3") == 0
    assert "--min-region changes none" in capsys.readouterr().out
    assert predict("images", "--min-region", "0") == 2
    assert predict("images", "--min-region", "9", "--coco", "rle") == 2  # it would do nothing


def test_labelme_finds_the_image(images: Path) -> None:
    assert predict("images", "--labelme") == 0
    for name, count in (("a", 3), ("deep/b", 0)):
        path = Path("out/labelme") / f"{name}.json"
        content = json.loads(path.read_text())
        assert (path.parent / content["imagePath"]).resolve() == (images / f"{name}.png").resolve()
        with Image.open(path.parent / content["imagePath"]) as image:
            assert (content["imageWidth"], content["imageHeight"]) == image.size
        assert len(content["shapes"]) == count
    dog = json.loads(Path("out/labelme/a.json").read_text())["shapes"][0]
    assert dog["label"] == "dog" and sorted(dog["points"]) == [[3, 2], [3, 6], [9, 2], [9, 6]]


def test_scores(images: Path) -> None:
    assert predict("images/a.png", "--scores") == 0
    with np.load("out/scores/a.npz") as file:
        assert file["scores"].dtype == np.float16 and file["scores"].shape == (3, 10, 12)
        assert file["class_ids"].tolist() == [0, 8, 12] and file["class_names"].tolist()[0] == "background"
        assert np.array_equal(file["class_ids"][file["scores"].argmax(0)], load_labels("out/a.png"))


def test_what_is_asked_for_later_is_made_from_the_labels(images: Path) -> None:
    assert predict("images") == 0
    assert predict("images", "--overlay", "--labelme", "--areas") == 0
    assert Brightness.calls == 2 and Path("out/overlay/deep/b.jpg").is_file()
    Path("out/labelme/a.json").write_text("corrected")
    assert predict("images", "--labelme", "--scores") == 0  # scores need the network again
    assert Brightness.calls == 4 and Path("out/labelme/a.json").read_text() == "corrected"
    assert predict("images", "--overwrite") == 0
    assert not Path("out/labelme/a.json").exists() and not Path("out/areas.csv").exists()


def test_an_image_is_done_when_its_label_map_is_there(images: Path) -> None:
    """A call that was stopped between an image's files makes all of them again."""
    assert predict("images/a.png", "--overlay") == 0
    whole = Path("out/overlay/a.jpg").read_bytes()
    Path("out/a.png").unlink()
    Path("out/overlay/a.jpg").write_bytes(b"of another state")
    assert predict("images/a.png", "--overlay") == 0
    assert Path("out/overlay/a.jpg").read_bytes() == whole


def test_what_a_stopped_call_left_does_not_stay_beside_a_new_label_map(images: Path) -> None:
    """It may show another image, or what another model saw; a LabelMe file may hold corrections."""
    assert predict("images/a.png", "--overlay", "--scores", "--labelme") == 0
    Path("out/a.png").unlink()
    Image.new("RGB", (4, 4)).save("images/a.png")
    Path("w.ckpt").write_bytes(b"others")
    assert predict("images/a.png") == 0
    assert load_labels("out/a.png").shape == (4, 4) and Path("out/labelme/a.json").is_file()
    assert not Path("out/overlay/a.jpg").exists() and not Path("out/scores/a.npz").exists()


def test_patterns_and_lists(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert predict("images/**/*.png") == 0
    assert sorted(p.relative_to("out").as_posix() for p in Path("out").rglob("*.png")) == [
        "a.png",
        "deep/b.png",
    ]
    assert predict("images/**/*.png", "images/a.png") == 0  # the same image twice
    monkeypatch.setattr("sys.stdin", io.StringIO("\ufeffimages/deep/b.png\r\n\r\n"))
    assert predict("-", "images/a.png") == 0
    assert Path("out/b.png").is_file() and Brightness.calls == 3


@pytest.mark.parametrize(
    "data",
    [b"images/a.png\0images/deep/b.png\0", "images/a.png\r\nimages/deep/b.png".encode("utf-16")],
)
def test_lists_of_find_and_of_powershell(data: bytes, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), "utf-8"))
    assert predict("-") == 0 and Path("out/a.png").is_file() and Path("out/b.png").is_file()


@pytest.mark.parametrize("listed", [False, True])
def test_names_that_are_not_in_utf_8(
    listed: bool, images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They were refused by the record of sources, when predict.json stood already; a list had a traceback."""
    name = os.fsdecode(b"images/F\xf6to.png")
    (images / "a.png").rename(name)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(os.fsencode(name)), "utf-8"))
    assert predict("-" if listed else "images") == 2
    assert "F\\udcf6to.png is no name in UTF-8: rename it" in capsys.readouterr().err
    assert not Path("out").exists()


def test_a_closed_standard_input(
    images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert predict("-") == 2 and "standard input is closed" in capsys.readouterr().err


def test_a_name_with_brackets_is_a_file_first(images: Path) -> None:
    (images / "a.png").rename(images / "a[1].png")
    assert predict("images/a[1].png") == 0 and Path("out/a[1].png").is_file()


@pytest.mark.parametrize(
    ("word", "listed", "said"),
    [
        ("*.tif", "", "no image matches *.tif"),
        ("-", "", "the list on standard input is empty"),
        ("-", "none.png\n", "none.png, on the list on standard input, is no file"),
        ("none", "", "none does not exist: give image files, folders, patterns, or -"),
        ("out/*.png", "", "out is the folder of the images"),
    ],
)
def test_inputs_that_cannot_be(
    word: str, listed: str, said: str, images: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("sys.stdin", io.StringIO(listed))
    assert predict(word) == 2
    assert said in capsys.readouterr().err and not Path("out").exists()


def test_links_are_followed_and_those_to_nowhere_are_named(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "links"
    folder.mkdir()
    (folder / "all").symlink_to(images)
    (folder / "round").symlink_to(folder)
    found = {path.relative_to(images) for path in images.rglob("*.*") if path.suffix in (".jpg", ".png")}
    jobs = find_jobs([str(folder)], tmp_path / "out")
    assert {Path(job.file_name).relative_to("all") for job in jobs} == found
    assert found
    (folder / "lost.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (folder / "itself.jpg").symlink_to(folder / "itself.jpg")
    for given in (str(folder), str(folder / "*.jpg")):
        with pytest.raises(UserError, match=r"(?s)itself.jpg is a link .*lost.jpg is a link to a file"):
            require_readable(find_jobs([given], tmp_path / "out"))


def test_an_image_that_is_given_twice_is_labelled_once(images: Path, tmp_path: Path) -> None:
    whole = sorted(path for path in images.glob("*.*") if path.suffix in (".jpg", ".png"))[0]
    relative = os.path.relpath(whole)
    assert [job.image for job in find_jobs([relative, str(whole)], tmp_path / "out")] == [Path(relative)]


def test_earlier_results_behind_a_link_are_no_images(images: Path, tmp_path: Path) -> None:
    before = {job.name for job in find_jobs([str(images)], tmp_path / "out")}
    Image.new("RGB", (4, 4)).save(images / "new.png")
    (tmp_path / "out").mkdir()
    (images / "new.png").rename(tmp_path / "out" / "new.png")
    (images / "results").symlink_to(tmp_path / "out")
    assert {job.name for job in find_jobs([str(images)], tmp_path / "out")} == before


def test_all_unreadable_images_are_named_at_once(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (images / "broken.jpg").write_bytes(b"not a picture")
    Image.fromarray(np.zeros((4, 5), np.uint16)).save(images / "deep" / "x_ray.png")
    assert predict("images") == 2
    error = capsys.readouterr().err
    for text in ("2 things are wrong", "broken.jpg cannot be read", "x_ray.png has 16-bit"):
        assert text in error
    assert error.splitlines()[-1] == "mend them, or leave them out of the folder or list"
    assert not Path("out").exists()


def test_every_result_has_the_size_of_the_photo_as_viewers_show_it(images: Path) -> None:
    rng = np.random.default_rng(0)
    scene = Image.fromarray(rng.integers(0, 256, (6, 9, 3), dtype=np.uint8)).resize((60, 40))
    turned = Image.Exif()
    turned[0x0112] = 8
    scene.save(images / "turned.jpg", exif=turned)
    for name, mode in (("ink.jpg", "CMYK"), ("clear.png", "RGBA"), ("few.gif", "P"), ("gray.avif", "L")):
        scene.convert(mode).save(images / name)
    for name, box in (("dot.png", (0, 0, 1, 1)), ("row.png", (0, 0, 60, 1)), ("column.png", (0, 0, 1, 40))):
        scene.crop(box).save(images / name)
    scene.resize((900, 30)).save(images / "panorama.webp")
    also = ("--overlay", "--scores", "--areas", "--labelme", "--coco", "polygons", "rle")
    assert predict("images", *also) == 0
    coco = [json.loads(Path(f"out/coco_{form}.json").read_text())["images"] for form in ("polygons", "rle")]
    areas = list(csv.DictReader(io.StringIO(Path("out/areas.csv").read_text())))
    found = [path for path in images.rglob("*") if path.is_file()]
    assert len(found) == 11
    for image in found:
        name = image.relative_to(images).with_suffix("")
        with Image.open(image) as opened:
            width, height = ImageOps.exif_transpose(opened).size
        assert load_labels(f"out/{name}.png").shape == (height, width)
        with np.load(f"out/scores/{name}.npz") as file:
            assert file["scores"].shape[1:] == (height, width)
        with Image.open(f"out/overlay/{name}.jpg") as overlay:
            assert overlay.width >= width and overlay.height >= height + 20
        drawn = json.loads(Path(f"out/labelme/{name}.json").read_text())
        assert (drawn["imageHeight"], drawn["imageWidth"]) == (height, width)
        file_name = image.relative_to(images).as_posix()
        for entries in coco:
            (entry,) = [entry for entry in entries if entry["file_name"] == file_name]
            assert (entry["height"], entry["width"]) == (height, width)
        assert sum(int(row["pixels"]) for row in areas if row["image"] == file_name) == height * width


@pytest.mark.parametrize("name", ["areas.csv", "coco_rle.json", "overlay/a.jpg", "labelme/a.json"])
def test_files_of_others_with_our_names_stay(
    name: str, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (Path("out") / name).parent.mkdir(parents=True)
    (Path("out") / name).write_text("mine")
    assert predict("images", "--areas", "--coco", "rle", "--overlay", "--labelme", "--overwrite") == 2
    assert "no predict.json" in capsys.readouterr().err and (Path("out") / name).read_text() == "mine"


def test_legend_names_the_classes_that_are_there() -> None:
    """The picture keeps the image's size; each class adds its colour below, and lines wrap."""
    ids = np.zeros((40, 200), np.uint8)
    ids[:10], ids[10:14] = 12, 8
    with Image.open(io.BytesIO(overlay_jpeg(np.zeros((40, 200, 3), np.uint8), ids, CLASSES))) as picture:
        assert picture.size == (200, 60)
        legend = np.asarray(picture)[40:].astype(int)
    for colour in ((64, 0, 128), (64, 0, 0)):  # VOC's dog and cat; JPEG changes values a little
        assert (np.abs(legend - colour).max(2) < 25).sum() > 60
    many = ClassList.voc()
    ids = np.arange(21, dtype=np.uint8).repeat(100).reshape(21, 100)
    with Image.open(io.BytesIO(overlay_jpeg(np.zeros((21, 100, 3), np.uint8), ids, many))) as picture:
        assert picture.height == 21 + 20 * 20 and picture.width > 100
