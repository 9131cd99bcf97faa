"""``tag2mask export``: every file gives what the checkpoint gives, and says what it is."""

from __future__ import annotations

import builtins
import errno
import itertools
import json
import os
import re
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from timm.layers import padding

import tag2mask
from tag2mask.api.segmenter import checkpoint_file
from tag2mask.artifacts import CommandRecord, Manifest, write_manifest
from tag2mask.backbones import BackboneSpec
from tag2mask.cli import main
from tag2mask.core import ClassList, UserError
from tag2mask.core.tables import Table as Checks
from tag2mask.export import formats
from tag2mask.export.card import model_card
from tag2mask.export.check import CHECKED_SIZES, compare
from tag2mask.export.network import WholeNetwork, padding_in_integers, trace
from tag2mask.export.source import facts as known_facts
from tag2mask.export.source import find_source
from tag2mask.heads import HeadSpec
from tag2mask.modules import InferenceSpec, SegmentationModel, load_checkpoint
from tag2mask.ops.sizes import cells, scaled_side
from tag2mask.recipes.rrm import JointModel
from tag2mask.recipes.self_guided import SelfGuidedModel

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ClassList.voc(["cat", "dog"])
SECRET = "a|<b>_name_"
"""A class name that is neither Markdown nor HTML."""


def make_run(run: Path, classes: ClassList = CLASSES) -> Path:
    """A run whose segmentation network has random weights, and scores that are large enough to differ."""
    torch.manual_seed(0)
    module = SegmentationModel(2, BackboneSpec("resnet10t", "none", 16), head=HeadSpec("deeplabv2"))
    module.classes = classes
    with torch.no_grad():
        for branch in module.network.head.branches:
            branch.weight.mul_(20)
    checkpoint: dict[str, Any] = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    step = run / "segmentation"
    (step / "checkpoints").mkdir(parents=True)
    torch.save(checkpoint, step / "checkpoints" / "last.ckpt")
    data = {"class_path": "tag2mask.data.voc.VOC", "init_args": {"root": "/somewhere/private/VOC2012"}}
    write_manifest(
        step,
        Manifest(
            step="segmentation", kind="segmentation", recipe="psa", classes=classes.to_dict(), data=data,
            commands={"fit": CommandRecord(complete=True)}, checkpoint="checkpoints/last.ckpt",
            parents={"pseudo_label": ""},
        ),
    )  # fmt: skip
    score = {"scored": True, "split": "val", "miou": 0.625, "images": 9, "per_class": {"cat": 0.5}}
    (step / "score.json").write_text(json.dumps(score))
    (step / "fit.yaml").write_text("data: {init_args: {labels_dir: /somewhere/private/pseudo_label}}\n")
    (run / "run.json").write_text(json.dumps({"data_root": "/somewhere/private/VOC2012", "seed": 3}))
    return run


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run that was exported in all formats, and what the command printed."""
    run = make_run(tmp_path_factory.mktemp("runs") / "psa")
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr(builtins, "print", lambda *words, **_: lines.append(" ".join(map(str, words))))
        assert main(["export", str(run)]) == 0
    return run, "\n".join(lines)


def picture(height: int, width: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_the_command_says_how_the_files_agree(exported: tuple[Path, str]) -> None:
    run, printed = exported
    rows = re.findall(r"^(model\.\w+)\s+(\d+ x \d+)\s+([\d.e+-]+)\s+([\d.]+) %$", printed, flags=re.MULTILINE)
    assert len(rows) == 9 and len({size for _, size, *_ in rows}) == 3
    assert all(float(error) <= 1e-4 and float(equal) >= 99.9 for *_, error, equal in rows)
    assert printed.splitlines()[-1].endswith(str(run / "export"))
    record = json.loads((run / "export" / "export.json").read_text())
    assert record["files"] == ["model.onnx", "model.pt2", "model.safetensors"] and len(record["checks"]) == 9
    assert len(list((run / "export").iterdir())) == 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"root": None, "images": "/somewhere/anna/pets/images"}, "Data set: Table, folder VOC2012."),
        (
            {"root": "/somewhere/anna/pets", "images": "/somewhere/anna/pets/images"},
            "Data set: Table, folder pets.",
        ),
    ],
)
def test_the_card_names_the_folder_of_a_table(tmp_path: Path, arguments: dict[str, Any], said: str) -> None:
    """A table's manifest has its folders written out, and no root: the run knows it."""
    run = make_run(tmp_path / "run")
    source = find_source(run, None)
    assert source.manifest is not None
    source.manifest.data = {"class_path": "tag2mask.data.table.Table", "init_args": arguments}
    card = model_card(source, known_facts(source, CLASSES), {}, Checks(["file"], []))
    assert said in card and "anna" not in card
    (run / "run.json").write_text("{}")
    assert "folder ." not in model_card(source, known_facts(source, CLASSES), {}, Checks(["file"], []))


