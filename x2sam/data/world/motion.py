"""How the camera and the things move. Lengths are shares of the frame's shorter side, x right and y down from the
middle of the scene; time runs in clips of eight frames, so that a longer clip shows more motion, not slower motion.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Track = NDArray[np.float64]
Affine = NDArray[np.float64]
"""``[2, 3]``."""
CLIP = 7.0
"""Steps between frames in one unit of time."""


@dataclass(frozen=True)
class Camera:
    """Where the camera looks on every frame."""

    pan: Track
    """``[T, 2]``."""
    zoom: Track
    """``[T]``."""
    angle: Track
    """``[T]``, radians."""

    def matrix(self, t: int, size: tuple[int, int], nearness: float = 1.0) -> Affine:
        """Scene to pixels of a frame of this (height, width); far things (nearness < 1) shift and grow less."""
        scale = min(size) * self.zoom[t] ** nearness
        cos, sin = scale * np.cos(self.angle[t]), scale * np.sin(self.angle[t])
        turn = np.array([[cos, -sin], [sin, cos]])
        offset = np.array([size[1], size[0]]) / 2 - turn @ self.pan[t] * nearness
        return np.hstack([turn, offset[:, None]])

    @property
    def is_still(self) -> bool:
        return not (np.ptp(self.pan, axis=0).any() or np.ptp(self.zoom) or np.ptp(self.angle))


@dataclass(frozen=True)
class Path:
    """How one thing moves."""

    centre: Track
    """``[T, 2]``."""
    scale: Track
    """``[T]``: half its longer side."""
    angle: Track
    """``[T]``, radians."""
    squeeze: Track
    """``[T]``: its width as a share of its width seen from the front."""
    pose: Track
    """``[T]``: periods that its limbs have swung."""
    wobble: float
    """How far its outline is bent, as a share of its size."""
    wave: NDArray[np.float64]
    """``[2, 2]`` spatial frequencies of the bending."""
    drift: NDArray[np.float64]
    """``[2]``: how fast its surface slides through its outline, as on a turning body; sizes per unit of time."""

    def matrix(self, t: int) -> Affine:
        """The thing's unit box to the scene."""
        cos, sin = np.cos(self.angle[t]), np.sin(self.angle[t])
        turn = self.scale[t] * np.array([[cos, -sin], [sin, cos]]) * [self.squeeze[t], 1]
        return np.hstack([turn, self.centre[t][:, None]])


def then(inner: Affine, outer: Affine) -> Affine:
    """First ``inner``, then ``outer``."""
    return np.hstack([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2:] + outer[:, 2:]])


def inverse(affine: Affine) -> Affine:
    turn = np.linalg.inv(affine[:, :2])
    return np.hstack([turn, -turn @ affine[:, 2:]])


def clock(frames: int) -> Track:
    """The time of every frame, in clips of eight frames."""
    return np.arange(frames) / CLIP


def camera(rng: np.random.Generator, frames: int, moves: float) -> Camera:
    """A camera that, with probability ``moves``, pans, zooms, turns and shakes in some mixture."""
    t = clock(frames)
    pan, zoom, angle = np.zeros((frames, 2)), np.zeros(frames), np.zeros(frames)
    if frames > 1 and rng.random() < moves:
        middle = t - rng.uniform(0, t[-1])
        if rng.random() < 0.75:
            heading, speed = rng.uniform(0, 2 * np.pi), np.exp(rng.uniform(np.log(0.03), np.log(0.35)))
            pan += speed * middle[:, None] * [np.cos(heading), np.sin(heading)]
        if rng.random() < 0.4:
            zoom += rng.uniform(-0.3, 0.3) * middle
        if rng.random() < 0.3:
            angle += rng.uniform(-0.25, 0.25) * middle
        if rng.random() < 0.4:
            pan += np.cumsum(rng.normal(0, rng.uniform(0.002, 0.012), (frames, 2)), axis=0)
    limit = 0.45
    return Camera(limit * np.tanh(pan / limit), np.exp(0.4 * np.tanh(zoom / 0.4)), 0.4 * np.tanh(angle / 0.4))


def path(
    rng: np.random.Generator, frames: int, centre: NDArray[np.float64], scale: float, angle: float, wild: bool
) -> Path:
    """A path that passes through ``centre`` at some time of the clip; ``wild`` ones deform more."""
    t = clock(frames)
    at = rng.uniform(0, t[-1]) if frames > 1 else 0.0
    kind = rng.choice(["still", "drift", "sway", "rush", "return"], p=[0.22, 0.42, 0.14, 0.12, 0.10])
    way = _way(rng, kind, t, at)
    grows = rng.uniform(-0.6, 0.6) if kind != "still" and rng.random() < 0.4 else 0.0
    spins = 0.0
    if kind != "still" and rng.random() < 0.4:
        spins = rng.uniform(-0.9, 0.9) * (2.5 if wild and rng.random() < 0.3 else 1)
    turns = rng.uniform(0.3, 0.65) if rng.random() < (0.35 if wild else 0.15) else 0.0
    facing = rng.uniform(1, 4) * (t - at)
    bends = rng.random() < (0.6 if wild else 0.3)
    slides = wild and rng.random() < 0.25
    return Path(
        centre=centre + way,
        scale=scale * np.exp(grows * (t - at)),
        angle=angle + spins * (t - at),
        squeeze=1 - turns * (1 - np.cos(facing)) / 2,
        pose=rng.random() + (0.0 if kind == "still" and rng.random() < 0.5 else rng.uniform(0.3, 2.0)) * t,
        wobble=rng.uniform(0.01, 0.10 if wild else 0.04) if bends else 0.0,
        wave=rng.uniform(0.6, 2.4, (2, 2)),
        drift=rng.uniform(-0.4, 0.4, 2) if slides else np.zeros(2),
    )


def _way(rng: np.random.Generator, kind: str, t: Track, at: float) -> Track:
    """The offset ``[T, 2]`` from the path's centre, zero at time ``at``."""
    if kind == "still" or len(t) == 1:
        return np.zeros((len(t), 2))
    heading = rng.uniform(0, 2 * np.pi) if rng.random() < 0.4 else rng.choice([0, np.pi]) + rng.normal(0, 0.2)
    ahead = np.array([np.cos(heading), np.sin(heading)])
    across = np.array([-ahead[1], ahead[0]])
    if kind == "sway":
        rate, reach = rng.uniform(2, 7), rng.uniform(0.03, 0.16)
        return reach * (np.sin(rate * t) - np.sin(rate * at))[:, None] * ahead
    if kind == "return":
        reach, span = rng.uniform(0.7, 1.4), max(t[-1], 1.0)
        return reach * (np.sin(np.pi * t / span) ** 2)[:, None] * ahead
    speed = rng.uniform(0.9, 1.7) if kind == "rush" else np.exp(rng.uniform(np.log(0.06), np.log(0.6)))
    bend = rng.uniform(-0.5, 0.5) * speed
    return speed * (t - at)[:, None] * ahead + bend * ((t - at) ** 2)[:, None] * across
