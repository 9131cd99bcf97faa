"""``tag2mask predict`` as a user starts it: new images of any size, no tags."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import tag2mask
from tag2mask.artifacts import CommandRecord, Manifest, load_labels, write_manifest
from tag2mask.artifacts.prediction_folder import PredictionFolder
from tag2mask.backbones import BackboneSpec
from tag2mask.cli import main
from tag2mask.core import ClassList, UserError
from tag2mask.heads import HeadSpec
from tag2mask.modules import Classifier, SegmentationModel
from tag2mask.pipeline import command

CLASSES = ClassList.voc(["cat", "dog"])


def _save(module: SegmentationModel | Classifier, path: Path) -> None:
    module.classes = CLASSES
    checkpoint: dict = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint, path)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a segmentation network that calls bright pixels dog and the rest background."""
    run = tmp_path_factory.mktemp("runs") / "psa"
    torch.manual_seed(0)
    module = SegmentationModel(2, BackboneSpec("resnet10t", "none", 16), head=HeadSpec("deeplabv2"))
    with torch.no_grad():
        for p in module.network.head.parameters():
            p.zero_()
        module.network.head.branches[0].bias.copy_(torch.tensor([0.0, -5.0, 1.0]))
    _save(module, run / "segmentation" / "checkpoints" / "last.ckpt")
    manifest = Manifest(
        step="segmentation",
        kind="segmentation",
        recipe="psa",
        classes=CLASSES.to_dict(),
        commands={"fit": CommandRecord(complete=True)},
        checkpoint="checkpoints/last.ckpt",
    )
    write_manifest(run / "segmentation", manifest)
    return run


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "trip").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, shape, mode in (
        ("a.jpg", (37, 53, 3), "RGB"),
        ("trip/b.png", (90, 40, 4), "RGBA"),
        ("gray.png", (20, 25), "L"),
    ):
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8), mode).save(folder / name)
    return folder


def _predict(images: Path, run: Path, out: Path, *more: str) -> int:
    return main(
        ["predict", str(images), "--checkpoint", str(run), "--out", str(out), "--device", "cpu", *more]
    )


def test_images_of_any_size_and_mode(run_folder: Path, images: Path, tmp_path: Path) -> None:
    assert _predict(images, run_folder, tmp_path / "out", "--overlay") == 0
    for name, shape in (("a", (37, 53)), ("trip/b", (90, 40)), ("gray", (20, 25))):
        labels = load_labels(tmp_path / "out" / f"{name}.png")
        # the network's bias makes everything a dog: VOC's id 12, not the index 2
        assert labels.shape == shape and (labels == 12).all()
        with Image.open(tmp_path / "out" / "overlay" / f"{name}.jpg") as overlay:
            # the image with its legend below, which is wider than these small images
            assert overlay.width > shape[1] and overlay.height == shape[0] + 20


def test_large_images_are_shrunk_for_the_network_only(run_folder: Path, tmp_path: Path) -> None:
    Image.new("RGB", (400, 100)).save(tmp_path / "wide.png")
    assert _predict(tmp_path / "wide.png", run_folder, tmp_path / "out", "--max-side", "64") == 0
    assert load_labels(tmp_path / "out" / "wide.png").shape == (100, 400)