def test_onnx_of_a_size_that_was_not_checked(exported: tuple[Path, str]) -> None:
    """Odd sides, beside the library's own predictor."""
    import onnxruntime

    session = onnxruntime.InferenceSession(exported[0] / "export" / "model.onnx")
    facts = json.loads(session.get_modelmeta().custom_metadata_map["tag2mask"])
    assert [(c["name"], c["id"]) for c in facts["classes"]] == [("background", 0), ("cat", 8), ("dog", 12)]
    assert facts["classes"][1]["colour"] == [64, 0, 0] and facts["recipe"] == "psa"
    segment = tag2mask.load(exported[0], device="cpu", max_side=None)
    for size in ((131, 179), (40, 33)):
        image = picture(*size)
        scores, labels = session.run(["scores", "labels"], {"image": image.transpose(2, 0, 1)[None]})
        assert np.abs(scores[0] - segment.scores(image)).max() < 1e-4
        assert (labels[0] == segment(image)).mean() >= 0.999 and labels.dtype == np.uint8


def test_an_architecture_of_smp_follows_the_size_of_the_image() -> None:
    """It pads images to a multiple of 32."""
    model = SegmentationModel(2, BackboneSpec("resnet18", "none"), head=HeadSpec("smp:unet")).eval()
    network = trace(model).module()
    for size in ((33, 600), (97, 33)):
        image = torch.from_numpy(picture(*size).transpose(2, 0, 1).copy())
        with torch.no_grad():
            found, expected = network(image[None]), WholeNetwork(model)(image[None])
        # probabilities in float32, by the same operations
        assert torch.allclose(found[0], expected[0], atol=1e-6)


def test_the_least_image_gives_one_cell() -> None:
    """Torch notes that the example gives more than one cell; the program has to forget it."""
    model = SegmentationModel(2, BackboneSpec("test_resnet", "none", 32), head=HeadSpec("deeplabv2")).eval()
    network = trace(model).module()
    for size in ((32, 32), (32, 65)):
        image = torch.from_numpy(picture(*size).transpose(2, 0, 1).copy())
        with torch.no_grad():
            found, expected = network(image[None]), WholeNetwork(model)(image[None])
        # probabilities in float32, by the same operations
        assert torch.allclose(found[0], expected[0], atol=1e-6)


@pytest.mark.parametrize("kind", [JointModel, SelfGuidedModel])
def test_networks_of_recipes_are_exported_like_others(kind: type[SegmentationModel], tmp_path: Path) -> None:
    """What they have beside the network for training stays in the weights only."""
    model = kind(2, BackboneSpec("test_resnet", "none", 16), head=HeadSpec("deeplabv2")).eval()
    model.classes = CLASSES
    formats.save_weights(model, tmp_path / "model.safetensors", {})
    found = compare(model, formats.run_weights(tmp_path / "model.safetensors"), "model.safetensors")
    assert [agreement.equal for agreement in found] == [1, 1, 1]


def test_torch_program_carries_the_facts(exported: tuple[Path, str]) -> None:
    texts = {"tag2mask": ""}
    torch.export.load(exported[0] / "export" / "model.pt2", extra_files=texts)
    assert json.loads(texts["tag2mask"])["step"] == "segmentation"


