"""Processes that are forked from one that has imported everything, in place of new interpreters.

Each is a process of its own, which signals and limits meet as they do any other; it only starts in less time.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import IO, Any

from tag2mask import cli
from tag2mask.pipeline import process

_IMPORTED = (
    "tag2mask.step", "tag2mask.data", "tag2mask.data.command", "tag2mask.evaluate.step",
    "tag2mask.report.command",
    "tag2mask.pipeline.command", "tag2mask.recipes.rrm", "tag2mask.recipes.ial", "timm",
    "segmentation_models_pytorch",
    "albumentations", "torchmetrics",
)  # fmt: skip


def prepare() -> None:
    """Import what commands need, and let the runner fork its commands."""
    for name in _IMPORTED:
        importlib.import_module(name)
    process.subprocess = SimpleNamespace(Popen=Forked, PIPE=-1, DEVNULL=-3)  # type: ignore[assignment]


def fork(work: Callable[[], int]) -> int:
    """Run something in a process of its own that ends with its exit code; returns the process id."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        code = work()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


class Forked:
    """What the runner needs of `subprocess.Popen`."""

    def __init__(
        self, words: Sequence[str], env: Mapping[str, str], pass_fds: Sequence[int] = (), **_: Any
    ) -> None:
        out, err = os.pipe(), os.pipe()
        arguments = list(words[words.index("tag2mask") + 1 :])

        def work() -> int:
            os.setsid()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
                signal.signal(
                    number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
                )
            os.dup2(out[1], 1)
            os.dup2(err[1], 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
            os.environ |= dict(env)
            return cli.main(arguments)

        self.pid = fork(work)
        for pair in (out, err):
            os.close(pair[1])
        self.stdout: IO[bytes] = os.fdopen(out[0], "rb", buffering=0)
        self.stderr: IO[bytes] = os.fdopen(err[0], "rb", buffering=0)
        self._code: int | None = None

    def poll(self) -> int | None:
        """The exit code, None while it runs."""
        return self._end(os.WNOHANG)

    def wait(self) -> int:
        """The exit code, at the end."""
        code = self._end(0)
        assert code is not None
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def _end(self, how: int) -> int | None:
        if self._code is None:
            pid, status = os.waitpid(self.pid, how)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code
