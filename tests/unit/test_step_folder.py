"""The type of arguments that name the folder of an earlier step."""

from __future__ import annotations

from pathlib import Path

import pytest
from jsonargparse import ArgumentParser

from tag2mask.artifacts import Manifest, manifest_hash, write_manifest
from tag2mask.artifacts.step_folder import StepFolder
from tag2mask.core import ClassList, UserError
from tag2mask.data import PseudoLabelData, SegmentationData
from tag2mask.step.identity import input_folders

CLASSES = ClassList.voc(["cat"])


def test_as_text_it_is_what_was_given(tmp_path: Path) -> None:
    for given in ("runs/psa/cam", "runs/psa/cam/", "./cam"):
        assert str(StepFolder(given)) == given
    folder = StepFolder(tmp_path / "cam")
    assert Path(folder) == folder.path == tmp_path / "cam"
    assert folder == StepFolder(f"{tmp_path}/cam/") and hash(folder) == hash(StepFolder(f"{tmp_path}/cam/"))
    assert folder != StepFolder(tmp_path) and folder != tmp_path / "cam"
    assert (folder.name, folder.out) == ("cam", tmp_path / "cam" / "out")


def test_it_asks_for_a_finished_step(tmp_path: Path) -> None:
    folder = StepFolder(tmp_path / "cam")
    with pytest.raises(UserError, match="run that step first"):
        folder.require()
    made = Manifest(step="cam", kind="maps", recipe="psa", classes=CLASSES.to_dict(), complete=True)
    write_manifest(folder.path, made)
    assert folder.require(("maps",), CLASSES).step == "cam"
    assert folder.hash() == manifest_hash(tmp_path / "cam")
    with pytest.raises(UserError, match="holds maps, but labels is needed"):
        folder.require(("labels",))


def _parser() -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments((PseudoLabelData, SegmentationData), "data")
    parser.add_argument("--list", type=list[StepFolder], default=[])
    return parser


def test_the_command_line_makes_it_of_a_path_and_writes_the_path_again() -> None:
    shapes = {"class_path": "tag2mask.data.Shapes", "init_args": {"root": "x"}}
    data = {
        "class_path": "tag2mask.data.PseudoLabelData",
        "init_args": {"dataset": shapes, "maps_dir": "r/cam/"},
    }
    parser = _parser()
    parsed = parser.parse_object({"data": data, "list": ["r/a"]})
    assert parsed.data.init_args.maps_dir == StepFolder("r/cam")
    assert "maps_dir: r/cam/\n" in parser.dump(parsed)


def test_inputs_are_found_by_their_type_wherever_they_stand() -> None:
    shapes = {"class_path": "tag2mask.data.Shapes", "init_args": {"root": "x"}}
    data = {
        "class_path": "tag2mask.data.SegmentationData",
        "init_args": {"dataset": shapes, "labels_dir": "r/b"},
    }
    parsed = _parser().parse_object({"data": data, "list": ["r/a", "r/c"]})
    assert input_folders(parsed) == [StepFolder("r/b"), StepFolder("r/a"), StepFolder("r/c")]
    data["init_args"]["labels_dir"] = None  # type: ignore[index]
    assert input_folders(_parser().parse_object({"data": data})) == []
    assert input_folders({"cache_dir": "r/b", "depth": [1, (StepFolder("r/d"),)]}) == [StepFolder("r/d")]
