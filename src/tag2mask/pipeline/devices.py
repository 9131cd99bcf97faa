"""How many devices each step of a run works on, and whether its batch can be shared out among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tag2mask.core.batches import divisors, images_at_once
from tag2mask.core.errors import UserError
from tag2mask.core.layers import Layer

DEVICES = "trainer.devices"
NODES = "trainer.num_nodes"
_NO_RESULT = (DEVICES, NODES, "data.init_args.num_workers")
"""Settings that suit a step to a machine and change no result."""


@dataclass(frozen=True)
class Devices:
    """Devices of a command: so many on each of so many machines; None where the settings say it."""

    each: int | None = None
    nodes: int | None = None

    @property
    def count(self) -> int:
        """All of them."""
        return (self.each or 1) * (self.nodes or 1)

    def words(self) -> list[str]:
        """The options of a step."""
        words = [f"--{DEVICES}", str(self.each)] if self.each else []
        return words + ([f"--{NODES}", str(self.nodes)] if self.nodes else [])

    def replaced(self, asked: Layer) -> Devices:
        """The same, unless the settings of one step ask for others."""
        each, nodes = (asked[key].value if key in asked else None for key in (DEVICES, NODES))
        return Devices(_count(DEVICES, each) or self.each, _count(NODES, nodes) or self.nodes)


def deciding(settings: Layer) -> Layer:
    """The settings that decide on a result: without those that suit a step to a machine."""
    return {path: setting for path, setting in settings.items() if path not in _NO_RESULT}


def deciding_words(words: Sequence[str]) -> list[str]:
    """The same of options of a LightningCLI.

    Example:
        >>> deciding_words(["--trainer.devices", "2", "--seed_everything", "1", "--trainer.num_nodes=2"])
        ['--seed_everything', '1']
    """
    kept, rest = list[str](), iter(words)
    for word in rest:
        option, equals, _ = word.partition("=")
        if option.removeprefix("--") not in _NO_RESULT:
            kept.append(word)
        elif not equals:
            next(rest, None)
    return kept


def check_batches(
    trained: Mapping[str, tuple[Mapping[str, Any], Devices]], images: Mapping[str, int] | None = None
) -> None:
    """Refuse devices among which the batch of a step cannot be shared out.

    Args:
        trained: step that trains -> its settings, nested, and its devices.
        images: step -> its training images, of which a batch has no more; None where they are not counted.

    Raises:
        UserError: with the numbers that work.
    """
    wrong, works = list[str](), set[int]()
    for name, (settings, devices) in trained.items():
        total = settings.get("data", {}).get("init_args", {}).get("batch_size")
        passes = settings.get("trainer", {}).get("accumulate_grad_batches") or 1
        if not isinstance(total, int) or total < 1:  # the step refuses it itself
            continue
        most = (images or {}).get(name) or total
        fits = {n for n in divisors(min(total, most)) if min(total, most) % (n * passes) == 0}
        works = works & fits if works else fits
        try:
            images_at_once(total, devices.count, passes, most if images else None)
        except UserError as error:
            wrong.append(f"step {name}: {error}")
    if wrong:
        raise UserError("\n".join([*wrong, _way_out(sorted(works))]))


def _way_out(works: Sequence[int]) -> str:
    every = f"every step of this run can be made on {_either(works)} devices; " if works else ""
    return f"{every}--STEP.{DEVICES} N gives one step another number; nothing was started"


def _either(numbers: Sequence[int]) -> str:
    *most, last = map(str, numbers)
    return f"{', '.join(most)} or {last}" if most else last


def _count(key: str, value: Any) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or value < 1:
        raise UserError(f"{key} must be a number from 1 on, got {value!r}")
    return value
