"""A small, whole world of inputs: a data set with every form of tags, and a finished run on it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from tag2mask.artifacts import (
    CommandRecord,
    Manifest,
    atomic_write_json,
    note_sources,
    save_features,
    save_labels,
    save_maps,
    save_sub_labels,
    write_manifest,
)
from tag2mask.core import VOC_NAMES, ClassList, ScoreMaps
from tag2mask.data import VOC

CLASSES = ClassList.voc(["cat", "dog"])
SIZE = (24, 32)  # height, width
IDS = [f"p{number}" for number in range(6)]
_SCORE = {
    "scored": True, "miou": 0.5, "best_miou": 0.6, "threshold": 0.3, "best_threshold": 0.4, "precision": 0.7,
    "coverage": 1.0, "images": 4, "metrics": {"mAP": 0.9},
    "confusion": [[9, 1, 0, 0, 0], [0, 5, 1, 0, 0], [0, 0, 3, 0, 1]],
    "per_class": {"background": 0.9, "cat": None, "dog": 0.1},
    "variant": "single_scale", "variants": {"single_scale": {"miou": 0.5, "per_class": {"cat": 0.1}}},
}  # fmt: skip
SPLITS = {"train": IDS[:4], "val": IDS[4:]}


@dataclass(frozen=True)
class World:
    """Folders and files that the commands read.

    Attributes:
        root: around everything.
    """

    root: Path

    @property
    def voc(self) -> Path:
        """A data set in VOC's layout."""
        return self.root / "voc"

    @property
    def run(self) -> Path:
        """A run folder."""
        return self.root / "run"

    @property
    def conf(self) -> Path:
        """Configurations."""
        return self.root / "conf"


def build(root: Path, conf: Path, network: bool = True) -> World:
    """Write everything.

    Args:
        root: an empty folder.
        conf: our own configurations, which are copied.
        network: also a checkpoint, which takes the seconds of importing torch.
    """
    world = World(root)
    _images(world)
    _tags(world)
    _results(world, _steps(world))
    if network:
        _checkpoint(world)
    for path in conf.rglob("*.yaml"):
        target = world.conf / path.relative_to(conf)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return world


def _tags_of(number: int) -> list[str]:
    return ["cat", "dog"] if number == 3 else [("cat", "dog")[number % 2]]


def _images(world: World) -> None:
    rng = np.random.default_rng(0)
    (world.voc / "JPEGImages").mkdir(parents=True)
    for number, name in enumerate(IDS):
        pixels = rng.integers(0, 255, (*SIZE, 3), np.uint8)
        Image.fromarray(pixels).save(world.voc / "JPEGImages" / f"{name}.jpg")
        truth = np.zeros(SIZE, np.uint8)
        for place, tag in enumerate(_tags_of(number)):
            truth[4:12, 4 + 14 * place : 14 + 14 * place] = CLASSES.ids[CLASSES.names.index(tag)]
        save_labels(world.voc / "SegmentationClass" / f"{name}.png", truth)
    for split, ids in SPLITS.items():
        path = world.voc / "ImageSets" / "Segmentation" / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(ids) + "\n")


def _tags(world: World) -> None:
    rows = [f"{name}.jpg,{';'.join(_tags_of(n))},{_split(name)}" for n, name in enumerate(IDS)]
    (world.voc / "labels.csv").write_text("\n".join(["image,labels,split", *rows]) + "\n")
    for number, name in enumerate(IDS):
        objects = "".join(f"<object><name>{tag}</name></object>" for tag in _tags_of(number))
        path = world.voc / "Annotations" / f"{name}.xml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"<annotation><filename>{name}.jpg</filename>{objects}</annotation>")
    hot = {
        name: np.array([tag in _tags_of(n) for tag in VOC_NAMES], np.float32) for n, name in enumerate(IDS)
    }
    np.save(world.voc / "cls_labels.npy", np.array(hot, dtype=object), allow_pickle=True)
    plain = {f"{name}.jpg": _tags_of(n) for n, name in enumerate(IDS)}
    (world.voc / "tags.json").write_text(json.dumps(plain))
    (world.voc / "coco.json").write_text(json.dumps(_coco()))
    images = {"root": str(world.voc), "images": "JPEGImages", "csv": "labels.csv", "masks": None}
    table = {"class_path": "tag2mask.data.Table", "init_args": images}
    (world.root / "table.yaml").write_text(yaml.safe_dump({"data": {"init_args": {"dataset": table}}}))
    xml = {"class_path": "tag2mask.data.VOC", "init_args": {"root": str(world.voc)}}
    (world.root / "voc.yaml").write_text(yaml.safe_dump({"data": {"init_args": {"dataset": xml}}}))


