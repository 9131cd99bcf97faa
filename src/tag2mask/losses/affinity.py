"""Loss of an affinity network on pairs of cells with equal or different labels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tag2mask.core import IGNORE, NotFiniteError
from tag2mask.losses.over_processes import over_processes
from tag2mask.ops.engine import Engine
from tag2mask.ops.pairs import Border, pair_distances, path_maxima, shifted, source_windows

EPS = 1e-5
KINDS = ("bg", "fg", "neg")
_WEIGHTS = (0.25, 0.25, 0.5)


def pair_kinds(labels: Tensor, radius: int = 5, border: Border = "psa") -> Tensor:
    """What each pair of neighbouring cells should learn.

    Args:
        labels: (B, H, W) integers, 0 = background, 255 = neutral.
        radius: cells nearer to each other than this form a pair.
        border: ``"psa"`` or ``"all"``, see `affinity_loss`.

    Returns:
        (B, offsets, H, W) uint8: 1 both background, 2 both the same foreground class, 3 different
        labels, 0 no pair or a neutral end.

    Example:
        >>> pair_kinds(torch.tensor([[[0, 0, 1, 255]]]), radius=2, border="all")[0, 0]
        tensor([[1, 3, 0, 0]], dtype=torch.uint8)
    """
    batch, height, width = labels.shape
    windows = source_windows(height, width, radius, border)
    kinds = torch.zeros(batch, len(windows), height, width, dtype=torch.uint8, device=labels.device)
    for index, window in enumerate(windows):
        source, partner = shifted(labels, window)
        kind = torch.where(source != partner, 3, torch.where(source == 0, 1, 2))
        known = (source != IGNORE) & (partner != IGNORE)
        shifted(kinds[:, index], window)[0].copy_(kind * known)
    return kinds


def affinity_loss(
    features: Tensor,
    labels: Tensor,
    radius: int = 5,
    border: Border = "psa",
    engine: Engine = "auto",
) -> tuple[Tensor, dict[str, Tensor]]:
    """Draw cells of one label together and push those of different labels apart.

    With the affinity a = exp(-mean_c |f_i - f_j|) of a pair, the loss is
    1/4 mean_bg(-log a) + 1/4 mean_fg(-log a) + 1/2 mean_neg(-log(1 - a)), each mean over its own
    pairs in the whole batch (Ahn and Kwak 2018, eq. 6 to 10; weights, the channel mean and 1e-5 inside
    the logarithms and in the pair counts as in their code). Pairs with a neutral end are left out.

    Under torch.distributed the sums and counts are those of all processes, see
    `tag2mask.losses.over_processes`: 8 processes with 1 image give the loss and the gradient of 1 process
    with 8. All processes must call this function.

    Args:
        features: (B, C, H, W) floating point; bfloat16 is computed as float32.
        labels: (B, H, W) integers in the size of the features: 0 background, 1..254 foreground,
            255 neutral.
        radius: cells nearer to each other than this form a pair.
        border: ``"psa"``: the published pair set, without sources in the last radius-1 rows and the
            outer radius-1 columns. ``"all"``: each pair inside the map.
        engine: ``"numba"``, ``"torch"``, or ``"auto"``: numba on the CPU and torch elsewhere.

    Returns:
        the loss (at least -1e-5; a kind without pairs adds 0) and its parts, detached: ``bg``, ``fg``,
        ``neg`` (the unweighted means) and ``bg_pairs``, ``fg_pairs``, ``neg_pairs`` (counts).

    Raises:
        ValueError: shapes that do not fit, labels that are no integers or lie outside 0..255, NaN or
            infinity in the features of a pair, a map too small for ``border="psa"``, a bad `radius`.

    Example:
        >>> features = torch.tensor([[[[0.0, 3.0]]]])
        >>> loss, parts = affinity_loss(features, torch.tensor([[[0, 0]]]), radius=2, border="all")
        >>> round(float(loss), 3), round(float(parts["bg"]), 3), int(parts["bg_pairs"])
        (0.75, 3.0, 1)
    """
    if features.ndim != 4 or labels.shape != (features.shape[0], *features.shape[2:]):
        raise ValueError(
            f"features must be (B, C, H, W) and labels (B, H, W), got {tuple(features.shape)} and "
            f"{tuple(labels.shape)}"
        )
    _check_labels(labels)
    kinds = pair_kinds(labels, radius, border)
    distances = pair_distances(features, radius, border, kinds > 0, engine)
    if not bool(distances.isfinite().all()):
        raise NotFiniteError("features holds NaN or infinity")
    return _balanced(distances, kinds, lambda distance: torch.exp(-distance))


def boundary_loss(
    boundaries: Tensor,
    labels: Tensor,
    radius: int = 10,
    border: Border = "psa",
    engine: Engine = "auto",
) -> tuple[Tensor, dict[str, Tensor]]:
    """Put boundaries between cells of different labels, and nowhere between those of one label.

    `affinity_loss` with another affinity of a pair, a = 1 - max of the boundaries on the straight path
    between its cells (Ahn, Cho and Kwak, CVPR 2019, equations 7 and 8; path, weights and 1e-5 as in their
    code).

    Args:
        boundaries: (B, H, W) in 0..1, floating point; bfloat16 is computed as float32.
        labels: (B, H, W) integers: 0 background, 1..254 foreground, 255 neutral.
        radius: as in `affinity_loss`.
        border: as in `affinity_loss`.
        engine: as in `affinity_loss`.

    Returns:
        the loss and its parts, as `affinity_loss`.

    Raises:
        ValueError: as `affinity_loss`.

    Example:
        >>> boundaries = torch.tensor([[[0.0, 0.5, 0.0]]])
        >>> loss, parts = boundary_loss(boundaries, torch.tensor([[[1, 255, 0]]]), radius=3, border="all")
        >>> round(float(loss), 3), int(parts["neg_pairs"])
        (0.347, 1)
    """
    if boundaries.shape != labels.shape:
        raise ValueError(
            f"boundaries and labels must both be (B, H, W), got {tuple(boundaries.shape)} and "
            f"{tuple(labels.shape)}"
        )
    _check_labels(labels)
    if not bool(boundaries.isfinite().all()):
        raise NotFiniteError("boundaries holds NaN or infinity")
    highest = path_maxima(boundaries, radius, border, engine)
    return _balanced(highest, pair_kinds(labels, radius, border), lambda boundary: 1 - boundary)


def _balanced(
    planes: Tensor, kinds: Tensor, affinity: Callable[[Tensor], Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of pairs and its parts, where `affinity` turns values of a plane into affinities."""
    sums, counts = over_processes(*_sums(planes, kinds, affinity))
    means = sums / (counts + EPS)
    loss = (means * means.new_tensor(_WEIGHTS)).sum()
    parts = {name: means[i].detach() for i, name in enumerate(KINDS)}
    return loss, parts | {f"{name}_pairs": counts[i] for i, name in enumerate(KINDS)}


