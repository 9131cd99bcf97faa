"""What every backbone offers: named feature maps, their strides, and normalisation inside."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tag2mask.core import unknown_name

Role = Literal["cam", "affinity", "segmentation"]
"""What the features are for. Only VGG16 differs: the published networks dilate its fc6 by 1, 4 and 12."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean RGB of ImageNet images in 0..1."""

IMAGENET_STD = (0.229, 0.224, 0.225)
"""Standard deviation of ImageNet's RGB values in 0..1."""


@dataclass(frozen=True)
class Tap:
    """One named feature map.

    Attributes:
        channels: its number of channels.
        stride: image pixels per feature pixel; an image of H x W gives ceil(H / stride) rows and
            ceil(W / stride) columns.
    """

    channels: int
    stride: int


@dataclass(frozen=True)
class Normalisation:
    """How images in RGB 0..255 become what the pretrained weights expect.

    Attributes:
        mean: RGB mean in 0..255.
        std: RGB divisor in units of 0..255.
        bgr: whether the channels are reversed afterwards.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    bgr: bool = False

    @classmethod
    def from_unit(cls, mean: Sequence[float], std: Sequence[float]) -> Normalisation:
        """Statistics given for values in 0..1, as torchvision and timm do."""
        m, s = [255 * float(v) for v in mean], [255 * float(v) for v in std]
        return cls((m[0], m[1], m[2]), (s[0], s[1], s[2]))


def init_convolutions(module: nn.Module) -> None:
    """Start the convolutions in a module before ReLUs anew: weights as He et al. (2015), biases at 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def check_shape(images: Tensor) -> None:
    """Raise ValueError unless images are (B, 3, H, W)."""
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images must be (B, 3, H, W), got {tuple(images.shape)}")


class Backbone(nn.Module, ABC):
    """A network that turns images into named feature maps.

    Attributes:
        taps: feature maps from shallow to deep; the last is ``"out"``, which the CAM head reads.
        affinity_taps: names of the three taps that the affinity head joins.
        cam_sqrt: whether class maps need a square root after the ReLU (VGG16 only).
        pad_value: mean colour (RGB, 0..255): padding with it equals zero after normalisation.
    """

    taps: dict[str, Tap]
    affinity_taps: tuple[str, ...]
    cam_sqrt: bool = False
    pad_value: tuple[int, int, int]

    def __init__(self, normalisation: Normalisation) -> None:
        super().__init__()
        self._frozen: tuple[str, ...] = ()
        self._freeze_batchnorm = False
        self._expect(normalisation)

    def _expect(self, n: Normalisation) -> None:
        """Say what the weights expect of an image."""
        self.pad_value = (round(n.mean[0]), round(n.mean[1]), round(n.mean[2]))
        self._bgr = n.bgr
        # Not in the state dict: it belongs to the architecture, and weight files have no such keys.
        self.register_buffer("_mean", torch.tensor(n.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("_std", torch.tensor(n.std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Feature maps of a batch of images of any size.

        Args:
            images: (B, 3, H, W) RGB in 0..255, integer or float.

        Returns:
            for each name in `taps` a float map (B, channels, ceil(H/stride), ceil(W/stride)).

        Raises:
            ValueError: images has another shape.
        """
        check_shape(images)
        return self.features(self.normalise(images))

    def normalise(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) RGB 0..255 as the weights expect them."""
        mean, std = self.get_buffer("_mean"), self.get_buffer("_std")
        out = (images.to(mean.dtype) - mean) / std
        # Depthwise and 1x1 convolutions run several times faster with the channels last.
        return (out.flip(1) if self._bgr else out).contiguous(memory_format=torch.channels_last)

    @abstractmethod
    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Feature maps of normalised images (B, 3, H, W)."""

    def as_cam(self, maps: Tensor) -> Tensor:
        """Raw class maps that a head made of ``out``, ready for the ReLU."""
        # VGG16's maps peak where its removed pooling layers would have spread them.
        return maps.clamp(min=0).sqrt() if self.cam_sqrt else maps

    def use_only(self, names: Collection[str]) -> None:
        """Keep some of the taps, and freeze the layers that none of them depends on.

        DDP waits for the gradient of every trained parameter, so a head calls this with the taps that
        it reads. Backbones whose taps leave some layers unused must override this method.

        Args:
            names: the taps to keep.
        """
        self.taps = {name: tap for name, tap in self.taps.items() if name in names}

    def _freeze_behind(self, layer: str) -> None:
        """Freeze the parameters that were registered after all those of a layer."""
        named = list(self.named_parameters())
        last = max(i for i, (name, _) in enumerate(named) if name.startswith(f"{layer}."))
        for _, parameter in named[last + 1 :]:
            parameter.requires_grad_(False)

    def freeze(self, names: Iterable[str], batchnorm: bool) -> None:
        """Exclude some parts, or all batch normalisation, from training.

        Frozen modules keep their weights and stay in eval mode through every `train()` call, which
        Lightning makes once an epoch.

        Args:
            names: submodules to freeze, as in ``named_modules()``.
            batchnorm: freeze the statistics and the affine weights of all batch normalisation.

        Raises:
            UserError: there is no such submodule.
        """
        modules = dict(self._freezable())
        for name in names:
            if name not in modules:
                raise unknown_name("layer to freeze", name, modules)
            modules[name].requires_grad_(False)
        self._frozen = tuple(names)
        self._freeze_batchnorm = batchnorm
        if batchnorm:
            for norm in self._batchnorms():
                norm.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of everything that is not frozen."""
        super().train(mode)
        modules = dict(self._freezable())
        for name in self._frozen:
            modules[name].eval()
        if self._freeze_batchnorm:
            for norm in self._batchnorms():
                norm.eval()
        return self

    def _freezable(self) -> Mapping[str, nn.Module]:
        return {name: m for name, m in self.named_modules() if name}

    def _batchnorms(self) -> list[nn.Module]:
        # _BatchNorm is the parent of timm's BatchNormAct2d and of SyncBatchNorm too.
        return [m for m in self.modules() if isinstance(m, _BatchNorm)]
