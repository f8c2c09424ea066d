"""Outlines: how the shapes of the world are written down, varied from one instance to the next, and posed.

A shape is a list of parts, painted in order; its mask is their union. Coordinates are drawn on a grid of about -100 to
100, x to the right and y down, and are scaled to the unit box when a category is made. A part may swing about a pivot
(legs, wings, tails), be cut out (the hole of a ring) or take another material than the shape's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""``[N, 2]`` as x, y."""

BASE, DARK, LIGHT, HOLE = 0, 1, 2, 3
"""Materials of a part: the shape's own colour and texture, two accents, or nothing at all."""


@dataclass(frozen=True, eq=False)
class Part:
    """One closed outline of a shape."""

    points: Points
    material: int = BASE
    shade: float = 1.0
    """Brightness: limbs on the far side are darker."""
    pivot: tuple[float, float] = (0.0, 0.0)
    swing: float = 0.0
    """Amplitude of the swing about the pivot, in radians."""
    phase: float = 0.0
    """Where in its period the swing starts, in turns."""

    def dark(self) -> Part:
        return replace(self, material=DARK)

    def light(self) -> Part:
        return replace(self, material=LIGHT)

    def hole(self) -> Part:
        return replace(self, material=HOLE)

    def far(self) -> Part:
        return replace(self, shade=0.72)

    def swings(self, x: float, y: float, degrees: float, phase: float = 0.0) -> Part:
        return replace(self, pivot=(x, y), swing=float(np.radians(degrees)), phase=phase)

    def mirrored(self) -> Part:
        """The same part on the other side of the vertical axis."""
        return replace(self, points=self.points * [-1, 1], pivot=(-self.pivot[0], self.pivot[1]), phase=-self.phase)


@dataclass(frozen=True)
class Category:
    """A kind of thing that has a name and an outline."""

    name: str
    group: str
    """A wider word: animal, vehicle, tool, ..."""
    parts: tuple[Part, ...]
    plural: str
    turns: bool = False
    """It has no upright position, so it is shown at any angle."""


def category(
    name: str, group: str, *parts: Part | Iterable[Part], plural: str | None = None, turns: bool = False
) -> Category:
    """A category whose outline is scaled to the unit box."""
    flat: list[Part] = []
    for part in parts:
        flat.extend([part] if isinstance(part, Part) else part)
    return Category(name, group, normalised(flat), plural or _plural(name), turns)


def normalised(parts: Sequence[Part]) -> tuple[Part, ...]:
    """The parts moved and scaled so that the whole is centred and its longer side reaches from -1 to 1."""
    points = np.concatenate([p.points for p in parts if p.material != HOLE])
    low, high = points.min(axis=0), points.max(axis=0)
    centre, half = (low + high) / 2, (high - low).max() / 2
    return mapped(parts, lambda points: (points - centre) / half)


def mapped(parts: Sequence[Part], move: Callable[[Points], Points]) -> tuple[Part, ...]:
    """The parts with all points and pivots moved, in one call."""
    moved = move(np.concatenate([*(p.points for p in parts), np.array([p.pivot for p in parts])]))
    *outlines, pivots = np.split(moved, np.cumsum([len(p.points) for p in parts]))
    return tuple(
        Part(outline, p.material, p.shade, (float(pivot[0]), float(pivot[1])), p.swing, p.phase)
        for p, outline, pivot in zip(parts, outlines, pivots, strict=True)
    )


def _plural(name: str) -> str:
    if name.endswith(("s", "x", "ch", "sh")):
        return name + "es"
    return name[:-1] + "ies" if name.endswith("y") and name[-2] not in "aeiou" else name + "s"


# --- primitives -------------------------------------------------------------------------------------------------------


def poly(text: str) -> Part:
    """A polygon, its corners as ``"x y x y ..."``."""
    return Part(np.array(text.split(), dtype=float).reshape(-1, 2))


def curve(text: str) -> Part:
    """A smooth closed line (Catmull-Rom) through the points ``"x y x y ..."``."""
    p = np.array(text.split(), dtype=float).reshape(-1, 2)
    before, after, beyond = np.roll(p, 1, 0), np.roll(p, -1, 0), np.roll(p, -2, 0)
    t = (np.arange(4) / 4)[:, None, None]
    line = 0.5 * (
        2 * p
        + (after - before) * t
        + (2 * before - 5 * p + 4 * after - beyond) * t**2
        + (3 * p - before - 3 * after + beyond) * t**3
    )  # [4, N, 2]
    return Part(line.transpose(1, 0, 2).reshape(-1, 2))


def oval(x: float, y: float, rx: float, ry: float | None = None, degrees: float = 0.0) -> Part:
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    points = np.stack([rx * np.cos(angles), (rx if ry is None else ry) * np.sin(angles)], axis=1)
    return Part(rotated(points, np.radians(degrees)) + np.array((x, y)))


def rect(x0: float, y0: float, x1: float, y1: float) -> Part:
    return Part(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=float))


def limb(x0: float, y0: float, x1: float, y1: float, r0: float, r1: float | None = None) -> Part:
    """A rounded bar from one point to another, as thick as twice ``r0`` at its start and ``r1`` at its end."""
    r1 = r0 if r1 is None else r1
    angle = np.arctan2(y1 - y0, x1 - x0)
    arc = np.linspace(np.pi / 2, 3 * np.pi / 2, 7)
    start = np.stack([np.cos(arc), np.sin(arc)], axis=1) * r0
    end = -np.stack([np.cos(arc), np.sin(arc)], axis=1) * r1
    return Part(np.concatenate([rotated(start, angle) + np.array((x0, y0)), rotated(end, angle) + np.array((x1, y1))]))


