"""Line charts as plain numbers: where the points, ticks and marks of a small SVG picture lie."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

WIDTH, HEIGHT = 360, 210
"""Size of a chart in its own units; text has its natural size where a column of the page is this wide."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 10, 36
_MOST_POINTS = 200


class Line(NamedTuple):
    """A named curve: `ys` over `xs`."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]


class Mark(NamedTuple):
    """A value of the x axis that has a name, as a vertical line."""

    name: str
    x: float


class Tick(NamedTuple):
    """A number at an axis, and where it stands."""

    at: float
    text: str


class Drawn(NamedTuple):
    """A curve in the chart's units; `value` is its last one, or its highest with its place."""

    name: str
    points: str
    value: str


@dataclass(frozen=True)
class Chart:
    """All that a template needs to draw a chart.

    Attributes:
        title: heading.
        about: the chart in words, for readers who do not see it.
        x_label: what the x axis is.
        lines: the curves.
        x_ticks: numbers at the x axis.
        y_ticks: numbers at the y axis.
        marks: vertical lines, already placed.
        x_range: lowest and highest value of the x axis.
    """

    title: str
    about: str
    x_label: str
    lines: list[Drawn]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    marks: list[Tick]
    x_range: tuple[float, float]

    left, right = _LEFT, WIDTH - _RIGHT
    top, bottom = _TOP, HEIGHT - _BOTTOM
    width, height = WIDTH, HEIGHT


def line_chart(
    title: str,
    lines: Sequence[Line],
    x_label: str,
    share: bool = False,
    marks: Sequence[Mark] = (),
    highest: bool = False,
) -> Chart:
    """Lay out a chart.

    Args:
        title: heading.
        lines: the curves, at least one; each has a point.
        x_label: what the x axis is.
        share: the values are shares in [0, 1], shown in percent.
        marks: values of the x axis to mark.
        highest: the value beside a curve's name is its highest, not its last one.
    """
    thin = [_thinned(line) for line in lines]
    if share:
        thin = [line._replace(ys=[100 * y for y in line.ys]) for line in thin]
    xs = [x for line in thin for x in line.xs]
    ys = [y for line in thin for y in line.ys]
    x_ticks, y_ticks = nice_ticks(min(xs), max(xs), 5), nice_ticks(min(0.0, *ys), max(ys), 4)
    x_range = min(xs), max(xs)
    y_range = min(y_ticks[0], *ys), max(y_ticks[-1], *ys)

    def across(x: float) -> float:
        return _place(x, x_range, Chart.left, Chart.right)

    def up(y: float) -> float:
        return _place(y, y_range, Chart.bottom, Chart.top)

    drawn = []
    for line in thin:
        points = " ".join(f"{across(x)},{up(y)}" for x, y in zip(line.xs, line.ys, strict=True))
        drawn.append(Drawn(line.name, points, _highest(line) if highest else _number(line.ys[-1])))
    verb = "reaches" if highest else "ends at"
    return Chart(
        title=title,
        about=f"{title}: " + "; ".join(f"{d.name} {verb} {d.value}" for d in drawn),
        x_label=x_label,
        lines=drawn,
        x_ticks=[Tick(across(x), _number(x)) for x in x_ticks if x_range[0] <= x <= x_range[1]],
        y_ticks=[Tick(up(y), _number(y)) for y in y_ticks],
        marks=[Tick(across(mark.x), mark.name) for mark in marks],
        x_range=x_range,
    )


def _highest(line: Line) -> str:
    """The highest value of a curve, and where it has it."""
    top = line.ys.index(max(line.ys))
    return f"{line.ys[top]:.1f} at {_number(line.xs[top])}"


def nice_ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers that reach over the range.

    Example:
        >>> nice_ticks(0, 0.83, 4)
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    span = (high - low) or abs(high) or 1.0
    step = 10.0 ** math.floor(math.log10(span / count))
    step = next(step * f for f in (1, 2, 5, 10) if span / (step * f) <= count + 0.5)
    first, last = math.floor(low / step), math.ceil(high / step - 1e-9)
    return [round(k * step, 10) for k in range(first, max(last, first + 1) + 1)]


def _thinned(line: Line) -> Line:
    """At most `_MOST_POINTS` points, each the mean of its neighbours."""
    size = math.ceil(len(line.xs) / _MOST_POINTS)
    if size <= 1:
        return line
    groups = range(0, len(line.xs), size)
    means = [[sum(v[i : i + size]) / len(v[i : i + size]) for i in groups] for v in (line.xs, line.ys)]
    return Line(line.name, *means)


def _place(value: float, span: tuple[float, float], start: float, end: float) -> float:
    share = (value - span[0]) / ((span[1] - span[0]) or 1.0)
    return round(start + share * (end - start), 1)


def _number(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 10000 else f"{value / 1000:.4g}k"
