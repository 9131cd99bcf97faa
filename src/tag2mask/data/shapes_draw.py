"""Draws the scenes of the generated data set: creatures with telling heads on textured grounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

NAMES = ("cross-fox", "ring-fox", "cross-fish", "ring-fish")
"""The classes, ids 1 to 4: foxes share one body and fish another; only the mark on the head tells which."""

_BODY_COLOURS = ((178, 98, 48), (72, 84, 178))
_MARK_COLOURS = (((250, 226, 60), (40, 30, 20)), ((235, 80, 200), (250, 250, 250)))
_GROUNDS = ((96, 136, 78), (140, 142, 138), (74, 118, 116), (206, 198, 160), (120, 150, 110), (168, 178, 186))
_HEADS = ((1.02, -0.42), (0.86, 0.0))
_HEAD_RADIUS = 0.46
_SUPERSAMPLE = 2


@dataclass(frozen=True)
class Creature:
    """One creature: where it is (pixels of the drawing grid), how large and how it is turned."""

    kind: int
    x: float
    y: float
    length: float
    angle: float
    flip: bool
    shade: tuple[float, float, float]

    def local(self, shape: tuple[int, int]) -> tuple[Array, Array]:
        """Coordinates in units of half the body length: u towards the head, v downwards."""
        rows, columns = np.ogrid[: shape[0], : shape[1]]
        dx, dy = (columns - self.x) / self.length, (rows - self.y) / self.length
        if self.flip:
            dx = -dx
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return cos * dx + sin * dy, cos * dy - sin * dx

    def parts(self, shape: tuple[int, int]) -> tuple[Bool, Bool]:
        """Body without head, and head, as boolean maps of the drawing grid."""
        u, v = self.local(shape)
        p, q = self.head(u, v)
        head = p**2 + q**2 < 1
        body = _fox(u, v) if self.kind < 2 else _fish(u, v)
        return body & ~head, head

    def head(self, u: Array, v: Array) -> tuple[Array, Array]:
        """Coordinates within the head, in units of its radius."""
        centre = _HEADS[self.kind // 2]
        return (u - centre[0]) / _HEAD_RADIUS, (v - centre[1]) / _HEAD_RADIUS


def draw_scene(
    kinds: list[int], size: tuple[int, int], difficulty: float, rng: np.random.Generator
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Draw one scene.

    Args:
        kinds: index into `NAMES` of each creature, at most three.
        size: (H, W) of the image.
        difficulty: 0..1; more means stronger ground texture, more stones and noise, paler bodies.
        rng: all randomness comes from here.

    Returns:
        image RGB (H, W, 3), and mask (H, W) of class ids (0 ground).
    """
    shape = (size[0] * _SUPERSAMPLE, size[1] * _SUPERSAMPLE)
    canvas = _ground(shape, difficulty, rng)
    mask = np.zeros(shape, np.uint8)
    for creature in _place(kinds, shape, rng):
        body, head = creature.parts(shape)
        _paint(canvas, creature, body | head, difficulty, rng)
        mask[body | head] = creature.kind + 1
    return _finished_image(canvas, size, difficulty, rng), mask[::_SUPERSAMPLE, ::_SUPERSAMPLE].copy()


def _fox(u: Array, v: Array) -> Bool:
    """A long body on four legs, with a tail and a neck."""
    body = u**2 + (v / 0.46) ** 2 < 1
    legs = np.zeros_like(body)
    for foot in (-0.72, -0.42, 0.42, 0.72):
        legs |= (np.abs(u - foot) < 0.12) & (v > 0) & (v < 0.92)
    tail = (np.abs(v + 0.35 + 0.5 * (u + 0.9)) < 0.1) & (u > -1.4) & (u < -0.75)
    neck = (np.abs(v + 0.3) < 0.22) & (u > 0.5) & (u < 1.0)
    return np.asarray(body | legs | tail | neck)


def _fish(u: Array, v: Array) -> Bool:
    """A rounded body with a tail fin and a back fin."""
    body = (np.abs(u) < 1) & (np.abs(v) < 0.56 * np.sqrt(np.clip(1 - u**2, 0, 1)))
    tail = (u < -0.72) & (u > -1.35) & (np.abs(v) < 0.85 * (-u - 0.6))
    fin = (v < -0.35) & (v > -0.8) & (u > -0.45) & (u < 0.1 + 0.5 * (v + 0.35))
    return np.asarray(body | tail | fin)


def _mark(kind: int, p: Array, q: Array) -> tuple[Bool, Bool]:
    """The two coloured areas of a cross or a ring, in head coordinates."""
    radius = np.hypot(p, q)
    if kind % 2 == 0:
        arms = (np.minimum(np.abs(p), np.abs(q)) < 0.26) & (radius < 0.86)
        return arms, (radius < 0.86) & ~arms & (radius > 0.68)
    return (radius > 0.42) & (radius < 0.86), radius <= 0.42


def _place(kinds: list[int], shape: tuple[int, int], rng: np.random.Generator) -> list[Creature]:
    """Creatures that lie mostly in the picture and hardly cover each other."""
    limits = {1: (0.26, 0.34), 2: (0.2, 0.28)}.get(len(kinds), (0.17, 0.22))
    taken = np.zeros(shape, bool)
    placed: list[Creature] = []
    for kind in kinds:
        length = rng.uniform(*limits) * shape[1]
        for attempt in range(60):
            # Shrinks slowly, so that a crowded scene still finds a place for all its tags.
            creature = _random_creature(kind, length * 0.985**attempt, shape, rng)
            body, head = creature.parts(shape)
            whole = body | head
            if not (whole & taken).any():
                break
        placed.append(creature)
        taken |= whole
    return placed


