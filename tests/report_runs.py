"""Runs made up for the tests of the report: images, masks, steps and scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from tag2mask.artifacts import CommandRecord, Manifest, save_labels, save_maps, write_manifest
from tag2mask.core import ScoreMaps
from tag2mask.data import VOC, ImageSet

CAT, DOG = 8, 12
SIZE = (20, 30)


def make_images(root: Path, count: int = 3, masks: bool = True, files: bool = True) -> VOC:
    rng = np.random.default_rng(0)
    names = [f"p{i}" for i in range(count)]
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for name in names if files else []:
        Image.fromarray(rng.integers(0, 255, (*SIZE, 3), np.uint8)).save(root / "JPEGImages" / f"{name}.jpg")
        if masks:
            truth = np.zeros(SIZE, np.uint8)
            truth[5:10, 5:10], truth[0] = CAT, 255
            save_labels(root / "SegmentationClass" / f"{name}.png", truth)
    for split in ("train", "val"):
        (root / "ImageSets/Segmentation" / f"{split}.txt").write_text("\n".join(names))
    (root / "image_labels.csv").write_text("image,labels\n" + "".join(f"{n},cat dog\n" for n in names))
    return VOC(str(root), classes=["cat", "dog"])


def add_step(
    run: Path,
    name: str,
    kind: str,
    data: ImageSet,
    split: str = "train",
    parent: str = "",
    score: dict[str, object] | None = None,
    complete: bool = True,
) -> Path:
    ids = data.ids(split) if split else []
    manifest = Manifest(
        step=name,
        kind=kind,
        recipe="psa",
        classes=data.classes.to_dict(),
        data=data.describe(),
        split=split,
        image_ids=ids,
    )
    manifest.parents = {parent: "0"} if parent else {}
    manifest.commands = {"predict": CommandRecord(complete=True, seconds=61.0, peak_memory_mb=512.0)}
    manifest.versions, manifest.complete = {"torch": "9.9"}, complete
    write_manifest(run / name, manifest)
    if score is not None:
        plain = {"kind": kind, "split": split, "images": len(ids), "metrics": {}, **score}
        (run / name / "score.json").write_text(json.dumps(plain))
    return run / name / "out"


def numbers(miou: float, **more: object) -> dict[str, object]:
    per_class = {"background": 0.9, "cat": miou, "dog": None}
    return {"scored": True, "miou": miou, "per_class": per_class, "precision": 0.8, "coverage": 0.95, **more}


def make_run(run: Path, data: ImageSet, cam: float = 0.4) -> Path:
    """Four steps, named against the order of the alphabet, with a score each."""
    swept = {"threshold": 0.3, "best_threshold": 0.37, "best_miou": 0.55, "metrics": {"mAP": 0.93}}
    variants = {"single_scale": numbers(0.7), "multi_scale": numbers(0.72)}
    model_score = {**numbers(0.7), "variants": variants}
    cams = add_step(run, "z_cam", "maps", data, score=numbers(cam, **swept))
    walk = add_step(run, "walk", "maps", data, parent="z_cam", score=numbers(0.5, threshold=None))
    labels = add_step(run, "labels", "labels", data, parent="walk", score=numbers(0.6))
    model = add_step(run, "a_model", "segmentation", data, split="val", parent="labels", score=model_score)
    for name in data.ids("train"):
        for out, seed, present in ((cams, 1, [1, 2]), (walk, 2, [0, 1, 2])):
            maps = np.random.default_rng(seed).random((len(present), 5, 8))
            save_maps(out, ScoreMaps(name, maps, present, SIZE), data.classes)
        save_labels(labels / f"{name}.png", np.full(SIZE, CAT, np.uint8))
        save_labels(model / "single_scale" / f"{name}.png", np.zeros(SIZE, np.uint8))
    settings = {"recipe": "psa", "variant": "no_crf", "data": "voc", "budget": "small", "seed": 7}
    (run / "run.json").write_text(json.dumps(settings))
    (run / "z_cam" / "predict.yaml").write_text("seed_everything: 3\n")
    return run
