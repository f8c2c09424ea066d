"""How the camera and the individuals move: for every frame an affine map, and how much an outline wobbles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Path = NDArray[np.float64]


@dataclass(frozen=True)
class Track:
    """One individual over the clip, in scene units (1 = the frame's shorter side, origin at the frame's middle)."""

    position: Path
    """``[T, 2]``."""
    scale: Path
    """``[T]``: its longer side."""
    turn: Path
    """``[T]``: radians."""
    squeeze: Path
    """``[T]``: its width as a share of what it is head on."""
    wobble: float
    """How far its outline is bent, as a share of its size."""
    phase: Path
    """``[T]``: radians of the wobble."""

    def step(self, t: int) -> Path:
        """How far it moves between two frames about ``t``, along x and y."""
        before, after = max(t - 1, 0), min(t + 1, len(self.position) - 1)
        return np.abs(self.position[after] - self.position[before]) / max(after - before, 1)


@dataclass(frozen=True)
class Camera:
    """Where the camera looks: screen = zoom * rotate(turn) (scene - position)."""

    position: Path
    zoom: Path
    turn: Path

    def rests(self, t: int) -> bool:
        """Whether frame ``t`` is seen just as the one before."""
        still = self.zoom[t] == self.zoom[t - 1] and self.turn[t] == self.turn[t - 1]
        return bool(still and (self.position[t] == self.position[t - 1]).all())

    @property
    def is_still(self) -> bool:
        return bool(
            np.ptp(self.position, axis=0).max() < 0.01 and np.ptp(self.zoom) < 0.02 and np.ptp(self.turn) < 0.02
        )


def camera(frames: int, rng: np.random.Generator) -> Camera:
    """Half of the cameras stand still; the others pan, zoom and roll, some with a shaky hand."""
    time = np.linspace(-0.5, 0.5, frames) if frames > 1 else np.zeros(1)
    moves = frames > 1 and rng.random() < 0.55
    speed = rng.uniform(-0.3, 0.3, 2) * moves
    shake = rng.normal(0, 0.008, (frames, 2)) * (moves and rng.random() < 0.4)
    position = time[:, None] * speed + shake
    zoom = np.exp(time * rng.normal(0, 0.2) * moves)
    return Camera(position, zoom, time * rng.normal(0, 0.1) * moves + rng.normal(0, 0.02))


def track(frames: int, start: NDArray[np.float64], size: float, rng: np.random.Generator, liveliness: float) -> Track:
    """A random way through the scene; ``liveliness`` 0 keeps it in its place."""
    time = np.linspace(0, 1, frames) if frames > 1 else np.zeros(1)
    kind = rng.choice(["still", "line", "curve", "out_and_back", "enter"], p=[0.22, 0.38, 0.2, 0.1, 0.1])
    if frames == 1 or liveliness == 0:
        kind = "still"
    angle = rng.choice([0, 0.5, 1, 1.5]) * np.pi + rng.normal(0, 0.3)
    heading = np.array([np.cos(angle), np.sin(angle)])
    reach = liveliness * rng.uniform(0.25, 0.8)
    along = {
        "still": 0 * time, "line": time, "curve": time, "out_and_back": 1.6 * np.sin(np.pi * time),
        "enter": 1.6 * (time - 1),
    }[str(kind)]  # fmt: skip
    position = start + reach * along[:, None] * heading
    if kind == "curve":
        position = position + 0.3 * reach * np.sin(np.pi * time * rng.uniform(1, 2))[:, None] * heading[::-1] * [1, -1]
    lively = 0.0 if kind == "still" and rng.random() < 0.6 else liveliness
    turn = rng.normal(0, 0.15) + time * rng.choice([0, 0, 0.25, 1.8]) * rng.choice([-1, 1]) * lively
    grows = np.exp(time * rng.choice([0, 0, 0.2, 0.7]) * rng.choice([-1, 1]) * lively)
    squeeze = 1 - rng.choice([0, 0, 0.45]) * lively * np.sin(np.pi * time * rng.uniform(0.4, 1)) ** 2
    wobble = (rng.uniform(0.02, 0.12) if rng.random() < 0.5 else 0.0) * (lively if frames > 1 else 1)
    phase = rng.uniform(0, 6.28) + time * rng.uniform(2, 9)
    return Track(position, size * grows, turn, squeeze, wobble, phase)


_GRID = 4


def mesh(
    way: Track, view: Camera, t: int, sprite_side: int, size: tuple[int, int]
) -> tuple[tuple[int, int, int, int], list[tuple[tuple[int, int, int, int], tuple[float, ...]]]] | None:
    """Where a sprite falls on frame ``t`` of ``size`` (height, width): its box, and PIL's mesh for that box.

    None where it lies outside.
    """
    unit = min(size) * view.zoom[t]
    roll = rotation(view.turn[t])
    centre = roll @ (way.position[t] - view.position[t]) * unit + np.array(size[::-1]) / 2
    half = way.scale[t] / 2 / 0.9 * unit  # the sprite's margin
    forward = rotation(view.turn[t] + way.turn[t]) @ np.diag([max(way.squeeze[t], 0.2), 1.0]) * half
    extent = np.abs(forward).sum(axis=1) * (1 + way.wobble)
    x0, y0 = np.floor(centre - extent).astype(int)
    x1, y1 = np.ceil(centre + extent).astype(int) + 1
    left, top, right, bottom = max(x0, 0), max(y0, 0), min(x1, size[1]), min(y1, size[0])
    if right - left < 2 or bottom - top < 2:
        return None
    cells_across = _GRID if way.wobble else 1  # an affine map needs no more than one cell
    xs, ys = (_steps(a, b, cells_across) for a, b in ((left, right), (top, bottom)))
    nodes = np.stack(np.meshgrid(xs, ys), axis=-1) - centre  # [G+1, G+1, 2]
    local = nodes @ np.linalg.inv(forward).T
    local = local + way.wobble * np.sin(local[..., ::-1] * 2.5 + way.phase[t] + [0, 1.3])
    source = ((local + 1) / 2 * sprite_side).tolist()
    columns, rows = (xs - left).astype(int).tolist(), (ys - top).astype(int).tolist()
    cells = [
        (
            (columns[i], rows[j], columns[i + 1], rows[j + 1]),
            (*source[j][i], *source[j + 1][i], *source[j + 1][i + 1], *source[j][i + 1]),
        )
        for j in range(len(ys) - 1)
        for i in range(len(xs) - 1)
    ]
    return (left, top, right, bottom), cells


def _steps(start: int, stop: int, count: int) -> NDArray[np.int64]:
    """Whole numbers that part the way into ``count``, or as many as it has pixels."""
    count = min(count, stop - start)
    return start + np.arange(count + 1) * (stop - start) // count


def rotation(angle: float) -> NDArray[np.float64]:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]])
