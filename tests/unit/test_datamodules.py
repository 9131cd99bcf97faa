"""Data modules: what their loaders give, and what they refuse."""

from __future__ import annotations

import logging
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tag2mask.artifacts import Manifest, ResultFiles, save_labels, save_maps, write_manifest
from tag2mask.core import ScoreMaps, UserError
from tag2mask.data import (
    VOC,
    AffinityData,
    ClassificationData,
    PseudoLabelData,
    SegmentationData,
    Shapes,
)
from tag2mask.data.transforms import AugmentSpec
from tests.shape_sets import CLASSIFY, CROP, LEARN, SEGMENT, TRAINER, shapes

__all__ = ["shapes"]  # the fixture of these tests


def write_step(folder: Path, kind: str, shapes: Shapes, **changes: Any) -> Path:
    manifest = Manifest(
        step=folder.name,
        kind=kind,
        recipe="psa",
        classes=shapes.classes.to_dict(),
        split="train",
        image_ids=shapes.ids("train"),
        complete=True,
    )
    for name, value in changes.items():
        setattr(manifest, name, value)
    folder.mkdir(parents=True, exist_ok=True)
    write_manifest(folder, manifest)
    return folder


def write_label_maps(folder: Path, shapes: Shapes, value: int | None = None) -> None:
    folder.mkdir(parents=True)
    for image_id in shapes.ids("train"):
        mask = shapes.read_mask(image_id)
        assert mask is not None
        save_labels(folder / f"{image_id}.png", mask if value is None else np.full_like(mask, value))


@pytest.fixture
def labels(tmp_path: Path, shapes: Shapes) -> Path:
    write_label_maps(tmp_path / "pseudo_label" / "out", shapes)
    return write_step(tmp_path / "pseudo_label", "labels", shapes)


@pytest.fixture
def affinity_labels(tmp_path: Path, shapes: Shapes) -> Path:
    write_label_maps(tmp_path / "affinity_labels" / "out" / "fg", shapes)
    write_label_maps(tmp_path / "affinity_labels" / "out" / "bg", shapes, value=0)
    return write_step(tmp_path / "affinity_labels", "affinity_labels", shapes)


@pytest.fixture
def maps(tmp_path: Path, shapes: Shapes) -> Path:
    (tmp_path / "cam" / "out").mkdir(parents=True)
    for image_id in shapes.ids("train"):
        # 0.5 and 1.0 are exact in the file's float16
        values = np.stack([np.full((3, 4), 0.5, np.float32), np.ones((3, 4), np.float32)])
        save_maps(tmp_path / "cam" / "out", ScoreMaps(image_id, values, [0, 3], (96, 128)), shapes.classes)
    return write_step(tmp_path / "cam", "maps", shapes)


# ------------------------------------------------------------------ what the loaders give


def test_classification(shapes: Shapes) -> None:
    data = ClassificationData(
        shapes, batch_size=4, augment=AugmentSpec(CROP, long_side=(64, 128)), num_workers=0
    )
    assert data.classes == shapes.classes
    data.setup("fit")
    batches = list(data.train_dataloader())
    assert len(batches) == 1  # 6 images: the last two do not fill a batch
    assert batches[0].keys() == {"id", "image", "tags"}
    assert batches[0]["image"].shape == (4, 3, 48, 48) and batches[0]["image"].dtype == torch.uint8
    assert batches[0]["tags"].shape == (4, 4) and batches[0]["tags"].dtype == torch.float32
    for image_id, tags in zip(batches[0]["id"], batches[0]["tags"], strict=True):
        assert tags.tolist() == shapes.tags(image_id).tolist()


def test_classification_validates_on_whole_images(shapes: Shapes) -> None:
    data = ClassificationData(shapes, batch_size=4, **CLASSIFY)
    data.setup("validate")
    samples = [sample for batch in data.val_dataloader() for sample in batch]
    assert [s["id"] for s in samples] == shapes.ids("val")
    first = samples[0]
    assert first["image"].shape == (3, 96, 128) and first["mask"].shape == (96, 128)
    assert (first["mask"].numpy() == shapes.read_mask(first["id"])).all()
    smaller = ClassificationData(shapes, batch_size=4, eval_long_side=64, **CLASSIFY)
    first = next(iter(smaller.val_dataloader()))[0]
    assert first["image"].shape == (3, 48, 64) and first["mask"].shape == (48, 64)
    predicted = next(iter(smaller.predict_dataloader()))[0]
    assert predicted["image"].shape == (3, 96, 128)  # results refer to the image as it is
    assert "mask" not in predicted and predicted["tags"].shape == (4,)
    assert smaller.predict_split_name == "train"


