"""Where films are cut, if that is asked for: every so many seconds, or where one shot ends and another begins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from x2sam.annotate.opening import open_item
from x2sam.annotate.sources import Item
from x2sam.errors import X2SamError
from x2sam.media.opening import FILMS, Clip
from x2sam.types import Frame

BINS, STEP = 8, 4
"""Of each colour's histogram; and of the pixels only every so many in a row and column are looked at."""
CUT = 0.5
"""Share of the pixels that change their colour's bin from one frame to the next where a shot ends."""


def pieces(item: Item, split: str) -> Iterator[Item]:
    """The pieces of an item: itself for pictures, and for films that cannot be read (which whoever works will say)."""
    if not any(item["input"].lower().endswith(ending) for ending in FILMS):
        yield item
        return
    try:
        clip = open_item(item)
        starts = _shots(clip) if split == "shots" else _seconds(clip, float(split))
        ends = [*starts[1:], clip.length or 0]
    except (X2SamError, OSError):
        yield item
        return
    for start, stop in zip(starts, ends, strict=True):
        yield {**item, "frames": [start, stop]} if len(starts) > 1 else item


def _seconds(clip: Clip, seconds: float) -> list[int]:
    times = clip.times or [index / (clip.fps or 25) for index in range(clip.length or 0)]
    numbers = np.floor_divide(np.asarray(times) + 1e-6, seconds)
    return [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist()]


def _shots(clip: Clip) -> list[int]:
    starts, before = [0], None
    for index, _, frame in clip:
        now = _colours(frame)
        if before is not None and np.abs(now - before).sum() / 2 > CUT:
            starts.append(index)
        before = now
    return starts


def _colours(frame: Frame) -> Any:
    """Histogram of a frame's colours, ``[BINS**3]``, of sum 1."""
    small = frame[::STEP, ::STEP].astype(np.int64) * BINS // 256
    codes = small @ np.array([BINS * BINS, BINS, 1])
    return np.bincount(codes.ravel(), minlength=BINS**3) / codes.size