def test_safetensors_are_read_like_a_checkpoint(exported: tuple[Path, str], tmp_path: Path) -> None:
    weights, image = exported[0] / "export" / "model.safetensors", picture(50, 70)
    assert np.array_equal(
        tag2mask.load(weights, device="cpu").scores(image),
        tag2mask.load(exported[0], device="cpu").scores(image),
    )
    from safetensors.torch import load_file, save_file

    save_file(load_file(weights), tmp_path / "plain.safetensors")
    with pytest.raises(UserError, match="not a tag2mask checkpoint"):
        load_checkpoint(tmp_path / "plain.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match="cannot be read"):
        load_checkpoint(tmp_path / "cut.safetensors")


def test_the_folder_of_an_export_is_a_checkpoint(tmp_path: Path) -> None:
    """It held no segmentation model, and the files beside it were none that tag2mask has made."""
    for name in ("model.safetensors", "model.onnx"):
        (tmp_path / name).touch()
    assert checkpoint_file(tmp_path) == tmp_path / "model.safetensors"
    with pytest.raises(UserError, match=r"model\.onnx is for other programs: give model\.safetensors"):
        checkpoint_file(tmp_path / "model.onnx")


def test_card_names_data_classes_and_scores_and_no_folder_of_the_machine(exported: tuple[Path, str]) -> None:
    card = (exported[0] / "export" / "README.md").read_text()
    for text in ("62.5", "| 1 | cat | 8 | #400000 |", "Data set: VOC, folder VOC2012", "pseudo\\_label made",
                 "learned from image tags", "`model.onnx`", "seed | 3"):  # fmt: skip
        assert text in card
    assert "private" not in card and "{{" not in card


def test_names_in_the_card_are_text(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ClassList((SECRET, "dog"), (1, 2)))
    assert main(["export", str(run), "--format", "safetensors"]) == 0
    card = (run / "export" / "README.md").read_text()
    assert r"| 1 | a\|&lt;b&gt;\_name\_ | 1 |" in card and SECRET not in card


def test_an_export_replaces_an_export_and_nothing_else(
    exported: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = exported[0], tmp_path / "out"
    words = ["export", str(run), "--format", "safetensors", "--out", str(out)]
    out.mkdir()
    (out / "README.md").write_text("mine")
    assert main(words) == 2 and "is no earlier export" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["README.md"]
    shutil.rmtree(out)
    shutil.copytree(run / "export", out)
    assert main(words) == 0
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "export.json", "model.safetensors"]


def test_an_export_that_was_stopped_is_made_again(
    exported: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files had no record yet, and were taken for those of others; what it had begun stayed for ever."""
    words = ["export", str(exported[0]), "--format", "safetensors", "--out", str(tmp_path / "out")]

    def stopped(source: Path, target: Path) -> None:
        source.rename(target)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "move", stopped)
        assert main(words) == 130
    killed = tmp_path / "out" / ".export.a1b2c3d4"
    killed.mkdir()
    (killed / "model.onnx").write_bytes(b"half")
    os.utime(killed, (0, 0))
    assert main(words) == 0
    there = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert there == ["README.md", "export.json", "model.safetensors"]
    assert json.loads((tmp_path / "out" / "export.json").read_text())["files"] == ["model.safetensors"]


def test_what_cannot_be_exported(
    exported: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(exported[0]), "--step", "segmentatio"]) == 2
    assert "did you mean segmentation" in capsys.readouterr().err
    for step, kind in (("cam", "maps"), ("unary_1", "segmentation")):
        (tmp_path / "ial" / step).mkdir(parents=True)
        made = Manifest(
            step=step, kind=kind, recipe="ial", classes=CLASSES.to_dict(), checkpoint="checkpoints/last.ckpt"
        )
        write_manifest(tmp_path / "ial" / step, made)
    assert main(["export", str(tmp_path / "ial"), "--step", "cam"]) == 2
    assert "trained no segmentation network (it leaves maps): give the run folder" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "ial")]) == 2
    error = capsys.readouterr().err
    assert "run stage 3 first, or give the network of an earlier step by its folder" in error
    assert error.rstrip().endswith(str(tmp_path / "ial" / "unary_1"))
    assert main(["export", str(tmp_path / "ial"), "--step", "unary_1"]) == 2
    assert "is not complete, says its manifest.json" in capsys.readouterr().err
    alone = shutil.copy(exported[0] / "segmentation/checkpoints/last.ckpt", tmp_path / "a.ckpt")
    assert main(["export", str(alone), "--format", "safetensors"]) == 2
    assert "--out" in capsys.readouterr().err
    assert main(["export", str(alone), "--format", "safetensors", "--out", str(tmp_path / "o")]) == 0
    assert "Nothing is known of the training" in (tmp_path / "o" / "README.md").read_text()


def test_a_network_that_torch_cannot_trace_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise AssertionError("Guard failed: image.size()\nmore")

    monkeypatch.setattr(formats, "savers", lambda *_: {"torch": fail})
    run = make_run(tmp_path / "run")
    assert main(["export", str(run), "--format", "torch"]) == 2
    said = "model.pt2 cannot be made of this network (AssertionError: Guard failed: image.size()): leave"
    error = capsys.readouterr().err
    assert said in error and "--format onnx safetensors; safetensors takes every network" in error
    assert not list((run / "export").iterdir())


def test_a_full_disk_is_no_fault_of_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    run = make_run(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(formats, "savers", lambda *_: {"onnx": full})
        assert main(["export", str(run), "--format", "onnx"]) == 2
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        assert main(["export", str(run), "--format", "safetensors"]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    first, second = (line for line in capsys.readouterr().err.splitlines() if "error:" in line)
    assert first.startswith("error: cannot write model.onnx: No space left on device; make room")
    assert "model.safetensors: File too large; make room" in second


def test_without_the_extra(
    exported: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    assert main(["export", str(exported[0])]) == 2
    assert "pip install 'tag2mask[export]'" in capsys.readouterr().err


@pytest.fixture
def model(exported: tuple[Path, str]) -> Iterator[SegmentationModel]:
    model = load_checkpoint(exported[0] / "segmentation/checkpoints/last.ckpt")
    assert isinstance(model, SegmentationModel)
    yield model


def test_a_file_that_differs_is_refused(model: SegmentationModel) -> None:
    def other(image: Any) -> Any:
        scores, labels = WholeNetwork(model)(torch.from_numpy(image))
        return (scores + 2e-4).detach().numpy(), labels.numpy()

    with pytest.raises(UserError, match=r"model\.onnx differs .* scores by 2\.0e-04"):
        compare(model, other, "model.onnx")


def test_the_size_of_the_tests_is_part_of_the_network(model: SegmentationModel) -> None:
    model.test = InferenceSpec(long_side=96)
    model.variants = ("single_scale",)
    for size in CHECKED_SIZES:
        image = torch.from_numpy(picture(*size).transpose(2, 0, 1).copy())
        with torch.no_grad():
            scores, labels = WholeNetwork(model)(image[None])
            expected = model.scores(image)["single_scale"]
        assert torch.equal(scores[0], expected) and torch.equal(labels[0], expected.argmax(0).to(torch.uint8))


def test_sides_are_rounded_as_python_does() -> None:
    for longer, target in ((97, 64), (320, 384), (500, 384), (500, 2), (4, 3), (1024, 384)):
        for side in range(1, longer + 1):
            assert scaled_side(side, target, longer) == max(1, round(side * target / longer))
    assert [cells(side, 16) for side in (1, 16, 17)] == [1, 1, 2]


def test_padding_of_tensorflow_networks_is_theirs_and_in_integers() -> None:
    original = padding.get_same_padding
    cases = list(itertools.product(range(1, 70), (1, 3, 5), (1, 2, 4), (1, 2)))
    with padding_in_integers():
        found = [padding.get_same_padding(*case) for case in cases]
    assert found == [original(*case) for case in cases] and padding.get_same_padding is original


def test_page_about_export(
    exported: tuple[Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The example of docs/export.md runs as it stands there."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "psa").symlink_to(exported[0])
    held_sideways = Image.Exif()
    held_sideways[0x0112] = 6
    Image.fromarray(picture(60, 90)).save(tmp_path / "photo.jpg", exif=held_sideways)
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "export.md").read_text(), flags=re.DOTALL)
    exec(code, scope := dict[str, Any]())
    assert scope["labels"].shape[1:] == tag2mask.load("runs/psa", device="cpu")("photo.jpg").shape == (90, 60)
    shares = re.findall(r"^(\w+) ([\d.]+) % of the image$", capsys.readouterr().out, flags=re.MULTILINE)
    assert [name for name, _ in shares] == ["background", "cat", "dog"]
    assert sum(float(share) for _, share in shares) == pytest.approx(100, abs=0.2)
