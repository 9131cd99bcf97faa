"""Figures of single papers from the networks of a run: what each picture is made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tag2mask.api.paper_figures import affinity_edges, learned_gates, sized_maps, weights_figure
from tag2mask.backbones import BackboneSpec
from tag2mask.core import UserError
from tag2mask.data import VOC
from tag2mask.heads import HeadSpec
from tag2mask.modules import AffinityNet
from tag2mask.recipes.ial import PairwiseLearner
from tag2mask.recipes.ial.propagation import PropagationSpec
from tag2mask.recipes.rrm import ClassificationSpec, JointModel
from tag2mask.recipes.sc_cam import SubCategoryClassifier
from tag2mask.report import Run, read_runs
from tests.step_files import trained_step

LIGHT = BackboneSpec("test_resnet", "none")


@pytest.fixture(scope="module")
def run(tiny_voc: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder, images = tmp_path_factory.mktemp("figures") / "run", VOC(str(tiny_voc))
    count = len(images.classes)
    torch.manual_seed(0)
    sizes = ClassificationSpec(cam_scales=(1.0, 0.5))
    networks = {
        "affinity": AffinityNet(count, LIGHT),
        "joint": JointModel(count, LIGHT, head=HeadSpec("deeplabv2"), classification=sizes),
        "pairwise_1": PairwiseLearner(count, LIGHT, propagation=PropagationSpec(4, (8, 8, 8))),
        "cam_2": SubCategoryClassifier(count, LIGHT, sub_categories=2),
        "cam_10": SubCategoryClassifier(count, LIGHT, sub_categories=3),
    }
    for name, network in networks.items():
        trained_step(folder / name, network, images)
    return read_runs([folder])[0]


@pytest.fixture
def image_id(run: Run) -> str:
    return run.steps[0].manifest.image_ids[0]


def test_edges_lie_where_touching_cells_differ(
    run: Run, image_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_and_right = torch.zeros(1, 2, 6, 8)
    left_and_right[..., 4:] = 1
    monkeypatch.setattr(AffinityNet, "forward", lambda net, images: left_and_right)
    red, _, blue = affinity_edges(run, image_id).picture.astype(int).transpose(2, 0, 1)
    # cells are 8 pixels wide, and a pair is noted at its left cell, here the one from 24 to 32
    assert red.shape == (48, 64) and 24 <= (red - blue).mean(0).argmax() < 32


def test_maps_stand_in_the_order_of_their_sizes_with_their_mean(run: Run, image_id: str) -> None:
    name = run.steps[0].manifest.class_list().names[0]
    panels = sized_maps(run, image_id, name)
    assert [panel.caption for panel in panels] == ["image", "size 0.5", "size 1", "mean"]
    assert {panel.picture.shape for panel in panels} == {(48, 64, 3)}
    assert not np.array_equal(panels[1].picture, panels[2].picture)


def test_chosen_channels_of_the_gates(run: Run, image_id: str) -> None:
    panels = learned_gates(run, image_id, channels=(3, 0))
    assert [panel.caption for panel in panels] == ["image", "channel 3", "channel 0"]
    assert not np.array_equal(panels[1].picture, panels[2].picture)


def test_a_point_for_each_class_and_each_sub_category_of_the_last_round(run: Run) -> None:
    names = run.steps[0].manifest.class_list().names
    (axes,) = weights_figure(run, names[1]).axes
    assert [len(found.get_offsets()) for found in axes.collections] == [len(names), 3]  # type: ignore[arg-type]
    assert [text.get_text() for text in axes.texts] == [*names, "1", "2", "3"]
    assert len(weights_figure(run, names[1], "cam_2").axes[0].texts) == len(names) + 2


def test_mistakes(run: Run, image_id: str) -> None:
    with pytest.raises(UserError, match="has no step cam_7, but affinity"):
        weights_figure(run, "cat", "cam_7")
    with pytest.raises(UserError, match="holds AffinityNet, not JointModel"):
        sized_maps(run, image_id, "cat", "affinity")
    with pytest.raises(UserError, match="there is no class unicorn"):
        sized_maps(run, image_id, "unicorn")
    with pytest.raises(UserError, match=r"channels must lie in 0..3"):
        learned_gates(run, image_id, [4])
