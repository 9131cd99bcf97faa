"""Scores of folders, maps and steps, against numbers worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tag2mask.artifacts import Manifest, kinds, register_kind, save_labels, save_maps, write_manifest
from tag2mask.core import ClassList, ScoreMaps, UserError
from tag2mask.data import VOC
from tag2mask.evaluate import classes_in_masks, score_folder, score_maps, score_step
from tag2mask.evaluate.command import parse_classes, score_table, step_line

CAT, DOG = 8, 12  # VOC's ids
CLASSES = ClassList.voc(["cat", "dog"])
U = 255

# the true mask of image "a": 8 background pixels, 6 cat, 1 dog, 1 not scored
TRUTH_A = np.array([[0, 0, 8, 8], [0, 0, 8, 8], [0, 0, 8, 8], [0, 0, 12, U]], np.uint8)
# image "b": 12 background pixels, 4 dog
TRUTH_B = np.array([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [12, 12, 12, 12]], np.uint8)
# one cat pixel missed, one background pixel called dog; the pixel that is not scored says cat
PRED_A = np.array([[0, 0, 8, 8], [0, 0, 8, 8], [0, 12, 8, 0], [0, 0, 12, 8]], np.uint8)
# two dog pixels missed, and two background pixels unknown
PRED_B = np.array([[U, U, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [12, 12, 0, 0]], np.uint8)

Array = npt.NDArray[np.uint8]


def write_labels(folder: Path, **labels: Array) -> Path:
    for name, ids in labels.items():
        save_labels(folder / f"{name}.png", ids)
    return folder


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    return write_labels(tmp_path / "masks", a=TRUTH_A, b=TRUTH_B)


@pytest.fixture
def preds(tmp_path: Path) -> Path:
    return write_labels(tmp_path / "preds", a=PRED_A, b=PRED_B)


def make_voc(root: Path, with_masks: bool = True, **truths: Array) -> VOC:
    """A data set in VOC's layout with the classes cat and dog, and one split "train"."""
    for name, ids in truths.items():
        (root / "JPEGImages").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", ids.shape[::-1], (90, 120, 60)).save(root / "JPEGImages" / f"{name}.jpg")
        if with_masks:
            save_labels(root / "SegmentationClass" / f"{name}.png", ids)
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("".join(f"{name}\n" for name in truths))
    (root / "image_labels.csv").write_text("image,labels\n" + "".join(f"{n},cat dog\n" for n in truths))
    return VOC(str(root), classes=["cat", "dog"])


def make_step(
    folder: Path, kind: str, dataset: VOC, ids: tuple[str, ...] = ("a", "b"), complete: bool = True
) -> Path:
    manifest = Manifest(
        step=folder.name,
        kind=kind,
        recipe="psa",
        classes=dataset.classes.to_dict(),
        data=dataset.describe(),
        split="train",
    )
    manifest.image_ids, manifest.complete = list(ids), complete
    write_manifest(folder, manifest)
    return folder


# --- score_folder -------------------------------------------------------------------------------


def test_scores_by_hand(preds: Path, masks: Path) -> None:
    scores = score_folder(preds, masks)
    # background: 7 + 10 right; true 8 + 12 less the 2 unknown; called 8 (one a cat) + 12 (two dogs)
    assert scores.per_class["background"] == pytest.approx(17 / (18 + 20 - 17))
    assert scores.per_class["cat"] == pytest.approx(5 / 6)  # 5 right, 6 true, 5 called
    assert scores.per_class["dog"] == pytest.approx(3 / 6)  # 3 right, 5 true, 4 called
    assert scores.miou == pytest.approx((17 / 21 + 5 / 6 + 3 / 6) / 3)
    assert scores.precision == pytest.approx((17 / 20 + 5 / 5 + 3 / 4) / 3)
    assert scores.coverage == pytest.approx(29 / 31)  # 31 scored pixels, 2 of them unknown
    assert scores.recall == pytest.approx((17 / 20 + 5 / 6 + 3 / 5) / 3)
    both = scores.precision + scores.recall
    assert scores.f_score == pytest.approx(2 * scores.precision * scores.recall / both)
    assert scores.strict_miou == pytest.approx((17 / 23 + 5 / 6 + 3 / 6) / 3)
    assert (scores.images, scores.unknown, scores.missing) == (2, "ignore", 0)


