"""Plays one case: breaks a file of a fresh world, calls the command, and looks at what it did."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np

from tag2mask import cli
from tag2mask.artifacts import load_features, load_sub_labels
from tag2mask.core import UserError
from tests.fuzz.cases import PREDICT, Case, chosen_targets
from tests.fuzz.world import CLASSES, build

SECONDS = 60
"""A command that takes more of the processor, or ten times as long on the clock, hangs; most take two."""
LOADERS = {"features": load_features, "sub-labels": lambda path: load_sub_labels(path, CLASSES)}
"""Readers that only stages call, which would take seconds to start."""
_WRITTEN = ("score.json", "score_sources.json", "report.html")


@dataclass(frozen=True)
class Outcome:
    """How a case ended.

    Attributes:
        case: the case.
        code: exit code.
        said: what the command printed.
        fault: what is wrong with that, "" if nothing is.
    """

    case: Case
    code: int
    said: str
    fault: str

    @property
    def text(self) -> str:
        """Everything about it, for people."""
        outcome = self.fault or ("accepted" if self.code == 0 else "refused by name")
        return f"{self.case.name}\n  {outcome}\n{self.said}"


class Player:
    """Plays cases, each in a fresh copy of the world.

    Args:
        folder: an empty folder for the worlds.
        conf: our own configurations.
        kinds: the kinds of input that will be played; all if none is named.
    """

    def __init__(self, folder: Path, conf: Path, kinds: Sequence[str] = ()) -> None:
        self._root = folder / "world"
        self._whole = folder / "whole"
        targets = chosen_targets(kinds)
        commands = dict.fromkeys(c for target in targets for c in target.commands if c not in LOADERS)
        build(self._root, conf, network=PREDICT in commands)
        for command in commands:
            self._require(*self._call(command))
        shutil.rmtree(self._root / "out")
        # paths in the files are those of the world, so it is the whole one that moves
        self._root.rename(self._whole)

    @staticmethod
    def _require(code: int, said: str) -> None:
        if code:
            raise RuntimeError(f"the whole world is not accepted: {said}")

    def play(self, case: Case) -> Outcome:
        """Break, call, and judge."""
        shutil.rmtree(self._root, ignore_errors=True)
        shutil.copytree(self._whole, self._root, symlinks=True)
        files = sorted(self._root.glob(case.target.files))
        broken = files[case.pick % len(files)]
        case.way(broken, np.random.default_rng(case.pick))
        before = self._content()
        try:
            code, said = self._load(case, broken) if case.command in LOADERS else self._call(case.command)
        except Exception:
            return Outcome(case, -1, traceback.format_exc(), "a traceback")
        except _Hangs:
            return Outcome(case, -1, traceback.format_exc()[-3000:], f"no end after {SECONDS} seconds")
        return Outcome(case, code, said, self._fault(case, code, said, broken, before))

    def _fault(self, case: Case, code: int, said: str, broken: Path, before: dict[str, bytes]) -> str:
        after = self._content()
        lost = [name for name, content in before.items() if after.get(name, b"") != content]
        if lost:
            return f"changed or lost: {lost}"
        if (self._root / "pwned").exists() or Path("pwned").exists():
            return "code of the file was run"
        if code not in (0, 2):
            return f"exit code {code}"
        also = [words.replace("ROOT", str(self._root)) for words in case.target.also]
        named = any(words in said for words in (broken.name, broken.stem, *also))
        return "" if code == 0 or named else "the message does not name the file"

    @staticmethod
    def _load(case: Case, path: Path) -> tuple[int, str]:
        try:
            LOADERS[case.command](path)
        except UserError as error:
            return 2, str(error)
        return 0, ""

    def _call(self, command: str) -> tuple[int, str]:
        """Exit code and output of ``tag2mask COMMAND``, in this process."""
        out = self._root / "out"
        out.mkdir(exist_ok=True)
        words = [w.replace("ROOT", str(self._root)).replace("OUT", str(out)) for w in command.split()]
        said = io.StringIO()
        conf = {"TAG2MASK_CONF": str(self._root / "conf")}
        with contextlib.ExitStack() as around:
            around.enter_context(mock.patch.dict(os.environ, conf))
            around.enter_context(contextlib.chdir(self._root))
            around.enter_context(contextlib.redirect_stdout(said))
            around.enter_context(contextlib.redirect_stderr(said))
            around.enter_context(_time_limit())
            try:
                code = cli.main(words)
            except SystemExit as error:
                code = error.code if isinstance(error.code, int) else 1
        return code, said.getvalue()

    def _content(self) -> dict[str, bytes]:
        """All files but those that commands write."""
        found = {}
        for path in self._root.rglob("*"):
            name = path.relative_to(self._root).as_posix()
            if path.is_file() and path.name not in _WRITTEN and not name.startswith("out/"):
                found[name] = path.read_bytes()
        return found


class _Hangs(BaseException):
    """No ``except Exception`` of a command takes it."""


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise _Hangs

    timers = {signal.SIGPROF: signal.ITIMER_PROF, signal.SIGALRM: signal.ITIMER_REAL}
    before = {number: signal.signal(number, stop) for number in timers}
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, 10 * SECONDS)
    try:
        yield
    finally:
        for number, timer in timers.items():
            signal.setitimer(timer, 0)
            signal.signal(number, before[number])
