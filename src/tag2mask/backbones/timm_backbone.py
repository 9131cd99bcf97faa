"""Any convolutional timm model as a backbone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal, Protocol, cast, overload

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tag2mask.backbones.base import IMAGENET_MEAN, IMAGENET_STD, Backbone, Normalisation, Tap
from tag2mask.backbones.phase_conv import use_phase_convolutions
from tag2mask.backbones.strided_conv import use_strided_convolutions
from tag2mask.backbones.weights import GIVE_ANOTHER, backbone_part, load_into, load_state, not_downloaded
from tag2mask.core import UserError
from tag2mask.core.weight_files import NO_FILE
from tag2mask.ops.sizes import cells

_PROBE = 65
"""Side of the image that `_probe` sends through: one more than a multiple of every stride in use."""


class _Intermediates(Protocol):
    @overload
    def forward_intermediates(self, x: Tensor) -> tuple[Tensor, list[Tensor]]: ...
    @overload
    def forward_intermediates(self, x: Tensor, *, intermediates_only: Literal[True]) -> list[Tensor]: ...


class TimmBackbone(Backbone):
    """A timm model up to the feature map before its pooling.

    Taps are ``level1`` to ``levelN``, the outputs of the model's blocks of layers, and ``out``, the last
    feature map (for MobileNetV2 after its 1x1 expansion to 1280 channels). The affinity head joins
    the last two levels before the final one and ``out``: like the taps that the affinity paper
    chose in ResNet38, they start at stride 8 and end with the map that the classifier reads. The
    final level itself is left out because ``out`` is computed from it.

    Args:
        name: timm model name, with or without a pretrained tag.
        weights: ``"imagenet"`` (downloads timm's), ``"none"`` or the path of a weight file, of the model
            or of a segmentation network of torchvision on it.
        output_stride: 8, 16 or 32: image pixels per pixel of ``out``.
        dilated: whether the layers behind a stride that was left out see as far as before. Timm dilates them;
            IRN's ResNet50 (Ahn, Cho and Kwak, CVPR 2019) leaves its stride out and nothing else.

    Raises:
        UserError: the model has no feature maps at this output stride, its weights cannot be
            downloaded, or the given file does not fit.
    """

    def __init__(
        self, name: str, weights: str = "imagenet", output_stride: int = 16, dilated: bool = True
    ) -> None:
        model = _create(name, output_stride)
        if weights == "imagenet":
            model = _download(name, output_stride)
        if not dilated:
            _undilate(model)
        cfg = cast(Mapping[str, Any], model.pretrained_cfg)
        super().__init__(
            Normalisation.from_unit(cfg.get("mean", IMAGENET_MEAN), cfg.get("std", IMAGENET_STD))
        )
        if weights not in NO_FILE:
            load_into(model, backbone_part(load_state(weights)), weights, ignored=_classifier_keys(cfg))
        use_phase_convolutions(model)
        use_strided_convolutions(model)
        self.model = model
        self._multiple = 1
        self.taps: dict[str, Tap] = {"out": Tap(0, 0)}
        self.taps = self._all_taps = self._probe(name, output_stride)
        self._freeze_unused()
        levels = [tap for tap in self.taps if tap != "out"]
        self.affinity_taps = (*levels[-3:-1], "out")

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """The levels and ``out`` of normalised images (B, 3, H, W)."""
        height, width = x.shape[-2:]
        down, right = cells(height, self._multiple), cells(width, self._multiple)
        maps = self._run(F.pad(x, (0, right * self._multiple - width, 0, down * self._multiple - height)))
        return {
            name: maps[name][..., : cells(height, tap.stride), : cells(width, tap.stride)]
            for name, tap in self.taps.items()
        }

    def _run(self, x: Tensor) -> dict[str, Tensor]:
        model = cast(_Intermediates, self.model)
        if "out" not in self.taps:
            levels = model.forward_intermediates(x, intermediates_only=True)
            return {f"level{i}": m for i, m in enumerate(levels, 1)}
        out, levels = model.forward_intermediates(x)
        return {**{f"level{i}": m for i, m in enumerate(levels, 1)}, "out": out}

    def use_only(self, names: Collection[str]) -> None:
        """As `Backbone.use_only`; without ``out``, layers behind the last level are not computed either."""
        super().use_only(names)
        self._freeze_unused()

    def _probe(self, name: str, output_stride: int) -> dict[str, Tap]:
        """Channels and strides as one small image shows them, and what padding the model needs.

        Models that cut the image into patches drop the pixels of an incomplete one; images for
        them are padded with the mean colour.
        """
        self.model.eval()
        try:
            maps = self._run(torch.zeros(1, 3, _PROBE, _PROBE))
        except AssertionError as error:
            raise UserError(
                f"backbone {name} takes images of one size only ({error}): choose a convolutional model"
            ) from error
        if any(m.ndim != 4 for m in maps.values()):
            raise UserError(f"backbone {name} gives tokens, not feature maps: choose a convolutional model")
        strides = {k: _nearest_stride(m.shape[-1]) for k, m in maps.items()}
        if strides["out"] != output_stride or len(maps) < 4:
            raise UserError(
                f"backbone {name} gives stride {strides['out']} instead of output_stride {output_stride}"
                f" or has too few levels ({len(maps) - 1}); choose another model or output stride"
            )
        if any(m.shape[-1] != cells(_PROBE, strides[k]) for k, m in maps.items()):
            self._multiple = max(strides.values())
        self._layers_below = {key: _layers_of(self.model, m) for key, m in maps.items()}
        self.model.train()
        return {k: Tap(m.shape[1], strides[k]) for k, m in maps.items()}

    def _freeze_unused(self) -> None:
        """Freeze what no map depends on, such as the norm of a removed classifier: DDP waits for it."""
        used = {id(p) for name in self.taps for m in self._layers_below[name] for p in m.parameters()}
        for parameter in self.model.parameters():
            if id(parameter) not in used:
                parameter.requires_grad_(False)

    def _freezable(self) -> Mapping[str, nn.Module]:
        """The model's layers by name, and ``stride4`` and so on: all layers up to that stride."""
        layers = {name: m for name, m in self.model.named_modules() if name}
        strides = {tap.stride for tap in self._all_taps.values()}
        return {**layers, **{f"stride{s}": nn.ModuleList(self._up_to(s)) for s in strides}}

    def _up_to(self, stride: int) -> list[nn.Module]:
        """The layers that the deepest map of at most this stride depends on."""
        return self._layers_below[[name for name, t in self._all_taps.items() if t.stride <= stride].pop()]


def _layers_of(model: nn.Module, feature: Tensor) -> list[nn.Module]:
    """The layers with parameters of their own that a feature map was computed with."""
    parameters = list(model.parameters())
    grads: tuple[Tensor | None, ...] = torch.autograd.grad(
        feature.sum(), parameters, allow_unused=True, retain_graph=True
    )
    used = {id(p) for p, grad in zip(parameters, grads, strict=True) if grad is not None}
    return [m for m in model.modules() if any(id(p) in used for p in m.parameters(recurse=False))]


def _create(name: str, output_stride: int, pretrained: bool = False) -> nn.Module:
    # Stride 32 is what timm models have anyway, and some do not know the argument.
    dilated: dict[str, Any] = {} if output_stride == 32 else {"output_stride": output_stride}
    try:
        model = timm.create_model(name, pretrained=pretrained, num_classes=0, global_pool="", **dilated)
    except (TypeError, AssertionError, NotImplementedError) as error:
        raise UserError(
            f"backbone {name} cannot be built with output_stride {output_stride}; "
            "use 32, or a model such as resnet50, mobilenetv2_100, efficientnet_b0 or convnext_tiny"
        ) from error
    if not hasattr(model, "forward_intermediates"):
        raise UserError(f"backbone {name} has no named levels in timm: choose another model")
    return model


def _undilate(model: nn.Module) -> None:
    """Let all convolutions see neighbouring cells, at the same output sizes."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) and max(layer.dilation) > 1:
            if isinstance(layer.padding, tuple):
                layer.padding = tuple(p // d for p, d in zip(layer.padding, layer.dilation, strict=True))
            layer.dilation = (1, 1)


def _download(name: str, output_stride: int) -> nn.Module:
    if not timm.is_model_pretrained(name):
        raise UserError(f"backbone {name} has no ImageNet weights in timm; {GIVE_ANOTHER}")
    try:
        return _create(name, output_stride, pretrained=True)
    except (OSError, RuntimeError) as error:
        raise not_downloaded(name, error) from error


def _classifier_keys(cfg: Mapping[str, Any]) -> tuple[str, ...]:
    keys: str | Iterable[str] = cfg.get("classifier") or ()
    return (keys,) if isinstance(keys, str) else tuple(keys)


def _nearest_stride(side: int) -> int:
    """The power of two nearest to image side / map side: maps are rounded up or down."""
    return min((1, 2, 4, 8, 16, 32, 64), key=lambda s: abs(side - _PROBE / s))