def test_one_confusion_over_the_data_set_not_one_per_image(preds: Path, masks: Path) -> None:
    together = score_folder(preds, masks, classes=CLASSES)
    apart = [score_folder(preds, masks, ids=[i], classes=CLASSES) for i in "ab"]
    assert together.per_class["dog"] == pytest.approx(3 / 6)
    assert [s.per_class["dog"] for s in apart] == [pytest.approx(1 / 2), pytest.approx(2 / 4)]
    mean_of_images = sum(s.miou or 0 for s in apart) / 2
    assert together.miou != pytest.approx(mean_of_images, abs=0.01)


@pytest.mark.parametrize(
    ("unknown", "background"),
    [
        ("ignore", 17 / 21),  # the two unknown pixels are left out
        ("wrong", 17 / 23),  # they are in the union, as missed
        ("background", 19 / 23),  # they are right, since the truth is background there
    ],
)
def test_modes_of_unknown(preds: Path, masks: Path, unknown: str, background: float) -> None:
    scores = score_folder(preds, masks, unknown=unknown)  # type: ignore[arg-type]
    assert scores.per_class["background"] == pytest.approx(background)
    assert scores.unknown == unknown
    assert scores.coverage == pytest.approx(29 / 31)


def test_scores_on_the_pixels_that_other_labels_know(tmp_path: Path, preds: Path, masks: Path) -> None:
    right = np.full((4, 4), U, np.uint8)
    right[:, 2:] = 0  # whatever its class, a pixel counts where it is known
    partial = write_labels(tmp_path / "partial", a=right, b=np.full((4, 4), U, np.uint8))
    scores = score_folder(preds, masks, known_in=partial)
    # of image a: 6 cat pixels, 5 called so; 1 dog pixel, found; no true background, one call of it
    assert scores.per_class["cat"] == pytest.approx(5 / 6) and scores.per_class["dog"] == 1
    assert scores.per_class["background"] is None
    assert scores.coverage == 1
    (partial / "b.png").unlink()
    with pytest.raises(UserError, match=r"1 of 2 predictions are missing in .*partial"):
        score_folder(preds, masks, known_in=partial)
    skipped = score_folder(preds, masks, known_in=partial, missing="skip")
    assert (skipped.images, skipped.missing, skipped.miou) == (1, 1, scores.miou)


def test_a_class_without_a_true_pixel_is_left_out_of_the_mean(preds: Path, masks: Path) -> None:
    two = score_folder(preds, masks)
    many = score_folder(preds, masks, classes=ClassList.voc())
    assert many.per_class["boat"] is None
    assert len(many.per_class) == 21
    assert many.miou == pytest.approx(two.miou)


def test_a_predicted_id_that_is_no_class_is_wrong_and_not_background(tmp_path: Path, masks: Path) -> None:
    strange = np.where(PRED_B == 0, 4, PRED_B).astype(np.uint8)  # 4 is VOC's boat; no mask has one
    scores = score_folder(write_labels(tmp_path / "p", b=strange), masks, ids=["b"])
    assert scores.per_class == {"background": 0.0, "dog": pytest.approx(2 / 4)}


def test_a_true_id_outside_the_class_list_is_background(preds: Path, masks: Path) -> None:
    scores = score_folder(preds, masks, ids=["b"], classes=ClassList.voc(["cat"]))
    assert scores.per_class["cat"] is None
    assert scores.per_class["background"] == pytest.approx(12 / 14)  # 12 right, 2 called dog, 2 unknown


def test_palette_and_gray_files_score_alike(tmp_path: Path, preds: Path, masks: Path) -> None:
    gray = tmp_path / "gray"
    gray.mkdir()
    for name, ids in (("a", PRED_A), ("b", PRED_B)):
        Image.fromarray(ids).save(gray / f"{name}.png")
    assert score_folder(gray, masks) == score_folder(preds, masks)


def test_another_size_names_both_files(tmp_path: Path, masks: Path) -> None:
    preds = write_labels(tmp_path / "p", a=PRED_A[:3], b=PRED_B)
    with pytest.raises(UserError, match=r"p/a\.png is 4x3 but .*masks/a\.png is 4x4"):
        score_folder(preds, masks)


