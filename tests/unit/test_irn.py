"""IRN: paths between cells, the boundary loss, the network, and the walk that boundaries stop."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tag2mask.backbones import BackboneSpec, Tap, build_backbone
from tag2mask.core import NotFiniteError, ScoreMaps, UserError
from tag2mask.heads import BoundaryHead
from tag2mask.losses import boundary_loss
from tag2mask.modules import (
    AffinityLabelGenerator,
    Background,
    ImageView,
    Optimization,
    PseudoLabelGenerator,
    RandomWalk,
)
from tag2mask.ops import affinity_labels, half_plane_offsets, path_maxima, to_dense
from tag2mask.ops.pairs import path_cells, source_windows
from tag2mask.recipes.irn import BoundaryNet, BoundaryWalk, boundary_graph
from tag2mask.recipes.irn.network import centre_labels

ENGINES = ["numba", "torch"]
SMALL = BackboneSpec("test_resnet", "none", 16)


@pytest.mark.parametrize(
    ("offset", "count"), [((0, 3), 4), ((1, 1), 4), ((1, 2), 6), ((2, 2), 7), ((1, 3), 8), ((3, 3), 10)]
)
def test_paths_are_as_wide_as_in_the_published_code(offset: tuple[int, int], count: int) -> None:
    cells = path_cells(offset)
    assert len(cells) == len(set(cells)) == count
    assert cells[0] == offset and cells[-1] == (0, 0)


def test_a_path_to_the_left() -> None:
    expected = {(0, 0), (0, -1), (1, 0), (1, -1), (1, -2), (1, -3), (2, -2), (2, -3)}
    assert set(path_cells((2, -3))) == expected


@pytest.mark.parametrize(("radius", "counts"), [(5, (34, 242, 11)), (10, (152, 2134, 22))])
def test_all_paths_of_a_radius_have_the_published_numbers_of_cells(
    radius: int, counts: tuple[int, int, int]
) -> None:
    lengths = [len(path_cells(offset)) for offset in half_plane_offsets(radius)]
    assert (len(lengths), sum(lengths), max(lengths)) == counts


def _slow_maxima(values: Tensor, radius: int, border: str) -> Tensor:
    """Every pair by itself."""
    batch, height, width = values.shape
    windows = source_windows(height, width, radius, border)
    planes = torch.zeros(batch, len(windows), height, width)
    for o, (dy, dx, top, bottom, left, right) in enumerate(windows.tolist()):
        line = [
            (y, x)
            for y in range(min(0, dy), max(0, dy) + 1)
            for x in range(min(0, dx), max(0, dx) + 1)
            if abs(dy * x - dx * y) / math.hypot(dy, dx) < 1
        ]
        for i in range(top, bottom):
            for j in range(left, right):
                planes[:, o, i, j] = torch.stack([values[:, i + y, j + x] for y, x in line]).amax(0)
    return planes


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("border", ["all", "psa"])
def test_maxima_are_those_of_every_path_by_itself(engine: str, border: str) -> None:
    values = torch.rand(2, 7, 9, generator=torch.Generator().manual_seed(0))
    assert torch.equal(path_maxima(values, 4, border, engine), _slow_maxima(values, 4, border))


@pytest.mark.parametrize("engine", ENGINES)
def test_gradients_go_to_the_maxima(engine: str) -> None:
    # 35 different values, far enough apart that a step of 1e-6 changes no maximum
    values = torch.randperm(35, generator=torch.Generator().manual_seed(1)).double().view(1, 5, 7) / 35
    values.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: path_maxima(x, 4, "all", engine), values)


@pytest.mark.parametrize("engine", ENGINES)
def test_of_equal_values_the_first_from_the_second_cell_on_has_the_gradient(engine: str) -> None:
    values = torch.full((1, 1, 3), 0.5, requires_grad=True)
    path_maxima(values, 3, "all", engine)[0, 1, 0, 0].backward()  # the pair of the two ends
    assert values.grad is not None and values.grad.flatten().tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    "values", [torch.rand(3, 3), torch.zeros(1, 2, 2, dtype=torch.int64), torch.zeros(0, 2, 2)]
)
def test_maxima_refuse_what_is_no_map(values: Tensor) -> None:
    with pytest.raises(ValueError, match="values must be"):
        path_maxima(values)


@pytest.mark.parametrize("engine", ENGINES)
def test_boundary_loss_on_a_line_by_hand(engine: str) -> None:
    boundaries = torch.tensor([[[0.1, 0.6, 0.3]]])
    # pairs of neighbours: background with highest .6; class 1 against background: .6; of the ends: .6
    loss, parts = boundary_loss(boundaries, torch.tensor([[[0, 0, 1]]]), 3, "all", engine)
    same, different = -math.log(0.4), -math.log(0.6)
    # 1e-5 stands inside the logarithms and the counts
    assert float(loss) == pytest.approx(0.25 * same + 0.5 * different, abs=5e-5)
    assert [int(parts[f"{kind}_pairs"]) for kind in ("bg", "fg", "neg")] == [1, 0, 2]


def test_boundary_loss_is_that_of_every_pair_by_itself() -> None:
    generator = torch.Generator().manual_seed(3)
    boundaries = torch.rand(2, 8, 9, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 3, (2, 8, 9), generator=generator)
    labels[:, 2] = 255
    terms: dict[str, list[float]] = {"bg": [], "fg": [], "neg": []}
    for image in range(2):
        for o, (dy, dx, top, bottom, left, right) in enumerate(source_windows(8, 9, 3, "psa").tolist()):
            highest = _slow_maxima(boundaries[image : image + 1], 3, "psa")[0, o]
            for i in range(top, bottom):
                for j in range(left, right):
                    one, other = int(labels[image, i, j]), int(labels[image, i + dy, j + dx])
                    affinity = 1 - float(highest[i, j])
                    if 255 in (one, other):
                        continue
                    if one != other:
                        terms["neg"].append(-math.log(1 + 1e-5 - affinity))
                    else:
                        terms["fg" if one else "bg"].append(-math.log(affinity + 1e-5))
    means = {kind: sum(values) / (len(values) + 1e-5) for kind, values in terms.items()}
    loss, parts = boundary_loss(boundaries, labels, 3, "psa")
    # sums in another order; the slow maxima are float32
    assert {kind: float(parts[kind]) for kind in means} == pytest.approx(means, rel=1e-6)
    assert float(loss) == pytest.approx(means["bg"] / 4 + means["fg"] / 4 + means["neg"] / 2, rel=1e-6)


def test_boundary_loss_puts_the_boundary_between_the_classes() -> None:
    labels = torch.zeros(1, 12, 12, dtype=torch.int64)
    labels[:, :, 6:] = 1
    labels[:, :, 5:7] = 255
    # not all equal: the gradient would always go to the same cell of a path
    logits = (0.1 * torch.randn(1, 12, 12, generator=torch.Generator().manual_seed(0))).requires_grad_()
    optimizer = torch.optim.Adam([logits], 0.1)
    for _ in range(200):
        optimizer.zero_grad()
        loss, _ = boundary_loss(logits.sigmoid(), labels, 5, "all")
        loss.backward()
        optimizer.step()
    boundaries = logits.detach().sigmoid()[0]
    # a row may find it beside the neutral zone, or settle on half a boundary: few do
    assert (boundaries[:, 5:7].amax(1) > 0.9).sum() >= 10
    assert boundaries[:, [*range(4), *range(8, 12)]].max() < 0.1


def test_boundary_loss_refuses_nan_and_shapes() -> None:
    labels = torch.zeros(1, 9, 9, dtype=torch.int64)
    with pytest.raises(NotFiniteError, match="boundaries holds NaN"):
        boundary_loss(torch.full((1, 9, 9), math.nan), labels, 3)
    with pytest.raises(ValueError, match="must both be"):
        boundary_loss(torch.rand(1, 1, 9, 9), labels, 3)


def test_labels_are_those_in_the_middle_of_each_cell() -> None:
    labels = torch.arange(8 * 10).view(1, 8, 10)
    # the third column of cells has columns 8 and 9 alone: its middle, 10, lies outside
    assert centre_labels(labels).tolist() == [[[22, 26, 255], [62, 66, 255]]]


def test_head_computes_the_published_layers() -> None:
    taps = {"stem": Tap(3, 2), "a": Tap(4, 4), "b": Tap(5, 8), "c": Tap(6, 16), "out": Tap(7, 16)}
    head = BoundaryHead(taps)
    generator = torch.Generator().manual_seed(0)
    maps = {n: torch.randn(2, t.channels, 32 // t.stride, 48 // t.stride, generator=generator)
            for n, t in taps.items()}  # fmt: skip
    joined = []
    for (name, tap), reduce in zip(list(taps.items())[:4], head.reductions, strict=True):
        x = F.max_pool2d(maps[name], 3, 2, 1) if name == "stem" else maps[name]
        x = F.conv2d(x, reduce[0].weight)
        x = F.group_norm(x, 4, reduce[1].weight, reduce[1].bias)
        scale = {2: 1, 4: 1, 8: 2, 16: 4}[tap.stride]
        joined.append(F.relu(F.interpolate(x, scale_factor=scale, mode="bilinear")))
    expected = F.conv2d(torch.cat(joined, 1), head.join.weight, head.join.bias)[:, 0]
    assert torch.allclose(head(maps), expected, atol=1e-6)  # sums in another order


def test_a_head_needs_a_fine_level() -> None:
    with pytest.raises(ValueError, match="stride 2 or 4"):
        BoundaryHead({"a": Tap(8, 8), "out": Tap(8, 8)})


def test_a_class_may_count_more_than_background() -> None:
    pixels = torch.zeros(3, 1, 4, dtype=torch.uint8)
    maps = ScoreMaps("a", np.array([[[0.9, 0.2, 0.6, 0.1]]], np.float32), [2], (1, 4))
    sample = {"id": "a", "image": pixels, "maps": maps}
    # the "sure" background at a higher level than the foreground: both hold at .6
    chains = [[Background(level=0.5)], [Background(level=0.7)]]
    joined = {}
    for surer in ("background", "foreground"):
        sides = AffinityLabelGenerator(*chains, surer=surer).predict_image(sample).labels
        joined[surer] = affinity_labels(sides["fg"], sides["bg"]).tolist()
    assert joined == {"background": [[2, 0, 0, 0]], "foreground": [[2, 0, 2, 0]]}


@pytest.mark.parametrize("name", ["resnet38", "vgg16"])
def test_networks_of_other_papers_have_levels_fine_enough(name: str) -> None:
    with torch.device("meta"):  # shapes alone: the networks are large
        head = BoundaryHead(build_backbone(name, "none").taps)
    assert min(head.factors) <= 1 and "out" not in head.names


def _network() -> BoundaryNet:
    torch.manual_seed(0)
    return BoundaryNet(2, SMALL, Optimization(), radius=4)


def test_the_head_trains_alone() -> None:
    network = _network().train()
    labels = torch.zeros(2, 64, 64, dtype=torch.uint8)
    labels[:, 20:40, 20:40] = 1
    batch = {"image": torch.randint(0, 256, (2, 3, 64, 64)), "fg_labels": labels, "bg_labels": labels}
    network.log = network.log_dict = lambda *args, **kwargs: None  # type: ignore[method-assign]
    network.training_step(batch, 0).backward()
    assert all(p.grad is None for p in network.backbone.parameters())
    assert all(p.grad is not None for p in network.head.parameters())
    assert not network.backbone.training and network.head.training


@pytest.mark.parametrize(("height", "width"), [(32, 48), (37, 45)])
def test_boundaries_lie_on_the_stride_4_grid(height: int, width: int) -> None:
    image = torch.randint(0, 256, (1, 3, height, width), generator=torch.Generator().manual_seed(0))
    network = _network().eval()
    with torch.no_grad():
        boundaries = network.cues(image)
    assert boundaries.shape == (1, math.ceil(height / 4), math.ceil(width / 4))
    assert boundaries.min() >= 0 and boundaries.max() <= 1


def test_boundaries_of_a_mirror_image_are_the_mirrored_boundaries() -> None:
    image = torch.randint(0, 256, (1, 3, 32, 48), generator=torch.Generator().manual_seed(0))
    network = _network().eval()
    with torch.no_grad():
        # whole cells of the coarsest level: convolutions add in another order, no more
        assert torch.allclose(network.cues(image.flip(-1)).flip(-1), network.cues(image), atol=1e-5)


def test_a_backbone_without_a_fine_level_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tag2mask.recipes.irn.network.BoundaryHead", lambda taps: BoundaryHead({}))
    with pytest.raises(UserError, match="backbone test_resnet: a boundary head needs"):
        _network()


def _view(boundaries: Tensor) -> ImageView:
    size = [4 * side for side in boundaries.shape]
    return ImageView(torch.zeros(3, *size, dtype=torch.uint8), lambda pixels: boundaries)


def _scores(maps: Tensor) -> ScoreMaps:
    height, width = (4 * side for side in maps.shape[1:])
    return ScoreMaps("a", maps.numpy(), list(range(1, len(maps) + 1)), (height, width))


def test_walk_is_the_power_of_the_dense_matrix() -> None:
    generator = torch.Generator().manual_seed(2)
    boundaries, maps = torch.rand(8, 8, generator=generator) * 0.8, torch.rand(2, 8, 8, generator=generator)
    affinities = to_dense(boundary_graph(boundaries, 3), 2.0).double()
    transitions = torch.linalg.matrix_power(affinities / affinities.sum(1, keepdim=True), 256)
    walked = ((maps * (1 - boundaries)).flatten(1).double() @ transitions.T).view(2, 8, 8)
    out = BoundaryWalk(beta=2, steps=256, radius=3)(_scores(maps), _view(boundaries))
    # the tolerance of the walk's expansion, enlarged by the division by the maximum
    assert np.allclose(out.maps, (walked / walked.max()).numpy(), atol=1e-4)
    assert out.maps.max() == 1


def test_nothing_leaves_a_closed_boundary() -> None:
    boundaries = torch.zeros(13, 13)
    boundaries[3, 3:10] = boundaries[9, 3:10] = boundaries[3:10, 3] = boundaries[3:10, 9] = 1
    maps = torch.zeros(1, 13, 13)
    maps[0, 6, 6] = 1
    out = BoundaryWalk(beta=10)(_scores(maps), _view(boundaries)).maps[0]
    # scores stay on the 25 cells inside, whose weights differ at the corners of a small map
    assert out[4:9, 4:9].min() > 0.1
    out[4:9, 4:9] = 0
    # the rest of a Chebyshev expansion of 1e-5, over a highest score of about 1/25
    assert out.max() < 1e-3


def test_without_boundaries_it_is_a_walk_of_equal_affinities() -> None:
    maps = torch.rand(2, 9, 11, generator=torch.Generator().manual_seed(0))
    plain = RandomWalk(beta=10, steps=16)
    view = ImageView(torch.zeros(3, 36, 44, dtype=torch.uint8), lambda pixels: torch.zeros(1, 9, 11))
    expected = plain(_scores(maps), view).maps
    out = BoundaryWalk(steps=16)(_scores(maps), _view(torch.zeros(9, 11))).maps
    # the same walk in float32, over its maximum
    assert np.allclose(out, expected / expected.max(), atol=1e-6)


def test_a_graph_refuses_nan_and_shapes() -> None:
    with pytest.raises(ValueError, match=r"must be \(h, w\), got \(1, 4, 4\)"):
        boundary_graph(torch.zeros(1, 4, 4))
    with pytest.raises(NotFiniteError, match="boundaries holds NaN"):
        boundary_graph(torch.full((4, 4), math.nan))


def test_images_of_a_batch_walk_as_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = [_scores(torch.rand(count, 6, 7, generator=generator)) for count in (1, 0, 2)]
    views = [_view(torch.rand(6, 7, generator=generator)) for _ in scores]
    walk = BoundaryWalk(steps=8)
    for one, (score, view) in zip(
        walk.of_batch(scores, views, 1), zip(scores, views, strict=True), strict=True
    ):
        assert np.array_equal(one.maps, walk(score, view).maps)


def test_the_background_comes_behind_the_walk() -> None:
    scores = Background(level=0.3)(_scores(torch.rand(1, 6, 6)), _view(torch.zeros(6, 6)))
    with pytest.raises(UserError, match="put the Background link behind it"):
        BoundaryWalk()(scores, _view(torch.zeros(6, 6)))


def test_one_step_reads_one_network() -> None:
    with pytest.raises(UserError, match="AffinityNet and BoundaryNet: make them two steps"):
        PseudoLabelGenerator([RandomWalk(), BoundaryWalk()])
    with pytest.raises(UserError, match="needs a trained BoundaryNet"):
        PseudoLabelGenerator([BoundaryWalk()])
