"""Files, maps, labels and manifests on disk."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tag2mask import artifacts
from tag2mask.core import ClassList, ScoreMaps, UserError


def test_atomic_write_replaces_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    artifacts.atomic_write_text(path, "one")
    artifacts.atomic_write_text(path, "zwei ä")
    assert path.read_text(encoding="utf-8") == "zwei ä"
    assert [p.name for p in path.parent.iterdir()] == ["b.txt"]


def test_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    artifacts.atomic_write_bytes(path, b"old")

    def broken(*args: object) -> None:
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(UserError, match=f"cannot write {path}: disk full; make room"):
        artifacts.atomic_write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_written_files_have_the_rights_of_any_other_file(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    artifacts.atomic_write_bytes(tmp_path / "ours", b"")
    assert (tmp_path / "ours").stat().st_mode == plain.stat().st_mode


def test_atomic_write_into_a_file_as_folder_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        artifacts.atomic_write_text(tmp_path / "file" / "x", "")


def test_a_file_name_that_is_not_in_utf_8_is_a_user_error(tmp_path: Path) -> None:
    name = os.fsdecode(b"F\xf6to.jpg")
    with pytest.raises(UserError, match=r"table.csv: .* not in UTF-8, near 'F\\udcf6to.jpg,cat'; rename"):
        artifacts.atomic_write_text(tmp_path / "table.csv", f"image,labels\n{name},cat\nother.jpg,dog\n")
    assert list(tmp_path.iterdir()) == []


def test_json_refuses_what_json_has_not(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"not JSON compliant|Out of range"):
        artifacts.atomic_write_json(tmp_path / "x.json", {"a": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../../x", "a\\b", "a\0b"])
def test_safe_join_refuses(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a file name inside"):
        artifacts.safe_join(tmp_path, name)


def test_safe_join_accepts_subfolders_and_dots(tmp_path: Path) -> None:
    assert artifacts.safe_join(tmp_path, "a/2007_000032..v1.png") == tmp_path / "a" / "2007_000032..v1.png"


def test_hashes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    # the test vector of FIPS 180-2
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert artifacts.sha256_file(tmp_path / "x") == known
    assert artifacts.sha256_json({"a": 1, "b": [2]}) == artifacts.sha256_json({"b": [2], "a": 1})
    assert artifacts.sha256_json({"a": 1}) != artifacts.sha256_json({"a": "1"})


CLASSES = ClassList.voc(["cat", "dog"])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 3), st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_maps_come_back(tmp_path_factory: pytest.TempPathFactory, m: int, h: int, w: int, seed: int) -> None:
    folder = tmp_path_factory.mktemp("maps")
    maps = np.random.default_rng(seed).random((m, h, w), np.float32)
    classes = ClassList(("a", "b", "c"), (20, 254, 7))
    artifacts.save_maps(folder, ScoreMaps("s/x", maps, [0, 1, 2][:m], (8 * h, 8 * w)), classes)
    stored = artifacts.load_maps(folder, "s/x", classes)
    assert (stored.image_id, stored.classes, stored.image_size) == ("s/x", (0, 1, 2)[:m], (8 * h, 8 * w))
    with np.load(folder / "s" / "x.npz") as file:  # the file holds mask ids
        assert file["class_ids"].tolist() == [0, 20, 254][:m] and file["maps"].dtype == np.float16
    # other classes with the same ids: the indices follow them
    other = artifacts.load_maps(folder, "s/x", ClassList(("c", "b", "a"), (7, 254, 20)))
    assert other.classes == (0, 3, 2)[:m]
    assert stored.maps.dtype == np.float32 and stored.maps.shape == maps.shape
    # half floats in [0.5, 1) lie 2^-11 apart, so rounding moves a score by at most 2^-12
    np.testing.assert_allclose(stored.maps, maps, atol=2**-12)


def test_maps_of_a_image_are_small(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).random((3, 47, 63), np.float32)  # 500x375 at stride 8
    artifacts.save_maps(tmp_path, ScoreMaps("x", noise, [1, 2, 3], (375, 500)), ClassList.voc())
    assert (tmp_path / "x.npz").stat().st_size < 50_000  # even noise, which does not compress


@pytest.mark.parametrize(
    ("maps", "indices", "word"),
    [
        (np.zeros((2, 3)), [1, 2], "shape"),
        (np.zeros((2, 3, 3)), [1], "classes must be 2 different"),
        (np.zeros((2, 3, 3)), [1, 1], "classes must be 2 different"),
        (np.zeros((1, 3, 3)), [-1], "classes must be 1 different"),
        (np.zeros((1, 3, 3)), [3], r"in 0\.\.2"),
        (np.full((1, 3, 3), np.nan), [1], "finite"),
        (np.full((1, 3, 3), 1e6), [1], "finite"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_save_maps_checks(maps: np.ndarray, indices: list[int], word: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=word):
        artifacts.save_maps(tmp_path, ScoreMaps("x", maps, indices, (9, 9)), CLASSES)
    assert not (tmp_path / "x.npz").exists()


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.mkdir, ("exploded",))


def test_load_maps_never_unpickles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    objects = np.array([_Bomb()], dtype=object)
    np.savez("x.npz", maps=objects, class_ids=objects, image_size=objects)
    Path("y.npz").write_bytes(pickle.dumps(_Bomb()))
    for name in ("x", "y"):
        with pytest.raises(UserError, match=f"{name}.npz"):
            artifacts.load_maps(".", name, CLASSES)
    assert not Path("exploded").exists()


def test_maps_of_earlier_runs_are_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "old.npz", maps=np.ones((1, 2, 2), np.float16), class_ids=[8], photo_size=[16, 12])
    assert artifacts.load_maps(tmp_path, "old", CLASSES).image_size == (16, 12)


def test_a_checkpoint_lies_in_its_step(tmp_path: Path) -> None:
    facts = {"step": "s", "kind": "segmentation", "recipe": "", "classes": CLASSES.to_dict()}
    inside = artifacts.Manifest(**facts, checkpoint="checkpoints/last.ckpt")
    assert artifacts.checkpoint_path(tmp_path, inside) == tmp_path / "checkpoints" / "last.ckpt"
    for name in ("../other/last.ckpt", "/etc/last.ckpt"):
        with pytest.raises(UserError, match="is not a file name inside"):
            artifacts.checkpoint_path(tmp_path, artifacts.Manifest(**facts, checkpoint=name))


def test_load_maps_tells_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run the step"):
        artifacts.load_maps(tmp_path, "none", CLASSES)
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 cut off")
    np.save(tmp_path / "array.npz.npy", np.zeros(3))
    os.rename(tmp_path / "array.npz.npy", tmp_path / "array.npz")
    np.savez(tmp_path / "keys.npz", maps=np.zeros((1, 2, 2)))
    np.savez(tmp_path / "shape.npz", maps=np.zeros((2, 2)), class_ids=[1], image_size=[2, 2])
    np.savez(tmp_path / "twice.npz", maps=np.zeros((2, 2, 2)), class_ids=[8, 8], image_size=[2, 2])
    np.savez(tmp_path / "foreign.npz", maps=np.zeros((1, 2, 2)), class_ids=[9], image_size=[2, 2])
    for name in ("cut", "array", "keys", "shape", "twice", "foreign"):
        with pytest.raises(UserError, match=f"{name}.npz"):
            artifacts.load_maps(tmp_path, name, CLASSES)


def test_palette_is_vocs() -> None:
    palette = artifacts.voc_palette()
    # from the table that the VOC development kit documents
    known = {
        0: (0, 0, 0),
        1: (128, 0, 0),
        8: (64, 0, 0),
        15: (192, 128, 128),
        20: (0, 64, 128),
        255: (224, 224, 192),
    }
    for index, colour in known.items():
        assert tuple(palette[index]) == colour
    assert len({tuple(c) for c in palette}) == 256


def test_labels_come_back_as_a_palette_png(tmp_path: Path) -> None:
    ids = np.arange(256, dtype=np.uint8).reshape(8, 32)
    artifacts.save_labels(tmp_path / "x.png", ids)
    np.testing.assert_array_equal(artifacts.load_labels(tmp_path / "x.png"), ids)
    with Image.open(tmp_path / "x.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.array(image.convert("RGB"))[0, 1], [128, 0, 0])


def test_load_labels_reads_gray_and_other_palettes(tmp_path: Path) -> None:
    ids = np.array([[0, 7], [255, 20]], np.uint8)
    Image.fromarray(ids).save(tmp_path / "gray.png")
    short = Image.fromarray(np.minimum(ids, 3))
    short.putpalette([9, 9, 9] * 4)
    short.save(tmp_path / "short.png", bits=2)
    np.testing.assert_array_equal(artifacts.load_labels(tmp_path / "gray.png"), ids)
    np.testing.assert_array_equal(artifacts.load_labels(tmp_path / "short.png"), np.minimum(ids, 3))


def test_load_labels_refuses_colours_and_junk(tmp_path: Path) -> None:
    Image.new("RGB", (3, 3)).save(tmp_path / "rgb.png")
    Image.new("I;16", (3, 3)).save(tmp_path / "deep.png")
    (tmp_path / "junk.png").write_bytes(b"not a picture")
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(buffer, "PNG")
    (tmp_path / "cut.png").write_bytes(buffer.getvalue()[:900])
    for name in ("rgb", "deep", "junk", "cut", "missing"):
        with pytest.raises(UserError, match=f"{name}.png"):
            artifacts.load_labels(tmp_path / f"{name}.png")


def test_save_labels_checks(tmp_path: Path) -> None:
    for ids in (np.zeros((3, 3), np.int64), np.zeros((3, 3, 3), np.uint8)):
        with pytest.raises(ValueError, match="uint8"):
            artifacts.save_labels(tmp_path / "x.png", ids)  # type: ignore[arg-type]


def test_confidence_comes_back(tmp_path: Path) -> None:
    confidence = np.random.default_rng(0).random((5, 7), np.float32)
    artifacts.save_confidence(tmp_path / "x.png", confidence)
    loaded = artifacts.load_confidence(tmp_path / "x.png")
    # 256 gray steps: rounding moves a value by at most half a step
    np.testing.assert_allclose(loaded, confidence, atol=0.5 / 255 + 1e-6)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        artifacts.save_confidence(tmp_path / "x.png", confidence + 1)


def _manifest(**changes: object) -> artifacts.Manifest:
    values: dict[str, object] = {
        "step": "cam",
        "kind": "maps",
        "recipe": "psa",
        "classes": CLASSES.to_dict(),
        "image_ids": ["a", "b"],
        "parents": {"x": "00"},
        "commands": {
            "fit": artifacts.CommandRecord(
                complete=True, fingerprint="ff", config_hash="aa", seconds=1.5, peak_memory_mb=300.0
            )
        },
        "versions": {"python": "3"},
        "complete": True,
    }
    return artifacts.Manifest(**(values | changes))  # type: ignore[arg-type]


def test_manifest_comes_back(tmp_path: Path) -> None:
    assert artifacts.read_manifest(tmp_path) is None
    artifacts.write_manifest(tmp_path, _manifest())
    assert artifacts.read_manifest(tmp_path) == _manifest()


def test_manifest_hash_follows_the_content(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run that step first"):
        artifacts.manifest_hash(tmp_path)
    artifacts.write_manifest(tmp_path, _manifest())
    first = artifacts.manifest_hash(tmp_path)
    artifacts.write_manifest(tmp_path, _manifest())
    assert artifacts.manifest_hash(tmp_path) == first
    artifacts.write_manifest(tmp_path, _manifest(image_ids=["a"]))
    assert artifacts.manifest_hash(tmp_path) != first


@pytest.mark.parametrize(
    "change",
    [
        {"complete": 1},
        {"complete": None},
        {"kind": "soup"},
        {"classes": {"names": ["a"]}},
        {"classes": {"names": [], "ids": []}},
        {"classes": {"names": ["a"], "ids": [math.inf]}},
        {"classes": {"names": "a", "ids": [1]}},
        {"commands": {"fit": {}}},
        {"commands": {"fit": 3}},
        {"image_ids": "a"},
    ],
)
def test_broken_manifest_is_named(change: dict[str, object], tmp_path: Path) -> None:
    artifacts.write_manifest(tmp_path, _manifest())
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=r"manifest.json is not a readable manifest"):
        artifacts.read_manifest(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', "\xff"])
def test_manifest_that_is_no_json_object(text: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match="not a readable manifest"):
        artifacts.read_manifest(tmp_path)


def test_require_step(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run that step first"):
        artifacts.require_step(tmp_path)
    artifacts.write_manifest(tmp_path, _manifest(complete=False))
    with pytest.raises(UserError, match="not complete"):
        artifacts.require_step(tmp_path)
    artifacts.write_manifest(tmp_path, _manifest())
    assert artifacts.require_step(tmp_path, {"maps"}, CLASSES).step == "cam"
    with pytest.raises(UserError, match="holds maps, but checkpoint or labels is needed"):
        artifacts.require_step(tmp_path, ["labels", "checkpoint"])
    with pytest.raises(UserError, match="it has dog and it lacks cow"):
        artifacts.require_step(tmp_path, classes=ClassList.voc(["cat", "cow"]))
    with pytest.raises(UserError, match=r"ids or order \[8, 12\] instead of \[1, 2\]"):
        artifacts.require_step(tmp_path, classes=ClassList.from_names(["cat", "dog"]))


def test_versions_and_commit() -> None:
    versions = artifacts.collect_versions()
    assert versions["python"].startswith("3.") and versions["numpy"] == np.__version__
    commit = artifacts.git_commit().removesuffix("-dirty")
    assert commit == "" or (len(commit) == 40 and int(commit, 16) >= 0)


def test_maps_are_read_although_another_thread_disturbs_numpy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = ScoreMaps("a", np.ones((1, 2, 2), np.float32), [1], (4, 4))
    classes = ClassList.voc(["cat"])
    artifacts.save_maps(tmp_path, scores, classes)
    read, calls = np.lib.npyio.NpzFile.__getitem__, list[str]()

    def disturbed(self: np.lib.npyio.NpzFile, key: str) -> np.ndarray:
        calls.append(key)
        if len(calls) == 1:
            raise SystemError("AST constructor recursion depth mismatch")
        return read(self, key)

    monkeypatch.setattr(np.lib.npyio.NpzFile, "__getitem__", disturbed)
    assert (artifacts.load_maps(tmp_path, "a", classes).maps == 1).all()
    assert calls[:2] == ["maps", "maps"]


def test_a_file_in_place_of_a_folder_is_named(tmp_path: Path) -> None:
    """It was called a broken file inside of itself, to be deleted."""
    (tmp_path / "out").touch()
    with pytest.raises(UserError, match=r"out is a file: give a folder in its place"):
        artifacts.read_json(tmp_path / "out" / "deep" / "export.json")