def test_missing_predictions(tmp_path: Path, masks: Path) -> None:
    preds = write_labels(tmp_path / "p", a=PRED_A)
    with pytest.raises(UserError, match=r"1 of 2 predictions are missing .*\(b\).*--missing skip"):
        score_folder(preds, masks)
    scores = score_folder(preds, masks, missing="skip")
    assert (scores.images, scores.missing) == (1, 1)
    (preds / "a.png").unlink()
    with pytest.raises(UserError, match="2 of 2"):
        score_folder(preds, masks, missing="skip")


def test_colours_are_not_ids(tmp_path: Path, masks: Path) -> None:
    preds = write_labels(tmp_path / "p", b=PRED_B)
    Image.new("RGB", (4, 4)).save(preds / "a.png")
    with pytest.raises(UserError, match=r"a\.png"):
        score_folder(preds, masks)


def test_ids_may_not_leave_the_folder(preds: Path, masks: Path) -> None:
    with pytest.raises(UserError, match=r"\.\./masks/a"):
        score_folder(preds, masks, ids=["../masks/a"])


def test_folders_that_are_not_there_or_empty(tmp_path: Path, preds: Path) -> None:
    with pytest.raises(UserError, match="nowhere is not a folder"):
        score_folder(preds, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no PNG masks"):
        score_folder(preds, tmp_path / "empty")


def test_classes_found_in_masks(tmp_path: Path, masks: Path) -> None:
    assert classes_in_masks(masks, ["a", "b"]) == CLASSES
    other = write_labels(tmp_path / "m", a=np.array([[0, 30, 2]], np.uint8))
    assert classes_in_masks(other, ["a"]) == ClassList(("class 2", "class 30"), (2, 30))
    ground = write_labels(tmp_path / "g", a=np.array([[0, 255]], np.uint8))
    with pytest.raises(UserError, match="only background"):
        classes_in_masks(ground, ["a"])


def test_predictions_bring_the_names_of_their_classes(preds: Path, masks: Path) -> None:
    (preds / "classes.json").write_text(json.dumps({"background": 0, "ring": CLASSES.ids[0]}))
    names = list(score_folder(preds, masks).per_class)
    assert names[:2] == ["background", "ring"]
    assert names[2] == f"class {CLASSES.ids[1]}"


def test_class_names_on_the_command_line() -> None:
    assert parse_classes("voc") == ClassList.voc()
    assert parse_classes("dog, cat") == CLASSES
    assert parse_classes("head,body") == ClassList(("head", "body"), (1, 2))


def test_table_of_scores(preds: Path, masks: Path) -> None:
    text = score_table(score_folder(preds, masks, classes=ClassList.voc(["boat", "cat", "dog"])).to_dict())
    lines = {line.split()[0]: line.split()[1:] for line in text.splitlines()}
    assert lines["cat"] == ["83.3"]
    assert lines["boat"] == ["-"]
    assert lines["coverage"] == ["93.5"]
    assert "2 images" in text and "unknown pixels: ignore" in text


# --- score_maps ---------------------------------------------------------------------------------


def cat_map() -> npt.NDArray[np.float32]:
    """0.6 on the five cat pixels that the prediction has, 0.35 on one background pixel, else 0.1."""
    values = np.full((4, 4), 0.1, np.float32)
    values[PRED_A == CAT] = 0.6
    values[3, 0] = 0.35
    return values


def save(
    out: Path,
    image_id: str,
    maps: np.ndarray,
    ids: list[int],
    size: tuple[int, int],
    others: tuple[int, ...] = (),
) -> None:
    """Maps with the mask ids of cat, dog and others, as a file has them."""
    known = ClassList(("cat", "dog", *map(str, others)), (CAT, DOG, *others))
    indices = [known.all_ids.index(i) for i in ids]
    save_maps(out, ScoreMaps(image_id, maps, indices, size), known)


def test_cams_at_a_fixed_threshold_and_at_the_best(tmp_path: Path) -> None:
    dataset = make_voc(tmp_path / "voc", a=TRUTH_A)
    save(tmp_path / "out", "a", cat_map()[None], [CAT], (4, 4))
    result = score_maps(tmp_path / "out", dataset, ["a"], threshold=0.3)
    # above 0.3: five cat pixels and one background pixel; the dog has no map
    assert result.scores.per_class["cat"] == pytest.approx(5 / 7)
    assert result.scores.per_class["background"] == pytest.approx(7 / 10)
    assert result.scores.per_class["dog"] == 0
    assert result.threshold == 0.3
    # from 0.35 on (as half floats hold it) the background pixel is right; the lowest such threshold wins
    assert result.best_threshold in (0.35, 0.36)
    assert result.best_miou == pytest.approx((8 / 10 + 5 / 6 + 0) / 3)


def test_a_threshold_between_the_steps_of_the_sweep(tmp_path: Path) -> None:
    dataset = make_voc(tmp_path / "voc", a=TRUTH_A)
    save(tmp_path / "out", "a", cat_map()[None], [CAT], (4, 4))
    assert score_maps(tmp_path / "out", dataset, ["a"], threshold=0.123).threshold == 0.123


def test_maps_with_background_are_scored_by_argmax(tmp_path: Path) -> None:
    dataset = make_voc(tmp_path / "voc", a=TRUTH_A, b=TRUTH_B)
    for name, ids in (("a", PRED_A), ("b", np.where(PRED_B == U, 0, PRED_B))):
        maps = np.stack([ids == value for value in (DOG, 0, CAT)]).astype(np.float32) * 0.4
        save(tmp_path / "out", name, maps, [DOG, 0, CAT], (4, 4))
    result = score_maps(tmp_path / "out", dataset, ["a", "b"])
    assert result.scores.per_class["background"] == pytest.approx(19 / 23)
    assert result.scores.per_class["dog"] == pytest.approx(3 / 6)
    assert result.threshold is None and result.best_miou is None


def test_small_maps_are_enlarged_bilinearly(tmp_path: Path) -> None:
    truth = np.zeros((1, 8), np.uint8)
    truth[0, 5:] = CAT
    dataset = make_voc(tmp_path / "voc", a=truth)
    # 0 and 1 as two pixels; without aligned corners the eight pixels have
    # 0, 0, 1/8, 3/8, 5/8, 7/8, 1, 1: the last three exceed 0.7
    save(tmp_path / "out", "a", np.array([[[0.0, 1.0]]], np.float32), [CAT], (1, 8))
    assert score_maps(tmp_path / "out", dataset, ["a"], threshold=0.7).scores.per_class["cat"] == 1
    at_half = score_maps(tmp_path / "out", dataset, ["a"], threshold=0.5).scores
    assert at_half.per_class["cat"] == pytest.approx(3 / 4)


def test_a_image_without_maps_is_background(tmp_path: Path) -> None:
    dataset = make_voc(tmp_path / "voc", a=TRUTH_A, b=TRUTH_B)
    save(tmp_path / "out", "b", np.zeros((0, 2, 2), np.float32), [], (4, 4))
    save(tmp_path / "out", "a", cat_map()[None], [CAT], (4, 4))
    result = score_maps(tmp_path / "out", dataset, ["b", "a"], threshold=0.5)
    assert result.scores.per_class["background"] == pytest.approx(20 / 26)  # 8 + 12 right; 1 + 1 + 4 not
    assert result.scores.images == 2


def test_maps_that_do_not_fit(tmp_path: Path) -> None:
    dataset = make_voc(tmp_path / "voc", a=TRUTH_A, b=TRUTH_B)
    out = tmp_path / "out"
    save(out, "a", np.zeros((1, 2, 2), np.float32), [CAT], (5, 4))
    with pytest.raises(UserError, match=r"a\.npz belongs to an image of 4x5"):
        score_maps(out, dataset, ["a"])
    save(out, "a", np.zeros((1, 2, 2), np.float32), [3], (4, 4), others=(3,))
    with pytest.raises(UserError, match="class id 3"):
        score_maps(out, dataset, ["a"])
    save(out, "a", np.zeros((1, 2, 2), np.float32), [CAT], (4, 4))
    save(out, "b", np.zeros((1, 2, 2), np.float32), [0], (4, 4))
    with pytest.raises(UserError, match="maps of b have background and those of a have none"):
        score_maps(out, dataset, ["a", "b"])


# --- score_step ---------------------------------------------------------------------------------


def test_step_of_cams_takes_its_threshold_from_its_metrics(tmp_path: Path) -> None:
    dataset = make_voc(tmp_path / "voc", a=TRUTH_A)
    step = make_step(tmp_path / "cam", "maps", dataset, ids=("a",))
    save(step / "out", "a", cat_map()[None], [CAT], (4, 4))
    assert score_step(step)["threshold"] == 0.3
    (step / "metrics.json").write_text(json.dumps({"cam_threshold": 0.5, "mAP": 0.9}))
    score = score_step(step)
    assert score["threshold"] == 0.5
    assert score["miou"] == pytest.approx((8 / 10 + 5 / 6 + 0) / 3)
    assert score["metrics"]["mAP"] == 0.9
    curve = dict(zip(score["curve"]["threshold"], score["curve"]["miou"], strict=True))
    assert len(curve) == 99 and curve[0.5] == pytest.approx(score["miou"])
    assert max(curve.values()) == pytest.approx(score["best_miou"])
    assert [sum(row[:3]) for row in score["confusion"]] == [sum(row) for row in score["confusion"]]
    assert json.loads((step / "score.json").read_text()) == score
    assert "at the fixed threshold 0.50" in step_line(score)


def test_step_of_labels(tmp_path: Path) -> None:
    dataset = make_voc(tmp_path / "voc", a=TRUTH_A, b=TRUTH_B)
    step = make_step(tmp_path / "pseudo_label", "labels", dataset)
    write_labels(step / "out", a=PRED_A, b=PRED_B)
    score = score_step(step)
    assert score["scored"] and score["unknown"] == "ignore"
    assert score["miou"] == pytest.approx((17 / 21 + 5 / 6 + 3 / 6) / 3)
    assert score["coverage"] == pytest.approx(29 / 31)
    assert (score["kind"], score["split"], score["images"]) == ("labels", "train", 2)
    # columns: background, cat, dog, ids of no class, unknown
    assert score["confusion"] == [[17, 0, 1, 0, 2], [1, 5, 0, 0, 0], [2, 0, 3, 0, 0]]
    alone = {i: round(score_folder(step / "out", dataset, [i]).miou or 0, 4) for i in "ab"}
    assert json.loads((step / "image_scores.json").read_text()) == alone


def test_step_is_scored_on_the_images_that_the_data_set_names_for_it(tmp_path: Path) -> None:
    plain = make_voc(tmp_path / "voc", a=TRUTH_A, b=TRUTH_B)
    (tmp_path / "scored.txt").write_text("a\n")
    dataset = VOC(str(plain.root), scored={"train": str(tmp_path / "scored.txt")})
    step = make_step(tmp_path / "pseudo_label", "labels", dataset)
    write_labels(step / "out", a=PRED_A, b=PRED_B)
    of_one = score_folder(step / "out", dataset, ["a"]).to_dict()
    assert (score_step(step)["images"], score_step(step)["miou"]) == (1, of_one["miou"])
    assert score_step(step, every_image=True)["images"] == 2


def test_step_is_scored_where_its_data_lie_now(tmp_path: Path) -> None:
    dataset = make_voc(tmp_path / "voc", a=TRUTH_A, b=TRUTH_B)
    step = make_step(tmp_path / "run" / "pseudo_label", "labels", dataset)
    write_labels(step / "out", a=PRED_A, b=PRED_B)
    first = score_step(step)
    root = tmp_path / "elsewhere"
    (tmp_path / "voc").rename(root)
    init = {"dataset": {"init_args": {"root": str(tmp_path / "voc")}}}
    (step / "settings.yaml").write_text(json.dumps({"data": {"init_args": init}}))
    (tmp_path / "run" / "run.json").write_text(json.dumps({"data_root": str(root)}))
    assert score_step(step) == first
    noted = json.loads((step / "score_sources.json").read_text())
    assert noted and all(name.startswith(str(root)) for name in noted)


def test_step_of_a_kind_of_another_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "_KINDS", dict(kinds._KINDS))
    register_kind(kinds.LabelsKind("drawings", scored_as="labels"))
    dataset = make_voc(tmp_path / "voc", a=TRUTH_A, b=TRUTH_B)
    step = make_step(tmp_path / "drawings", "drawings", dataset)
    write_labels(step / "out", a=PRED_A, b=PRED_B)
    score = score_step(step)
    assert score["kind"] == "drawings" and score["miou"] == pytest.approx((17 / 21 + 5 / 6 + 3 / 6) / 3)


