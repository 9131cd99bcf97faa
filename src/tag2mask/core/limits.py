"""Limits that containers and clusters put on a process: control groups of Linux, versions 1 and 2."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROOT = Path("/")


def cpu_limit(root: Path = ROOT) -> float | None:
    """The CPUs' worth of time that the process gets, as Kubernetes and ``docker --cpus`` set it.

    Such a process still sees every CPU of the machine: with a thread for each, all of them wait most of the
    time.

    Args:
        root: where ``/proc`` and ``/sys`` lie.

    Returns:
        the smallest limit of the process's groups; None for none.
    """
    found = []
    for group in _groups("cpu", root):
        words = [*_words(group / "cpu.max"), *_words(group / "cpu.cfs_quota_us", group / "cpu.cfs_period_us")]
        if len(words) == 2 and all(word.isdigit() and int(word) for word in words):
            found.append(int(words[0]) / int(words[1]))
    return min(found, default=None)


def memory_limit(root: Path = ROOT) -> int | None:
    """The bytes of memory beyond which the process is killed, as Slurm's ``--mem`` and Kubernetes set them.

    Args:
        root: where ``/proc`` and ``/sys`` lie.

    Returns:
        the smallest limit of the process's groups; None for none.
    """
    words = [
        word
        for group in _groups("memory", root)
        for word in (*_words(group / "memory.max"), *_words(group / "memory.limit_in_bytes"))
    ]
    return min((int(word) for word in words if word.isdigit()), default=None)


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """The folders of the process's groups, each up to the topmost; some are not there within a container."""
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            base = root / "sys/fs/cgroup"
            if controllers:
                if controller not in controllers.split(","):
                    continue
                base /= controller
            group = base / path.lstrip("/")
            yield group
            while group != base:
                group = group.parent
                yield group


def _words(*files: Path) -> list[str]:
    with suppress(OSError):
        return [word for file in files for word in file.read_text(encoding="ascii").split()]
    return []
