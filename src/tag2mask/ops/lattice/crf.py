"""The fully connected CRF that sharpens score maps along the edges of an image.

Kraehenbuehl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials",
NeurIPS 2011: unary energies -log(score), a smoothness kernel in position (its equation 3, second term), an
appearance kernel in position and colour (first term), Potts compatibility, symmetric normalisation.
"""

from __future__ import annotations

import logging
import threading
from functools import lru_cache
from typing import overload

import numpy as np
import numpy.typing as npt
from torch import Tensor

from tag2mask.core import IGNORE, NotFiniteError, UserError, unknown_name
from tag2mask.ops.lattice.crf_params import CRF_CAM, CRFParams
from tag2mask.ops.lattice.mean_field import mean_field
from tag2mask.ops.lattice.permutohedral import Lattice, build_lattice
from tag2mask.ops.layout import as_array, as_given, check_image

Pixels = npt.NDArray[np.uint8]
Scores = npt.NDArray[np.float32]

_ENGINES = ("lattice", "pydensecrf")
_LOWEST_SCORE = 1e-5  # where pydensecrf's own helper clips, and with it the published results
_CACHED_PIXELS = 1 << 20  # the lattice of a larger image takes more than 40 MB: not worth keeping

_log = logging.getLogger(__name__)
_named: set[str] = set()
_naming = threading.Lock()


@overload
def dense_crf(
    image: Pixels | Tensor, scores: Tensor, params: CRFParams = ..., engine: str = ...
) -> Tensor: ...


@overload
def dense_crf(
    image: Pixels | Tensor, scores: npt.NDArray[np.floating], params: CRFParams = ..., engine: str = ...
) -> Scores: ...


def dense_crf(
    image: Pixels | Tensor,
    scores: npt.NDArray[np.floating] | Tensor,
    params: CRFParams = CRF_CAM,
    engine: str = "lattice",
) -> Scores | Tensor:
    """Refine score maps with a fully connected CRF.

    Only the given labels compete. Pass the background and the classes present: 3 labels take a quarter of
    the time of 21. Computes in float32 on the CPU, on one thread. Several threads may call it at once; with
    the lattice engine they run side by side. The first call with each engine logs its name (level INFO).

    Args:
        image: uint8 RGB (3, H, W), tensor or array.
        scores: floating point (K, H, W), K >= 1, tensor or array. Clipped to [1e-5, 1].
            They need not sum to 1 over K, and they are not normalised: a weak background is a means of PSA.
        params: kernel widths and weights.
        engine: ``"lattice"`` (compiled at the first call, about 2 times as fast) or ``"pydensecrf"`` (the C++
            library of the published results, an optional package; it blocks other threads). Their labels
            agree.

    Returns:
        float32 (K, H, W) probabilities that sum to 1 over K, without gradient: an array, or a tensor on the
        device of `scores` if that is a tensor.

    Raises:
        ValueError: `image` or `scores` has another type or shape or is empty, or `scores` is not finite.
        UserError: an unknown engine, or pydensecrf is not installed.

    Example:
        >>> image = np.zeros((3, 20, 30), np.uint8)
        >>> image[:, :, 15:] = 200
        >>> scores = np.full((2, 20, 30), 0.5, np.float32)  # nothing is known but at two pixels
        >>> scores[:, 10, 5], scores[:, 10, 25] = (0.9, 0.1), (0.1, 0.9)
        >>> labels = dense_crf(image, scores).argmax(0)
        >>> [int(label) for label in (labels[:, :15].max(), labels[:, 15:].min())]
        [0, 1]
    """
    if engine not in _ENGINES:
        raise unknown_name("CRF engine", engine, _ENGINES)
    pixels, maps = as_array("image", image), as_array("scores", scores)
    _check(pixels, maps)
    return as_given(_refine(pixels, maps, params, engine), scores)


