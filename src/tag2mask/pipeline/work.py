"""What steps do with their images: passes through networks, their own or those of earlier steps, and more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tag2mask.artifacts import TRAINING_SCRIPTS, VARIANTS
from tag2mask.artifacts.image_sizes import ImageSizes
from tag2mask.core.layers import value_at
from tag2mask.pipeline import costs
from tag2mask.pipeline.costs import NetworkCost, network_cost
from tag2mask.pipeline.plan import StepPlan

Sources = Mapping[str, Mapping[str, Any]]
"""Option of a step -> settings of the earlier step that it names."""

_MB = 1e6
_LARGEST = 2e6
"""Pixels that images are worked on at most (`tag2mask.modules.Predictor`)."""
_MERGED = 0.55
"""Time of stage 1's prediction, whose network is merged and works in one pass per size, over a plain one."""
_ALL_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5)
_MINED_SCALES = (1.0, 0.5, 1.5, 2.0)
_VIEWS = (0.5, 1.0, 1.5, 2.0)
"""Sizes of the test, of the maps that rrm mines, and of self_guided's, where the settings name none."""
_CAM, _AFFINITY, _SEGMENTATION = TRAINING_SCRIPTS
_INPUT = "model.init_args."


@dataclass(frozen=True)
class Work:
    """The work on an image, or on a megapixel of training crops.

    Attributes:
        passes: networks, None for one that was never measured, and the megapixels that go through each.
        beside: seconds on one core of all else.
    """

    passes: Sequence[tuple[NetworkCost | None, float]]
    beside: float = 0.0

    @property
    def network_seconds(self) -> float | None:
        """Seconds of the forward passes on one core; None where a network was never measured."""
        known = [network.forward * size for network, size in self.passes if network is not None]
        return sum(known) if len(known) == len(self.passes) else None


def predicting(plan: StepPlan, images: ImageSizes, sources: Sources) -> Work:
    """The work of a prediction on one image."""
    size = worked(images, None) / _MB
    beside = costs.WRITTEN + size * _beside(plan.settings, images)
    if plan.step.script not in TRAINING_SCRIPTS:
        return Work(list(_loaded(plan.settings, images, sources)), beside)
    network = network_cost(value_at(plan.settings, "model.init_args.backbone.name", ""), plan.step.script)
    if plan.step.kind == "segmentation" and VARIANTS[-1] in _variants(plan.settings):
        beside += size * _crf(value_at(plan.settings, "model.init_args.test.crf", "deeplab"))
    return Work([(network, _own_passes(plan, images))], beside)


def training(plan: StepPlan) -> Work:
    """What the training of a network does with a megapixel of its crops beside the training step itself."""
    if "JointModel" not in class_names(plan.settings.get("model", {})):
        return Work([])
    # maps of the crop at other sizes and two CRFs give its labels
    model = plan.settings["model"]["init_args"]
    share = 1 - value_at(model, "optimization.classify_only", 0.0)
    sizes = sum(
        scale**2 for scale in value_at(model, "classification.cam_scales", _MINED_SCALES) if scale != 1
    )
    network = network_cost(value_at(model, "backbone.name", ""), _CAM)
    crfs = 2 * _crf("cam") if value_at(model, "mining.with_crf", True) else 0.0
    return Work([(network, share * sizes)], share * crfs)


def train_pixels(settings: Mapping[str, Any], images: ImageSizes) -> float | None:
    """Pixels of an image that a training step works on, at all sizes of an MSC and in both views of SEAM.

    Those of its crop, its patches, or all; None where unknown.
    """
    if patches := value_at(settings, "data.init_args.patches", None):
        return float(patches["count"] * patches["size"] ** 2)
    if "RegionClassifier" in class_names(settings.get("model", {})):
        return worked(images, None)
    crop = value_at(settings, "data.init_args.augment.crop", None)
    return _msc(settings) * _views(settings) * crop**2 if isinstance(crop, int) else None


