"""The manifest of docs/cluster.md: what Kubernetes knows of it, and what its pods run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tag2mask.cli import build_parser
from tag2mask.core.library import open_library
from tag2mask.pipeline import load_recipe

MANIFEST = Path(__file__).resolve().parents[2] / "docs" / "cluster" / "kubernetes.yaml"
JOBS: list[dict[str, Any]] = list(yaml.safe_load_all(MANIFEST.read_text("utf-8")))


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job["metadata"]["name"])
def test_a_pod_makes_one_step(job: dict[str, Any]) -> None:
    (container,) = job["spec"]["template"]["spec"]["containers"]
    program, command, *words = container["command"]
    assert (program, command) == ("tag2mask", "run")
    asked = build_parser("run").parse_args(["run", *words])
    (step,) = asked.step
    assert load_recipe(open_library(), asked.recipe).step(step).name == step
    assert job["metadata"]["labels"]["step"] == step.replace("_", "-")
    assert re.fullmatch(r"[a-z0-9-]{1,63}", job["metadata"]["name"])
    gpus = container["resources"]["limits"].get("nvidia.com/gpu")
    assert gpus == asked.devices
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in job["spec"]["template"]["spec"]["volumes"]}
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "OnFailure"  # a Job admits no Always


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kubectl_knows_every_field() -> None:
    """It reads the manifest into its own types, and leaves out what they do not have."""
    words = ["kubectl", "set", "env", "--local", "-f", str(MANIFEST), "CHECKED=1", "-o", "json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    known, rest = [], done.stdout.strip()
    while rest:
        plain, end = json.JSONDecoder().raw_decode(rest)
        known.append(plain)
        rest = rest[end:].strip()
    assert len(known) == len(JOBS)
    for job, typed in zip(JOBS, known, strict=True):
        require_all(job, typed, "")


def require_all(ours: Any, typed: Any, where: str) -> None:
    if isinstance(ours, dict):
        for key, value in ours.items():
            assert key in typed, f"{where}.{key}"
            require_all(value, typed[key], f"{where}.{key}")
    elif isinstance(ours, list):
        assert len(ours) == len(typed), where
        for place, value in enumerate(ours):
            require_all(value, typed[place], f"{where}[{place}]")
    else:
        assert str(ours) == str(typed), where
