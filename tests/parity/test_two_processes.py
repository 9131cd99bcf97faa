"""Two real processes against one: the affinity loss under DDP, and the metrics' sums."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, sys
import torch
from torch import distributed, nn
from tag2mask.losses import affinity_loss
from tag2mask.metrics import Confusion, ThresholdSweep

rank, world, store, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
if world > 1:
    distributed.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=world)
generator = torch.Generator().manual_seed(0)
images = torch.randn(2, 3, 12, 12, generator=generator, dtype=torch.float64)
labels = torch.randint(0, 3, (2, 12, 12), generator=generator)
labels[1, 6:] = 255  # the second image has far fewer pairs
net = nn.Conv2d(3, 4, 1, bias=False).double()
nn.init.constant_(net.weight, 0.5)
net.weight.data[1:] *= torch.arange(2.0, 5.0).view(3, 1, 1, 1)
net.weight.data[:, 0] += 1
model = nn.parallel.DistributedDataParallel(net) if world > 1 else net
mine = slice(rank, rank + 1) if world > 1 else slice(0, 2)
loss, parts = affinity_loss(model(images[mine]), labels[mine])
loss.backward()
confusion, sweep = Confusion(3), ThresholdSweep(3, [0.2, 0.5])
for image, true in zip(images[mine], labels[mine]):
    scores = image[:2].float().sigmoid()
    sweep.update(scores, [1, 2], true)
    confusion.update((scores.argmax(0) + 1), true)
result = {"loss": loss.item(), "gradient": net.weight.grad.flatten().tolist(),
          "parts": {k: v.item() for k, v in parts.items()},
          "miou": confusion.miou, "logged": confusion.compute().item(), "coverage": confusion.coverage,
          "best": sweep.best(), "all": sweep.compute().tolist(), "local": int(confusion.counts.sum())}
with open(f"{out}/{world}_{rank}.json", "w") as file:
    json.dump(result, file)
if world > 1:
    distributed.destroy_process_group()
"""


def start(script: Path, rank: int) -> subprocess.Popen[bytes]:
    python_path = os.pathsep.join(p for p in sys.path if p)
    env = os.environ | {"PYTHONPATH": python_path, "OMP_NUM_THREADS": "1"}
    folder = script.parent
    arguments = [str(rank), "2", str(folder / "store"), str(folder)]
    return subprocess.Popen([sys.executable, str(script), *arguments], env=env)


@pytest.mark.slow
def test_two_processes_with_one_image_equal_one_with_two(tmp_path, monkeypatch):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    processes = [start(script, rank) for rank in (0, 1)]
    try:
        monkeypatch.setattr(sys, "argv", [str(script), "0", "1", "", str(tmp_path)])
        runpy.run_path(str(script))
        assert [p.wait(timeout=240) for p in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    results = {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in ("1_0", "2_0", "2_1")}
    alone, pair = results["1_0"], [results["2_0"], results["2_1"]]
    assert sum(r["local"] for r in pair) == alone["local"]
    for result in pair:
        # float64; the sums only run in another order
        assert result["loss"] == pytest.approx(alone["loss"], rel=1e-12)
        assert result["gradient"] == pytest.approx(alone["gradient"], rel=1e-9)
        assert result["parts"] == pytest.approx(alone["parts"], rel=1e-12)
        for key in ("miou", "logged", "coverage", "best", "all"):
            assert result[key] == pytest.approx(alone[key], rel=1e-12)
