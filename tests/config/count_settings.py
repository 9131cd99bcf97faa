"""How long the configurations are, and how much of them says again what another one says.

A setting is a path with a value (a list is one value) for a kind of step. It repeats another one where all
three are the same: two classifiers with crops of 448 pixels do, a classifier and an AffinityNet do not.
Usage: python tests/config/count_settings.py
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tag2mask.core.layers import flatten
from tag2mask.core.library import Library
from tag2mask.core.pages import read_page
from tag2mask.pipeline.form import PARTS
from tag2mask.pipeline.recipe import load_recipe

CONF = Path(__file__).resolve().parents[2] / "conf"


def settings(conf: Path = CONF) -> Iterator[tuple[str, str, str]]:
    """Kind of step, path and value of every setting of every file."""
    for path in sorted(conf.rglob("*.yaml")):
        kinds = _kinds(conf, path)
        for key, value in flatten(_written_once(read_page(path).plain, set())):
            words = key.split(".")
            at = next(
                (i for i, word in enumerate(words) if word in PARTS and "inputs" not in words[:i]), None
            )
            if at is not None:
                step = next((kinds[word] for word in words[:at] if word in kinds), path.stem)
                yield step, ".".join(words[at:]), repr(value)


def _kinds(conf: Path, path: Path) -> dict[str, str]:
    """Step or section of a file -> kind of step."""
    if path.parent.name == "recipes":
        return {step.template: step.bases[-1] for step in load_recipe(Library((conf,)), path.stem).steps}
    if path.parent.name in ("budgets", "backbones"):
        return {name: name for name in read_page(path).plain}
    return {}


def _written_once(plain: Any, seen: set[int]) -> Any:
    """A part of a file without the anchored parts (``&name``) that it refers back to (``*name``)."""
    if not isinstance(plain, dict):
        return plain
    new = {key: value for key, value in plain.items() if not isinstance(value, dict) or id(value) not in seen}
    seen |= {id(value) for value in new.values() if isinstance(value, dict)}
    return {key: _written_once(value, seen) for key, value in new.items()}


def count(conf: Path = CONF) -> tuple[int, int, int, int]:
    """Lines, settings, those that repeat another one, and those whose path and value stand elsewhere too."""
    lines = sum(len(path.read_text().splitlines()) for path in conf.rglob("*.yaml"))
    whole = Counter(settings(conf))
    elsewhere = Counter({(path, value): 0 for _, path, value in whole})
    for (_, path, value), times in whole.items():
        elsewhere[path, value] += times
    return lines, whole.total(), whole.total() - len(whole), whole.total() - len(elsewhere)


def main() -> int:
    """Print the counts, and the settings that are said most often."""
    lines, total, repeated, elsewhere = count()
    print(f"{lines} lines, {total} settings, {repeated} repeat another one ({100 * repeated / total:.1f} %)")
    print(f"the same value of another kind of step included: {elsewhere} ({100 * elsewhere / total:.1f} %)")
    for (kind, path, value), times in Counter(settings()).most_common(12):
        print(f"  {times} x {kind}: {path} {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