def test_results_that_are_there_are_kept(
    run_folder: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert _predict(images, run_folder, tmp_path / "out") == 0
    before = (tmp_path / "out" / "a.png").stat().st_mtime_ns
    assert _predict(images, run_folder, tmp_path / "out") == 0
    assert "0 label maps (single_scale, 3 were there already)" in capsys.readouterr().out
    assert (tmp_path / "out" / "a.png").stat().st_mtime_ns == before


def test_full_disk_leaves_whole_files_and_one_message(
    run_folder: Path, images: Path, tmp_path: Path, full_disk: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with full_disk(300):  # enough for the record and the classes
        assert _predict(images, run_folder, out, "--overlay") == 2
    error = capsys.readouterr().err
    assert f"error: cannot write {out}" in error and "make room, then the same command goes on" in error
    assert not [path for path in out.rglob("*") if path.is_file() and path.suffix != ".json"]
    assert _predict(images, run_folder, out, "--overlay") == 0


def test_replaced_images_are_predicted_again(
    run_folder: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    assert _predict(images, run_folder, out) == 0
    Image.new("RGB", (30, 20)).save(images / "a.jpg")
    stray = out / ".a.png.abcdefgh.tmp"
    stray.touch()
    assert _predict(images / "gray.png", run_folder, out) == 0  # of the others nothing is forgotten
    assert _predict(images, run_folder, out) == 0
    assert "1 label maps (single_scale, 2 were there already)" in capsys.readouterr().out
    assert load_labels(out / "a.png").shape == (20, 30)
    assert not stray.exists()


def test_images_of_another_folder_do_not_keep_the_label_maps_of_the_first(
    run_folder: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cameras number from 1 again: images of a second folder kept the label maps of the first."""
    out, second = tmp_path / "out", tmp_path / "second"
    assert _predict(images, run_folder, out) == 0
    shutil.copytree(images, second)
    assert _predict(second, run_folder, out) == 0  # the same images at another place
    assert "0 label maps (single_scale, 3 were there already)" in capsys.readouterr().out
    third = shutil.copytree(images, tmp_path / "third")
    Image.new("RGB", (30, 20)).save(third / "a.jpg")
    before = (out / "a.png").read_bytes()
    assert _predict(third, run_folder, out) == 2
    told = capsys.readouterr().err
    assert f"{out / 'a.png'} was made from {images / 'a.jpg'}, and {third / 'a.jpg'} is another image" in told
    assert (out / "a.png").read_bytes() == before
    assert _predict(third, run_folder, out, "--overwrite") == 0
    assert load_labels(out / "a.png").shape == (20, 30)
    assert _predict(images, run_folder, out) == 2  # now they are the third folder's
    shutil.rmtree(third)
    capsys.readouterr()
    assert _predict(images, run_folder, out) == 0
    assert "1 label maps (single_scale, 2 were there already)" in capsys.readouterr().out
    assert load_labels(out / "a.png").shape == (37, 53)


def test_an_image_of_another_ending_is_predicted_again(
    run_folder: Path, images: Path, tmp_path: Path
) -> None:
    assert _predict(images, run_folder, tmp_path / "out") == 0
    (images / "a.jpg").unlink()
    Image.new("RGB", (30, 20)).save(images / "a.png")
    for _ in range(2):
        assert _predict(images, run_folder, tmp_path / "out") == 0
        assert load_labels(tmp_path / "out" / "a.png").shape == (20, 30)


@pytest.mark.parametrize("out", [".", "trip/..", "../link"])
def test_images_are_never_written_over(
    out: str, run_folder: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "link").symlink_to(images)
    before = {path: path.read_bytes() for path in images.rglob("*") if path.is_file()}
    assert _predict(images, run_folder, images / out, "--overwrite") == 2
    assert _predict(images / "gray.png", run_folder, images / out, "--overwrite") == 2
    (images / "overlay").mkdir()
    shutil.move(images / "a.jpg", images / "overlay" / "a.jpg")
    assert _predict(images / "overlay" / "a.jpg", run_folder, images / out, "--overlay", "--overwrite") == 2
    shutil.move(images / "overlay" / "a.jpg", images / "a.jpg")
    assert capsys.readouterr().err.count("--out") == 3
    drawn = images / "a.png"
    shutil.copy(images / "gray.png", drawn)
    assert _predict(images / "a.jpg", run_folder, images, "--overwrite") == 2
    assert f"{drawn} lies beside its image" in capsys.readouterr().err
    drawn.unlink()
    assert {path: path.read_bytes() for path in images.rglob("*") if path.is_file()} == before


def test_results_below_the_images_are_not_taken_for_images(
    run_folder: Path, images: Path, capsys: pytest.CaptureFixture
) -> None:
    assert _predict(images, run_folder, images / "masks") == 0
    assert _predict(images, run_folder, images / "masks") == 0
    assert "3 were there already" in capsys.readouterr().out
    assert len(list((images / "masks").rglob("*.png"))) == 3


def test_two_calls_for_one_folder_at_a_time(
    run_folder: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second would take the half-written files of the first for those of a call that was killed."""
    out = tmp_path / "out"
    assert _predict(images, run_folder, out) == 0
    half = out / ".a.png.half.tmp"
    half.touch()
    with PredictionFolder(out, {}).held():
        assert _predict(images, run_folder, out) == 2
        assert f"another prediction is writing to {out}" in capsys.readouterr().err
        assert half.exists()
    assert _predict(images, run_folder, out) == 0
    assert not half.exists()


def test_an_out_that_is_a_file(
    run_folder: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("mine")
    assert _predict(images, run_folder, tmp_path / "out") == 2
    assert f"cannot make the folder {tmp_path / 'out'}" in capsys.readouterr().err
    assert (tmp_path / "out").read_text() == "mine"


def test_label_maps_of_two_models_do_not_mix(
    run_folder: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    other, out = tmp_path / "other", tmp_path / "out"
    shutil.copytree(run_folder, other)
    path = other / "segmentation" / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["tag2mask"]["classes"] = ClassList.voc(["bird", "car"]).to_dict()
    torch.save(checkpoint, path)
    assert _predict(images, run_folder, out) == 0
    kept = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for changed, more in ((other, ()), (run_folder, ("--multi-scale",)), (run_folder, ("--max-side", "64"))):
        assert _predict(images, changed, out, *more) == 2
        assert "was not made by this model in this way" in capsys.readouterr().err
    # some of the old ones would stay
    assert _predict(images / "a.jpg", other, out, "--overwrite") == 2
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == kept
    assert _predict(images, other, out, "--overwrite") == 0
    assert (load_labels(out / "a.png") == 7).all() and "car" in (out / "classes.json").read_text()


def test_label_maps_that_no_record_tells_about_are_not_kept(
    run_folder: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "out").mkdir()
    Image.new("L", (53, 37)).save(tmp_path / "out" / "a.png")
    assert _predict(images, run_folder, tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert "was not made by this model" in said and "predict.json is not there" in said
    assert _predict(images, run_folder, tmp_path / "out", "--overwrite") == 0
    assert (load_labels(tmp_path / "out" / "a.png") == 12).all()


def test_the_folder_of_results_may_hold_the_images_that_were_given(run_folder: Path, tmp_path: Path) -> None:
    image = tmp_path / "out" / "images" / "a.png"
    image.parent.mkdir(parents=True)
    Image.new("RGB", (53, 37), "white").save(image)
    before = image.read_bytes()
    for more in ((), ("--max-side", "64", "--overwrite")):
        assert _predict(image.parent, run_folder, tmp_path / "out", *more) == 0
        assert load_labels(tmp_path / "out" / "a.png").shape == (37, 53) and image.read_bytes() == before


@pytest.mark.parametrize("variant", ["--multi-scale", "--crf"])
def test_other_variants(variant: str, run_folder: Path, images: Path, tmp_path: Path) -> None:
    assert _predict(images / "a.jpg", run_folder, tmp_path / "out", variant) == 0
    assert (load_labels(tmp_path / "out" / "a.png") == 12).all()


def test_unreadable_image_is_found_before_anything_is_predicted(
    run_folder: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (images / "z.jpg").write_bytes(b"not a picture")
    assert _predict(images, run_folder, tmp_path / "out") == 2
    assert "z.jpg" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_two_images_for_one_result_are_refused(
    run_folder: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    Image.new("RGB", (8, 8)).save(images / "a.png")
    assert _predict(images, run_folder, tmp_path / "out") == 2
    assert "would both become a.png" in capsys.readouterr().err


def test_what_is_no_segmentation_model_is_refused(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    _save(Classifier(2, BackboneSpec("resnet10t", "none", 16)), tmp_path / "cam.ckpt")
    assert _predict(images, tmp_path / "cam.ckpt", tmp_path / "out") == 2
    assert "holds a Classifier" in capsys.readouterr().err
    assert _predict(images, tmp_path, tmp_path / "out") == 2
    assert "no segmentation model" in capsys.readouterr().err
    assert _predict(tmp_path / "missing", tmp_path, tmp_path / "out") == 2
    assert "does not exist" in capsys.readouterr().err


# --- from Python --------------------------------------------------------------------------------


def test_predictor_of_a_run(run_folder: Path, images: Path) -> None:
    segment = tag2mask.load(run_folder, device="cpu")
    assert segment.classes == CLASSES and "cat, dog" in repr(segment)
    labels, scores = segment(images / "a.jpg"), segment.scores(images / "a.jpg")
    assert labels.shape == (37, 53) and labels.dtype == np.uint8 and (labels == 2).all()
    assert scores.shape == (3, 37, 53) and scores.dtype == np.float32
    # a softmax in float32
    assert np.allclose(scores.sum(0), 1, atol=1e-5) and (scores.argmax(0) == labels).all()


def test_every_kind_of_image_has_the_same_scores(run_folder: Path, images: Path) -> None:
    segment = tag2mask.load(run_folder / "segmentation", device="cpu")
    with Image.open(images / "trip" / "b.png") as image:
        pixels = np.array(image.convert("RGB"))
    kinds = [
        images / "trip" / "b.png",
        Image.fromarray(pixels),
        pixels,
        torch.from_numpy(pixels.transpose(2, 0, 1)),
    ]
    expected = segment.scores(kinds[0])
    assert all(np.array_equal(segment.scores(kind), expected) for kind in kinds[1:])


def test_scores_of_the_crf_and_of_shrunk_images(run_folder: Path) -> None:
    image = np.zeros((40, 200, 3), np.uint8)
    segment = tag2mask.load(run_folder, device="cpu", variant="multi_scale_crf", max_side=64)
    assert segment(image).shape == (40, 200)
    scores = segment.scores(image)
    assert scores.shape == (3, 40, 200) and (scores.argmax(0) == 2).all()


def test_predictors_that_cannot_be(run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown variant 'multi'; did you mean multi_scale"):
        tag2mask.load(run_folder, variant="multi")
    with pytest.raises(UserError, match="max_side must be at least 32"):
        tag2mask.load(run_folder, max_side=3)
    with pytest.raises(UserError, match="no checkpoint at"):
        tag2mask.load(tmp_path / "none")


def test_page_about_python(
    run_folder: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The examples of docs/python.md run one after the other; the recipe itself is not made again."""
    for name in ("psa", "demo"):
        shutil.copytree(run_folder, tmp_path / "runs" / name)
    card = {"steps": {"segmentation": {"miou": 0.5}}}
    (tmp_path / "runs" / "demo" / "scorecard.json").write_text(json.dumps(card))
    shutil.copy(images / "a.jpg", tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "run_recipe", lambda request: 0)
    page = (Path(__file__).resolve().parents[2] / "docs" / "python.md").read_text()
    names: dict[str, object] = {}
    for code in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(code, names)
    assert names["labels"].shape == (37, 53)