def _split(name: str) -> str:
    return next(split for split, ids in SPLITS.items() if name in ids)


def _coco() -> dict[str, object]:
    images = [
        {"id": n, "file_name": f"{name}.jpg", "height": SIZE[0], "width": SIZE[1]}
        for n, name in enumerate(IDS)
    ]
    outlines = [
        {"image_id": n, "category_id": 1 + (tag == "dog"), "area": 9, "iscrowd": 0,
         "segmentation": [[4, 4, 12, 4, 12, 12]]}
        for n in range(len(IDS)) for tag in _tags_of(n)
    ]  # fmt: skip
    names = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    return {"images": images, "annotations": outlines, "categories": names}


def _steps(world: World) -> VOC:
    data = VOC(str(world.voc), classes=list(CLASSES.names))
    kinds = {
        "cam": ("maps", "train"),
        "affinity_labels": ("affinity_labels", "train"),
        "pseudo_label": ("labels", "train"),
        "features": ("features", "train"),
        "sub_labels": ("sub_labels", "train"),
        "segmentation": ("segmentation", "val"),
    }
    for name, (kind, split) in kinds.items():
        done = CommandRecord(complete=True, fingerprint="f" * 64, seconds=2.0, peak_memory_mb=100.0)
        commands = {"fit": done, "predict": done} if name in ("cam", "segmentation") else {"predict": done}
        manifest = Manifest(
            step=name, kind=kind, recipe="psa", classes=CLASSES.to_dict(), data=data.describe(), split=split,
            image_ids=SPLITS[split], parents={}, commands=commands, versions={"torch": "1"}, commit="",
            checkpoint="checkpoints/last.ckpt" if name == "segmentation" else "", complete=True,
        )  # fmt: skip
        write_manifest(world.run / name, manifest)
        record = {"fingerprint": "f" * 64, "parts": {"settings": {}, "files": {}, "options": []}}
        atomic_write_json(world.run / name / "inputs.json", dict.fromkeys(commands, record))
        atomic_write_json(world.run / name / "metrics.json", {"cam_threshold": 0.3})
        if name != "features":
            atomic_write_json(world.run / name / "score.json", {**_SCORE, "kind": kind, "split": split})
            atomic_write_json(world.run / name / "image_scores.json", dict.fromkeys(SPLITS[split], 0.5))
        note_sources(world.run / name / "sources.json", [data.image_path(i) for i in IDS])
        (world.run / name / "fit.yaml").write_text("seed_everything: 3\n")
    settings = {"recipe": "psa", "data": str(world.root / "voc.yaml"), "budget": "tiny", "seed": 3}
    atomic_write_json(world.run / "run.json", settings)
    atomic_write_json(
        world.run / "scorecard.json", {"paper": {"targets": {"cam": 48.0}}, "seconds": {"cam": 1.0}}
    )
    return data


def _results(world: World, data: VOC) -> None:
    rng = np.random.default_rng(1)
    for name in SPLITS["train"]:
        scores = ScoreMaps(name, rng.random((2, 3, 4), np.float32), [1, 2], SIZE)
        save_maps(world.run / "cam" / "out", scores, CLASSES)
        for place in ("affinity_labels/out/fg", "affinity_labels/out/bg", "pseudo_label/out"):
            save_labels(world.run / place / f"{name}.png", np.full(SIZE, CLASSES.ids[0], np.uint8))
        save_features(world.run / "features" / "out" / f"{name}.npy", rng.random(8, np.float32))
        save_sub_labels(world.run / "sub_labels" / "out" / f"{name}.json", {1: 0, 2: 3}, CLASSES)
    for name in SPLITS["val"]:
        save_labels(
            world.run / "segmentation" / "out" / "single_scale" / f"{name}.png", np.zeros(SIZE, np.uint8)
        )


def _checkpoint(world: World) -> None:
    import torch

    from tag2mask.backbones import BackboneSpec
    from tag2mask.heads import HeadSpec
    from tag2mask.modules import SegmentationModel

    torch.manual_seed(0)
    module = SegmentationModel(2, BackboneSpec("test_resnet", "none", 16), head=HeadSpec("deeplabv2"))
    module.classes = CLASSES
    checkpoint: dict[str, object] = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    path = world.run / "segmentation" / "checkpoints" / "last.ckpt"
    path.parent.mkdir(parents=True)
    torch.save(checkpoint, path)
