"""What the papers and their code are trained with is what the recipes resolve to, at the paper's budget."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from tag2mask.core.recipe_names import split_label
from tag2mask.data.transforms import AugmentSpec
from tag2mask.modules import CamSpec, Optimization
from tag2mask.pipeline import Choice, load_recipe, resolve
from tag2mask.recipes.seam import SeamClassifier
from tests.step_files import LIBRARY

Settings = dict[str, Any]


def poly(lr: float, decay: float = 5e-4, momentum: float = 0.9, frozen: Any = ()) -> Settings:
    """SGD; `frozen` None leaves out the layers that the network's published code leaves out."""
    plain = {"lr": lr, "weight_decay": decay, "optimizer_args.momentum": momentum}
    rates = {f"optimization.{name}": value for name, value in plain.items()}
    return {**rates, "backbone.frozen": frozen if frozen is None else list(frozen)}


def crops(batch: int, crop: int, **augment: Any) -> Settings:
    return {"batch_size": batch, "augment.crop": crop, **{f"augment.{k}": v for k, v in augment.items()}}


def length(**trainer: int) -> Settings:
    return {f"trainer.{name}": value for name, value in trainer.items()}


PLAIN = {"jitter": 0.0, "hue": 0.0}
JITTER = {"jitter": 0.3}
# deeplab-pytorch's configs/voc12.yaml; sizes are drawn from the whole range
DEEPLAB = {**crops(10, 321, scale=[0.5, 1.5], **PLAIN), **length(max_steps=20000)}
DEEPLAB_V2 = {**DEEPLAB, **poly(2.5e-4), "head.msc_scales": [0.5, 0.75], "test.crf": "deeplab"}
# momentum 5e-4: PSA's optimiser takes the weight decay in its place, and so do RRM's and IRN's
PSA_CAM = {
    **poly(0.01, momentum=5e-4, frozen=None),
    **crops(16, 448, long_side=[256, 512], **JITTER),
    **length(max_epochs=15),
    "cam.scales": [0.5, 1.0, 1.5, 2.0], "cam.flip": True, "cam.threshold": 0.2,
}  # fmt: skip
SC_CAM = {
    **PSA_CAM, **crops(16, 224, long_side=[256, 512], **JITTER),
    "cam.threshold": 0.15, "sub_categories": 10, "sub_weight": 5.0, "schedule_epochs": 61,
}  # fmt: skip
SELF_GUIDED = {"head.name": "deeplabv2", "backbone.name": "resnet101"}
PUBLISHED: dict[str, dict[str, Settings]] = {
    "psa": {
        "cam": PSA_CAM,
        "affinity": {
            **poly(0.01, momentum=5e-4, frozen=None), **crops(8, 448, pad="black", **JITTER),
            **length(max_epochs=8), "radius": 5, "border": "psa",
        },
        "segmentation": {
            **poly(0.001), **crops(10, 448, scale=[0.5, 1.5], **JITTER), **length(max_steps=20000),
            "test.scales": [0.5, 0.75, 1.0, 1.25, 1.5], "test.flip": True,
        },
    },
    "psa:deeplab": {"segmentation": {**DEEPLAB, **poly(0.001), "batch_size": 20, "backbone.name": "vgg16"}},
    "sc_cam": {
        "cam": PSA_CAM,
        **{f"cam_{r}": {**SC_CAM, **length(max_epochs=21 + 10 * r)} for r in (1, 2, 3)},
        "segmentation": DEEPLAB_V2,
    },
    "rrm": {
        "cam": PSA_CAM,
        "joint": {
            **poly(7e-4, 1e-5, 1e-5), **crops(4, 321, scale=[0.7, 1.3], flip=0.5, **PLAIN),
            **length(max_steps=20000), "energy.weight": 1e-7, "energy.scale": 0.5, "test.crf": "dsrg",
            "classification.cam_scales": [1.0, 0.5, 1.5, 2.0], "test.scales": [1.0], "test.flip": False,
        },
        "segmentation": DEEPLAB_V2,
    },
    "rrm:from_imagenet": {
        "joint": {
            **poly(0.01, momentum=5e-4), **crops(8, 448, long_side=[256, 512], scale=None, **JITTER, hue=0.1),
            **length(max_epochs=24), "optimization.joint_lr": 7e-4, "optimization.classify_only": 0.5,
        },
    },
    "ial": {
        "unary_1": {**DEEPLAB, **poly(0.001), "backbone.name": "vgg16", "head.name": "largefov"},
        "regions_1": {
            "optimization.lr": 0.001, "optimization.lr_step": 20000, "optimization.lr_gamma": 0.1,
            "optimization.optimizer_args.momentum": 0.9, "share": 0.8, "confidence": 0.7,
        },
        "pairwise_1": {
            **poly(1e-6, 5e-3), **length(max_steps=20000), "optimization.poly_power": 0.5,
            "optimization.new_layer_factor": 10, "patches.count": 10, "patches.size": 128, "batch_size": 4,
        },
    },
    "self_guided": {
        "localise_1": {**SELF_GUIDED, **poly(0.001), **length(max_steps=50000), "batch_size": 10},
        "pseudo_label_1": {"iterations": 15, "window": 35, "eps": 1e-6},
        "segment_1": {**SELF_GUIDED, **poly(0.0005), **length(max_steps=10000), "batch_size": 8},
    },
    "irn": {
        "cam": {
            **poly(0.1, 1e-4, 1e-4, frozen=["stride8"]), **crops(16, 512, long_side=[320, 640], **PLAIN),
            **length(max_epochs=5), "cam.threshold": 0.15, "dropout": 0.0,
        },
        "affinity": {
            **crops(32, 512, scale=[0.5, 1.5], pad="mean", **PLAIN), **length(max_epochs=3), "radius": 10,
        },
        "segmentation": {**DEEPLAB, **poly(2.5e-4), "backbone.name": "resnet50"},
    },
    "seam": {
        "cam": {
            **PSA_CAM, **crops(8, 448, long_side=[448, 768], **JITTER), **length(max_epochs=8),
            "cam.threshold": 0.26, "shrink": 0.3,
        },
        "walk": {
            "refinements": [
                {"class_path": "tag2mask.modules.Background", "init_args": {"alpha": 6}},
                {"class_path": "tag2mask.modules.RandomWalk",
                 "init_args": {"beta": 8, "steps": 64, "radius": 5, "border": "all"}},
            ],
        },
        "pseudo_label": {"refinements": None},
        "segmentation": {**poly(0.001), **crops(10, 448, scale=[0.5, 1.5]), **length(max_steps=20000)},
    },
}  # fmt: skip


