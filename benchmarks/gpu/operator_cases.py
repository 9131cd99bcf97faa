"""The pieces that run on a card, each beside a plain reference on the same card where there is one."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import Agreement, Inputs
from benchmarks.reference.affinity_loss import affinity_loss as gather_loss
from benchmarks.reference.colour_affinity import colour_affinity_by_matrices
from benchmarks.reference.dense_energy import dense_energy
from benchmarks.reference.guided_filter import guided_filter_by_pooling
from benchmarks.reference.random_walk import dense_walk
from benchmarks.reference.spatial_propagation import spatial_propagation_by_autograd
from tag2mask.losses import affinity_loss, colour_affinity_loss, dense_energy_loss
from tag2mask.ops import (
    CRF_CAM,
    affinity_graph,
    affinity_graphs,
    dense_crf,
    guided_filter,
    half_plane_offsets,
    spatial_propagation,
    walk_batch,
)

FLOAT = 4
WALK_CHANNELS, WALK_MAPS, WALK_PRODUCTS = 448, 3, 70
"""Features of AffinityNet; maps of a photo; products of the walk's series for t = 256 and tol = 1e-5."""


@dataclass(frozen=True)
class Piece:
    """One piece beside its reference.

    Attributes:
        name: what is measured, in words.
        reference_name: what it is measured against.
        reference: the reference.
        ours: ours.
        agreement: compares the reference's result with ours.
        moved_bytes: fewest bytes that ours must read and write; 0 where that says nothing.
        reference_times: the reference's whole time is this many times the measured one.
    """

    name: str
    reference_name: str
    reference: Callable[[], Any]
    ours: Callable[[], Any]
    agreement: Callable[[Any, Any], Agreement]
    moved_bytes: float = 0
    reference_times: float = 1


def _walk(inputs: Inputs, device: torch.device, height: int, width: int) -> Piece:
    features, maps = _walk_problem(inputs, device, height, width, 1)

    def reference() -> Tensor:
        with torch.device(device):
            return dense_walk(features[0], maps[0])

    return Piece(
        f"random walk, {width} x {height} map, affinities included",
        "dense matrix, squared 8 times",
        reference,
        lambda: affinity_graph(features[0]).walk(maps[0]),
        _same_maps,
        _walk_bytes(height * width),
    )


def random_walk(inputs: Inputs, device: torch.device, quick: bool) -> Piece:
    return _walk(inputs, device, *((12, 15) if quick else (47, 63)))


def random_walk_stride_4(inputs: Inputs, device: torch.device, quick: bool) -> Piece:
    return _walk(inputs, device, *((15, 18) if quick else (94, 125)))


def random_walk_batch(inputs: Inputs, device: torch.device, quick: bool) -> Piece:
    batch, height, width = (2, 12, 15) if quick else (16, 47, 63)
    features, maps = _walk_problem(inputs, device, height, width, batch)

    def one_by_one() -> Tensor:
        return torch.stack([affinity_graph(f).walk(m) for f, m in zip(features, maps, strict=True)])

    return Piece(
        f"random walk, batch of {batch}, {width} x {height}, affinities included",
        "ours, photo by photo",
        one_by_one,
        lambda: torch.stack(walk_batch(affinity_graphs(features), list(maps))),
        _same_maps,
        batch * _walk_bytes(height * width),
    )


