"""``import tag2mask``: what it offers, and how ``tag2mask.run`` hands its arguments on."""

from __future__ import annotations

import copy
import io
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import tag2mask
from tag2mask.api import segmenter
from tag2mask.backbones import BackboneSpec
from tag2mask.core import ClassList, UserError
from tag2mask.data.images import to_rgb
from tag2mask.modules import SegmentationModel
from tag2mask.pipeline import Request, command


def test_import_loads_no_heavy_package() -> None:
    code = "import sys, tag2mask; print({'torch', 'numpy', 'pytorch_lightning'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_run_needs_no_torch() -> None:
    code = "import sys, tag2mask; tag2mask.run; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_every_public_name_is_there() -> None:
    assert all(hasattr(tag2mask, name) for name in tag2mask.__all__)
    assert set(tag2mask.__all__) <= set(dir(tag2mask))
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        tag2mask.lode  # noqa: B018


# --- tag2mask.run -------------------------------------------------------------------------------


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """What `tag2mask.run` has asked for; nothing is started."""
    asked: list[Request] = []
    monkeypatch.setattr(command, "run_recipe", lambda request: asked.append(request) or 0)
    return asked


def test_options_become_a_request(requests: list[Request], tmp_path: Path) -> None:
    done = tag2mask.run(
        "psa:no_crf", tmp_path / "run", data="voc", data_root="/data", budget=None, seed=3, stage=[1, 2],
        from_="walk", no_check=True, dry_run=False, args=["--trainer.max_epochs", "1"],
    )  # fmt: skip
    (asked,) = requests
    assert (asked.asked.recipe, asked.asked.variant) == ("psa", "no_crf")
    assert (asked.asked.data, asked.asked.data_root, asked.asked.budget) == ("voc", "/data", None)
    assert (asked.asked.seed, asked.stages, asked.from_step) == (3, (1, 2), "walk")
    assert (asked.check, asked.dry_run, asked.run_dir) == (False, False, tmp_path / "run")
    assert asked.extras.args == ("--trainer.max_epochs", "1")
    assert done.folder == tmp_path / "run" and done.scorecard == {}


def test_settings_of_a_file(requests: list[Request], tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("walk: {trainer.logger: false}")
    tag2mask.run("psa", "runs/x", data="shapes", settings=tmp_path / "settings.yaml")
    assert requests[0].extras.overrides == {"walk": {"trainer.logger": False}}


def test_settings_of_a_step_keep_their_types(requests: list[Request]) -> None:
    settings = {"cam.model.init_args.optimization.lr": 0.02, "cam.model.init_args.cam.scales": [0.5, 1.0]}
    tag2mask.run("psa", "runs/x", data="shapes", settings={**settings, "walk.trainer.logger": None})
    (asked,) = requests
    assert asked.extras.overrides == {
        "cam": {"model.init_args.optimization.lr": 0.02, "model.init_args.cam.scales": [0.5, 1.0]},
        "walk": {"trainer.logger": None},
    }


def test_unknown_options_and_values_are_refused(requests: list[Request]) -> None:
    with pytest.raises(UserError, match=r"unknown option 'budgett'; did you mean budget"):
        tag2mask.run("psa", "runs/x", budgett="tiny")
    with pytest.raises(UserError, match="seed"):
        tag2mask.run("psa", "runs/x", seed="many")
    assert requests == []


def test_a_failed_step_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "run_recipe", lambda request: 3)
    with pytest.raises(RuntimeError, match="exit code 3"):
        tag2mask.run("psa", "runs/x", data="shapes")


# --- images -------------------------------------------------------------------------------------


def test_images_of_every_kind_are_the_same_pixels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 5, 3), np.uint8)
    image = Image.fromarray(pixels)
    image.save(tmp_path / "a.png")
    kinds = [
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        image,
        pixels,
        torch.from_numpy(pixels.transpose(2, 0, 1)),
    ]
    assert all(np.array_equal(to_rgb(kind), pixels) for kind in kinds)
    assert to_rgb(image.convert("L")).shape == (7, 5, 3)


def test_a_path_where_nothing_is_belongs_to_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"photo.jpg does not exist: give the path of an image file$"):
        to_rgb(tmp_path / "photo.jpg")


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((3, 5, 7), np.uint8),
        np.zeros((5, 7, 3)),
        torch.zeros(5, 7, 3, dtype=torch.uint8),
        torch.zeros(3, 5, 7),
        torch.zeros(3, 5, 7, dtype=torch.bfloat16),
        torch.zeros(1, 3, 5, 7, dtype=torch.uint8),
        torch.zeros(3, 0, 7, dtype=torch.uint8),
        np.zeros((2, 5, 7, 3), np.uint8),
        np.zeros((0, 7, 3), np.uint8),
        np.zeros((5, 7), np.uint8),
        np.zeros(3, np.uint8),
    ],
)
def test_arrays_of_another_shape_or_type_are_refused(image: object) -> None:
    with pytest.raises(ValueError, match=r"must be uint8 \((H, W, 3|3, H, W)\)"):
        to_rgb(image)  # type: ignore[arg-type]


@pytest.mark.parametrize("image", [["a.jpg", "b.jpg"], b"pixels", io.BytesIO(), None])
def test_several_images_and_other_things_are_refused(image: object) -> None:
    with pytest.raises(TypeError, match=r"got (list|bytes|BytesIO|NoneType): give images one at a time"):
        to_rgb(image)  # type: ignore[arg-type]


def test_a_folder_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r" is a folder: give the path of an image file$"):
        to_rgb(tmp_path)


@pytest.mark.parametrize("size", [(6, 8), (60, 80)])
def test_labels_can_be_written_to_also_where_the_image_was_shrunk(size: tuple[int, int]) -> None:
    labels = segmenter._labels(torch.rand(3, 6, 8), np.zeros((*size, 3), np.uint8))
    labels[labels == 1] = 0
    assert labels.shape == size


def test_a_segmenter_is_copied_pickled_and_called_from_threads() -> None:
    """As in notebooks, workers of a loader and servers."""
    torch.manual_seed(0)
    model = SegmentationModel(2, BackboneSpec("test_resnet", "none", 16))
    model.classes = ClassList.voc(["cat", "dog"])
    segment = tag2mask.Segmenter(model)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (40 + n, 50, 3), np.uint8) for n in range(6)]
    expected = [segment(image) for image in images]
    for other in (copy.deepcopy(segment), pickle.loads(pickle.dumps(segment))):
        assert np.array_equal(other(images[0]), expected[0])
    with ThreadPoolExecutor(4) as pool:
        assert all(map(np.array_equal, pool.map(segment, images), expected))