def test_affinity(shapes: Shapes, affinity_labels: Path) -> None:
    data = AffinityData(
        shapes, str(affinity_labels), batch_size=3, augment=AugmentSpec(160, pad="black"), num_workers=0
    )
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch.keys() == {"id", "image", "fg_labels", "bg_labels"}
    assert batch["fg_labels"].shape == batch["bg_labels"].shape == (3, 160, 160)
    assert batch["fg_labels"].dtype == torch.uint8
    outside = batch["fg_labels"] == 255
    assert outside.sum() == 3 * (160 * 160 - 96 * 128)  # the scale is kept
    assert (batch["bg_labels"][outside] == 255).all()
    assert (batch["image"].permute(0, 2, 3, 1)[outside] == 0).all()  # black
    assert set(batch["bg_labels"].unique().tolist()) == {0, 255}


def test_segmentation_on_pseudo_labels(shapes: Shapes, labels: Path) -> None:
    ids = shapes.ids("train")[:4]
    write_step(labels, "labels", shapes, image_ids=ids)
    data = SegmentationData(shapes, str(labels), batch_size=4, **SEGMENT)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert sorted(batch["id"]) == ids  # the images of the labels, not the split
    assert batch.keys() == {"id", "image", "label", "inside"}  # no tags: the network must not see any
    assert batch["label"].shape == (4, 48, 48) and batch["label"].dtype == torch.int64
    sample = next(iter(data.val_dataloader()))[0]
    assert sample["tags"].sum() >= 1 and sample["mask"].shape == (96, 128)
    predicted = [sample for batch in data.predict_dataloader() for sample in batch]
    assert [s["id"] for s in predicted] == shapes.ids("val")
    assert not {"tags", "mask"} & predicted[0].keys()


def test_segmentation_reads_ids_and_gives_indices(shapes: Shapes, tmp_path: Path) -> None:
    """Label files hold mask ids (dog 12, sheep 17); networks count 0, 1, 2."""
    root = tmp_path / "voc"
    (root / "ImageSets").mkdir(parents=True)
    (root / "JPEGImages").symlink_to(shapes.root / "JPEGImages")
    (root / "ImageSets" / "Segmentation").symlink_to(shapes.root / "ImageSets" / "Segmentation")
    rows = "".join(f"{i},dog sheep\n" for split in ("train", "val") for i in shapes.ids(split))
    (root / "image_labels.csv").write_text("image,labels\n" + rows)
    images = VOC(str(root))
    write_label_maps(tmp_path / "pl" / "out", shapes, value=17)
    step = write_step(tmp_path / "pl", "labels", shapes, classes=images.classes.to_dict())
    data = SegmentationData(images, str(step), batch_size=2, augment=AugmentSpec(CROP), num_workers=0)
    data.setup("fit")
    assert next(iter(data.train_dataloader()))["label"].unique().tolist() == [2]
    assert "mask" not in next(iter(data.val_dataloader()))[0]  # this set has none, and that is fine


def test_segmentation_on_true_masks(shapes: Shapes) -> None:
    augment = AugmentSpec(128, flip=0, jitter=0, hue=0)
    data = SegmentationData(shapes, supervision="masks", batch_size=6, augment=augment, num_workers=0)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert sorted(batch["id"]) == shapes.ids("train")
    for image_id, label in zip(batch["id"], batch["label"], strict=True):
        inside = label != 255
        assert (label[inside].reshape(96, 128).numpy() == shapes.read_mask(image_id)).all()


