"""Alarms about the labels of a step, from what `label_facts` has counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tag2mask.core import Alarm, training_alarms
from tag2mask.evaluate.facts import LabelFacts

MOST_EMPTY = 0.2
"""Share of the tagged images without a pixel of foreground; good runs have some of them."""
MOST_FULL = 0.2
"""Share of the tagged images without a pixel of background: none in good runs, many where maps are flat."""
MOST_FOREGROUND = 0.6
"""Mean share of foreground in labels: above that of good labels of real images, below that of flat maps."""
MOST_MARKED = 0.5
"""Share of the images without any class in which a network finds one."""
FEWEST = 3
"""Images that a class needs before it counts as lost: a network may miss it in one or two."""
_TUNED = "tag2mask tune RUN compares background levels and thresholds without masks"
_SETTINGS = (
    "look at the pictures (tag2mask report RUN), and change the settings that decide about these labels: "
    "docs/troubleshooting.md names them for each recipe"
)
_NETWORK = "look at the labels that it learnt from (tag2mask report RUN), and train longer"


def step_alarms(facts: LabelFacts, metrics: Mapping[str, Any], trained: bool) -> list[Alarm]:
    """What is suspicious about a step, the worst first.

    Args:
        facts: what its labels hold.
        metrics: what its network has logged.
        trained: whether a network labels the images without their tags; else they are labels to train on.
    """
    found = [
        _empty(facts, trained),
        _lost(facts, trained),
        _full(facts, trained),
        _overgrown(facts),
        _marked(facts),
    ]
    return [*(alarm for alarm in found if alarm), *training_alarms(metrics)]


def _empty(facts: LabelFacts, trained: bool) -> Alarm | None:
    if facts.empty <= MOST_EMPTY * facts.tagged:
        return None
    if trained:
        every = (
            "predicts only background: it marks none of"
            if facts.empty == facts.tagged
            else "marks nothing on"
        )
        of = f"{facts.tagged}" if facts.empty == facts.tagged else f"{facts.empty} of {facts.tagged}"
        return Alarm("empty_predictions", f"the network {every} {of} images that are tagged", _NETWORK)
    text = f"{facts.empty} of {facts.tagged} labels have no foreground, although the images are tagged"
    return _about("empty_labels", text, trained, unusable=facts.empty == facts.tagged)


def _about(name: str, text: str, trained: bool, unusable: bool = False) -> Alarm:
    """An alarm that other labels may silence: these, or those that a network learnt from."""
    return Alarm(name, text, _NETWORK) if trained else Alarm(name, text, _SETTINGS, unusable, _TUNED)


def _lost(facts: LabelFacts, trained: bool) -> Alarm | None:
    lost = [n for n, count in facts.tags.items() if count >= FEWEST and not facts.found[n]]
    if not lost or facts.empty == facts.tagged:
        return None
    some = ", ".join(f"{name} ({facts.tags[name]} images are tagged with it)" for name in lost[:5])
    more = f" and {len(lost) - 5} more classes" if len(lost) > 5 else ""
    kept = sum(1 for name in facts.tags if facts.found[name])
    only = f"; only {kept} of {len(facts.tags)} classes are left" if kept < len(facts.tags) else ""
    return _about("lost_classes", f"no pixel anywhere of {some}{more}{only}", trained)


def _full(facts: LabelFacts, trained: bool) -> Alarm | None:
    if facts.cut or facts.full <= MOST_FULL * facts.tagged:
        return None
    text = f"{facts.full} of {facts.tagged} images have no background at all"
    return _about("no_background", text, trained)


def _overgrown(facts: LabelFacts) -> Alarm | None:
    if facts.cut or facts.full > MOST_FULL * facts.tagged or facts.foreground <= MOST_FOREGROUND:
        return None
    text = f"foreground covers {100 * facts.foreground:.0f} % of the images: objects that large are rare"
    tuned = (
        "if the objects are smaller, a higher background level suits the maps: most_foreground of "
        "Background (set in the budgets small and demo) raises it by itself. The slider of the report "
        "(tag2mask report RUN) shows which one covers the objects alone; tag2mask tune RUN compares levels"
    )
    return Alarm("overgrown", text, f"if the objects are smaller, {_SETTINGS}", tuned=tuned)


def _marked(facts: LabelFacts) -> Alarm | None:
    if facts.negative < FEWEST or facts.marked <= MOST_MARKED * facts.negative:
        return None
    text = f"the network finds something in {facts.marked} of {facts.negative} images that show no class"
    todo = "look whether the labels that it learnt from are too large (tag2mask report RUN), add such images"
    return Alarm("marked_negatives", text, todo)
