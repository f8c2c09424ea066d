"""What is true about the things of a scene, with a margin: every predicate says yes (1), no (0) or arguable (0.5).

A phrase is used only if it holds for exactly its target and for no other thing, with nothing arguable in between.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from x2sam.data.world.scene import MIN_VISIBLE, Scene
from x2sam.data.world.vocabulary import STUFF, THINGS

Truth = NDArray[np.float64]
"""``[N]``: for every visible thing 1, 0 or 0.5."""
Table = NDArray[np.bool_]
"""``[T, N]``."""

DIRECTIONS: dict[str, tuple[int, int]] = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


class Facts:
    """The visible things of a scene, and predicates over them."""

    def __init__(self, scene: Scene) -> None:
        frames, height, width = scene.owners.shape
        counts = np.stack([np.bincount(o.ravel(), minlength=len(scene.things) + 1)[1:] for o in scene.owners])  # [T, K]
        self.index = np.flatnonzero((counts >= MIN_VISIBLE).any(axis=0))
        """``[N]``: which of the scene's things are visible at all."""
        self.scene = scene
        self.visible = counts[:, self.index]  # [T, N] pixels
        self.seen: Table = self.visible >= MIN_VISIBLE
        things = [scene.things[k] for k in self.index]
        self.category = [t.category for t in things]
        self.colour = [t.colour for t in things]
        self.texture = [t.texture for t in things]
        side = min(height, width)
        self.reach = np.array([width, height]) / side
        self.centre = scene.centre[:, self.index] / side  # [T, N, 2] of the whole thing
        self.middle = _middles(scene.owners, len(scene.things))[:, self.index] / side  # [T, N, 2] of what is seen
        self.middle = np.where(np.isnan(self.middle) & self.seen[..., None], self.centre, self.middle)
        self.inside = scene.area[:, self.index] > 0
        self.hidden = scene.hidden[:, self.index][:, :, self.index]  # [T, N, N]
        self.covers = scene.area[:, self.index]
        seen = np.where(self.seen, 1.0, np.nan)
        self.size = np.nanmean(seen * self.visible, axis=0)  # [N]
        self.whole = np.nanmean(seen * scene.whole[:, self.index], axis=0)
        self.frames = frames

    def __len__(self) -> int:
        return len(self.index)

    # --- what things are ----------------------------------------------------------------------------------------------

    def among(self, names: frozenset[str] | set[str]) -> Truth:
        """Whose category is one of these names."""
        return np.array([0.5 if c is None else float(c in names) for c in self.category])

    def named(self, noun: str) -> Truth:
        """Whose category, or group, a noun is; ``object`` fits everything."""
        if noun == "object":
            return np.ones(len(self))
        if noun in THINGS:
            return self.among({noun})
        truth = self.among({name for name, c in THINGS.items() if c.group == noun})
        people = np.array([c == "person" for c in self.category])
        return np.where(people & (noun == "animal"), 0.5, truth)

    def coloured(self, colour: str) -> Truth:
        return np.array([0.5 if c is None else float(c == colour) for c in self.colour])

    def textured(self, texture: str) -> Truth:
        return np.array([0.5 if t is None else float(t == texture) for t in self.texture])

    # --- where they are -----------------------------------------------------------------------------------------------

    def on_side(self, side: str) -> Truth:
        """Who stays in the left (right, upper, lower) part of the picture."""
        axis, sign = _axis(side)
        share = self.middle[..., axis] / self.reach[axis]
        share = share if sign < 0 else 1 - share
        return self._steady(share < 0.4, share > 0.5, self.seen)

    def beside(self, side: str, anchor: int) -> Truth:
        """Who stays to the left of (right of, above, below) a thing."""
        axis, sign = _axis(side)
        apart = self.middle - self.middle[:, anchor : anchor + 1]  # [T, N, 2]
        along, across = sign * apart[..., axis], np.abs(apart[..., 1 - axis])
        both = self.seen & self.seen[:, anchor : anchor + 1]
        return self._not(anchor, self._steady((along > 0.08) & (along > 0.6 * across), along < 0.02, both))

    def behind(self, anchor: int) -> Truth:
        """Whom a thing hides in part, at least for a moment."""
        return self._not(anchor, self._overlap(self.hidden[:, anchor, :], self.covers))

    def before(self, anchor: int) -> Truth:
        """Who hides a part of a thing."""
        return self._not(anchor, self._overlap(self.hidden[:, :, anchor], self.covers[:, anchor : anchor + 1]))

    def larger(self, anchor: int) -> Truth:
        """Who is larger than a thing, by what is seen and by the whole."""
        low = np.minimum(self.size / self.size[anchor], self.whole / self.whole[anchor])
        high = np.maximum(self.size / self.size[anchor], self.whole / self.whole[anchor])
        return self._not(anchor, _sure(low > 1.4, high < 1.02))

    def smaller(self, anchor: int) -> Truth:
        low = np.minimum(self.size / self.size[anchor], self.whole / self.whole[anchor])
        high = np.maximum(self.size / self.size[anchor], self.whole / self.whole[anchor])
        return self._not(anchor, _sure(high < 1 / 1.4, low > 0.98))

    # --- superlatives -------------------------------------------------------------------------------------------------

    def most(self, among: Truth, scores: NDArray[np.float64], gap: float) -> Truth:
        """Which of some things scores highest, by at least ``gap``; arguable where that is not clear."""
        if (among == 0.5).any() or (among == 1).sum() < 2 or not np.isfinite(scores[among == 1]).all():
            return among * 0.5
        ranked = np.where(among == 1, scores, -np.inf)
        best, second = np.sort(ranked)[[-1, -2]]
        return (ranked == best).astype(float) if best - second >= gap else among * 0.5

    def largest(self, among: Truth, sign: int = 1) -> Truth:
        """The largest (``sign`` -1: smallest) of some things."""
        seen = self.most(among, sign * np.log(self.size), np.log(1.35))
        return np.where(seen == self.most(among, sign * np.log(self.whole), np.log(1.1)), seen, among * 0.5)

    def furthest(self, among: Truth, side: str) -> Truth:
        """Who is furthest to one side on every frame."""
        axis, sign = _axis(side)
        if not self.seen[:, among > 0].all():
            return among * 0.5
        per_frame = np.stack([self.most(among, sign * m[:, axis], 0.06) for m in self.middle])
        return np.where((per_frame == per_frame[0]).all(axis=0), per_frame[0], among * 0.5)

    def nearest(self, among: Truth, anchor: int) -> Truth:
        """Who is nearest to a thing on every frame."""
        among = self._not(anchor, among)
        if not self.seen[:, among > 0].all() or not self.seen[:, anchor].all():
            return among * 0.5
        apart = np.linalg.norm(self.middle - self.middle[:, anchor : anchor + 1], axis=2)
        per_frame = np.stack([self.most(among, -d, 0.1) for d in apart])
        return np.where((per_frame == per_frame[0]).all(axis=0), per_frame[0], among * 0.5)

    # --- how they move ------------------------------------------------------------------------------------------------

    def moving(self, direction: str) -> Truth:
        axis, sign = _axis(direction)
        step = self._displacement()
        along, across = sign * step[:, axis], np.abs(step[:, 1 - axis])
        return self._if_steady_camera(_sure((along > 0.12) & (along > 1.5 * across), along < 0.04))

    def still(self) -> Truth:
        spread = np.linalg.norm(np.ptp(self.centre, axis=0), axis=1)
        return self._if_steady_camera(_sure(spread < 0.01, spread > 0.06))

    def fastest(self, among: Truth) -> Truth:
        speed = np.linalg.norm(np.diff(self.centre, axis=0), axis=2).mean(axis=0)
        fast = self.most(among, np.log(speed + 1e-3), np.log(1.5))
        moves = _sure(speed > 0.015, speed < 0.005)
        return self._if_steady_camera(np.minimum(fast, np.maximum(moves, 0.5)))

    def entering(self) -> Truth:
        """Who is outside at first and comes in."""
        return _sure(~self.inside[0] & self.seen[-1], self.seen[0])

    def leaving(self) -> Truth:
        """Who goes out and stays out."""
        return _sure(self.seen[0] & ~self.inside[-1], self.seen[-1])

    def returning(self) -> Truth:
        """Who goes out and comes back."""
        gone = (~self.inside[1:-1]).any(axis=0) if self.frames > 2 else np.zeros(len(self), dtype=bool)
        return _sure(self.seen[0] & gone & self.seen[-1], self.inside.all(axis=0))

    def towards(self, anchor: int) -> Truth:
        """Who comes nearer to a thing by its own motion."""
        apart = np.linalg.norm(self.centre - self.centre[:, anchor : anchor + 1], axis=2)
        step = self._displacement()
        way = self.centre[0, anchor] - self.centre[0]
        aim = (step * way).sum(axis=1) / np.maximum(np.linalg.norm(way, axis=1), 1e-6)
        gain = apart[0] - apart[-1]
        sure = _sure((gain > 0.15) & (aim > 0.12), (gain < 0.03) | (aim < 0.02))
        return self._if_steady_camera(self._not(anchor, sure))

    # --- helpers ------------------------------------------------------------------------------------------------------

    def stuff(self) -> dict[str, NDArray[np.int64]]:
        """Visible pixels ``[T]`` of every kind of stuff in the scene."""
        if self.scene.stuff is None:
            return {}
        counts = np.stack([np.bincount(s.ravel(), minlength=len(STUFF) + 1)[1:] for s in self.scene.stuff])
        return {STUFF[k]: counts[:, k] for k in np.flatnonzero((counts >= MIN_VISIBLE).any(axis=0))}

    def _displacement(self) -> NDArray[np.float64]:
        """``[N, 2]``: from the first to the last frame on which each thing is seen."""
        first, last = self.seen.argmax(axis=0), self.frames - 1 - self.seen[::-1].argmax(axis=0)
        every = np.arange(len(self))
        return self.centre[last, every] - self.centre[first, every]

    def _if_steady_camera(self, truth: Truth) -> Truth:
        """Motion is spoken of only where it cannot be the camera's."""
        return truth if self.scene.still_camera and self.frames > 1 else np.full(len(self), 0.5)

    @staticmethod
    def _steady(yes: Table, no: Table, valid: Table) -> Truth:
        """What holds on every valid frame."""
        return np.where(~valid.any(axis=0), 0.5, _sure((yes | ~valid).all(axis=0), (no | ~valid).all(axis=0)))

    @staticmethod
    def _overlap(pixels: NDArray[np.int64], of: NDArray[np.int64]) -> Truth:
        yes = ((pixels >= 25) & (pixels >= 0.08 * of)).any(axis=0)
        return _sure(yes, (pixels == 0).all(axis=0))

    @staticmethod
    def _not(index: int, truth: Truth) -> Truth:
        """The same, but never of the anchor itself."""
        truth = truth.copy()
        truth[index] = 0.0
        return truth


def _sure(yes: Any, no: Any) -> Truth:
    """1 where ``yes``, else 0 where ``no``, else 0.5; both ``[N]`` bool."""
    return np.where(yes, 1.0, np.where(no, 0.0, 0.5))


def _axis(direction: str) -> tuple[int, int]:
    x, y = DIRECTIONS[direction]
    return (0, x) if x else (1, y)


def _middles(owners: NDArray[np.uint8], count: int) -> NDArray[np.float64]:
    """The centre of mass ``[T, K, 2]`` of what is seen of every thing, on every other pixel; NaN where nothing is."""
    owners = owners[:, ::2, ::2]
    frames, height, width = owners.shape
    out = np.full((frames, count, 2), np.nan)
    columns, rows = np.tile(np.arange(width, dtype=float), height), np.repeat(np.arange(height, dtype=float), width)
    for t, owner in enumerate(owners):
        flat = owner.ravel().astype(np.intp)
        total = np.bincount(flat, minlength=count + 1)[1:]
        for axis, weights in enumerate((columns, rows)):
            moment = np.bincount(flat, weights, count + 1)[1:]
            np.divide(moment, total, out=out[t, :, axis], where=total > 0)
    return 2 * out + 1