def test_step_of_affinity_labels(tmp_path: Path) -> None:
    dataset = make_voc(tmp_path / "voc", a=TRUTH_A)
    step = make_step(tmp_path / "affinity_labels", "affinity_labels", dataset, ids=("a",))
    # sure foreground: three cat pixels, one of them wrong;
    # sure background: the left column, and one cat pixel
    fg, bg = np.zeros((4, 4), np.uint8), np.full((4, 4), CAT, np.uint8)
    fg[0, 1:] = CAT
    bg[:, 0], bg[2, 2] = 0, 0
    write_labels(step / "out" / "fg", a=fg)
    write_labels(step / "out" / "bg", a=bg)
    score = score_step(step)
    assert score["precision_foreground"] == pytest.approx(2 / 3)
    assert score["precision_background"] == pytest.approx(4 / 5)
    assert score["coverage"] == pytest.approx(8 / 15)  # 3 + 5 of the 15 scored pixels


def test_step_of_a_segmentation_network(tmp_path: Path) -> None:
    dataset = make_voc(tmp_path / "voc", a=TRUTH_A)
    step = make_step(tmp_path / "segmentation", "segmentation", dataset, ids=("a",))
    with pytest.raises(UserError, match="single_scale"):
        score_step(step)
    write_labels(step / "out" / "single_scale", a=PRED_A)
    write_labels(step / "out" / "multi_scale_crf", a=np.where(TRUTH_A == U, 0, TRUTH_A).astype(np.uint8))
    score = score_step(step)
    assert score["variant"] == "single_scale"
    assert score["miou"] == score["variants"]["single_scale"]["miou"] < 1
    assert score["variants"]["multi_scale_crf"]["miou"] == 1


