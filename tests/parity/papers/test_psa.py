"""Parity of `psa` (Ahn and Kwak, CVPR 2018) with plain forms of its equations and its published code."""

from __future__ import annotations

from tests.parity.papers.common import affinity_net, groups_of


def test_group_norm_of_vgg16_trains_like_pretrained_layers() -> None:
    """Convolutions of the head at 10x; its group norms at 1x with decay, their biases at 2x without."""
    net = affinity_net("vgg16", lr=0.1)
    norms = [m for m in net.head.modules() if "GroupNorm" in type(m).__name__]
    # 64, 128 and 256 channels, scale and bias each
    assert sum(p.numel() for m in norms for p in m.parameters()) == 896
    groups = groups_of(net)
    members = {name: {id(p) for p in group["params"]} for name, group in groups.items()}
    assert {id(m.weight) for m in norms} <= members["pretrained_weights"]
    assert {id(m.bias) for m in norms} <= members["pretrained_biases"]
    assert sorted(p.shape[0] for p in groups["new_weights"]["params"]) == [64, 128, 256, 448]
    assert set(groups) == {"pretrained_weights", "pretrained_biases", "new_weights"}
    rates = {name: (group["lr"], group["weight_decay"]) for name, group in groups.items()}
    assert rates == {
        "pretrained_weights": (0.1, 5e-4),
        "pretrained_biases": (0.2, 0.0),
        "new_weights": (1.0, 5e-4),
    }
