"""The registry of kinds of artifacts, and what it is asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from tag2mask.artifacts import (
    SCORERS,
    CommandRecord,
    Kind,
    Manifest,
    atomic_write_text,
    find_kind,
    kind_names,
    kinds,
    register_kind,
    safe_join,
    write_manifest,
)
from tag2mask.callbacks import PredictionWriter
from tag2mask.core import (
    ClassList,
    FeaturesResult,
    LabelsResult,
    RegionsResult,
    ScoreMaps,
    SubLabelsResult,
    UserError,
    plugins,
)
from tag2mask.evaluate import score_step, step

CLASSES = ClassList(("cat", "dog"), (8, 12))


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A copy of the registry that the test may fill."""
    monkeypatch.setattr(kinds, "_KINDS", dict(kinds._KINDS))
    yield


class Caption(NamedTuple):
    image_id: str
    text: str


class CaptionKind(Kind):
    """A kind as another package would bring it."""

    def save(self, out: Path, result: Caption, classes: ClassList) -> None:
        atomic_write_text(self.files(out).path(result.image_id), result.text)

    def load(self, out: Path, image_id: str, classes: ClassList) -> Caption:
        return Caption(image_id, self.files(out).path(image_id).read_text())


RESULTS: dict[str, Any] = {
    "maps": ScoreMaps("s/a", np.full((2, 2, 3), 0.5, np.float32), [0, 2], (16, 24)),
    "labels": LabelsResult("s/a", {"": np.array([[0, 1, 255]], np.uint8)}, np.array([[0.0, 1.0, 0.2]])),
    "affinity_labels": LabelsResult(
        "s/a", {"fg": np.array([[1, 2]], np.uint8), "bg": np.array([[0, 255]], np.uint8)}
    ),
    "segmentation": LabelsResult("s/a", {"multi_scale": np.array([[2, 0]], np.uint8)}),
    "superpixels": RegionsResult("s/a", np.array([[0, 70], [300, 1]])),
    "features": FeaturesResult("s/a", np.array([0.25, -1], np.float32)),
    "sub_labels": SubLabelsResult("s/a", {2: 0, 1: 4}),
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_comes_back_from_its_kind(name: str, tmp_path: Path) -> None:
    kind, result = find_kind(name), RESULTS[name]
    done = "multi_scale" if name == "segmentation" else kind.done_folder
    files = kind.files(tmp_path, done)
    assert not files.has("s/a")
    kind.save(tmp_path, result, CLASSES)
    assert files.has("s/a") and files.path("s/a").suffix == kind.suffix
    again = kind.load(tmp_path, "s/a", CLASSES)
    values = [vars(r) if name == "maps" else r._asdict() for r in (result, again)]
    for field, value in values[0].items():
        _assert_equal(values[1][field], value, tolerance=0.5 / 255 if field == "confidence" else 0)


def _assert_equal(found: Any, expected: Any, tolerance: float) -> None:
    if isinstance(expected, dict) and any(isinstance(v, np.ndarray) for v in expected.values()):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_array_equal(found[key], value)
    elif isinstance(expected, np.ndarray):
        # confidence is stored in 256 steps: at most half a step off
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance + 1e-6 * (tolerance > 0))
    else:
        assert found == expected


def test_every_kind_but_the_checkpoint_leaves_something_for_an_image(tmp_path: Path) -> None:
    assert set(kind_names()) == {*RESULTS, "checkpoint"}
    with pytest.raises(UserError, match="kind checkpoint leaves nothing for an image"):
        find_kind("checkpoint").save(tmp_path, RESULTS["maps"], CLASSES)
    with pytest.raises(UserError, match="kind checkpoint leaves nothing for an image"):
        find_kind("checkpoint").load(tmp_path, "a", CLASSES)


def test_labels_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no labels at .*fg/a\.png or .*bg/a\.png: run the step again"):
        find_kind("affinity_labels").load(tmp_path, "a", CLASSES)


def test_ids_that_lead_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    for name, result in RESULTS.items():
        moved = _with_id(result, "../a")
        with pytest.raises(UserError, match="not a file name inside"):
            find_kind(name).save(tmp_path / "out", moved, CLASSES)
    assert not list(tmp_path.rglob("*.*"))


def _with_id(result: Any, image_id: str) -> Any:
    if isinstance(result, ScoreMaps):
        return ScoreMaps(image_id, result.maps, result.classes, result.image_size)
    return result._replace(image_id=image_id)


def test_unknown_kind_gets_the_near_name() -> None:
    with pytest.raises(UserError, match=r"unknown kind 'map'; did you mean maps.*may not be installed"):
        find_kind("map")


@pytest.mark.usefixtures("registry")
def test_a_kind_of_another_package(tmp_path: Path) -> None:
    kind = register_kind(CaptionKind("captions", ".txt"))
    assert find_kind("captions") is kind and kind_names()[-1] == "captions"
    register_kind(CaptionKind("captions", ".txt"))  # the same one again, as a second import would do
    assert kind_names().count("captions") == 1
    out = tmp_path / "captions" / "out"
    writer = PredictionWriter(out, kind, CLASSES)
    writer.write_on_batch_end(None, None, [Caption("a", "a cat")], None, None, 0, 0)  # type: ignore[arg-type]
    assert writer.written == 1 and kind.load(out, "a", CLASSES) == Caption("a", "a cat")
    made = Manifest(
        step="captions", kind="captions", recipe="x", classes=CLASSES.to_dict(), complete=True,
        commands={"predict": CommandRecord(complete=True)},
    )  # fmt: skip
    write_manifest(tmp_path / "captions", made)
    assert score_step(tmp_path / "captions")["why"] == "a step of kind captions leaves no label maps"


@pytest.mark.usefixtures("registry")
def test_a_package_is_asked_for_a_kind_that_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "from tag2mask.artifacts import Kind, register_kind\nregister_kind(Kind('voices', '.wav'))\n"
    (tmp_path / "brings_voices.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint("voices", "brings_voices", plugins.GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point] if group == plugins.GROUP else [])
    assert find_kind("maps").suffix == ".npz" and "brings_voices" not in sys.modules  # not asked in vain
    assert find_kind("voices").suffix == ".wav"


@pytest.mark.usefixtures("registry")
def test_a_package_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("voices", "brings_nothing", plugins.GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point])
    with pytest.raises(
        UserError, match=r"brings_nothing \(entry point voices of tag2mask\.recipes\).*mend or"
    ):
        find_kind("voices")


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Kind("Maps"), "lower-case letters"),
        (Kind("maps", ".png"), "a kind 'maps' exists already: give the new one another name"),
        (Kind("more", scored_as="label"), r"scorer of kind more 'label'; did you mean labels"),
        (Kind("more", folders=()), 'names no folder: give folders \\(""'),
    ],
)
def test_kinds_that_are_refused(kind: Kind, words: str) -> None:
    before = kind_names()
    with pytest.raises(UserError, match=words):
        register_kind(kind)
    assert kind_names() == before


def test_every_scorer_that_a_kind_may_name_exists() -> None:
    assert tuple(step.SCORERS) == SCORERS


def test_result_files_stay_in_their_folder(tmp_path: Path) -> None:
    files = find_kind("segmentation").files(tmp_path, "single_scale")
    assert files.path("b/a") == safe_join(tmp_path / "single_scale", "b/a.png")
    with pytest.raises(UserError, match="not a file name"):
        files.has("../a")