@pytest.mark.parametrize("supervision", ["masks_where_known", "masks_where_unknown"])
def test_true_masks_in_some_pixels_tell_what_labels_lose(
    supervision: Any, shapes: Shapes, labels: Path
) -> None:
    image_id = shapes.ids("train")[0]
    write_step(labels, "labels", shapes, image_ids=[image_id])
    label = np.full((96, 128), 255, np.uint8)
    label[:, :64] = 1  # the left half is known, and mostly wrong
    Image.fromarray(label).save(labels / "out" / f"{image_id}.png")
    augment = AugmentSpec(128, flip=0, jitter=0, hue=0)
    data = SegmentationData(shapes, str(labels), supervision, batch_size=1, augment=augment, num_workers=0)
    data.setup("fit")
    crop = next(iter(data.train_dataloader()))["label"][0].numpy()
    rows = np.flatnonzero((crop != 255).any(1))
    top = rows[0]
    mask = shapes.read_mask(image_id)
    assert mask is not None and (mask[:, :64] != 1).any()
    expected = np.full_like(label, 255) if supervision == "masks_where_known" else label.copy()
    half = slice(0, 64) if supervision == "masks_where_known" else slice(64, 128)
    expected[:, half] = mask[:, half]
    assert (crop[top : top + 96] == expected).all()
    assert data.sources() == shapes.sources(masks=True)  # a changed mask makes the step again


def test_pseudo_label(shapes: Shapes, maps: Path) -> None:
    data = PseudoLabelData(shapes, str(maps), predict_batch=4, num_workers=0)
    data.setup("predict")
    batches = list(data.predict_dataloader())
    assert [len(b) for b in batches] == [4, 2]
    sample = batches[0][0]
    scores = sample["maps"]
    assert scores.image_id == sample["id"] and scores.classes == (0, 3) and scores.image_size == (96, 128)
    assert scores.maps.shape == (2, 3, 4) and scores.maps.dtype == np.float32
    assert scores.maps[:, 0, 0].tolist() == [0.5, 1.0]
    assert sample["image"].shape == (3, 96, 128) and "mask" not in sample
    with pytest.raises(UserError, match="nothing to train on"):
        data.setup("fit")


@pytest.mark.parametrize("suffix", [".npz", ".png"])
def test_images_with_a_result_are_not_decoded(
    shapes: Shapes, maps: Path, tmp_path: Path, suffix: str
) -> None:
    done = shapes.ids("train")[1]
    (tmp_path / f"{done}{suffix}").write_bytes(b"")
    for data in (
        ClassificationData(shapes, **CLASSIFY),
        PseudoLabelData(shapes, str(maps), num_workers=0),
    ):
        data.done = ResultFiles(tmp_path, suffix)
        samples = {s["id"]: s for batch in data.predict_dataloader() for s in batch}
        assert samples.pop(done) == {"id": done, "done": True}
        assert len(samples) == 5
        assert all(s["done"] is False and "image" in s for s in samples.values())


# ------------------------------------------------------------------ what is refused


def test_a_batch_has_no_more_images_than_there_are(shapes: Shapes, caplog: pytest.LogCaptureFixture) -> None:
    data = ClassificationData(shapes, batch_size=8, **CLASSIFY)
    with caplog.at_level(logging.INFO, "tag2mask"):
        data.setup("fit")
        data.setup("fit")
    assert [len(batch["id"]) for batch in data.train_dataloader()] == [6]
    assert caplog.messages == ["batches of 6 instead of 8: all 6 training images"]


@pytest.mark.parametrize(
    ("given", "batches"),
    [
        ({}, 1),  # 6 images, batches of 4: the other two are dropped
        ({"min_steps": 3}, 1),
        ({"min_steps": 20}, 7),
        ({"min_steps": 20, "accumulate_grad_batches": 2}, 14),  # 7 steps of 2 batches each
        ({"min_steps": 20, "max_epochs": -1}, 1),  # its length is max_steps
    ],
)
def test_few_images_are_shown_several_times(
    shapes: Shapes, given: dict[str, Any], batches: int, caplog: pytest.LogCaptureFixture
) -> None:
    data = ClassificationData(shapes, batch_size=4, **CLASSIFY)
    cpu = types.SimpleNamespace(root_device=torch.device("cpu"))
    data.trainer = types.SimpleNamespace(**{**TRAINER, **given}, world_size=1, strategy=cpu)  # type: ignore[assignment]
    with caplog.at_level(logging.INFO, "tag2mask"):
        data.setup("fit")
    assert len(data.train_dataloader()) == batches
    assert bool(caplog.messages) == (batches > 1)
    if batches == 7:
        shown = [image_id for batch in data.train_dataloader() for image_id in batch["id"]]
        assert set(shown) == set(shapes.ids("train")) and len(shown) == 28
        assert "6 training images 5 times: 3 epochs are 21 steps of the optimiser instead of 3" in caplog.text