def affinity(inputs: Inputs, device: torch.device, quick: bool) -> Piece:
    batch, channels, side = (2, 16, 16) if quick else (8, 448, 56)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(batch, channels, side, side, generator=generator).to(device)
    patches = torch.tensor([0, 0, 1, 2, 255, 1, 0, 255])
    chosen = patches[torch.randint(8, (batch, side // 8, side // 8), generator=generator)]
    labels = chosen.repeat_interleave(8, 1).repeat_interleave(8, 2).to(device)

    def reference() -> tuple[Tensor, Tensor]:
        with torch.device(device):
            return _value_and_gradient(lambda x: gather_loss(x, labels), features)

    return Piece(
        f"AffinityNet loss, forward + backward, {batch} x {channels} x {side} x {side}",
        "gather of pairs",
        reference,
        lambda: _value_and_gradient(lambda x: affinity_loss(x, labels)[0], features),
        _close(1e-3),
        3 * features.numel() * FLOAT,
    )


def energy(inputs: Inputs, device: torch.device, quick: bool) -> Piece:
    photos, probs, labels, roi = _energy_problem(inputs, device, quick)
    on_cpu = [t.cpu() for t in (photos, probs, labels, roi)]
    return Piece(
        f"dense energy, forward + backward, {' x '.join(map(str, probs.shape))}",
        "plain lattice in numba on one core of the CPU",
        lambda: dense_energy(*on_cpu, 15, 50),
        lambda: _energy(photos, probs, labels, roi, "lattice"),
        _close(1e-4),
        3 * probs.numel() * FLOAT,
    )


def energy_exact(inputs: Inputs, device: torch.device, quick: bool) -> Piece:
    photos, probs, labels, roi = _energy_problem(inputs, device, quick)
    return Piece(
        f"dense energy by lattice beside the exact sum, {' x '.join(map(str, probs.shape))}",
        "ours, exact sum over all pairs",
        lambda: _energy(photos, probs, labels, roi, "exact"),
        lambda: _energy(photos, probs, labels, roi, "lattice"),
        _share_of_exact,
        3 * probs.numel() * FLOAT,
    )


def propagation(inputs: Inputs, device: torch.device, quick: bool) -> Piece:
    side, channels = (16, 4) if quick else (64, 32)
    generator = torch.Generator().manual_seed(0)
    x, gates, weights = (
        torch.randn(shape, generator=generator).to(device)
        for shape in (
            (1, channels, side, side),
            (1, 4, 3, channels, side, side),
            (1, 4, channels, side, side),
        )
    )

    def both_ways(propagate: Callable[[Tensor, Tensor], Tensor]) -> tuple[Tensor, ...]:
        one, two = x.detach().requires_grad_(), gates.detach().requires_grad_()
        out = propagate(one, two)
        return out.detach(), *torch.autograd.grad(out, (one, two), weights)

    return Piece(
        f"spatial propagation, 4 directions, forward + backward, {side} x {side} x {channels}",
        "autograd scan",
        lambda: both_ways(spatial_propagation_by_autograd),
        lambda: both_ways(spatial_propagation),
        _close(1e-4),
        2 * (x.numel() + gates.numel() + weights.numel()) * FLOAT,
    )


def filter_by_guide(inputs: Inputs, device: torch.device, quick: bool) -> Piece:
    side, window, rounds = (40, 9, 3) if quick else (321, 35, 15)
    guide = cv2.cvtColor(inputs.photo(side, side), cv2.COLOR_RGB2GRAY) / 255.0
    coarse = np.random.default_rng(0).random((3, 11, 11)).astype(np.float32)
    resized = [cv2.resize(m, (side, side), interpolation=cv2.INTER_LINEAR) for m in coarse]
    maps = torch.from_numpy(np.stack(resized)).to(device)
    plane = torch.from_numpy(guide).to(device)
    return Piece(
        f"guided filter, gray, window {window}, {rounds} iterations, 3 x {side} x {side}",
        "avg_pool2d",
        lambda: guided_filter_by_pooling(plane, maps, window, 1e-6, rounds),
        lambda: guided_filter(guide, maps, window, 1e-6, rounds),
        _close(1e-5),
        rounds * 2 * maps.numel() * 2 * FLOAT,
    )


def colours(inputs: Inputs, device: torch.device, quick: bool) -> Piece:
    batch, side = (2, 12) if quick else (8, 50)
    stack = np.stack(inputs.photos(batch, side, side))
    photos = torch.from_numpy(stack).permute(0, 3, 1, 2).float().contiguous().to(device)
    features = torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(0)).to(device)
    return Piece(
        f"colour affinity loss, forward + backward, batch {batch}, {side} x {side} cells",
        "whole matrices and autograd",
        lambda: _value_and_gradient(lambda x: colour_affinity_by_matrices(x, photos), features),
        lambda: _value_and_gradient(lambda x: colour_affinity_loss(x, photos), features),
        _close(1e-3),
    )


def crf_on_all_cores(inputs: Inputs, device: torch.device, quick: bool) -> Piece:
    cores = len(os.sched_getaffinity(0))
    height, width = (60, 80) if quick else (375, 500)
    photos = inputs.photos(2 if quick else 2 * cores, height, width)
    rng = np.random.default_rng(0)
    coarse = rng.random((3, height // 16, width // 16)).astype(np.float32)
    scores = np.stack([cv2.resize(m, (width, height)) for m in coarse])

    def run(threads: int, some: list[Any]) -> np.ndarray:
        with ThreadPoolExecutor(threads) as pool:
            return np.stack(list(pool.map(lambda photo: dense_crf(photo, scores, CRF_CAM), some)))

    return Piece(
        f"dense CRF, 3 labels, {len(photos)} photos of {width} x {height} on {cores} cores (CPU)",
        "the same on one core",
        lambda: run(1, photos[:2]),
        lambda: run(cores, photos),
        _same_labels,
        reference_times=len(photos) / 2,
    )


CASES = (
    random_walk,
    random_walk_stride_4,
    random_walk_batch,
    affinity,
    energy,
    energy_exact,
    propagation,
    filter_by_guide,
    colours,
    crf_on_all_cores,
)


def _walk_problem(
    inputs: Inputs, device: torch.device, height: int, width: int, batch: int
) -> tuple[Tensor, Tensor]:
    """Features that follow the photos' colours, and random maps."""
    generator = torch.Generator().manual_seed(0)
    photos = np.stack(inputs.photos(batch, height, width)).astype(np.float32) / 255
    mixing = torch.randn(WALK_CHANNELS, 3, generator=generator)
    features = torch.einsum("ck,bhwk->bchw", mixing, torch.from_numpy(photos)).contiguous()
    return features.to(device), torch.rand(batch, WALK_MAPS, height, width, generator=generator).to(device)


def _walk_bytes(cells: int) -> float:
    """Features once; in every product the CSR (value and 32-bit index) and three states of the maps."""
    entries = (2 * len(half_plane_offsets(5)) + 1) * cells
    product = entries * 2 * FLOAT + 3 * WALK_MAPS * cells * FLOAT
    return WALK_CHANNELS * cells * FLOAT + WALK_PRODUCTS * product


def _energy_problem(inputs: Inputs, device: torch.device, quick: bool) -> list[Tensor]:
    batch, classes, side = (2, 3, 24) if quick else (8, 21, 160)
    generator = torch.Generator().manual_seed(0)
    stack = np.stack(inputs.photos(batch, side, side))
    photos = torch.from_numpy(stack).permute(0, 3, 1, 2).float().contiguous()
    logits = torch.randn(batch, classes, 10, 10, generator=generator) * 3
    probs = torch.nn.functional.interpolate(logits, (side, side), mode="bilinear").softmax(1)
    labels = probs.argmax(1)
    labels[:, side // 2 :] = 255
    return [t.to(device) for t in (photos, probs, labels, torch.ones(batch, side, side))]


def _energy(
    photos: Tensor, probs: Tensor, labels: Tensor, roi: Tensor, method: Any
) -> tuple[Tensor, Tensor]:
    return _value_and_gradient(
        lambda x: dense_energy_loss(photos, x, labels, roi, 15, 50, scale=1, method=method), probs
    )


def _value_and_gradient(loss_of: Callable[[Tensor], Tensor], at: Tensor) -> tuple[Tensor, Tensor]:
    x = at.detach().requires_grad_()
    loss = loss_of(x)
    (gradient,) = torch.autograd.grad(loss, x)
    return loss.detach(), gradient


def _close(bar: float) -> Callable[[Any, Any], Agreement]:
    """Agreement of numbers and tensors by the norm of their difference; float32 sums in another order."""

    def compare(expected: Any, result: Any) -> Agreement:
        pairs = [(expected, result)] if isinstance(result, Tensor) else zip(expected, result, strict=True)
        error = max(_relative(torch.as_tensor(a), torch.as_tensor(b)) for a, b in pairs)
        return Agreement(f"relative error {error:.0e}", error <= bar)

    return compare


def _relative(expected: Tensor, result: Tensor) -> float:
    expected, result = expected.double().cpu(), result.double().cpu()
    return float((expected - result).norm() / expected.norm())


def _share_of_exact(exact: Any, result: Any) -> Agreement:
    share = float(result[0] / exact[0])
    return Agreement(f"lattice has {share:.2f} of the exact energy", 0.45 < share < 0.75)


def _same_labels(expected: np.ndarray, result: np.ndarray) -> Agreement:
    share = float((expected.argmax(1) == result[: len(expected)].argmax(1)).mean())
    return Agreement(f"labels equal on {100 * share:.3f} %", share == 1)


def _same_maps(expected: Tensor, result: Tensor) -> Agreement:
    error = float((expected - result).abs().max())
    share = float((expected.argmax(-3) == result.argmax(-3)).double().mean())
    return Agreement(f"max error {error:.0e}, argmax equal on {100 * share:.3f} %", error <= 1e-4)