def _check_labels(labels: Tensor) -> None:
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"labels must be integers, got {labels.dtype}")
    if labels.numel() > 0 and not (int(labels.min()) >= 0 and int(labels.max()) <= IGNORE):
        raise ValueError(f"labels must lie in 0..{IGNORE}, got {int(labels.min())}..{int(labels.max())}")


def _sums(planes: Tensor, kinds: Tensor, affinity: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """(3,) summed logarithms and (3,) numbers of pairs, in the order of `KINDS`."""
    same = [affinity(planes[kinds == kind]) for kind in (1, 2)]
    other = affinity(planes[kinds == 3])
    terms = [-torch.log(a + EPS) for a in same] + [-torch.log(1 + EPS - other)]
    return torch.stack([t.sum() for t in terms]), planes.new_tensor([t.numel() for t in terms])


class AffinityLoss(nn.Module):
    """`affinity_loss` as a module.

    Args:
        radius: as in `affinity_loss`.
        border: as in `affinity_loss`.

    Shape: features (B, C, H, W), labels (B, H, W) -> scalar and a dict of scalars.
    """

    def __init__(self, radius: int = 5, border: Border = "psa") -> None:
        super().__init__()
        self.radius = radius
        self.border: Border = border

    def forward(self, features: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss and its parts, see `affinity_loss`."""
        return affinity_loss(features, labels, self.radius, self.border)
