"""The pieces that run on a card, each beside a plain reference on the same card where there is one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu.agreements import close, same_labels, same_maps
from benchmarks.gpu.loss_cases import affinity, boundary, colours, energy, energy_exact
from benchmarks.gpu.operator_problems import FLOAT, walk_bytes, walk_problem
from benchmarks.gpu.piece import Piece
from benchmarks.harness import Inputs, channels_first
from benchmarks.reference.guided_filter import guided_filter_by_pooling
from benchmarks.reference.random_walk import dense_walk
from benchmarks.reference.spatial_propagation import spatial_propagation_by_autograd
from tag2mask.core import usable_cpus
from tag2mask.ops import (
    CRF_CAM,
    AffinityGraph,
    affinity_graph,
    dense_crf,
    guided_filter,
    random_walk,
    random_walks,
    spatial_propagation,
)


def _walk(inputs: Inputs, device: torch.device, height: int, width: int) -> Piece:
    features, maps = walk_problem(inputs, device, height, width)

    def reference() -> Tensor:
        with torch.device(device):
            return dense_walk(features, maps)

    return Piece(
        f"random walk, {width} x {height} map, affinities included",
        "dense matrix, squared 8 times",
        reference,
        lambda: random_walk(affinity_graph(features), maps),
        same_maps,
        walk_bytes(height * width),
    )


def walk_at_stride_8(inputs: Inputs, device: torch.device, quick: bool) -> Piece:
    return _walk(inputs, device, *((12, 15) if quick else (47, 63)))


def walk_at_stride_4(inputs: Inputs, device: torch.device, quick: bool) -> Piece:
    return _walk(inputs, device, *((15, 18) if quick else (94, 125)))


def walk_of_a_batch(inputs: Inputs, device: torch.device, quick: bool) -> Piece:
    size, count = ((12, 15), 3) if quick else ((47, 63), 16)
    sizes = [size if index % 4 else size[::-1] for index in range(count)]
    problems = [walk_problem(inputs, device, *size) for size in sizes]
    maps = [maps for _, maps in problems]

    def graphs() -> list[AffinityGraph]:
        return [affinity_graph(features) for features, _ in problems]

    def side_by_side(walks: list[Tensor]) -> Tensor:
        return torch.cat([walked.flatten(1) for walked in walks], 1)[..., None]

    def one_by_one() -> Tensor:
        return side_by_side([random_walk(g, some) for g, some in zip(graphs(), maps, strict=True)])

    return Piece(
        f"random walk, batch of {count}, {size[1]} x {size[0]} and upright, affinities included",
        "ours, image by image",
        one_by_one,
        lambda: side_by_side(random_walks(graphs(), maps)),
        same_maps,
        count * walk_bytes(size[0] * size[1]),
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
        close(1e-4),
        2 * (x.numel() + gates.numel() + weights.numel()) * FLOAT,
    )


def filter_by_guide(inputs: Inputs, device: torch.device, quick: bool) -> Piece:
    side, window, rounds = (40, 9, 3) if quick else (321, 35, 15)
    guide = cv2.cvtColor(inputs.image(side, side), cv2.COLOR_RGB2GRAY) / 255.0
    coarse = np.random.default_rng(0).random((3, 11, 11)).astype(np.float32)
    resized = [cv2.resize(m, (side, side), interpolation=cv2.INTER_LINEAR) for m in coarse]
    maps = torch.from_numpy(np.stack(resized)).to(device)
    plane = torch.from_numpy(guide).to(device)
    return Piece(
        f"guided filter, gray, window {window}, {rounds} iterations, 3 x {side} x {side}",
        "avg_pool2d",
        lambda: guided_filter_by_pooling(plane, maps, window, 1e-6, rounds),
        lambda: guided_filter(guide, maps, window, 1e-6, rounds),
        close(1e-5),
        rounds * 2 * maps.numel() * 2 * FLOAT,
    )


def crf_on_all_cores(inputs: Inputs, device: torch.device, quick: bool) -> Piece:
    cores = usable_cpus()
    height, width = (60, 80) if quick else (375, 500)
    images = [channels_first(i) for i in inputs.images(2 if quick else 2 * cores, height, width)]
    rng = np.random.default_rng(0)
    coarse = rng.random((3, height // 16, width // 16)).astype(np.float32)
    scores = np.stack([cv2.resize(m, (width, height)) for m in coarse])

    def run(threads: int, some: list[Any]) -> np.ndarray:
        with ThreadPoolExecutor(threads) as pool:
            return np.stack(list(pool.map(lambda image: dense_crf(image, scores, CRF_CAM), some)))

    return Piece(
        f"dense CRF, 3 labels, {len(images)} images of {width} x {height} on {cores} cores (CPU)",
        "the same on one core",
        lambda: run(1, images[:2]),
        lambda: run(cores, images),
        same_labels,
        reference_times=len(images) / 2,
    )


CASES = (
    walk_at_stride_8,
    walk_at_stride_4,
    walk_of_a_batch,
    affinity,
    boundary,
    energy,
    energy_exact,
    propagation,
    filter_by_guide,
    colours,
    crf_on_all_cores,
)