def star(corners: int, outer: float = 100, inner: float = 42, x: float = 0, y: float = 0) -> Part:
    """A star; with ``inner`` equal to ``outer`` a regular polygon of twice as many corners."""
    angles = np.arange(2 * corners) * np.pi / corners - np.pi / 2
    radii = np.where(np.arange(2 * corners) % 2, inner, outer)
    return Part(np.stack([radii * np.cos(angles) + x, radii * np.sin(angles) + y], axis=1))


def tube(text: str, r0: float, r1: float | None = None) -> list[Part]:
    """A bent bar through the points ``"x y x y ..."``, its radius running from ``r0`` to ``r1``."""
    p = np.array(text.split(), dtype=float).reshape(-1, 2)
    radii = np.linspace(r0, r0 if r1 is None else r1, len(p))
    return [limb(p[i, 0], p[i, 1], p[i + 1, 0], p[i + 1, 1], radii[i], radii[i + 1]) for i in range(len(p) - 1)]


def wheel(x: float, y: float, r: float) -> list[Part]:
    return [oval(x, y, r).dark(), oval(x, y, 0.45 * r).light()]


def legs(back: float, front: float, top: float, bottom: float, r: float, step: float = 22) -> list[Part]:
    """Four legs that walk, the far pair darker; they come before the body."""
    pairs = [(back + 1.6 * r, 0.5, True), (front - 1.6 * r, 0.0, True), (back, 0.0, False), (front, 0.5, False)]
    walking = [(limb(x, top, x, bottom, 1.2 * r, 0.8 * r).swings(x, top, step, phase), far) for x, phase, far in pairs]
    return [part.far() if far else part for part, far in walking]


def rotated(points: Points, angle: float) -> Points:
    """Points ``[N, 2]`` turned about the origin by ``angle`` radians (clockwise on the screen)."""
    cos, sin = np.cos(angle), np.sin(angle)
    return points @ np.array([[cos, sin], [-sin, cos]])


# --- instances --------------------------------------------------------------------------------------------------------


def vary(parts: Sequence[Part], rng: np.random.Generator, strength: float = 1.0) -> tuple[Part, ...]:
    """One individual of a shape: mirrored or not, stretched, sheared, and bent by a smooth random field."""
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    stretch = 1 + strength * rng.uniform(-0.15, 0.15, 2)
    shear = strength * rng.uniform(-0.12, 0.12)
    waves = rng.uniform(1.0, 3.0, (2, 2)) * rng.choice([-1, 1], (2, 2))
    phases, height = rng.uniform(0, 2 * np.pi, 2), strength * rng.uniform(0, 0.07)

    def bend(points: Points) -> Points:
        points = points * [mirror, 1] * stretch
        points = points + height * np.sin(points @ waves + phases)
        return points + np.stack([shear * points[:, 1], np.zeros(len(points))], axis=1)

    swung = [replace(p, swing=p.swing * mirror) if p.swing else p for p in parts]
    return normalised(mapped(swung, bend))


def posed(part: Part, turn: float) -> Points:
    """A part's points when the swing is ``turn`` periods on its way."""
    if not part.swing:
        return part.points
    angle = part.swing * np.sin(2 * np.pi * (turn + part.phase))
    return rotated(part.points - part.pivot, angle) + part.pivot


def silhouette(rng: np.random.Generator) -> tuple[Part, ...]:
    """A shape without a name: a random blob, often with limbs that swing, for learning to follow just anything."""
    body = _blob(rng, 60)
    parts = [body]
    for _ in range(rng.integers(0, 6) if rng.random() < 0.65 else 0):
        angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(70, 170)
        root = 35 * np.array([np.cos(angle), np.sin(angle)])
        tip = root + reach * np.array([np.cos(angle), np.sin(angle)]) * [1, rng.uniform(0.6, 1.4)]
        swing = rng.uniform(5, 40) if rng.random() < 0.7 else 0.0
        thick = rng.uniform(5, 24)
        arm = limb(root[0], root[1], tip[0], tip[1], thick, thick * rng.uniform(0.4, 1.1))
        arm = arm.swings(root[0], root[1], swing, rng.random())
        parts.insert(
            int(rng.integers(0, len(parts) + 1)), replace(arm, material=int(rng.choice([BASE, BASE, DARK, LIGHT])))
        )
    for _ in range(rng.integers(0, 4)):
        patch = _blob(rng, rng.uniform(10, 40))
        offset = rng.uniform(-30, 30, 2)
        parts.append(replace(patch, points=patch.points + offset, material=int(rng.choice([DARK, LIGHT]))))
    return normalised(parts)


def _blob(rng: np.random.Generator, size: float) -> Part:
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    radius = np.ones(40)
    for order in range(1, 7):
        radius += rng.normal(0, 0.35 / order) * np.cos(order * angles + rng.uniform(0, 2 * np.pi))
    radius = size * np.maximum(radius, 0.25)
    return Part(np.stack([radius * np.cos(angles), radius * np.sin(angles) * rng.uniform(0.6, 1.4)], axis=1))
