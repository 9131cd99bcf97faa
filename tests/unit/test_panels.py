"""Pictures for the experiment tracker, on a network with known maps."""

from __future__ import annotations

import numpy as np
import torch

from tag2mask.callbacks.panels import cam_panel


class LeftOfTheTwo:
    """Class 0 fires on the left half, class 1 on the right one, class 2 nowhere."""

    def cam(self, images: torch.Tensor) -> torch.Tensor:
        maps = torch.zeros(1, 3, 1, 2)
        maps[0, 0, 0, 0] = 5
        maps[0, 1, 0, 1] = 2
        return maps


def test_panel_shows_the_image_and_one_map_per_tag() -> None:
    image = torch.full((3, 8, 16), 100, dtype=torch.uint8)
    panel = cam_panel(LeftOfTheTwo(), {"id": "a", "image": image, "tags": torch.tensor([1.0, 0.0, 1.0])})
    assert panel.shape == (8, 48, 3) and panel.dtype == np.uint8
    assert (panel[:, :16] == 100).all()
    first, third = panel[:, 16:32], panel[:, 32:]
    # red is laid over where the class fires, in proportion; the silent class changes nothing
    assert first[0, 0, 0] > 200 > 110 > first[0, -1, 0] and (third == 100).all()


def test_an_image_without_tags_has_its_picture_alone() -> None:
    image = torch.full((3, 8, 16), 100, dtype=torch.uint8)
    panel = cam_panel(LeftOfTheTwo(), {"id": "a", "image": image, "tags": torch.zeros(3)})
    assert panel.shape == (8, 16, 3) and (panel == 100).all()
