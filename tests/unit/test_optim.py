"""The papers' optimiser: groups, rates and the poly schedule."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tag2mask.core import UserError
from tag2mask.modules.optim import Optimization, parameter_groups, poly_schedule


def _groups() -> dict[str, dict]:
    pretrained, new = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)
    found = parameter_groups([pretrained], [new], lr=0.01, weight_decay=5e-4)
    return {g["name"]: g for g in found}


def test_rates_are_1_2_10_20_times_the_base_rate() -> None:
    rates = {name: g["lr"] for name, g in _groups().items()}
    assert rates == pytest.approx(
        {"pretrained_weights": 0.01, "pretrained_biases": 0.02, "new_weights": 0.1, "new_biases": 0.2}
    )


def test_biases_do_not_decay() -> None:
    decays = {name: g["weight_decay"] for name, g in _groups().items()}
    assert decays == {
        "pretrained_weights": 5e-4,
        "pretrained_biases": 0,
        "new_weights": 5e-4,
        "new_biases": 0,
    }


def test_the_scales_of_group_norm_decay_and_those_of_batch_norm_do_not() -> None:
    norms = nn.GroupNorm(2, 4), nn.BatchNorm2d(4)
    found = {g["name"]: g["params"] for g in parameter_groups(norms, [], lr=0.01, weight_decay=5e-4)}
    assert [id(p) for p in found["pretrained_weights"]] == [id(norms[0].weight)]
    assert len(found["pretrained_biases"]) == 3


def test_frozen_parameters_and_empty_groups_are_left_out() -> None:
    pretrained, new = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1, bias=False)
    pretrained.requires_grad_(False)
    found = parameter_groups([pretrained], [new], lr=1, weight_decay=0)
    assert [g["name"] for g in found] == ["new_weights"]


def test_poly_schedule_against_the_formula_at_first_middle_and_last_step() -> None:
    layer = nn.Linear(2, 2)
    optimizer = torch.optim.SGD([{"params": [layer.weight], "lr": 0.1}, {"params": [layer.bias], "lr": 0.2}])
    schedule = poly_schedule(optimizer, max_steps=10)
    seen = []
    for _ in range(10):
        seen.append([g["lr"] for g in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    # Before update i the rate is lr0 * (1 - i / max) ** 0.9 (recipe of the published code).
    for step in (0, 5, 9):
        factor = (1 - step / 10) ** 0.9
        assert seen[step] == pytest.approx([0.1 * factor, 0.2 * factor])
    assert [g["lr"] for g in optimizer.param_groups] == [0, 0]


def test_poly_schedule_refuses_no_steps() -> None:
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1)
    with pytest.raises(ValueError, match="max_steps"):
        poly_schedule(optimizer, 0)


def test_optimizer_and_its_arguments_are_given_as_text_and_plain_values() -> None:
    layer = nn.Linear(2, 2)
    chosen = Optimization("torch.optim.SGD", {"momentum": 0.9, "nesterov": True}, lr=0.1, poly_power=1.0)
    optimizer = chosen.build_optimizer([], [layer])
    assert isinstance(optimizer, torch.optim.SGD)
    assert all(g["momentum"] == 0.9 and g["nesterov"] for g in optimizer.param_groups)
    schedule = chosen.schedule(optimizer, 4)
    assert schedule.get_last_lr() == pytest.approx([1.0, 2.0])
    optimizer.step()
    schedule.step()
    assert schedule.get_last_lr() == pytest.approx([0.75, 1.5])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lr": 0}, r"optimization\.lr must be above 0, got 0"),
        ({"weight_decay": -1e-4}, r"optimization\.weight_decay must be 0 or more"),
        ({"poly_power": -0.9}, r"optimization\.poly_power must be 0 or more"),
        ({"new_layer_factor": 0}, r"optimization\.new_layer_factor must be above 0"),
        ({"optimizer": "AdamW"}, r"no class AdamW; write e\.g\. torch\.optim\.AdamW"),
        ({"optimizer": "torch.optim.AdmW"}, r"optimization\.optimizer: no class torch\.optim\.AdmW"),
        ({"optimizer": "torch.nn.Linear"}, r"torch\.nn\.Linear is no optimiser"),
        (
            {"optimizer": "torch.optim.AdamW", "optimizer_args": {"momentum": 0.9}},
            r"optimization\.optimizer_args .* do not fit torch\.optim\.AdamW",
        ),
    ],
)
def test_wrong_settings_of_an_optimizer_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Optimization(**arguments).build_optimizer([], [nn.Linear(2, 2)])
