"""Stands in for ``python -m tag2mask`` in the tests of the runner: does what steps promise, in milliseconds.

Every call is appended to $FAKE_CALLS. $FAKE_FAIL and $FAKE_HANG name a step (or a command) that goes
wrong, $FAKE_EMPTY one whose labels are empty. A fit counts to three in ``checkpoints/count`` and goes on
from there, like a resumed training.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

CLASSES = {"names": ["cat"], "ids": [8], "ignore": 255}


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


def write(path: Path, plain: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(plain))


def step(words: list[str]) -> int:
    command, folder = words[1], Path(option(words, "--step-dir"))
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text()) if path.exists() else None
    manifest = manifest or {
        "step": folder.name, "kind": "maps", "recipe": option(words, "--recipe"), "classes": CLASSES,
        "data": {}, "split": "train", "image_ids": ["a"], "parents": {}, "commands": {}, "checkpoint": "",
        "commit": "", "versions": {"fake": "1"}, "complete": False,
    }  # fmt: skip
    record = {"complete": False, "fingerprint": option(words, "--fingerprint"), "config_hash": "",
              "seconds": 2.0, "peak_memory_mb": 1.0}  # fmt: skip
    manifest["commands"][command] = record
    write(path, manifest)
    work(folder, command)
    record["complete"] = True
    # unlike a step's settings, the time differs from one making to the next
    manifest["made"] = time.time_ns()
    if command == "predict":
        (folder / "out").mkdir(exist_ok=True)
        (folder / "out" / "a.npz").touch()
    manifest["complete"] = command == "predict" or folder.name == "learn"
    write(path, manifest)
    return 0


def work(folder: Path, command: str) -> None:
    count = folder / "checkpoints" / "count"
    count.parent.mkdir(exist_ok=True)
    for n in range(int(count.read_text()) if count.exists() else 0, 3):
        print(f"\repoch {n}", end="", flush=True)
        count.write_text(str(n + 1))
        if os.environ.get("FAKE_HANG") == f"{folder.name}:{command}" and n == 1:
            print("\nhanging", flush=True)
            signal.signal(signal.SIGINT, stop)
            time.sleep(60)
    places = [name for name in ("SLURM_NTASKS", "RANK") if name in os.environ]
    print(f"\n{folder.name} {command} over", *places, flush=True)
    if os.environ.get("FAKE_FAIL") == f"{folder.name}:{command}":
        print("error: the sky is falling", file=sys.stderr)
        sys.exit(2)


def stop(*_: object) -> None:
    print("saved and stopped", flush=True)
    sys.exit(1)


def main(words: list[str]) -> int:
    with open(os.environ["FAKE_CALLS"], "a", encoding="utf-8") as file:
        file.write(json.dumps(words) + "\n")
    if words[0] == "step":
        return step(words[1:])
    if os.environ.get("FAKE_FAIL") == words[0]:
        print(f"error: {words[0]} is broken", file=sys.stderr)
        return 2
    if words[:2] == ["data", "sizes"]:
        sizes = {"counts": {"train": 600, "val": 150}, "sampled": 64, "pixels": 180_000.0, "largest": 250_000,
                 "long_side": 500.0, "tags": 1.5, "classes": 6}  # fmt: skip
        print(json.dumps({**sizes, **json.loads(os.environ.get("FAKE_SIZES", "{}"))}))
    if words[0] == "score-step":
        score = {"scored": True, "miou": 0.64, "best_miou": 0.66, "threshold": 0.3, "best_threshold": 0.31,
                 "precision": 0.7, "coverage": 0.9, "split": "train", "metrics": {"map": 0.93}}  # fmt: skip
        if os.environ.get("FAKE_EMPTY") == Path(words[1]).name:
            score["alarms"] = [
                {"name": "empty_labels", "text": "all empty", "todo": "mend it", "unusable": True}
            ]
        write(Path(words[1]) / "score.json", score)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
