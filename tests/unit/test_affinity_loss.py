from __future__ import annotations

import math

import pytest
import torch

from tag2mask.losses import AffinityLoss, affinity_loss
from tag2mask.losses.affinity import pair_kinds

ENGINES = ["numba", "torch"]


def crop(batch: int = 2, side: int = 14, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, 6, side, side, generator=generator)
    labels = torch.randint(0, 3, (batch, side, side), generator=generator)
    labels[:, :3] = 255
    return features, labels


def test_kinds_of_pairs():
    row = torch.tensor([[[0, 0, 1, 1, 2, 255]]])
    kinds = pair_kinds(row, radius=2, border="all")[0, 0, 0]
    assert kinds.tolist() == [1, 3, 2, 3, 0, 0]


def test_weights_and_means_on_a_line():
    features = torch.tensor([[[[0.0, 1.0, 3.0, 6.0]]]])
    labels = torch.tensor([[[0, 0, 1, 1]]])  # pairs: bg at 1, neg at 2, fg at 3
    loss, parts = affinity_loss(features, labels, radius=2, border="all")
    expected = 0.25 * 1 + 0.25 * 3 - 0.5 * math.log(1 - math.exp(-2))
    assert float(loss) == pytest.approx(expected, abs=5e-4)  # the 1e-5 inside logarithms and counts
    assert {k: int(v) for k, v in parts.items() if k.endswith("pairs")} == {
        "bg_pairs": 1, "fg_pairs": 1, "neg_pairs": 1,
    }  # fmt: skip


@pytest.mark.parametrize("engine", ENGINES)
def test_neutral_cells_have_no_part_and_no_gradient(engine):
    features, labels = crop()
    features.requires_grad_()
    loss, _ = affinity_loss(features, labels, border="all", engine=engine)
    loss.backward()
    assert float(features.grad[:, :, :3].abs().max()) == 0
    assert float(features.grad[:, :, 3:].abs().max()) > 0
    other = features.detach().clone()
    other[:, :, :3] += 5
    assert float(affinity_loss(other, labels, border="all", engine=engine)[0]) == float(loss.detach())


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("value", [0, 1, 255])
def test_a_crop_with_one_kind_of_pair_or_none_is_finite(engine, value):
    features = torch.randn(1, 4, 12, 12, requires_grad=True)
    loss, parts = affinity_loss(features, torch.full((1, 12, 12), value), engine=engine)
    loss.backward()
    assert bool(features.grad.isfinite().all()) and bool(loss.isfinite())
    assert float(parts["neg"]) == 0
    if value == 255:
        assert float(loss.detach()) == 0 and float(features.grad.abs().max()) == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_equal_features_give_finite_loss_and_gradient(engine):
    features = torch.zeros(1, 4, 12, 12, requires_grad=True)
    loss, _ = affinity_loss(features, torch.randint(0, 2, (1, 12, 12)), engine=engine)
    loss.backward()
    assert bool(loss.isfinite()) and float(features.grad.abs().max()) == 0  # |x| has slope 0 at 0


def test_counts_are_pooled_over_the_batch():
    features, labels = crop()
    labels[1, 7:] = 255
    _, together = affinity_loss(features, labels)
    singles = [affinity_loss(features[i : i + 1], labels[i : i + 1])[1] for i in range(2)]
    assert float(together["neg_pairs"]) == sum(float(s["neg_pairs"]) for s in singles)
    pooled = sum(float(s["neg"] * s["neg_pairs"]) for s in singles) / float(together["neg_pairs"])
    assert float(together["neg"]) == pytest.approx(pooled, rel=1e-5)  # float32 sums


def test_channels_last_features_and_uint8_labels():
    features, labels = crop()
    plain = affinity_loss(features, labels)[0]
    assert torch.equal(affinity_loss(features.to(memory_format=torch.channels_last), labels.byte())[0], plain)


def test_bfloat16_features_get_bfloat16_gradients():
    features, labels = crop()
    half = features.bfloat16().requires_grad_()
    loss, _ = affinity_loss(half, labels)
    loss.backward()
    assert loss.dtype == torch.float32 and half.grad.dtype == torch.bfloat16


def test_threads_do_not_change_the_numbers():
    features, labels = crop(batch=3, side=30)
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            x = features.clone().requires_grad_()
            loss, _ = affinity_loss(x, labels)
            loss.backward()
            results.append(x.grad)
    finally:
        torch.set_num_threads(before)
    assert torch.allclose(*results, atol=1e-9)


def test_training_moves_labels_apart():
    features, labels = crop(side=12)
    features.requires_grad_()
    optimizer = torch.optim.Adam([features], lr=0.1)
    module = AffinityLoss(border="all")
    first = None
    for _ in range(30):
        loss, _ = module(features, labels)
        first = first or float(loss.detach())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.5 * first


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (torch.zeros(4, 12, 12), torch.zeros(12, 12).long(), "features must be"),
        (torch.zeros(1, 4, 12, 12), torch.zeros(1, 12, 11).long(), "features must be"),
        (torch.zeros(1, 4, 12, 12), torch.zeros(1, 12, 12), "labels must be integers"),
        (torch.zeros(1, 4, 4, 12), torch.zeros(1, 4, 12).long(), "border='all'"),
    ],
)
def test_wrong_arguments_are_named(features, labels, message):
    with pytest.raises(ValueError, match=message):
        affinity_loss(features, labels)
