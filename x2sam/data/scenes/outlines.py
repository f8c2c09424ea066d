"""Outlines from which categories are put together: polygons ``[N, 2]`` of x (right) and y (down), around -1..1."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

Outline = NDArray[np.float64]


def poly(*numbers: float) -> Outline:
    """A polygon from ``x0, y0, x1, y1, ...``."""
    return np.array(numbers, dtype=float).reshape(-1, 2)


def rect(x0: float, y0: float, x1: float, y1: float) -> Outline:
    """A box, with points along its sides so that it can bend."""
    corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]])
    steps = np.linspace(0, 1, 6)[:-1, None]
    return np.concatenate([a + (b - a) * steps for a, b in itertools.pairwise(corners)])


def ellipse(
    cx: float, cy: float, rx: float, ry: float | None = None, start: float = 0, stop: float = 360, tilt: float = 0
) -> Outline:
    """An ellipse, or its piece from ``start`` to ``stop`` degrees (clockwise from the right), turned by ``tilt``."""
    angle = np.radians(np.linspace(start, stop, 28, endpoint=stop - start < 360))
    points = np.stack([rx * np.cos(angle), (rx if ry is None else ry) * np.sin(angle)], axis=1)
    turn = np.radians(tilt)
    return points @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) + [cx, cy]


def line(width: float, *numbers: float) -> Outline:
    """A polyline as thick as ``width``."""
    points = poly(*numbers)
    along = np.gradient(points, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-9
    across = along[:, ::-1] * [-1, 1] * width / 2
    return np.concatenate([points + across, (points - across)[::-1]])


def star(points: int, inner: float, cx: float = 0, cy: float = 0, radius: float = 1, first: float = -90) -> Outline:
    """A star, or with ``inner=1`` a regular polygon of twice as many corners; ``first`` is the first tip's angle."""
    angle = np.radians(first) + np.arange(2 * points) * np.pi / points
    reach = radius * np.where(np.arange(2 * points) % 2, inner, 1.0)
    return np.stack([cx + reach * np.cos(angle), cy + reach * np.sin(angle)], axis=1)


def blob(rng: np.random.Generator) -> Outline:
    """A random closed smooth outline."""
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    order = np.arange(2, 7)[:, None]
    strength = rng.normal(0, 0.38, order.shape) / order**0.7
    reach = 1 + (strength * np.cos(order * angle + rng.uniform(0, 2 * np.pi, order.shape))).sum(axis=0)
    reach = np.maximum(reach, 0.25)
    return np.stack([reach * np.cos(angle), reach * np.sin(angle)], axis=1)
