"""Any architecture of segmentation_models_pytorch behind the interface of our segmenters."""

from __future__ import annotations

from typing import Any, cast

import segmentation_models_pytorch as smp
import timm
from torch import Tensor, nn, sym_max, tensor
from torch.nn import functional as F

from tag2mask.backbones import load_into, load_state, not_downloaded
from tag2mask.backbones.base import IMAGENET_MEAN, IMAGENET_STD, check_shape
from tag2mask.core import UserError, unknown_name
from tag2mask.core.weight_files import NO_FILE
from tag2mask.ops.sizes import cells

_MULTIPLE = 32
"""Images are padded to a multiple of this, the deepest stride of the encoders."""

_LEAST = {"pan": 128}
"""Least side of an image, where that is more: PAN halves the map of stride 16 three times."""

_CLASSIFIERS = ("fc", "last_linear", "classifier", "head", "conv_head", "bn2")


class SmpSegmenter(nn.Module):
    """A segmentation network of segmentation_models_pytorch.

    Args:
        arch: architecture, e.g. ``"unet"``, ``"fpn"``, ``"deeplabv3plus"``.
        encoder: encoder, e.g. ``"resnet50"``, or ``"tu-"`` and the name of a timm model.
        weights: encoder weights: ``"imagenet"`` (downloaded), ``"none"`` or the path of a file.
        num_classes: number of foreground classes K; the network has K + 1 logits.

    Raises:
        UserError: unknown architecture or encoder, the two do not go together, or weights that
            cannot be downloaded or do not fit.
    """

    def __init__(self, arch: str, encoder: str, weights: str = "imagenet", num_classes: int = 20) -> None:
        super().__init__()
        _check_names(arch, encoder)
        self.model = _create(arch, encoder, weights, num_classes + 1)
        self._least = _LEAST.get(arch.lower(), _MULTIPLE)
        if weights not in NO_FILE:
            load_into(self.model.encoder, load_state(weights), weights, ignored=_CLASSIFIERS)
        stats = _statistics(encoder, weights)
        self._bgr = stats["input_space"] == "BGR"
        scale = 255 / max(stats["input_range"])
        for name in ("mean", "std"):
            values = (scale * tensor(stats[name])).view(1, 3, 1, 1)
            self.register_buffer(f"_{name}", values, persistent=False)

    @property
    def pretrained(self) -> list[nn.Module]:
        """The parts that train with the base learning rate."""
        return [self.model.encoder]

    @property
    def new(self) -> list[nn.Module]:
        """The parts that train with the rate of new layers."""
        return [m for name, m in self.model.named_children() if name != "encoder"]

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K + 1, H, W) of images (B, 3, H, W), RGB in 0..255, of any size.

        Raises:
            ValueError: images has another shape.
        """
        check_shape(images)
        height, width = images.shape[-2:]
        mean = self.get_buffer("_mean")
        x = images.to(mean.dtype)
        x = ((x.flip(1) if self._bgr else x) - mean) / self.get_buffer("_std")
        down, right = self._padded(height), self._padded(width)
        logits: Tensor = self.model(F.pad(x, (0, right - width, 0, down - height)))
        return logits[..., :height, :width]

    def _padded(self, side: int) -> int:
        return cast(int, sym_max(cells(side, _MULTIPLE) * _MULTIPLE, self._least))


def _check_names(arch: str, encoder: str) -> None:
    if arch.lower() not in smp.MODEL_ARCHITECTURES_MAPPING:
        raise unknown_name("segmentation architecture", arch, smp.MODEL_ARCHITECTURES_MAPPING)
    if encoder.startswith("tu-"):
        if not timm.is_model(encoder[3:]):
            raise unknown_name("encoder", encoder, [f"tu-{name}" for name in timm.list_models()])
    elif encoder not in smp.encoders.get_encoder_names():
        raise unknown_name(
            "encoder", encoder, smp.encoders.get_encoder_names(), "Or write tu- and the name of a timm model."
        )


def _create(arch: str, encoder: str, weights: str, outputs: int) -> Any:
    pretrained = "imagenet" if weights == "imagenet" else None
    try:
        return smp.create_model(arch, encoder, encoder_weights=pretrained, classes=outputs)
    except OSError as error:
        raise not_downloaded(encoder, error) from error
    except (KeyError, TypeError, ValueError, RuntimeError, NotImplementedError, AssertionError) as error:
        what = f"{arch} cannot be built with encoder {encoder} and weights {weights}"
        raise UserError(f"{what}: {error}; choose another pair") from error


def _statistics(encoder: str, weights: str) -> dict[str, Any]:
    """What the encoder was trained with; its own description is downloaded with its weights only."""
    own_description = encoder.startswith("tu-") and timm.is_model_pretrained(encoder[3:])
    if weights == "imagenet" or own_description:
        stats: dict[str, Any] = smp.encoders.get_preprocessing_params(encoder)
        return stats
    return {"input_space": "RGB", "input_range": [0, 1], "mean": IMAGENET_MEAN, "std": IMAGENET_STD}
