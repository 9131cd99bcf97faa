"""Figures of single papers that need a network of the run, not only its results.

Each function takes a run of `tag2mask.report.read_runs`; `tag2mask.report.figures` draws and saves what
they return.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from sklearn.manifold import TSNE

from tag2mask.core import UserError
from tag2mask.data import ImageSet
from tag2mask.data.samples import to_chw
from tag2mask.modules import AffinityNet, TrainableNetwork, load_network
from tag2mask.ops import pair_distances
from tag2mask.recipes.ial import PairwiseLearner
from tag2mask.recipes.rrm import JointModel
from tag2mask.recipes.sc_cam import SubCategoryClassifier
from tag2mask.report.figures import points_figure
from tag2mask.report.panels import Panel
from tag2mask.report.pictures import RGB, heat_picture, resize_map, shrink
from tag2mask.report.runs import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

T = TypeVar("T", bound=TrainableNetwork)

_SIDE = 480
"""Longer side of the pictures in pixels, as in `tag2mask.report.figures.figure_row`."""
_PERPLEXITY = 10.0
"""Of t-SNE: as many neighbours as a class has sub-categories in the paper."""


def affinity_edges(run: Run, image_id: str, step: str = "affinity") -> Panel:
    """Where AffinityNet sees boundaries: bright where features of touching cells lie far apart.

    Ahn and Kwak, CVPR 2018, figure 5 d.

    Args:
        run: a run of ``psa`` or of a recipe on top of it.
        image_id: any image of its data set.
        step: the step that trained the AffinityNet.

    Raises:
        UserError: the run has no such network, or the image cannot be read.
    """
    image = _image(run, image_id)
    features = _network(run, step, AffinityNet)(_batch(image))
    # radius 2: the eight cells around a cell, of which each pair is computed once
    return _heat("affinities", image, pair_distances(features, 2)[0].amax(0).numpy())


def sized_maps(run: Run, image_id: str, name: str, step: str = "joint") -> list[Panel]:
    """The image, its activation maps of one class at each size, and their mean.

    Zhang et al., AAAI 2020, figure 2.

    Args:
        run: a run of ``rrm``.
        image_id: an image of its data set.
        name: one of the image's tags.
        step: the step that trained the joint network.

    Raises:
        UserError: the run has no such network, there is no such class, or the image cannot be read.
    """
    network, image, place = _network(run, step, JointModel), _image(run, image_id), _place(run, name)
    seen = network.at_test_size(_batch(image)[0])
    maps = network.sized_cams(seen, network.backbone(seen)["out"])[:, 0, place]
    sizes = {f"size {scale:g}": values for scale, values in zip(network.cam_scales, maps, strict=True)}
    named = {**dict(sorted(sizes.items())), "mean": maps.mean(0)}
    return [_photo(image), *(_heat(caption, image, values.numpy()) for caption, values in named.items())]


def learned_gates(
    run: Run, image_id: str, channels: Sequence[int] | None = None, step: str = "pairwise_1"
) -> list[Panel]:
    """The image, and some channels of the first affinity that the pairwise network has learned.

    Wang et al., IJCV 2020, figure 7, whose two rows are runs of ``ial:no_smoothness`` and ``ial``. The first
    affinity is that of each place to the one on its left, of 4 directions with 3 neighbours each; of its
    range -1 to 1 each channel shows what it uses, from dark to bright.

    Args:
        run: a run of ``ial``.
        image_id: any image of its data set.
        channels: channels of the maps that are propagated, from 0 on; None takes the first three. Where all
            channels share their gates there is only one.
        step: the step that trained the pairwise network.

    Raises:
        UserError: the run has no such network, or it has no such channel, or the image cannot be read.
    """
    network, image = _network(run, step, PairwiseLearner).network, _image(run, image_id)
    count = network.gate_channels
    channels = range(min(3, count)) if channels is None else channels
    if not set(channels) <= set(range(count)):
        raise UserError(f"channels must lie in 0..{count - 1} in {run.folder}, got {channels}")
    half = (max(1, image.shape[0] // 2), max(1, image.shape[1] // 2))
    gates = network.affinities(_batch(image), half)[0, 0, 1]
    return [_photo(image), *(_heat(f"channel {c}", image, gates[c].numpy()) for c in channels)]


def weights_figure(run: Run, name: str, step: str = "") -> Figure:
    """Weights of all classes and of the sub-categories of one of them, by t-SNE in a plane.

    Chang et al., CVPR 2020, figure 6, with the class "person". Distances are those of directions (cosine),
    for the two classifiers learn with losses of different weights.

    Args:
        run: a run of ``sc_cam``.
        name: the class whose sub-categories are shown.
        step: the step that trained both classifiers; "" takes that of the last round.

    Raises:
        UserError: the run has no such network, or there is no such class.
    """
    last = sorted((s.name for s in run.steps if s.name.startswith("cam_")), key=lambda s: (len(s), s))[-1:]
    network, place = _network(run, step or "".join(last) or "cam_1", SubCategoryClassifier), _place(run, name)
    parents = network.head.classifier.weight.flatten(1)
    children = network.sub_classifier.weight.flatten(1)
    own = children[place * network.sub_categories :][: network.sub_categories]
    weights = torch.cat([parents, own]).float().numpy()
    points = TSNE(
        perplexity=min(_PERPLEXITY, len(weights) / 4), metric="cosine", init="random", random_state=0
    ).fit_transform(weights)
    named = [*run.steps[0].manifest.class_list().names, *(f"{k + 1}" for k in range(len(own)))]
    found = dict(zip(["classes", f"sub-categories of {name}"], np.split(points, [len(parents)]), strict=True))
    return points_figure(found, named)


def _network(run: Run, step: str, kind: type[T]) -> T:
    found = run.step(step)
    if found is None:
        names = ", ".join(s.name for s in run.steps)
        raise UserError(
            f"{run.folder} has no step {step}, but {names}: name the step that trained the network"
        )
    return load_network(found.folder, kind)


def _place(run: Run, name: str) -> int:
    """Place 0..K - 1 of a class among the foreground classes."""
    names = run.steps[0].manifest.class_list().names
    if name not in names:
        raise UserError(f"there is no class {name} in {run.folder}, but {', '.join(names)}")
    return names.index(name)


def _image(run: Run, image_id: str) -> RGB:
    step = run.steps[0]
    return ImageSet.from_description(step.manifest.data, origin=step.folder).read_image(image_id)


def _batch(image: RGB) -> torch.Tensor:
    return to_chw(image).float()[None]


def _photo(image: RGB) -> Panel:
    return Panel("image", shrink(image, _SIDE))


def _heat(caption: str, image: RGB, values: npt.NDArray[np.float32]) -> Panel:
    """Values (h, w) over the image, from their least to their highest."""
    small, low = shrink(image, _SIDE), values.min()
    shown = (values - low) / max(float(values.max() - low), 1e-12)
    return Panel(caption, heat_picture(small, resize_map(shown, (small.shape[0], small.shape[1]))))
