"""What is true of the entities of a scene, as claims that hold, do not hold, or are better not made.

A claim about an entity is 1 (plainly true), -1 (plainly false) or 0 (a matter of opinion, or it changes).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from x2sam.data.scenes.scene import Entity, Scene

Test = Callable[[Entity], int]


@dataclass(frozen=True)
class Claim:
    """Words, and whether they hold of an entity."""

    words: str
    holds: Test


def both(values: Iterable[int]) -> int:
    """1 where all are 1, -1 where any is -1."""
    return min(values, default=1)


def _steady(truths: np.ndarray, lies: np.ndarray) -> int:
    """One verdict for many frames."""
    return 1 if truths.size and truths.all() else -1 if truths.size and lies.all() else 0


def is_a(name: str) -> Claim:
    """A category, a group of categories, or ``thing``."""
    return Claim(
        name,
        lambda e: 1 if name in (e.category.name, e.category.group) or (name == "thing" and e.category.is_thing) else -1,
    )


def coloured(colour: str) -> Claim:
    """Named colour."""
    return Claim(colour, lambda e: 0 if e.look.colour is None else 1 if e.look.colour == colour else -1)


def textured(texture: str) -> Claim:
    """Named texture; photo surfaces may look like any."""
    return Claim(texture, lambda e: 0 if e.look.texture is None else 1 if e.look.texture == texture else -1)


_PLACES: dict[str, tuple[int, float, float]] = {
    "on the left": (0, 0.36, 0.5), "on the right": (0, 0.64, 0.5), "at the top": (1, 0.33, 0.5),
    "at the bottom": (1, 0.67, 0.5),
}  # fmt: skip
"""Axis, from where on it holds, and from where on it does not."""


def placed(words: str) -> Claim:
    """Where in the picture, on every frame."""
    axis, sure, never = _PLACES[words]
    sign = 1 if sure > never else -1

    def holds(entity: Entity) -> int:
        at = entity.centre[entity.visible, axis]
        return _steady((at - sure) * sign > 0, (at - never) * sign < 0)

    return Claim(words, holds)


def layered(words: str, anchor: Entity, anchor_words: str) -> Claim:
    """``behind`` or ``in front of``: who hides a part of whom, by the boxes of what is seen."""

    def holds(entity: Entity) -> int:
        if entity is anchor or not entity.category.is_thing:
            return -1
        near, far = (anchor, entity) if words == "behind" else (entity, anchor)
        verdicts = [_covers(near, far, int(t)) for t in np.flatnonzero(near.visible & far.visible)]
        return 1 if 1 in verdicts and -1 not in verdicts else -1 if all(v == -1 for v in verdicts) else 0

    return Claim(f"{words} {anchor_words}", holds)


def _covers(near: Entity, far: Entity, t: int) -> int:
    """Whether ``near`` hides a good part of ``far`` on frame ``t``; -1 where they do not meet or it is farther."""
    one, other = near.masks[t], far.masks[t]
    assert one is not None
    assert other is not None
    (a0, b0, a1, b1), (c0, d0, c1, d1) = one.box, other.box
    overlap = max(0.0, min(a1, c1) - max(a0, c0)) * max(0.0, min(b1, d1) - max(b0, d0))
    if overlap == 0 or near.depth < far.depth:
        return -1
    if far.area[t] > 0.88 * far.whole[t] or overlap < 0.25 * (c1 - c0) * (d1 - d0):
        return 0
    return int((ndimage.binary_dilation(one.decode()) & other.decode()).sum() > 0.3 * np.sqrt(other.area))


LAYERS = ("behind", "in front of")
_RELATIONS = {
    "to the left of": (0, -1), "to the right of": (0, 1), "above": (1, -1), "below": (1, 1),
}  # fmt: skip


def related(words: str, anchor: Entity, anchor_words: str) -> Claim:
    """Where from another entity, on every frame that shows both."""
    axis, sign = _RELATIONS[words]

    def holds(entity: Entity) -> int:
        if entity is anchor:
            return -1
        shared = entity.visible & anchor.visible
        away = entity.centre[shared] - anchor.centre[shared]
        ahead, aside = away[:, axis] * sign, np.abs(away[:, 1 - axis])
        return _steady((ahead > 0.14) & (ahead > aside), (ahead < 0.03) | (ahead < 0.4 * aside))

    return Claim(f"{words} {anchor_words}", holds)


_HEADINGS = {
    "moving to the left": (0, -1), "moving to the right": (0, 1), "moving up": (1, -1), "moving down": (1, 1),
}  # fmt: skip
MOTIONS = (*_HEADINGS, "standing still", "spinning", "getting bigger", "getting smaller")


def moving(words: str, scene: Scene) -> Claim:
    """What it does through the clip; while the camera moves nobody can be sure of more than spinning and growing."""
    return Claim(words, lambda e: _moves(words, e, scene.camera_still))


def _moves(words: str, entity: Entity, camera_still: bool) -> int:
    if entity.way is None or len(entity.masks) < 2 or entity.visible.sum() < 3:
        return 0 if entity.way is not None else -1
    seen = np.flatnonzero(entity.visible)
    way = entity.way
    at, turn, scale = way.position[seen], way.turn[seen], way.scale[seen]
    path = float(np.linalg.norm(np.diff(at, axis=0), axis=1).sum())
    swing, growth = float(np.ptp(turn)), float(np.log(scale[-1] / scale[0]))
    if words == "spinning":
        return _between(swing, 0.25, 1.0)
    if words in ("getting bigger", "getting smaller"):
        return _between(growth if words == "getting bigger" else -growth, 0.1, 0.3)
    if not camera_still:
        return 0
    if words == "standing still":
        return -_between(max(path, swing * 0.3, abs(growth) * 0.3), 0.02, 0.1)
    axis, sign = _HEADINGS[words]
    shift = at[-1] - at[0]
    ahead, aside = float(shift[axis] * sign), abs(float(shift[1 - axis]))
    if ahead > 0.15 and ahead > 1.7 * aside and ahead > 0.8 * path:
        return 1
    return -1 if ahead < 0.03 and path < 0.03 + 1.5 * max(aside, -ahead) else 0


def _between(value: float, never: float, sure: float) -> int:
    return 1 if value > sure else -1 if value < never else 0


_ORDERS: dict[str, Callable[[Entity], float]] = {
    "leftmost": lambda e: -float(np.nanmax(e.centre[:, 0])), "rightmost": lambda e: float(np.nanmin(e.centre[:, 0])),
    "topmost": lambda e: -float(np.nanmax(e.centre[:, 1])), "lowest": lambda e: float(np.nanmin(e.centre[:, 1])),
    "largest": lambda e: float(np.log(e.area[e.visible].min())),
    "smallest": lambda e: -float(np.log(e.whole[e.visible].max())),
}  # fmt: skip
_OPPOSITE: dict[str, Callable[[Entity], float]] = {
    "leftmost": lambda e: -float(np.nanmin(e.centre[:, 0])), "rightmost": lambda e: float(np.nanmax(e.centre[:, 0])),
    "topmost": lambda e: -float(np.nanmin(e.centre[:, 1])), "lowest": lambda e: float(np.nanmax(e.centre[:, 1])),
    "largest": lambda e: float(np.log(e.whole[e.visible].max())),
    "smallest": lambda e: -float(np.log(e.area[e.visible].min())),
}  # fmt: skip
SUPERLATIVES = tuple(_ORDERS)


def leads(words: str, entity: Entity, others: Iterable[Entity]) -> bool:
    """Whether the superlative holds of ``entity`` among ``others``: at its least it is plainly ahead of their most."""
    margin = 0.3 if words in ("largest", "smallest") else 0.07
    return all(_ORDERS[words](entity) > _OPPOSITE[words](other) + margin for other in others)


PLACES = tuple(_PLACES)
RELATIONS = tuple(_RELATIONS)


def is_clear(entity: Entity) -> bool:
    """Big enough and free enough to be asked for."""
    t = int(entity.area.argmax())
    return bool(entity.area[t] >= 0.004 and entity.area[t] >= 0.4 * entity.whole[t])
