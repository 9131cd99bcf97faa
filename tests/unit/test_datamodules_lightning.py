"""Data modules within Lightning: loader processes, seeds, the trainer and its command line."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.cli import LightningCLI
from torch.utils.data import DataLoader, Dataset

from tag2mask.core import UserError
from tag2mask.core.layers import nest
from tag2mask.core.library import data_settings, open_library
from tag2mask.data import (
    ClassificationData,
    Shapes,
)
from tag2mask.data.base import ImageData
from tag2mask.data.loaders import LONGEST_TEMPORARY, require_sockets
from tag2mask.data.samples import as_list
from tag2mask.pipeline.plan import yaml_text
from tag2mask.step.messages import outcome_of
from tests.shape_sets import CLASSIFY, shapes

__all__ = ["shapes"]  # the fixture of these tests


class _Killed(Dataset[int]):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("unreachable")


def test_a_loader_process_that_was_killed_is_one_message() -> None:
    with pytest.raises(RuntimeError) as caught:
        list(DataLoader(_Killed(), num_workers=1, multiprocessing_context="fork"))
    code, message = outcome_of(caught.value)
    assert code == 2 and re.match(r"error: DataLoader worker \(pid.* memory or /dev/shm ran out", message)
    assert "num_workers the same command goes on" in message
    assert outcome_of(RuntimeError("something else")) == (2, "")


def test_a_lost_device_is_one_message() -> None:
    """What the first of two processes on a CPU raised when the other one was killed."""
    said = "[/x/gloo/transport/tcp/pair.cc:545] Read error [127.0.0.1]:32901: Connection reset by peer. GLHF!"
    code, message = outcome_of(RuntimeError(said))
    assert code == 2 and message.startswith("error: another process of this step has ended")
    assert message.endswith("the same command goes on from here") and "\n" not in message


def test_loader_processes_need_a_short_name_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a longer one, as of some clusters' jobs, steps waited for their first batch without end."""
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        longest = Path(place, "x" * (LONGEST_TEMPORARY - len(place) - 1))
        for folder, fits in ((longest, True), (Path(f"{longest}x"), False)):
            sockets = folder / "pymp-12345678"  # as multiprocessing names them
            sockets.mkdir(parents=True)
            monkeypatch.setattr(tempfile, "tempdir", str(folder))
            require_sockets(0)
            with (
                nullcontext() if fits else pytest.raises(OSError, match="too long"),
                socket.socket(socket.AF_UNIX) as server,
            ):
                server.bind(str(sockets / "listener-12345678"))
            with nullcontext() if fits else pytest.raises(UserError, match="set a shorter TMPDIR"):
                require_sockets(1)


def test_loader_processes_without_shared_memory_are_one_message() -> None:
    text = "unable to allocate shared memory(shm) for file </torch_1_2_3>: No space left on device (28)"
    code, message = outcome_of(RuntimeError(f"Caught RuntimeError in DataLoader worker process 0.\n{text}"))
    assert code == 2 and message.startswith("error: /dev/shm, where loader processes put images, is full: ")
    assert "--shm-size" in message and "--data.init_args.num_workers" in message


@pytest.mark.parametrize("workers", [0, 2])
def test_seed_everything_makes_runs_repeat(shapes: Shapes, workers: int) -> None:
    def run(seed: int) -> list[torch.Tensor]:
        pl.seed_everything(seed, workers=True, verbose=False)
        data = ClassificationData(shapes, batch_size=2, **{**CLASSIFY, "num_workers": workers})
        data.setup("fit")
        loader = data.train_dataloader()
        return [batch["image"] for _ in range(2) for batch in loader]

    first, again, other = run(1), run(1), run(2)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first[:3], first[3:], strict=True))  # epochs differ


def test_reading_an_image_leaves_the_gpus_random_numbers_alone(
    shapes: Shapes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without loader processes images are read between steps: dropout must not follow from the last one."""
    data = ClassificationData(shapes, batch_size=2, **CLASSIFY)
    data.setup("fit")
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    state = torch.get_rng_state()
    batches = list(data.train_dataloader())
    assert batches and not seeded
    assert torch.equal(torch.get_rng_state(), state)


class Probe(pl.LightningModule):
    """Notes what arrives."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[str] = []

    def training_step(self, batch: dict[str, Any], _: int) -> torch.Tensor:
        return self.weight * batch["image"].float().mean()

    def validation_step(self, batch: list[dict[str, Any]], _: int) -> None:
        self.seen += [sample["id"] for sample in batch]

    predict_step = validation_step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def test_trainer_takes_it(shapes: Shapes, tmp_path: Path) -> None:
    data = ClassificationData(shapes, batch_size=3, **CLASSIFY)
    probe = Probe()
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(probe, data)
    assert trainer.global_step == 2
    assert probe.seen == shapes.ids("val")
    probe.seen.clear()
    trainer.predict(probe, data, return_predictions=False)
    assert probe.seen == shapes.ids("train")


@pytest.mark.parametrize("config", open_library().names("data"))
@pytest.mark.parametrize(
    "data", ["ClassificationData", "AffinityData", "PseudoLabelData", "SegmentationData"]
)
def test_shipped_configurations_fit_every_data_module(
    config: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["step"])  # LightningCLI would warn of pytest's own options
    step = {"AffinityData": "labels_dir", "PseudoLabelData": "maps_dir"}.get(data)
    settings = tmp_path / "settings.yaml"
    settings.write_text(yaml_text(nest(data_settings(open_library(), config))))
    arguments = ["--data", f"tag2mask.data.{data}", "--config", str(settings)]
    arguments += ["--data.init_args.dataset.init_args.root", str(tmp_path / "elsewhere")]
    arguments += [f"--data.init_args.{step}", "some/step"] if step else []
    cli = LightningCLI(
        Probe, ImageData, subclass_mode_data=True, run=False, args=arguments, save_config_callback=None,
        trainer_defaults={"logger": False, "accelerator": "cpu"},
    )  # fmt: skip
    assert type(cli.datamodule).__name__ == data
    described = cli.datamodule.dataset.describe()
    assert str(tmp_path / "elsewhere") in str(described)


def test_collating_keeps_images_of_different_sizes_apart() -> None:
    samples: Any = [{"id": "a", "image": torch.zeros(3, 4, 5)}, {"id": "b", "image": torch.zeros(3, 6, 5)}]
    assert as_list(samples) is samples


def test_reading_masks_needs_neither_lightning_nor_albumentations() -> None:
    """Scores are counted in a process per step: what it imports is what everyone waits for."""
    code = "import sys, tag2mask.data; tag2mask.data.VOC; tag2mask.data.ImageSet; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not {"pytorch_lightning", "albumentations", "cv2"} & loaded
