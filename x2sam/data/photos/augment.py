"""A photo or a few frames of a clip as training sees them: mirrored, cut out, in slightly other colours."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from x2sam.data.photos.drawing import bounds
from x2sam.data.photos.folder import IdMap, Photo, mask_in
from x2sam.masks import BoolMask
from x2sam.types import Frame

MARGIN = 0.03
"""What stays around the object that a cut keeps, as a part of the picture."""
COLOUR = 0.2
"""Brightness, contrast and saturation change by this at most."""
_SIDES = {"left": "right", "right": "left", "leftmost": "rightmost", "rightmost": "leftmost"}
SIDES = re.compile(rf"\b({'|'.join(_SIDES)})\b")


@dataclass(frozen=True)
class Scene:
    """What is shown, and its id maps."""

    photo: Photo
    frames: tuple[Frame, ...]
    maps: tuple[IdMap, ...]
    """Ids ``[H, W]`` of every frame."""
    flipped: bool
    whole: dict[int, int]
    """Pixels of every id on the first frame before it was cut."""

    def mask(self, ids: Sequence[int], t: int = 0) -> BoolMask:
        return mask_in(self.maps[t], ids)

    def area(self, ids: Sequence[int], t: int = 0) -> int:
        return int(np.count_nonzero(self.mask(ids, t)))

    def kept(self, ids: Sequence[int]) -> float:
        """The part of some segments that the cut left."""
        return self.area(ids) / max(1, sum(self.whole.get(i, 0) for i in ids))

    def turned(self, text: str) -> str:
        """A phrase as it is true here: in a mirror left is right."""
        return SIDES.sub(lambda match: _SIDES[match[0]], text) if self.flipped else text


def plain(photo: Photo, times: Sequence[int]) -> Scene:
    """The frames as they are."""
    maps = tuple(photo.ids(t) for t in times)
    return Scene(photo, tuple(photo.frame(t) for t in times), maps, False, _areas(maps[0]))


def augmented(
    photo: Photo, times: Sequence[int], rng: np.random.Generator, focus: Sequence[int], least: float = 0.45
) -> Scene:
    """The frames mirrored (half of the time), cut out (mostly), and in other colours, all in the same way.

    focus: ids of segments whose first-frame box a cut keeps. least: the smallest side of a cut, as a part.
    """
    scene = plain(photo, times)
    rows, columns = _window(scene.mask(focus), rng, least)
    step = -1 if rng.random() < 0.5 else 1
    jitter = rng.uniform(1 - COLOUR, 1 + COLOUR, 3)
    return Scene(
        photo,
        tuple(coloured(frame[rows, columns][:, ::step], jitter) for frame in scene.frames),
        tuple(np.ascontiguousarray(ids[rows, columns][:, ::step]) for ids in scene.maps),
        step < 0,
        scene.whole,
    )


def _window(focus: BoolMask, rng: np.random.Generator, least: float) -> tuple[slice, slice]:
    """Rows and columns of a cut that holds all of the focus ``[H, W]`` and a margin."""
    side = rng.uniform(least, 1.0) if rng.random() < 0.8 else 1.0
    x0, y0, x1, y1 = bounds(focus) if focus.any() else (0, 0, 0, 0)
    slices = []
    for length, low, high in ((focus.shape[0], y0, y1), (focus.shape[1], x0, x1)):
        margin = round(MARGIN * length)
        low, high = max(low - margin, 0), min(high + margin, length)
        size = min(length, max(high - low, round(length * min(1.0, side * rng.uniform(0.9, 1.1))), 32))
        start = int(rng.integers(max(0, high - size), min(low, length - size) + 1)) if high else 0
        slices.append(slice(start, start + size))
    return slices[0], slices[1]


def coloured(frame: Frame, jitter: NDArray[np.float64]) -> Frame:
    """Brightness, contrast around the mean, and saturation, each times its factor."""
    pixels = frame.astype(np.float32)
    brightness, contrast, saturation = (np.float32(j) for j in jitter)
    grey = pixels.mean(axis=2, keepdims=True)
    pixels = (grey + (pixels - grey) * saturation) * brightness
    mean = pixels.mean()
    return np.rint(mean + (pixels - mean) * contrast).clip(0, 255).astype(np.uint8)


def _areas(ids: IdMap) -> dict[int, int]:
    found, counts = np.unique(ids, return_counts=True)
    return {int(i): int(n) for i, n in zip(found, counts, strict=True)}
