"""``tag2mask doctor``: what works on this machine."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tag2mask.artifacts import collect_versions, git_commit
from tag2mask.core import UserError
from tag2mask.core.commands import add_command
from tag2mask.core.library import find_conf, open_library
from tag2mask.core.plugins import plugin_packages
from tag2mask.core.threads import usable_cpus
from tag2mask.pipeline.machine import memory_mb

HELP = """Print what works on this machine, one line for each thing, and what to do where something does not.
An issue report needs this output. Nothing is downloaded or changed."""

EXAMPLES = """examples:
  tag2mask doctor
  tag2mask doctor --dir /data/runs
  tag2mask doctor --json > doctor.json

The exit code is 0 where everything that tag2mask needs works, else 1."""

_HUB = "https://huggingface.co"
_LEAST_DISK = 5.0
"""GB: a run of psa on VOC leaves about as much."""
_WAIT = 3  # seconds for an answer of the hub


class Finding(NamedTuple):
    """What one check has found.

    Attributes:
        name: what was checked.
        state: ``ok``, ``note`` (works, but less well) or ``bad``.
        text: what was found, and what to do.
    """

    name: str
    state: str
    text: str


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``doctor`` to the commands of ``tag2mask``."""
    doctor = add_command(commands, "doctor", "print what works on this machine", HELP, EXAMPLES)
    doctor.add_argument("--dir", metavar="DIR", default=".", help="folder for runs (default: this one)")
    doctor.add_argument("--json", action="store_true", help="print the findings as JSON")
    doctor.set_defaults(handler=_run)


def _run(args: argparse.Namespace) -> int:
    findings = list(examine(Path(args.dir)))
    if args.json:
        print(json.dumps([finding._asdict() for finding in findings], indent=2))
    else:
        width = max(len(finding.name) for finding in findings)
        for name, state, text in findings:
            print(f"{state:<4}  {name:<{width}}  {text}")
    return 1 if any(finding.state == "bad" for finding in findings) else 0


def examine(run_dir: Path) -> Iterator[Finding]:
    """Check everything.

    Args:
        run_dir: folder for runs; only the space there is looked at.

    Yields:
        one finding for each check, also where a check fails with an error.
    """
    checks: dict[str, Callable[[], Finding]] = {
        "tag2mask": _package,
        "configurations": _configurations,
        "packages": _packages,
        "torch": _torch,
        "GPU": _gpu,
        "CPU": _cpu,
        "CRF": _crf,
        "pydensecrf": _pydensecrf,
        "weights": _weights,
        "disk": lambda: _disk(run_dir),
        "temporary files": lambda: _disk(Path(tempfile.gettempdir()), least=1),
    }
    for name, check in checks.items():
        try:
            yield check()._replace(name=name)
        except Exception as error:  # whatever is broken here is what the user wants to know
            yield Finding(name, "bad", f"{type(error).__name__}: {error}")


def _ok(text: str) -> Finding:
    return Finding("", "ok", text)


def _package() -> Finding:
    versions, commit = collect_versions(), git_commit()
    where = f", commit {commit}" if commit else ""
    return _ok(f"{versions['tag2mask']}{where}, Python {versions['python']}, {platform.platform()}")


def _configurations() -> Finding:
    try:
        recipes = open_library().names("recipes")
    except UserError as error:
        return Finding("", "bad", str(error))
    others = ", ".join(plugin_packages().values()) or "none"
    return _ok(f"{len(recipes)} recipes in {find_conf()}; packages with further ones: {others}")


def _packages() -> Finding:
    return _ok(
        ", ".join(f"{k} {v}" for k, v in collect_versions().items() if k not in ("tag2mask", "python"))
    )


def _torch() -> Finding:
    import timm
    import torch
    import torchvision  # built for another torch, it cannot be imported

    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    started = time.perf_counter()
    torch.nn.Conv2d(3, 8, 3)(torch.zeros(1, 3, 32, 32)).sum().backward()
    seconds = time.perf_counter() - started
    return _ok(
        f"{built}, with torchvision {torchvision.__version__} and timm {timm.__version__}; "
        f"a convolution and its gradient in {1000 * seconds:.0f} ms"
    )


def _gpu() -> Finding:
    import torch

    if not torch.cuda.is_available():
        why = "torch finds none" if torch.version.cuda else "this torch is built without CUDA"
        return Finding(
            "", "note", f"none ({why}): everything runs on the CPU, the budget full takes weeks there"
        )
    names = []
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        names.append(f"{facts.name} with {facts.total_memory / 2**30:.0f} GB")
    torch.ones(8, device="cuda").sum().item()
    return _ok(f"{', '.join(names)}; a sum on it works")


def _cpu() -> Finding:
    import torch

    count, given = usable_cpus(), os.environ.get("OMP_NUM_THREADS", "not set")
    text = f"{count} of {os.cpu_count()} usable, {torch.get_num_threads()} threads in torch"
    memory = memory_mb()
    held = f", {memory / 1024:.0f} GB of memory" if memory is not None else ""
    return _ok(f"{text}, OMP_NUM_THREADS {given}{held}")


def _crf() -> Finding:
    from tag2mask.ops.lattice.setup_kernels import build_kernel

    text = f"engine lattice, {_time_crf('lattice')}"
    if kept := build_kernel.stats.cache_path:
        return _ok(f"{text} (later ones need no compilation: {kept})")
    way = "set NUMBA_CACHE_DIR to a folder that you may write to"
    return Finding("", "note", f"{text}, which every command compiles again: {way}")


def _pydensecrf() -> Finding:
    try:
        return _ok(f"engine pydensecrf, {_time_crf('pydensecrf')}")
    except UserError:
        return Finding(
            "", "note", "not installed; only recipes that ask for it need it: pip install pydensecrf2"
        )


def _time_crf(engine: str) -> str:
    from tag2mask.ops import dense_crf

    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (3, 48, 64), dtype=np.uint8)
    started = time.perf_counter()
    dense_crf(image, rng.random((2, 48, 64), dtype=np.float32), engine=engine)
    return f"first call {time.perf_counter() - started:.1f} s"


def _weights() -> Finding:
    from huggingface_hub.constants import HF_HUB_CACHE, HF_HUB_OFFLINE

    folders = Path(HF_HUB_CACHE).glob("models--timm--*")
    names = sorted(path.name.removeprefix("models--timm--") for path in folders)
    held = f"in {HF_HUB_CACHE}: {', '.join(names) or 'none'}"
    if HF_HUB_OFFLINE:
        return Finding("", "note", f"{held}; HF_HUB_OFFLINE forbids to download others: give --weights FILE")
    try:
        urllib.request.urlopen(_HUB, timeout=_WAIT).close()
    except OSError as error:
        return Finding(
            "", "note", f"{held}; {_HUB} gives no answer ({error}): for others give --weights FILE"
        )
    return _ok(f"{held}; {_HUB} answers, others are downloaded when they are needed")


def _disk(folder: Path, least: float = _LEAST_DISK) -> Finding:
    place = Path(os.path.expanduser(folder)).resolve()
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        return Finding("", "bad", f"{place} is a file: choose a folder")
    if not os.access(place, os.W_OK):
        return Finding("", "bad", f"{place} cannot be written to: choose another folder")
    free = shutil.disk_usage(place).free / 1e9
    text = f"{free:.1f} GB free in {place}"
    return _ok(text) if free >= least else Finding("", "note", f"{text}: less than {least:g} GB may not do")