def unary_from_labels(labels: Pixels, num_classes: int, probability: float = 0.7) -> Scores:
    """Turn hard labels into scores for `dense_crf`, as IRN does (with `CRF_LABELS`).

    Args:
        labels: uint8 array (H, W), 0..K-1, or 255 where nothing is known.
        num_classes: K, at least 1, background included.
        probability: in (0, 1), the score of a pixel's own label; the others share the rest equally.

    Returns:
        float32 array (K, H, W) that sums to 1 over K; all scores are equal at 255.

    Raises:
        ValueError: labels of another type or shape or beyond K - 1, `num_classes` below 1, `probability`
            outside (0, 1).
    """
    if labels.ndim != 2 or labels.dtype != np.uint8 or labels.size == 0:
        raise ValueError(f"labels: expected uint8 (H, W), got {labels.dtype} {labels.shape}")
    if num_classes < 1 or not 0 < probability < 1:
        raise ValueError(f"num_classes {num_classes} must be >= 1 and probability {probability} in (0, 1)")
    known = labels != IGNORE
    if np.any(labels[known] >= num_classes):
        raise ValueError(f"labels: found {labels[known].max()}, expected 0..{num_classes - 1} or {IGNORE}")
    own = labels[None] == np.arange(num_classes).reshape(-1, 1, 1)
    rest = (1 - probability) / max(num_classes - 1, 1)
    scores = np.where(own, probability if num_classes > 1 else 1.0, rest)
    return np.where(known, scores, 1 / num_classes).astype(np.float32)


def _check(image: Pixels, scores: npt.NDArray[np.floating]) -> None:
    check_image(image)
    if image.dtype != np.uint8:
        raise ValueError(f"image must be uint8, got {image.dtype}")
    if scores.ndim != 3 or scores.shape[0] == 0 or scores.shape[1:] != image.shape[1:]:
        raise ValueError(f"scores must be (K, {image.shape[1]}, {image.shape[2]}), got {scores.shape}")
    if not np.issubdtype(scores.dtype, np.floating):
        raise ValueError(f"scores must be floating point, got {scores.dtype}")
    if not np.isfinite(scores).all():
        raise NotFiniteError("scores holds NaN or infinity")


def _refine(image: Pixels, scores: npt.NDArray[np.floating], params: CRFParams, engine: str) -> Scores:
    if len(scores) == 1:
        return np.ones(scores.shape, np.float32)
    log_scores = np.log(np.clip(scores, _LOWEST_SCORE, 1), dtype=np.float32)
    run = _with_lattice if engine == "lattice" else _with_pydensecrf
    refined = run(image, log_scores.reshape(len(scores), -1), params).reshape(scores.shape)
    with _naming:
        if engine not in _named:
            _named.add(engine)
            _log.info("dense CRF: engine %s", engine)
    return refined


def _with_lattice(image: Pixels, log_scores: Scores, params: CRFParams) -> Scores:
    height, width = image.shape[1:]
    make = _cached_spatial if height * width <= _CACHED_PIXELS else _spatial
    spatial = make(height, width, params.gauss_sxy, params.gauss_weight)
    features = np.empty((5, height, width), np.float32)
    _positions(features, params.bilateral_sxy)
    np.divide(image, np.float32(params.bilateral_srgb), out=features[2:])
    bilateral = build_lattice(features.reshape(5, -1)).normalised(params.bilateral_weight)
    return mean_field(log_scores, spatial, bilateral, int(params.iterations))


def _positions(features: Scores, sxy: float) -> None:
    height, width = features.shape[1:]
    features[0] = np.arange(width, dtype=np.float32) / np.float32(sxy)
    features[1] = (np.arange(height, dtype=np.float32) / np.float32(sxy))[:, None]


def _spatial(height: int, width: int, sxy: float, weight: float) -> Lattice:
    features = np.empty((2, height, width), np.float32)
    _positions(features, sxy)
    return build_lattice(features.reshape(2, -1)).normalised(weight)


_cached_spatial = lru_cache(maxsize=16)(_spatial)


def _with_pydensecrf(image: Pixels, log_scores: Scores, params: CRFParams) -> Scores:
    try:
        from pydensecrf.densecrf import DenseCRF2D
    except ImportError as error:
        raise UserError(
            "CRF engine 'pydensecrf' needs the package pydensecrf2; install it with "
            "'pip install pydensecrf2' (it needs a C++ compiler), or use engine 'lattice'"
        ) from error
    height, width = image.shape[1:]
    crf = DenseCRF2D(width, height, len(log_scores))
    crf.setUnaryEnergy(np.ascontiguousarray(-log_scores))
    crf.addPairwiseGaussian(sxy=params.gauss_sxy, compat=params.gauss_weight)
    crf.addPairwiseBilateral(
        sxy=params.bilateral_sxy,
        srgb=params.bilateral_srgb,
        rgbim=np.array(image.transpose(1, 2, 0), order="C"),  # a copy: it refuses read-only arrays
        compat=params.bilateral_weight,
    )
    return np.array(crf.inference(int(params.iterations)), np.float32)
