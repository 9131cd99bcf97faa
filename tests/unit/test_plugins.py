"""Which packages may bring recipes and classes."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch

from tag2mask.core import UserError, plugins
from tag2mask.modules import load_checkpoint


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


@pytest.mark.usefixtures("registered")
def test_a_registered_package_that_cannot_be_imported_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = {"class_path": "papers.seam.Classifier", "classes": None}
    torch.save({"tag2mask": facts, "state_dict": {}}, tmp_path / "seam.ckpt")
    with pytest.raises(UserError, match=r"seam\.ckpt asks for papers\.seam\.Classifier.*No module.*install"):
        load_checkpoint(tmp_path / "seam.ckpt")
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "seam.py").write_text("raise RuntimeError('half done')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"seam\.ckpt .*RuntimeError: half done"):
        load_checkpoint(tmp_path / "seam.ckpt")


def test_without_a_registered_package_its_classes_are_refused(tmp_path: Path) -> None:
    facts = {"class_path": "papers.seam.Classifier", "classes": None}
    torch.save({"tag2mask": facts, "state_dict": {}}, tmp_path / "odd.ckpt")
    with pytest.raises(UserError, match="not part of tag2mask or of a package that registered itself"):
        load_checkpoint(tmp_path / "odd.ckpt")
