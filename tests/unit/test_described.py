"""Data sets by their descriptions, and which classes these may name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from tag2mask.artifacts import Manifest, write_manifest
from tag2mask.cli import main
from tag2mask.core import ClassList, UserError
from tag2mask.data import VOC, ImageSet
from tag2mask.data.command import dataset_from_config
from tag2mask.data.image_set import import_data_set
from tests.voc_files import root

__all__ = ["root"]  # the fixture of these tests


def test_description_makes_the_same_set(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root.parent)
    plain = VOC(root.name, classes=["dog"]).describe()
    monkeypatch.chdir("/")  # paths in it are absolute
    again = ImageSet.from_description(plain)
    assert again.describe() == plain
    assert again.ids("train") == ["a", "b"]
    assert again.classes.names == ("dog",)


@pytest.mark.parametrize(
    "path", ["VOC", "tag2mask.data.Nope", "no.such.Set", "pathlib.Path", "", "../../etc", "\0.a"]
)
def test_description_of_no_data_set(path: str) -> None:
    with pytest.raises(UserError, match="is not a data set"):
        ImageSet.from_description({"class_path": path, "init_args": {}})
    if path:
        with pytest.raises(UserError, match="is not a data set"):
            import_data_set(path)


def test_the_step_of_a_description_is_named() -> None:
    for path in ("tag2mask.data.VOC", "tag2mask.data.Nope"):
        with pytest.raises(UserError, match="manifest of runs/psa/cam: "):
            ImageSet.from_description({"class_path": path, "init_args": {}}, origin=Path("runs/psa/cam"))


def test_a_description_imports_other_packages_for_the_user_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine_and_yours.py").write_text(
        "from pathlib import Path\nfrom tag2mask.data import VOC as Base\n"
        "Path('ran').touch()\nclass Own(Base): pass\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    plain = {"class_path": "mine_and_yours.Own", "init_args": {"root": str(tmp_path)}}
    with pytest.raises(UserError, match=r"'mine_and_yours\.Own' is not a data set of tag2mask .*register"):
        ImageSet.from_description(plain)
    assert not Path("ran").exists()
    Path("own.yaml").write_text(yaml.safe_dump({"data": {"init_args": {"dataset": plain}}}))
    try:
        made = dataset_from_config("own.yaml")
        assert Path("ran").exists() and type(made).__name__ == "Own"
        # what this process has imported for the user, it takes in the manifests of the run as well
        assert ImageSet.from_description(plain).describe() == made.describe()
    finally:
        sys.modules.pop("mine_and_yours", None)


@pytest.mark.parametrize("command", ["tune", "sensitivity", "wandb"])
def test_commands_that_read_images_take_the_class_of_the_data_set(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "run", "--data-class", "nowhere.Photos"]) == 2
    assert "'nowhere.Photos' is not a data set" in capsys.readouterr().err


def test_a_report_imports_the_class_that_the_user_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine_for_report.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    facts = {"kind": "maps", "recipe": "", "classes": ClassList.voc(["cat"]).to_dict()}
    data = {"class_path": "mine_for_report.Own", "init_args": {}}
    write_manifest(tmp_path / "run" / "cam", Manifest(step="cam", **facts, data=data, complete=True))
    try:
        assert main(["report", "run"]) == 0 and not Path("ran").exists()
        assert main(["report", "run", "--data-class", "mine_for_report.Own"]) == 2  # it holds no class
        assert Path("ran").exists()
    finally:
        sys.modules.pop("mine_for_report", None)


def test_description_of_a_table_from_an_earlier_version() -> None:
    given = {"photos": "/p", "csv": "/p/tags.csv", "masks": None}
    old = ImageSet.from_description({"class_path": "tag2mask.data.table.Table", "init_args": given})
    assert old.describe()["init_args"]["images"] == "/p"


def test_description_with_an_unknown_argument() -> None:
    with pytest.raises(UserError, match="colour"):
        ImageSet.from_description(
            {"class_path": "tag2mask.data.VOC", "init_args": {"root": "x", "colour": 1}}
        )
