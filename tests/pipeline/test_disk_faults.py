"""Files that vanish, and a file system that is full, while a step works on them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tag2mask.data import VOC
from tag2mask.modules import Classifier
from tag2mask.step import main
from tests.pipeline.test_faults import _light, _results, _weights, _words


def test_an_image_that_vanishes_is_named_and_back_again_predicted(
    tiny_voc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    root, whole, lost = tmp_path / "voc", tmp_path / "whole", tmp_path / "lost"
    shutil.copytree(tiny_voc, root)
    image = root / "JPEGImages" / f"{VOC(str(root)).ids('train')[-1]}.jpg"
    away, config = image.with_name("away"), _light(root, tmp_path)
    assert main("classifier", _words("fit", config, whole, trainer__max_epochs="1")) == 0
    shutil.copytree(whole, lost)
    predict = Classifier.predict_step

    def hide(self: Classifier, batch: Any, index: int) -> Any:
        if index == 0:
            image.rename(away)
        return predict(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "predict_step", hide)
        assert main("classifier", _words("predict", config, lost, trainer__max_epochs="1")) == 2
    said = capsys.readouterr().err
    assert image.name in said and "Traceback" not in said
    assert _results(lost)  # those before it stay
    away.rename(image)
    for step in (lost, whole):
        assert main("classifier", _words("predict", config, step, trainer__max_epochs="1")) == 0
    assert _results(lost) == _results(whole)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Makes a file system of so many bytes, or resizes it; gives its folder."""
    place = tmp_path / "small"

    def sized(size: int) -> Path:
        how = f"remount,size={size}" if place.is_mount() else f"size={size}"
        place.mkdir(exist_ok=True)
        words = ["mount", "-t", "tmpfs", "-o", how, "none", str(place)]
        if shutil.which("mount") is None or subprocess.run(words, check=False).returncode:
            pytest.skip("a file system of its own cannot be mounted here: that needs root")
        return place

    yield sized
    if place.is_mount():
        subprocess.run(["umount", str(place)], check=True)


def test_a_file_system_without_room_for_a_second_checkpoint(
    tiny_voc: Path, tmp_path: Path, small_disk: Callable[[int], Path], capsys: pytest.CaptureFixture
) -> None:
    config = _light(tiny_voc, tmp_path)
    small_disk(1 << 20)  # skips at once where it cannot be made
    assert main("classifier", _words("fit", config, tmp_path / "whole")) == 0
    size = (tmp_path / "whole" / "checkpoints" / "last.ckpt").stat().st_size
    step = small_disk(size * 3 // 2) / "cam"
    assert main("classifier", _words("fit", config, step)) == 2
    assert "last.ckpt: No space left on device; make room" in capsys.readouterr().err
    assert [path.name for path in (step / "checkpoints").iterdir()] == ["last.ckpt"]
    small_disk(size * 6)
    assert main("classifier", _words("fit", config, step)) == 0
    first, second = _weights(tmp_path / "whole"), _weights(step)
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
