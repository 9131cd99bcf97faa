"""The random walk of PSA: a dense transition matrix, squared eight times; and a slow exact one."""

from __future__ import annotations

import torch
from torch import Tensor


def neighbours(radius: int = 5) -> list[tuple[int, int]]:
    """Half of the offsets nearer than the radius; the other half are their opposites."""
    near = [(dy, dx) for dy in range(radius) for dx in range(1 - radius, radius)]
    return [(dy, dx) for dy, dx in near if dy * dy + dx * dx < radius * radius and (dy, dx) > (0, 0)]


def transition(features: Tensor, beta: float = 8.0) -> Tensor:
    """The N x N matrix of steps between the cells of features (C, H, W); columns sum to 1."""
    channels, height, width = features.shape
    cells = torch.arange(height * width).view(height, width)
    flat = features.reshape(channels, -1)
    matrix = torch.eye(height * width, dtype=features.dtype)
    for dy, dx in neighbours():
        left, right = max(0, -dx), width - max(0, dx)
        one = cells[: height - dy, left:right].flatten()
        two = cells[dy:, left + dx : right + dx].flatten()
        affinity = torch.exp(-(flat[:, one] - flat[:, two]).abs().mean(0)) ** beta
        matrix[one, two] = affinity
        matrix[two, one] = affinity
    return matrix / matrix.sum(0)


def dense_walk(features: Tensor, maps: Tensor, doublings: int = 8) -> Tensor:
    """Maps (K, H, W) after 2^doublings steps."""
    matrix = transition(features)
    for _ in range(doublings):
        matrix = matrix @ matrix
    return (maps.reshape(len(maps), -1) @ matrix).reshape(maps.shape)


def stepwise_walk(features: Tensor, maps: Tensor, beta: float = 8.0, steps: int = 256) -> Tensor:
    """The same walk in float64, step by step with shifted slices: for maps too large for the matrix."""
    features, state = features.double(), maps.double()
    height, width = features.shape[1:]
    pairs = []
    for dy, dx in neighbours():
        left, right = max(0, -dx), width - max(0, dx)
        one = (slice(0, height - dy), slice(left, right))
        two = (slice(dy, height), slice(left + dx, right + dx))
        distance = (features[:, *one] - features[:, *two]).abs().mean(0)
        pairs.append((one, two, torch.exp(-beta * distance)))
    degree = torch.ones_like(state[0])
    for one, two, affinity in pairs:
        degree[one] += affinity
        degree[two] += affinity
    for _ in range(steps):
        total = state.clone()
        for one, two, affinity in pairs:
            total[:, *one] += affinity * state[:, *two]
            total[:, *two] += affinity * state[:, *one]
        state = total / degree
    return state
