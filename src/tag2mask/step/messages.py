"""What a step prints: mistakes of the user and notes of the library, no warnings about intended behaviour."""

from __future__ import annotations

import logging
import sys
import warnings

from tag2mask.artifacts.trouble import named_trouble
from tag2mask.callbacks import StoppedBySignal
from tag2mask.core import UserError
from tag2mask.core.errors import STOPPED_CODE

_KNOWN_WARNINGS = (
    ".*does not have many workers.*",
    ".*is not supported by the model summary.*",  # it counts 4 bytes a weight, which is right
    ".*LeafSpec.*",
    ".*pin_memory.*",
    ".*`srun` command is available on your system.*",  # `--launcher slurm` is our way to use it
    ".*intended to run from within Python.*",  # the words after `step SCRIPT` are ours to pass on
    ".*in eval mode at the start of training.*",  # frozen batch-norm, on purpose
    ".*No positive samples found in target.*",  # a class may be missing from a small split
    ".*smaller than the logging interval.*",
    ".*Checkpoint directory .* exists and is not empty.*",  # a step that goes on
    ".*callbacks used to create the checkpoint need to be provided.*",  # predict saves no checkpoint
    ".*loading a checkpoint outside the 'fit' stage.*",  # predict takes the mean as the weights
)


GOES_ON = "the same command goes on from here"
_LOST_PEER = ("gloo/transport", "remote process exited")
"""What gloo and NCCL say where the process at the other end of a connection is gone."""


def outcome_of(error: BaseException) -> tuple[int, str]:
    """Exit code and message of what has ended a step; no message if it is a bug."""
    if isinstance(error, StoppedBySignal):
        return STOPPED_CODE, f"stopped by {error}; {GOES_ON}"
    # Lightning answers Ctrl-C with an exit of its own.
    if isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt):
        return 130, f"stopped; {GOES_ON}"
    if not isinstance(error, Exception):
        return 1, ""
    mistake = mistake_of(error) or _lost_process(error)
    if not mistake and isinstance(error, OSError) and error.errno is not None:
        mistake = named_trouble(error)
    return 2, f"error: {mistake}" if mistake else ""


def _lost_process(error: BaseException) -> str:
    """What to do about a process of this step that has died, "" if the error is another one.

    A loader process mostly got no memory.
    """
    text = str(error).strip()
    if not isinstance(error, RuntimeError):
        return ""
    if any(mark in text for mark in _LOST_PEER):
        return f"another process of this step has ended, by an error of its own or killed: {GOES_ON}"
    if "unable to allocate shared memory" in text:
        found = "/dev/shm, where loader processes put images, is full"
    elif text.startswith("DataLoader worker"):
        found = f"{text.splitlines()[0].rstrip('. ')}, mostly because memory or /dev/shm ran out"
    else:
        return ""
    way = "with more of it (docker run --shm-size 8g) or a smaller --data.init_args.num_workers"
    return f"{found}: {way} {GOES_ON}"


def mistake_of(error: BaseException) -> str:
    """The message of the user's mistake behind an error, "" if the error is a bug.

    jsonargparse wraps what constructors raise, and a loader process wraps the message in its traceback.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, UserError):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return ""
    text = str(cause)
    if "Original Traceback" not in text:
        return text
    return text.strip().splitlines()[-1].partition("UserError: ")[2] or text


def hide_known_warnings() -> None:
    """Hide warnings about intended behaviour."""
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    for pattern in _KNOWN_WARNINGS:
        warnings.filterwarnings("ignore", pattern)


def show_notes() -> None:
    """Print the library's notes, such as which CRF engine it uses, on standard error."""
    notes = logging.getLogger("tag2mask")
    if not any(isinstance(handler, _Notes) for handler in notes.handlers):
        notes.addHandler(_Notes())
        notes.setLevel(logging.INFO)


class _Notes(logging.Handler):
    """Looks ``sys.stderr`` up for each note, so that a redirection made later also counts."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr)