@pytest.mark.parametrize("name", ["batch_size", "predict_batch", "num_workers"])
def test_numbers_out_of_range(shapes: Shapes, name: str) -> None:
    with pytest.raises(UserError, match=f"data.{name} must be at least"):
        ClassificationData(shapes, **{name: -1})


def test_setup_checks_the_images_of_every_stage(
    shapes: Shapes, labels: Path, maps: Path, tmp_path: Path
) -> None:
    class Broken(Shapes):
        broken = ""

        def image_path(self, image_id: str) -> Path:
            good = super().image_path(image_id)
            return good.with_name("gone.jpg") if image_id == self.broken else good

    images = Broken(str(shapes.root), train=6, val=3)
    classification = ClassificationData(images, batch_size=2, **CLASSIFY)
    segmentation = SegmentationData(images, str(labels), batch_size=2, **SEGMENT)
    masks = SegmentationData(images, supervision="masks", batch_size=2, **SEGMENT)
    pseudo = PseudoLabelData(images, str(maps))
    for images.broken in ("train_00001", "val_00001"):
        for data in (classification, segmentation, masks):
            with pytest.raises(UserError, match=r"gone\.jpg does not exist"):
                data.setup("fit")
    for images.broken, data in (
        ("train_00001", classification),
        ("train_00001", pseudo),
        ("val_00001", segmentation),
    ):
        with pytest.raises(UserError, match=r"gone\.jpg does not exist"):
            data.setup("predict")


def test_steps_of_another_kind_class_list_or_data_set_are_refused(shapes: Shapes, labels: Path) -> None:
    data = SegmentationData(shapes, str(labels), batch_size=2, **SEGMENT)
    data.setup("fit")
    bad: list[dict[str, Any]] = [
        {"kind": "maps"},
        {"complete": False},
        {"classes": {"names": ["dog"], "ids": [12], "ignore": 255}},
        {"image_ids": ["someone_else"]},
    ]
    for changes in bad:
        write_step(labels, **{"kind": "labels", "shapes": shapes, **changes})
        with pytest.raises(UserError, match="pseudo_label"):
            data.setup("fit")


def test_missing_labels_are_named(shapes: Shapes, labels: Path, affinity_labels: Path, maps: Path) -> None:
    with pytest.raises(UserError, match="labels_dir"):
        SegmentationData(shapes, None, batch_size=2, **SEGMENT).setup("fit")
    (labels / "out" / "train_00003.png").unlink()
    with pytest.raises(UserError, match=r"train_00003\.png does not exist"):
        SegmentationData(shapes, str(labels), batch_size=2, **SEGMENT).setup("fit")
    (affinity_labels / "out" / "bg" / "train_00003.png").unlink()
    with pytest.raises(UserError, match=r"bg/train_00003\.png does not exist"):
        AffinityData(shapes, str(affinity_labels), batch_size=2, **LEARN).setup("fit")
    write_step(maps, "maps", shapes, image_ids=shapes.ids("train")[:3])
    with pytest.raises(UserError, match="no result for image train_00003"):
        PseudoLabelData(shapes, str(maps)).setup("predict")


def test_labels_of_another_size_are_named(shapes: Shapes, labels: Path) -> None:
    for image_id in shapes.ids("train"):
        save_labels(labels / "out" / f"{image_id}.png", np.zeros((90, 128), np.uint8))
    data = SegmentationData(shapes, str(labels), batch_size=2, **SEGMENT)
    data.setup("fit")
    with pytest.raises(UserError, match="128x90, the image 128x96"):
        next(iter(data.train_dataloader()))


def test_true_masks_must_be_there(shapes: Shapes, tmp_path: Path) -> None:
    class Maskless(Shapes):
        def mask_path(self, image_id: str) -> Path | None:
            return None

    images = Maskless(str(shapes.root), train=6, val=3)
    with pytest.raises(UserError, match="train_00000 has no mask"):
        SegmentationData(images, supervision="masks", batch_size=2, **SEGMENT).setup("fit")
