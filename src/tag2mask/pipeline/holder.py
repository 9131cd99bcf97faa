"""Who holds a run folder: what a runner notes of itself in the folder's lock."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Holder:
    """A process that holds a lock.

    Attributes:
        pid: its number.
        host: its machine.
        started: when it started, in ticks since the machine did: numbers are given again, after a restart
            of the machine and in each container. None where the system does not tell.
    """

    pid: int
    host: str
    started: int | None = None

    @classmethod
    def me(cls) -> Holder:
        """This process."""
        return cls(os.getpid(), socket.gethostname(), _started(os.getpid()))

    @classmethod
    def read(cls, data: bytes) -> Holder | None:
        """What a runner has noted; None where that is broken or not there yet."""
        try:
            plain = json.loads(data)
        except ValueError:
            return None
        if not isinstance(plain, dict):
            return None
        pid, host, started = (plain.get(name) for name in ("pid", "host", "started"))
        if not isinstance(pid, int) or not isinstance(host, str):
            return None
        return cls(pid, host, started if isinstance(started, int) else None)

    def note(self) -> bytes:
        """The form that `read` reads."""
        return json.dumps(asdict(self)).encode()

    def has_ended(self) -> bool:
        """Whether it is known to be over, which only its own machine can tell."""
        if self.host != socket.gethostname():
            return False
        known = None not in (self.started, _started(self.pid))
        return not _is_alive(self.pid) or (known and self.started != _started(self.pid))

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid > 0


def _started(pid: int) -> int | None:
    try:
        # the name of the program stands in brackets, and may hold blanks and brackets itself
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None
