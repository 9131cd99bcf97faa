"""The networks and generators of the steps inside a Lightning trainer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from io import BytesIO
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader

from tag2mask.artifacts import CommandRecord, Manifest, write_manifest
from tag2mask.backbones import BackboneSpec
from tag2mask.core import ClassList, UserError
from tag2mask.heads import HeadSpec
from tag2mask.modules import (
    AffinityNet,
    CamSpec,
    Classifier,
    InferenceSpec,
    Optimization,
    SegmentationModel,
    TrainableNetwork,
    class_probabilities,
    load_checkpoint,
)
from tag2mask.modules.base import CHECKPOINT_KEY

CLASSES = ClassList.from_names(["cat", "dog"])


LIGHT = BackboneSpec("resnet10t", "none", output_stride=16)


def _classifier(**backbone: Any) -> Classifier:
    return Classifier(2, replace(LIGHT, **backbone), Optimization(lr=0.01))


def _segmentation(head: str = "deeplabv2", backbone: BackboneSpec = LIGHT, **more: Any) -> SegmentationModel:
    return SegmentationModel(2, backbone, head=HeadSpec(head), **more)


def _crops(count: int = 8) -> DataLoader:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 64, 64), dtype=torch.uint8, generator=generator)
    tags = torch.eye(2)[torch.arange(count) % 2]
    labels = torch.randint(0, 3, (count, 64, 64), generator=generator)
    samples = [
        {"id": str(i), "image": p, "tags": t, "label": k}
        for i, (p, t, k) in enumerate(zip(images, tags, labels, strict=True))
    ]
    return DataLoader(samples, batch_size=4)


def _fit(module: pl.LightningModule, epochs: int = 1, loader: DataLoader | None = None) -> None:
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, loader or _crops())


def _norms(module: Classifier) -> dict[str, torch.Tensor]:
    state = module.backbone.state_dict()
    return {k: v.clone() for k, v in state.items() if "running" in k or "bn" in k}


def test_frozen_batchnorm_survives_lightning_epochs() -> None:
    module = _classifier(batchnorm="frozen")
    before = _norms(module)
    weights = module.backbone.state_dict()["model.layer4.0.conv1.weight"].clone()
    _fit(module, epochs=2)
    after = _norms(module)
    assert before and all(torch.equal(before[k], after[k]) for k in before)
    assert not torch.equal(weights, module.backbone.state_dict()["model.layer4.0.conv1.weight"])


def test_batchnorm_that_is_not_frozen_moves() -> None:
    module = _classifier(batchnorm="train")
    before = _norms(module)
    _fit(module)
    assert any(not torch.equal(before[k], v) for k, v in _norms(module).items())


def test_frozen_layers_stay_as_they_are() -> None:
    module = _classifier(frozen=["stride4"], batchnorm="train")
    before = {k: v.clone() for k, v in module.backbone.state_dict().items()}
    _fit(module)
    changed = {k for k, v in module.backbone.state_dict().items() if not torch.equal(before[k], v)}
    assert changed and all(k.startswith(("model.layer2", "model.layer3", "model.layer4")) for k in changed)


def test_rates_follow_the_poly_schedule_over_all_steps() -> None:
    module = _classifier()
    seen: list[float] = []
    module.on_train_batch_start = lambda *_: seen.append(module.optimizers().param_groups[0]["lr"])
    _fit(module, epochs=2)
    # 8 crops in batches of 4 over 2 epochs: 4 updates.
    assert seen == pytest.approx([0.01 * (1 - i / 4) ** 0.9 for i in range(4)])


def test_cam_head_and_pooled_logits_agree() -> None:
    module = _classifier().eval()
    images = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    # Both are sums of the same products in another order: float32 rounding only.
    torch.testing.assert_close(module.cam(images).mean((2, 3)), module(images), atol=1e-5, rtol=1e-4)


def test_segmentation_step_without_a_labelled_pixel_has_no_nan() -> None:
    module = _segmentation()
    batch = {"image": torch.zeros(2, 3, 64, 64, dtype=torch.uint8), "label": torch.full((2, 64, 64), 255)}
    loss = module.training_step(batch, 0)
    loss.backward()
    assert float(loss) == 0
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())


def test_segmentation_learns_a_constant_label() -> None:
    module = _segmentation(optimization=Optimization("torch.optim.AdamW", lr=1e-3))
    loader = _crops()
    for sample in loader.dataset:
        sample["label"] = torch.full((64, 64), 2)
    _fit(module, epochs=6, loader=loader)
    image = loader.dataset[0]["image"]
    module.variants = ("single_scale",)
    with torch.no_grad():
        (result,) = module.eval().predict_step([{"id": "a", "image": image}], 0)
    assert (result.labels["single_scale"] == 2).mean() > 0.95


def test_variants_give_probabilities_of_the_images_size() -> None:
    module = _segmentation("deeplabv3plus", test=InferenceSpec(scales=[0.5, 1.5])).eval()
    with torch.no_grad():
        scores = module.variant_scores(torch.randint(0, 256, (3, 45, 70), dtype=torch.uint8))
    for value in scores.values():
        assert value.shape == (3, 45, 70)
        torch.testing.assert_close(value.sum(0), torch.ones(45, 70))


def test_checkpoint_of_other_classes_is_refused() -> None:
    module = _classifier()
    module.classes = CLASSES
    checkpoint: dict[str, Any] = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    module.on_load_checkpoint(checkpoint)
    module.classes = ClassList.from_names(["cat", "cow"])
    with pytest.raises(UserError, match="trained for the classes cat, dog"):
        module.on_load_checkpoint(checkpoint)
    with pytest.raises(UserError, match="not made by tag2mask"):
        module.on_load_checkpoint({k: v for k, v in checkpoint.items() if k != CHECKPOINT_KEY})


class Sharper(Classifier):
    """As a recipe of another package might write it: an argument of its own, the others passed on."""

    def __init__(self, sharpness: float, **classifier: Any) -> None:
        super().__init__(**classifier)
        self.sharpness = sharpness


def _saved(module: TrainableNetwork) -> dict[str, Any]:
    checkpoint: dict[str, Any] = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    buffer = BytesIO()
    torch.save(checkpoint, buffer)
    buffer.seek(0)
    found: dict[str, Any] = torch.load(buffer, weights_only=True)
    return found


def test_all_arguments_are_saved_in_plain_types_and_build_the_network_again(tmp_path: Path) -> None:
    step, _ = _classifier_step(tmp_path / "cam")
    optimization = Optimization("torch.optim.AdamW", {"betas": (0.8, 0.9)}, lr=0.02)
    head = HeadSpec("deeplabv2", msc_scales=(0.5,))
    test = InferenceSpec(long_side=64, variants=("single_scale",))
    model = SegmentationModel(2, LIGHT, optimization, head, "classifier", str(step), test)
    checkpoint = _saved(model)
    arguments = checkpoint["hyper_parameters"]
    assert arguments["optimization"]["optimizer_args"] == {"betas": [0.8, 0.9]}
    assert arguments["backbone"] == {**asdict(LIGHT), "frozen": None}
    assert arguments["classifier_from"] == str(step) and arguments["start"] == "classifier"
    rmtree(step)  # what training started from is not read again
    again = SegmentationModel.restore(checkpoint)
    nothing = {"start": "weights", "classifier_from": None}
    without = {**arguments["backbone"], "weights": "none"}
    assert dict(again.hparams) == {**arguments, **nothing, "backbone": without}
    assert again.optimization.lr == 0.02 and again.variants == ("single_scale",)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True))


def test_arguments_that_a_subclass_passes_on_are_saved_too() -> None:
    module = Sharper(sharpness=3.0, num_classes=2, backbone=LIGHT, cam=CamSpec(scales=(1.0,)))
    arguments = _saved(module)["hyper_parameters"]
    assert set(arguments) == {"sharpness", "num_classes", "backbone", "optimization", "dropout", "cam"}
    again = Sharper.restore(_saved(module))
    assert again.sharpness == 3 and again.cam_spec == CamSpec(scales=[1.0])
    with pytest.raises(UserError, match=r"do not fit Sharper \('width'\): another version"):
        Sharper.restore({**_saved(module), "hyper_parameters": {**arguments, "width": 3}})
    arguments["cam"]["width"] = 3
    with pytest.raises(UserError, match=r"do not fit Sharper .*'width'.*another version"):
        Sharper.restore({**_saved(module), "hyper_parameters": arguments})


@pytest.mark.parametrize(
    ("made", "class_path", "network"),
    [
        (
            _segmentation(test=InferenceSpec(long_side=64, crf="dsrg")),
            "tag2mask.modules.segmentation.SegmentationModel",
            {"head": "deeplabv2", "head_channels": None, "msc_scales": None, "test_long_side": 64,
             "test_scales": [0.5, 1.0], "test_flip": False, "crf": "dsrg"},
        ),
        (AffinityNet(2, LIGHT), "tag2mask.modules.affinity.AffinityLearner", {"radius": 5}),
    ],
    ids=["segmentation", "affinity"],
)  # fmt: skip
def test_checkpoints_from_before_arguments_were_objects_load(
    made: TrainableNetwork, class_path: str, network: dict[str, Any], tmp_path: Path
) -> None:
    flat = {"num_classes": 2, "backbone": LIGHT.name, "weights": "none", "output_stride": 16, **network}
    facts = {"class_path": class_path, "network": flat, "classes": CLASSES.to_dict()}
    torch.save({"tag2mask": facts, "state_dict": made.state_dict()}, tmp_path / "old.ckpt")
    again = load_checkpoint(tmp_path / "old.ckpt")
    assert type(again) is type(made) and again.classes == CLASSES
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), made.parameters(), strict=True))
    if isinstance(again, SegmentationModel):
        assert again.test == InferenceSpec(64, [0.5, 1.0], flip=False, crf="dsrg")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("hyper_parameters"), "KeyError: 'hyper_parameters'"),
        (lambda c: c.pop("state_dict"), "KeyError: 'state_dict'"),
        (lambda c: c["state_dict"].popitem(), "RuntimeError: .*Missing key"),
        (lambda c: c["hyper_parameters"].pop("num_classes"), "TypeError: .*num_classes"),
    ],
)
def test_a_checkpoint_that_is_not_whole_is_named(
    change: Callable[[dict[str, Any]], object], message: str, tmp_path: Path
) -> None:
    saved = _saved(AffinityNet(2, LIGHT))
    torch.save(saved, tmp_path / "cut.ckpt")
    assert type(load_checkpoint(tmp_path / "cut.ckpt")) is AffinityNet
    change(saved)
    torch.save(saved, tmp_path / "cut.ckpt")
    with pytest.raises(
        UserError, match=rf"(?s)cut\.ckpt does not hold a whole AffinityNet .*{message}.*delete"
    ):
        load_checkpoint(tmp_path / "cut.ckpt")


def test_an_argument_without_a_plain_form_is_refused() -> None:
    with pytest.raises(TypeError, match="of type Tensor cannot be saved"):
        Sharper(sharpness=torch.zeros(1), num_classes=2, backbone=LIGHT)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (HeadSpec, {"name": "deeplab"}, r"segmentation head in head\.name"),
        (HeadSpec, {"channels": 64}, r"head\.channels is for deeplabv3plus only"),
        (InferenceSpec, {"variants": ["single"]}, r"prediction variant in test\.variants"),
        (InferenceSpec, {"variants": []}, r"test\.variants must name at least one"),
        (InferenceSpec, {"crf": "best"}, r"CRF parameter set in test\.crf"),
        (InferenceSpec, {"scales": [0.0]}, r"test\.scales must be numbers above 0"),
        (InferenceSpec, {"long_side": 8}, r"test\.long_side must be at least 32 pixels"),
        (CamSpec, {"scales": []}, r"cam\.scales must be numbers above 0"),
        (CamSpec, {"threshold": 1.2}, r"cam\.threshold must lie in 0\.\.1"),
        (CamSpec, {"images": -1}, r"cam\.images must be 0 or more"),
        (_segmentation, {"start": "classifier"}, "give model.init_args.classifier_from"),
        (
            _segmentation,
            {"head": "smp:Unet", "start": "classifier", "classifier_from": "runs/psa/cam"},
            "encoder of its own",
        ),
    ],
)
def test_wrong_arguments_are_named_as_they_are_typed(
    kind: Any, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        kind(**arguments)


def _classifier_step(folder: Path) -> tuple[Path, Classifier]:
    """A finished step with a classifier of random weights."""
    module, checkpoint = _classifier(), {}
    module.classes = CLASSES
    module.on_save_checkpoint(checkpoint)
    (folder / "checkpoints").mkdir(parents=True)
    torch.save({**checkpoint, "state_dict": module.state_dict()}, folder / "checkpoints" / "last.ckpt")
    record = CommandRecord(complete=True)
    facts = {
        "split": "train",
        "commands": {"fit": record},
        "checkpoint": "checkpoints/last.ckpt",
        "complete": True,
    }
    write_manifest(
        folder,
        Manifest(step="cam", kind="maps", recipe="psa", classes=CLASSES.to_dict(), **facts),
    )
    return folder, module


def test_segmentation_starts_from_the_classifier(tmp_path: Path) -> None:
    step, classifier = _classifier_step(tmp_path / "cam")
    model = _segmentation(start="classifier", classifier_from=str(step))
    own = model.network.pretrained[0].state_dict()
    assert all(torch.equal(own[k], v) for k, v in classifier.backbone.state_dict().items())


def test_segmentation_refuses_a_classifier_with_another_backbone(tmp_path: Path) -> None:
    step, _ = _classifier_step(tmp_path / "cam")
    with pytest.raises(UserError, match="do not fit"):
        _segmentation(backbone=replace(LIGHT, name="resnet18"), start="classifier", classifier_from=str(step))


@pytest.mark.parametrize(("long_side", "shown"), [(None, (60, 96)), (48, (30, 48))])
def test_images_are_shown_at_the_long_side_of_training(long_side: int | None, shown: tuple[int, int]) -> None:
    model = _segmentation(test=InferenceSpec(long_side=long_side, scales=[0.5]))
    seen: list[tuple[int, ...]] = []
    network = model.network
    network.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape[-2:])))
    image = torch.zeros(3, 60, 96, dtype=torch.uint8)
    scores = model.eval().variant_scores(image)
    assert seen == [
        shown,
        *[(shown[0] // 2, shown[1] // 2)] * 2,
    ]  # single scale; half of it, twice for the flip
    assert {s.shape for s in scores.values()} == {(3, 60, 96)}
    seen.clear()
    maps = class_probabilities(model, image, grid=4)  # what later steps work on from
    assert seen == [shown] and maps.shape == (3, 15, 24)


def test_msc_has_a_loss_for_each_size_and_for_their_maximum() -> None:
    torch.manual_seed(0)
    light = BackboneSpec("test_resnet", "none", batchnorm="train")
    module = SegmentationModel(2, light, head=HeadSpec("deeplabv2", msc_scales=[0.5])).eval()
    image = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    label = torch.randint(0, 3, (2, 32, 32))
    half = F.interpolate(image.float(), (16, 16), mode="bilinear", align_corners=False)
    with torch.no_grad():
        found = module.training_step({"image": image, "label": label}, 0)
        full, small = (module.network.segmenter(x) for x in (image, half))  # type: ignore[operator, union-attr]
        aligned = F.interpolate(small, full.shape[-2:], mode="bilinear", align_corners=False)
        maps = [F.interpolate(m, (32, 32), mode="bilinear") for m in (full, small, full.maximum(aligned))]
        expected = sum(F.cross_entropy(m, label) for m in maps)
        tested = module(image)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(tested, maps[2])
    assert module.hparams["head"]["msc_scales"] == [0.5]
    with pytest.raises(UserError, match=r"head\.msc_scales is not for smp:Unet"):
        HeadSpec("smp:Unet", msc_scales=[0.5])
