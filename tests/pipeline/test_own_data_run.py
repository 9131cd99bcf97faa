"""From a plain folder to predictions: one class, images that show none, three of them for training."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tag2mask.artifacts import load_labels, read_manifest
from tag2mask.cli import main
from tests import one_process

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TRAIN = ("defect/one.JPG", "defect/two 2.png", "good/three")
VAL = ("defect/four.jpg", "good/five.v2.jpg", "good/broken.jpg")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of good parts and of parts with a red defect, as a camera and people leave them."""
    root = tmp_path_factory.mktemp("own") / "parts"
    rng = np.random.default_rng(0)
    for name in [*(f"train/{n}" for n in TRAIN), *(f"validation/{n}" for n in VAL)]:
        picture = Image.fromarray(rng.integers(90, 130, (60, 80, 3)).astype(np.uint8))
        if "defect" in name:
            ImageDraw.Draw(picture).ellipse((20, 15, 55, 50), fill=(220, 30, 30))
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture.save(root / name, format="PNG" if name.endswith("png") else "JPEG")
    (root / "validation" / "good" / "broken.jpg").write_bytes(b"half an image")
    return root


@pytest.fixture(scope="module")
def run(parts: Path) -> tuple[Path, str]:
    """The run folder, and all that the run printed."""
    assert main(["data", "import", str(parts), "--negative", "good", "--skip-bad"]) == 0
    run_dir = parts.parent / "run"
    words = ["run", "psa", "--budget", "tiny", "--run-dir", str(run_dir)]
    # a network of this size finds nothing in two of two images, which would end the run
    words += ["--data", str(parts / "tag2mask" / "data.yaml"), "--allow-empty"]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = one_process.main(words)
    assert code == 0, printed.getvalue()[-3000:]
    return run_dir, printed.getvalue()


def test_every_step_fits_its_batch_to_the_data_and_says_so_once(run: tuple[Path, str]) -> None:
    assert run[1].count("batches of 3 instead of 8: all 3 training images") == 3


def test_images_without_the_defect_are_all_background(run: tuple[Path, str]) -> None:
    labels = run[0] / "pseudo_label" / "out"
    names = sorted(path.stem for path in labels.glob("*.png"))
    assert names == ["train__defect__one", "train__defect__two_2", "train__good__three"]
    assert set(np.unique(load_labels(labels / "train__good__three.png"))) <= {0, 255}
    assert set(np.unique(load_labels(labels / "train__defect__one.png"))) <= {0, 1, 255}


def test_the_manifest_records_what_was_left_out(run: tuple[Path, str]) -> None:
    manifest = read_manifest(run[0] / "segmentation")
    assert manifest is not None
    assert manifest.image_ids == ["validation__defect__four", "validation__good__five.v2"]
    assert manifest.data["init_args"]["skip"] == ["validation__good__broken"]