@pytest.mark.parametrize("label", PUBLISHED)
def test_the_published_settings(label: str) -> None:
    name, variant = split_label(label)
    recipe = load_recipe(LIBRARY, name, variant)
    for step, wanted in PUBLISHED[label].items():
        settings = resolve(LIBRARY, recipe.step(step), Choice("full"))
        found = {path.rpartition("init_args.")[2]: setting.value for path, setting in settings.items()}
        wrong = {path: (found.get(path), value) for path, value in wanted.items() if found.get(path) != value}
        assert not wrong, f"{label} {step}: {wrong}"


RATES = {
    # Of a loss summed over pixels: 1e-2, which networks of the papers have elsewhere, lets it diverge.
    ("ial", "pairwise_1"): {"optimization.lr": 1e-6, "trainer.gradient_clip_val": 1000.0},
    ("ial", "regions_1"): {"optimization.lr": 0.001},
    ("self_guided", "localise_1"): {"optimization.lr": 0.001},
    ("self_guided", "segment_1"): {"optimization.lr": 0.0005},
    # Nothing trains but a head at ten times this, whatever it reads.
    ("irn", "affinity"): {"optimization.lr": 0.01, "optimization.optimizer_args.momentum": 1e-4},
}
"""Rates that a paper gives for a step; they hold for each of the papers' networks."""


@pytest.mark.parametrize("backbone", ["vgg16", "resnet38", "resnet50", "resnet101", "resnet101_caffe"])
def test_rates_of_a_step_hold_for_all_networks_of_papers(backbone: str) -> None:
    for (name, step), wanted in RATES.items():
        settings = resolve(LIBRARY, load_recipe(LIBRARY, name).step(step), Choice("full", backbone))
        found = {path.rpartition("init_args.")[2]: setting.value for path, setting in settings.items()}
        assert {path: found.get(path) for path in wanted} == wanted, f"{name} {step}"


def test_what_no_page_says_is_published_too() -> None:
    augment, optimization = AugmentSpec(), Optimization()
    assert (augment.flip, augment.jitter, augment.hue, augment.pad) == (0.5, 0.3, 0.1, "mean")
    assert (optimization.poly_power, optimization.new_layer_factor) == (0.9, 10.0)
    assert CamSpec().scales == (0.5, 1.0, 1.5, 2.0) and CamSpec().flip
    weights = inspect.signature(SeamClassifier).parameters
    assert weights["equivariance"].default == weights["cross"].default == 1.0
