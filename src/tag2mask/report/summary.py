"""What a page says first: the headline numbers, what is good, what is not, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import mean
from typing import NamedTuple

from tag2mask.core import Alarm
from tag2mask.core.library import FULL
from tag2mask.core.tables import percent
from tag2mask.report.confusion import mistakes
from tag2mask.report.runs import Run, Step
from tag2mask.report.training import LOSS, read_history

POINT = 0.01
"""One point of mIoU."""

WEAK, CONFUSED, FLAT = 0.5, 0.2, 0.9
"""Shares from which on something is worth a word: of the mean IoU, of a class's pixels, of the first loss."""


class Headline(NamedTuple):
    """One number of a step, in percent."""

    step: str
    miou: str
    about: str


@dataclass(frozen=True)
class Summary:
    """The summary of one run, each part in order.

    Attributes:
        run: the run's name.
        headlines: the mIoU of each scored step.
        good: what went well.
        bad: what did not, or is doubtful.
        next: what to do now.
    """

    run: str
    headlines: list[Headline]
    good: list[str] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    next: list[str] = field(default_factory=list)


def summarise(run: Run) -> Summary:
    """Read a run's numbers as somebody would who knows the method."""
    scored = [step for step in run.steps if step.scored]
    raised = [(step.name, alarm) for step in run.steps for alarm in step.alarms]
    bad = [*(f"Alarm, {step}: {alarm.text}." for step, alarm in raised), *_unfinished(run)]
    following = _advice(run, raised)
    good = list(_gains(scored))
    for found in (_losses, _thresholds, _weak_classes, _confusions):
        for step_bad, step_next in found(scored):
            bad.append(step_bad)
            following += [step_next] if step_next else []
    bad += _flat_training(run)
    return Summary(run.name, _headlines(scored), good, bad, [*following, *_always_next(run, scored)])


def _advice(run: Run, raised: Sequence[tuple[str, Alarm]]) -> list[str]:
    """What the alarms advise, each advice once with the steps that it is about."""
    steps: dict[str, dict[str, None]] = {}
    for step, alarm in raised:
        steps.setdefault(run.advice(alarm, run.called), {})[step] = None
    return [f"{', '.join(names)}: {advice}." for advice, names in steps.items()]


def _last(scored: Sequence[Step]) -> list[Step]:
    """The network that comes out of a run, or else its last result."""
    networks = [step for step in scored if step.manifest.kind == "segmentation"]
    return list(networks or scored)[-1:]


def _headlines(scored: Sequence[Step]) -> list[Headline]:
    return [
        Headline(step.name, percent((step.score or {}).get("miou")), f"mIoU on {step.manifest.split}")
        for step in scored
        if step.manifest.kind != "affinity_labels"  # scored on its sure pixels only
    ]


def _unfinished(run: Run) -> Iterator[str]:
    for step in run.steps:
        if not step.manifest.complete:
            yield f"{step.name} is not finished: the same command goes on with it."


def _chain(scored: Sequence[Step]) -> Iterator[tuple[Step, Step, float]]:
    """Each two steps that follow each other on the same images, and the gain of the second in mIoU."""
    labels = [s for s in scored if s.manifest.kind in ("maps", "labels") and _miou(s) is not None]
    for before, after in pairwise(labels):
        if before.manifest.split == after.manifest.split:
            yield before, after, (_miou(after) or 0.0) - (_miou(before) or 0.0)


def _gains(scored: Sequence[Step]) -> Iterator[str]:
    for before, after, gain in _chain(scored):
        if gain >= POINT:
            yield f"{after.name} is {100 * gain:.1f} points of mIoU above {before.name}."


def _losses(scored: Sequence[Step]) -> Iterator[tuple[str, str]]:
    for before, after, gain in _chain(scored):
        if gain <= -POINT:
            yield (
                f"{after.name} is {-100 * gain:.1f} points of mIoU below {before.name}.",
                f"Compare the pictures of {before.name} and {after.name}, worst images first; "
                f"the settings of {after.name} may not suit these images.",
            )


def _thresholds(scored: Sequence[Step]) -> Iterator[tuple[str, str]]:
    for step in scored:
        score = step.score or {}
        best, fixed = score.get("best_miou"), score.get("miou")
        if best is not None and fixed is not None and best - fixed >= POINT:
            at, better = score["threshold"], score["best_threshold"]
            yield (
                f"The threshold {at:.2f} of {step.name} costs {100 * (best - fixed):.1f} points: "
                f"{better:.2f} would be best on these images.",
                "Move the slider of the background threshold below, and look whether the maps agree.",
            )


def _weak_classes(scored: Sequence[Step]) -> Iterator[tuple[str, str]]:
    for step in _last(scored):
        per_class = {k: v for k, v in (step.score or {}).get("per_class", {}).items() if v is not None}
        average = mean(per_class.values()) if per_class else 0.0
        weak = sorted((v, k) for k, v in per_class.items() if v < WEAK * average)
        if weak:
            names = ", ".join(f"{name} ({percent(value)})" for value, name in weak[:5])
            yield (
                f"Classes far below the mean in {step.name}: {names}.",
                f"Choose {weak[0][1]} in the pictures below: are its maps on the object?",
            )


def _confusions(scored: Sequence[Step]) -> Iterator[tuple[str, str]]:
    for step in _last(scored):
        for mistake in mistakes(step):
            if mistake.share >= CONFUSED:
                yield (
                    f"{percent(mistake.share)} % of the pixels of {mistake.true} are {mistake.given} "
                    f"in {step.name}.",
                    "",
                )


def _flat_training(run: Run) -> Iterator[str]:
    for step in run.steps:
        losses = [value for _, value in read_history(step).get(LOSS, [])]
        part = len(losses) // 5
        if part and mean(losses[-part:]) > FLAT * mean(losses[:part]):
            yield f"The loss of {step.name} has hardly fallen: train longer, or with another rate."


def _always_next(run: Run, scored: Sequence[Step]) -> Iterator[str]:
    if not scored:
        yield "These images have no masks to score with: look at the labels below, and move the slider."
    budget = run.settings.get("budget")
    if budget not in (None, "", FULL):
        yield f"The budget {budget} is shorter than the paper's schedule, which is --budget full."
    network = next((s for s in reversed(run.steps) if s.manifest.kind == "segmentation"), None)
    if network is not None and network.manifest.complete and not _finds_nothing(network):
        command = f"tag2mask predict IMAGES --checkpoint {shlex.quote(str(run.called))} --out predictions"
        yield f"The network is ready: {command}"


def _finds_nothing(network: Step) -> bool:
    labels = (network.score or {}).get("labels") or {}
    return bool(labels.get("tagged")) and labels.get("empty") == labels["tagged"]


def _miou(step: Step) -> float | None:
    value: float | None = (step.score or {}).get("miou")
    return value
