"""J, F and J&F of video object segmentation (DAVIS): how well the region and its outline are met."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from itertools import repeat
from typing import Literal

import numpy as np

from x2sam.errors import DataError
from x2sam.masks import RLE, BoolMask
from x2sam.metrics.base import Metric, paired, ratio

TOLERANCE = 0.008
"""How far an outline may be off, as a part of the picture's diagonal."""


class RegionBoundary(Metric):
    """J (region similarity), F (boundary accuracy) and their mean J&F (Perazzi et al., CVPR 2016).

    The public protocols average the frames of one object or expression and then the objects (``over="objects"``); the
    released evaluation averages all frames at once (``over="frames"``). Which frames count (DAVIS leaves out the first
    and the last of a video) is the caller's choice. Memory does not grow.
    """

    state = ("region", "boundary", "count")

    def __init__(self, over: Literal["objects", "frames"] = "objects") -> None:
        self.over = over
        self.region = self.boundary = Fraction()
        self.count = 0

    def update(
        self,
        predicted: Iterable[RLE | None],
        truth: Iterable[RLE | None],
        void: Iterable[RLE | None] | None = None,
    ) -> None:
        """Count in one object or expression: its mask on every frame, None where it is not there.

        ``void`` holds pixels of every frame that do not count.
        """
        region, boundary, frames = Fraction(), Fraction(), 0
        for (ours, theirs), out in zip(paired(predicted, truth), void or repeat(None), strict=False):
            frames += 1
            sizes = {(m.height, m.width) for m in (ours, theirs, out) if m is not None}
            if len(sizes) > 1:
                raise DataError(f"Got masks of the sizes {sorted(sizes)} on one frame", "masks of one size")
            width_height = sizes.pop()[::-1] if sizes else (1, 1)
            # Run-length codes go down the columns: transposed, masks are contiguous, and J and F stay the same.
            a, b, c = (np.zeros(width_height, bool) if m is None else m.decode().T for m in (ours, theirs, out))
            if out is not None:
                a, b = a & ~c, b & ~c
            region += Fraction(region_similarity(a, b))
            boundary += Fraction(boundary_accuracy(a, b))
        weight = 1 if self.over == "frames" else max(frames, 1)
        self.region += Fraction(float(region / weight))
        self.boundary += Fraction(float(boundary / weight))
        self.count += frames if self.over == "frames" else 1

    def compute(self) -> dict[str, float]:
        """``J&F``, ``J``, ``F``."""
        region, boundary = ratio(self.region, self.count), ratio(self.boundary, self.count)
        return {"J&F": (region + boundary) / 2, "J": region, "F": boundary}


def region_similarity(predicted: BoolMask, truth: BoolMask) -> float:
    """IoU of two masks ``[H, W]``; 1 if both are empty."""
    union = np.count_nonzero(predicted | truth)
    return float(np.count_nonzero(predicted & truth) / union) if union else 1.0


def boundary_accuracy(predicted: BoolMask, truth: BoolMask, tolerance: float = TOLERANCE) -> float:
    """F-measure of the outlines of two masks ``[H, W]``; 1 if neither has one, 0 if only one has.

    A pixel of one outline is met if one of the other's lies within a disk of ``tolerance`` times the diagonal.
    """
    radius = math.ceil(tolerance * math.hypot(*truth.shape))
    ours, theirs = (_outline(mask) for mask in _cropped(predicted, truth))
    places, true_places = np.nonzero(ours), np.nonzero(theirs)
    if not len(places[0]) or not len(true_places[0]):
        return float(len(places[0]) == len(true_places[0]))
    precision = _share_near(places, theirs, radius)
    recall = _share_near(true_places, ours, radius)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _cropped(*masks: BoolMask) -> list[BoolMask]:
    """The masks cut to the box of their union and one pixel around it, which holds all of their outlines."""
    both = np.logical_or.reduce(masks)
    rows, columns = np.flatnonzero(both.any(1)), np.flatnonzero(both.any(0))
    if not len(rows):
        return [mask[:1, :1] for mask in masks]
    box = (slice(max(rows[0] - 1, 0), rows[-1] + 2), slice(max(columns[0] - 1, 0), columns[-1] + 2))
    return [mask[box] for mask in masks]


def _outline(mask: BoolMask) -> BoolMask:
    """Pixels ``[H, W]`` that differ from the next one to the right, below, or both."""
    edge = np.zeros_like(mask)
    here = mask[:-1, :-1]
    edge[:-1, :-1] = (here ^ mask[:-1, 1:]) | (here ^ mask[1:, :-1]) | (here ^ mask[1:, 1:])
    edge[-1, :-1] = mask[-1, :-1] ^ mask[-1, 1:]
    edge[:-1, -1] = mask[:-1, -1] ^ mask[1:, -1]
    return edge


def _share_near(places: tuple[np.ndarray, ...], outline: BoolMask, radius: int) -> float:
    """The share of places (rows and columns) with a pixel of the outline ``[H, W]`` in the disk around them.

    A disk is a column of pixels for every horizontal offset; running sums tell whether a column holds a pixel.
    """
    rows, columns = places
    height, width = outline.shape
    above = np.zeros((height + 1, width + 2 * radius), dtype=np.int32)
    np.cumsum(outline, axis=0, out=above[1:, radius : radius + width])
    near = np.zeros(len(rows), dtype=bool)
    for offset in range(-radius, radius + 1):
        half = math.isqrt(radius**2 - offset**2)
        first, last = np.maximum(rows - half, 0), np.minimum(rows + half + 1, height)
        near |= above[last, columns + offset + radius] != above[first, columns + offset + radius]
    return float(np.count_nonzero(near) / len(rows))