def train_images(settings: Mapping[str, Any], images: ImageSizes) -> int:
    """Images that a network trains on: all, or those of all folds but one."""
    count = images.counts.get("train", 0)
    folds = value_at(settings, "data.init_args.folds", None)
    return count - count // folds if isinstance(folds, int) else count


def validated(settings: Mapping[str, Any], images: ImageSizes) -> float:
    """Megapixels that go through the network in all validations."""
    if value_at(settings, "trainer.limit_val_batches", 1) == 0:
        return 0.0
    epochs = value_at(settings, "trainer.max_epochs", None) or 1
    times = max(1, epochs // (value_at(settings, "trainer.check_val_every_n_epoch", None) or 1))
    side = value_at(settings, "data.init_args.eval_long_side", None)
    side = side or value_at(settings, "model.init_args.test.long_side", None)
    energy = value_at(settings, "data.init_args.energy_images", None)
    count = images.counts.get("val", 0) if energy is None else min(energy, images.counts.get("train", 0))
    return float(times * count * _msc(settings) * worked(images, side) / _MB)


def worked(images: ImageSizes, long_side: int | None) -> float:
    """Pixels at which an image is worked on, in the mean."""
    return min(images.pixels, _LARGEST) * ((long_side / images.long_side) ** 2 if long_side else 1.0)


def largest_worked(images: ImageSizes) -> float:
    """Megapixels of the largest image as it is worked on."""
    return min(images.largest, _LARGEST) / _MB


def _own_passes(plan: StepPlan, images: ImageSizes) -> float:
    settings = plan.settings
    if cam := value_at(settings, "model.init_args.cam.scales", None):
        flip = value_at(settings, "model.init_args.cam.flip", True)
        return _MERGED * _scaled(cam, flip) * worked(images, None) / _MB
    once = _tested_once(settings, images)
    if plan.step.kind != "segmentation":
        return _localised(settings, images)
    variants = _variants(settings)
    several = _tested(settings, images) if set(variants) - {VARIANTS[0]} else 0.0
    return several + (once if VARIANTS[0] in variants else 0.0)


def _variants(settings: Mapping[str, Any]) -> Sequence[str]:
    found: Sequence[str] = value_at(settings, "model.init_args.test.variants", VARIANTS)
    return found


def _whole(settings: Mapping[str, Any], images: ImageSizes) -> float:
    return worked(images, None) / _MB


def _mirrored(settings: Mapping[str, Any], images: ImageSizes) -> float:
    return 2 * _whole(settings, images)


def _tested_once(settings: Mapping[str, Any], images: ImageSizes) -> float:
    return _msc(settings) * worked(images, value_at(settings, "model.init_args.test.long_side", None)) / _MB


def _msc(settings: Mapping[str, Any]) -> float:
    """Pixels at all sizes that a pass puts through the network (`msc_scales`), over those of the image."""
    scales = value_at(settings, "model.init_args.head.msc_scales", None) or ()
    return 1.0 + float(sum(scale**2 for scale in scales))


def _views(settings: Mapping[str, Any]) -> float:
    """Pixels of a crop and of its small view, if there is one (`SeamClassifier`), over those of the crop."""
    return 1.0 + float(value_at(settings, "model.init_args.shrink", 0.0) ** 2)


def _tested(settings: Mapping[str, Any], images: ImageSizes) -> float:
    scales = value_at(settings, "model.init_args.test.scales", _ALL_SCALES)
    flip = value_at(settings, "model.init_args.test.flip", True)
    return _scaled(scales, flip) * _tested_once(settings, images)


def _localised(settings: Mapping[str, Any], images: ImageSizes) -> float:
    """The image once, and at all sizes of self_guided's maps where there are several."""
    once = _tested_once(settings, images)
    if "ManyViewsModel" not in class_names(settings.get("model", {})):
        return once
    scales = value_at(settings, "model.init_args.scales", _VIEWS)
    return (1 + _scaled(scales, value_at(settings, "model.init_args.flip", True))) * once


def _mined(settings: Mapping[str, Any], images: ImageSizes) -> float:
    scales = value_at(settings, "model.init_args.classification.cam_scales", _MINED_SCALES)
    return _scaled(scales, False) * _tested_once(settings, images)


def _scaled(scales: Sequence[float], flip: bool) -> float:
    return sum(scale**2 for scale in scales) * (2 if flip else 1)


Passes = Callable[[Mapping[str, Any], ImageSizes], float]
_LOADED: Mapping[str, Mapping[str, tuple[str, Passes]]] = {
    "RandomWalk": {"affinity_from": (_AFFINITY, _whole)},
    "BoundaryWalk": {"affinity_from": (_AFFINITY, _mirrored)},
    "SegmentationMaps": {
        "segmentation_from": (_SEGMENTATION, _tested_once), "folds_from.0": (_SEGMENTATION, _tested_once),
    },
    "CrossFittedMaps": {"teachers.0": (_SEGMENTATION, _tested)},
    "FeatureExtractor": {"classifier_from": (_CAM, _whole)},
    "MinedLabelGenerator": {"joint_from": (_CAM, _mined)},
    "SelfGuidedLabelGenerator": {"network_from": (_SEGMENTATION, _localised)},
    "SelfGuidedMaps": {"network_from": (_SEGMENTATION, _localised)},
    "UnaryPairwise": {
        "unary_from": (_SEGMENTATION, _tested_once), "pairwise_from": (_AFFINITY, _whole),
    },
}  # fmt: skip
"""Class in a step's settings -> option -> the kind of network behind it, and the megapixels of an image that
go through it, from the settings of the step that trained it."""


def _loaded(
    settings: Mapping[str, Any], images: ImageSizes, sources: Sources
) -> Iterator[tuple[NetworkCost | None, float]]:
    for name in class_names(settings.get("model", {})):
        for option, (script, passes) in _LOADED.get(name, {}).items():
            if not (_INPUT + option in sources or value_at(settings, _INPUT + option, None)):
                continue  # another option names the network
            source = sources.get(_INPUT + option, {})
            backbone = value_at(source, "model.init_args.backbone.name", "")
            yield network_cost(str(backbone), script), passes(source, images)


def _beside(settings: Mapping[str, Any], images: ImageSizes) -> float:
    """Seconds a megapixel on one core of what is no network, in all links and generators of a step."""
    return sum(_link(name, link, images) for name, link in _links(settings.get("model", {})))


def _link(name: str, arguments: Mapping[str, Any], images: ImageSizes) -> float:
    if name == "DenseCRF":
        return _crf(arguments.get("params", "cam")) if arguments.get("enabled", True) else 0.0
    if name == "MinedLabelGenerator":
        return 2 * _crf("cam") if arguments.get("stage") != "cam" else 0.0
    if name in ("SelfGuidedLabelGenerator", "SelfGuidedMaps"):
        return float(costs.FILTER * arguments.get("iterations", 15) * images.tags)
    if name == "BoundaryWalk":
        return 4 * costs.WALK  # cells of stride 4 in place of 8
    return {"SuperpixelGenerator": costs.SUPERPIXELS, "RandomWalk": costs.WALK}.get(name, 0.0)


def _crf(params: str) -> float:
    return costs.CRF.get(params, max(costs.CRF.values()))


def class_names(plain: Any) -> Iterator[str]:
    """The last parts of all ``class_path`` in nested settings."""
    return (name for name, _ in _links(plain))


def _links(plain: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The last part of each ``class_path`` in nested settings, and its arguments."""
    if isinstance(plain, Mapping):
        if "class_path" in plain:
            yield str(plain["class_path"]).rpartition(".")[2], plain.get("init_args") or {}
        plain = list(plain.values())
    if isinstance(plain, list):
        for value in plain:
            yield from _links(value)
