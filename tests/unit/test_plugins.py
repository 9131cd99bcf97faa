"""Which packages may bring recipes and classes."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch

from tag2mask.core import UserError, plugins
from tag2mask.modules import load_stage


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """One package that registered itself, as an installed distribution would."""

    def points(group: str) -> list[EntryPoint]:
        return [EntryPoint("seam", "papers.seam", group)] if group == "tag2mask.recipes" else []

    monkeypatch.setattr(plugins, "entry_points", points)


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("module", "trusted"),
    [
        ("tag2mask", True),
        ("tag2mask.modules.classifier", True),
        ("tag2mask_of_someone_else.modules", False),
        ("papers.seam", True),
        ("papers.seam.classifier", True),
        ("papers.seam2", False),
        ("papers", False),
        ("subprocess", False),
        ("", False),
    ],
)
def test_classes_come_from_this_package_and_from_registered_ones(module: str, trusted: bool) -> None:
    assert plugins.is_trusted(module) is trusted
    assert plugins.plugin_packages() == {"seam": "papers.seam"}


def test_without_a_registered_package_its_classes_are_refused(tmp_path: Path) -> None:
    facts = {"class_path": "papers.seam.Classifier", "classes": None}
    torch.save({"tag2mask": facts, "state_dict": {}}, tmp_path / "odd.ckpt")
    with pytest.raises(UserError, match="not part of tag2mask or of a package that registered itself"):
        load_stage(tmp_path / "odd.ckpt")