def _random_creature(kind: int, length: float, shape: tuple[int, int], rng: np.random.Generator) -> Creature:
    margin_x, margin_y = min(1.25 * length, 0.48 * shape[1]), min(0.85 * length, 0.48 * shape[0])
    shade = rng.normal(0, 9, 3) + rng.normal(0, 12)
    return Creature(
        kind=kind,
        x=rng.uniform(margin_x, shape[1] - margin_x),
        y=rng.uniform(margin_y, shape[0] - margin_y),
        length=length,
        angle=rng.uniform(-0.4, 0.4),
        flip=bool(rng.random() < 0.5),
        shade=(float(shade[0]), float(shade[1]), float(shade[2])),
    )


def _paint(
    canvas: Array, creature: Creature, whole: Bool, difficulty: float, rng: np.random.Generator
) -> None:
    """Fill a creature in place: body texture all over, a dark outline, then the mark on the head."""
    box = _box(whole)
    inside, part = whole[box], canvas[box]
    u, v = (axis[box] for axis in creature.local(whole.shape))
    base = np.array(_BODY_COLOURS[creature.kind // 2], float) + creature.shade
    stripes = np.sin(14 * u + 2 * np.sin(5 * v)) if creature.kind < 2 else np.cos(13 * u) * np.cos(13 * v)
    body = base + (16 * stripes + 10 * _clouds(inside.shape, 24, rng) - 14 * v)[..., None]
    body += difficulty * 0.25 * (canvas[::8, ::8].mean(axis=(0, 1)) - body)
    part[inside] = body[inside]
    part[inside & ~_eroded(whole, 2)[box]] *= 0.55
    p, q = creature.head(u, v)
    for area, colour in zip(_mark(creature.kind, p, q), _MARK_COLOURS[creature.kind % 2], strict=True):
        part[area & inside] = np.array(colour, float) + np.array(creature.shade) * 0.5


def _box(area: Bool) -> tuple[slice, slice]:
    """The smallest window that holds an area."""
    rows, columns = np.flatnonzero(area.any(1)), np.flatnonzero(area.any(0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _ground(shape: tuple[int, int], difficulty: float, rng: np.random.Generator) -> Array:
    """A textured ground: clouds of light, with waves, grain or a horizon, and some stones."""
    colours = [np.array(_GROUNDS[i], float) for i in rng.permutation(len(_GROUNDS))[:2]]
    canvas = np.broadcast_to(colours[0] + rng.normal(0, 10, 3), (*shape, 3)).copy()
    strength = 8 + 14 * difficulty
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    style = rng.integers(3)
    if style == 0:
        angle, period = rng.uniform(0, np.pi), rng.uniform(8, 22)
        waves = np.sin((columns * np.cos(angle) + rows * np.sin(angle)) * 2 * np.pi / period)
        canvas += (0.8 * strength * waves)[..., None]
    elif style == 1:
        canvas += (1.5 * strength * _clouds(shape, 5, rng))[..., None]
    else:
        line = rng.uniform(0.2, 0.5) * shape[0] + 12 * _clouds((1, shape[1]), 40, rng)
        canvas = np.where((rows < line)[..., None], colours[1], canvas)
    canvas += (strength * (_clouds(shape, 60, rng) + 0.6 * _clouds(shape, 14, rng)))[..., None]
    for _ in range(rng.integers(0, 2 + round(6 * difficulty))):
        _stone(canvas, colours[1], rng)
    return canvas


def _stone(canvas: Array, colour: Array, rng: np.random.Generator) -> None:
    """Draw a blob with an edge that belongs to no class, so that edges alone do not tell creatures."""
    height, width = canvas.shape[:2]
    size, flat = rng.uniform(0.02, 0.07) * width, rng.uniform(0.5, 1)
    x, y = rng.uniform(0, width), rng.uniform(0, height)
    reach = 1.5 * size
    top, left = max(0, int(y - reach)), max(0, int(x - reach))
    part = canvas[top : int(y + reach) + 1, left : int(x + reach) + 1]
    rows, columns = np.ogrid[: part.shape[0], : part.shape[1]]
    dx, dy = (columns + left - x) / size, (rows + top - y) / size
    rim = 1 + np.clip(0.3 * _clouds(part.shape[:2], 12, rng), -0.5, 0.9)
    inside = dx**2 + (dy / flat) ** 2 < rim
    shade = colour + rng.normal(0, 12) - (14 * np.broadcast_to(dy, inside.shape))[..., None]
    part[inside] = shade[inside]


def _clouds(shape: tuple[int, int], period: int, rng: np.random.Generator) -> Array:
    """Smooth noise of about unit deviation whose bumps are `period` pixels wide."""
    coarse = rng.normal(0, 1, (shape[0] // period + 3, shape[1] // period + 3)).astype(np.float32)
    image = Image.fromarray(coarse).resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
    return np.asarray(image, float)


def _eroded(area: Bool, pixels: int) -> Bool:
    """The area less its outermost pixels."""
    for _ in range(pixels):
        padded = np.pad(area, 1)
        area = area & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return area


def _finished_image(
    canvas: Array, size: tuple[int, int], difficulty: float, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Shrink the drawing, as a lens would blur it, with light, contrast and grain of its own."""
    sharp = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))
    small = np.asarray(sharp.resize((size[1], size[0]), Image.Resampling.BOX), float)
    small = (small - 128) * rng.uniform(0.85, 1.1) + 128 + rng.normal(0, 10)
    small += rng.normal(0, 2 + 6 * difficulty, small.shape)
    return np.clip(small, 0, 255).astype(np.uint8)