def test_step_without_masks_is_not_scored(tmp_path: Path) -> None:
    dataset = make_voc(tmp_path / "voc", with_masks=False, a=TRUTH_A)
    step = make_step(tmp_path / "pseudo_label", "labels", dataset, ids=("a",))
    write_labels(step / "out", a=PRED_A)
    score = score_step(step)
    assert score["scored"] is False and "no masks" in score["why"]
    assert step_line(score).startswith("not scored")


def test_a_data_set_that_is_away_does_not_cost_a_score(tmp_path: Path) -> None:
    dataset = make_voc(tmp_path / "voc", a=TRUTH_A)
    step = make_step(tmp_path / "pseudo_label", "labels", dataset, ids=("a",))
    write_labels(step / "out", a=PRED_A)
    score = score_step(step)
    (tmp_path / "voc").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"manifest of .*pseudo_label names is not there .*a\.jpg"):
        score_step(step)
    assert json.loads((step / "score.json").read_text()) == score
    assert json.loads((step / "image_scores.json").read_text()).keys() == {"a"}


def test_step_with_a_checkpoint_only(tmp_path: Path) -> None:
    dataset = make_voc(tmp_path / "voc", a=TRUTH_A)
    step = make_step(tmp_path / "affinity", "checkpoint", dataset, ids=())
    (step / "metrics.json").write_text('{"val_loss": 0.5}')
    assert score_step(step)["scored"] is False
    assert json.loads((step / "score.json").read_text())["metrics"] == {"val_loss": 0.5}


def test_step_that_cannot_be_scored(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing_here"):
        score_step(tmp_path / "nothing_here")
    dataset = make_voc(tmp_path / "voc", a=TRUTH_A)
    step = make_step(tmp_path / "labels", "labels", dataset, ids=("a",), complete=False)
    with pytest.raises(UserError, match="not complete"):
        score_step(step)
    make_step(step, "labels", VOC(str(tmp_path / "voc"), classes=["cat"]), ids=("a",))
    write_labels(step / "out", a=PRED_A[:, :2])
    with pytest.raises(UserError, match=r"out/a\.png is 2x4"):
        score_step(step)
    (step / "metrics.json").write_text("{")
    with pytest.raises(UserError, match=r"metrics\.json"):
        score_step(step)
