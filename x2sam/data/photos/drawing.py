"""What is drawn on a mask: a box around it, a click inside it, a scribble, the mask, each as a region."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from x2sam.masks import RLE, BoolMask
from x2sam.regions import from_box, from_points, synthesize
from x2sam.types import Region, RegionKind

JITTER = 0.06
"""How far a hand's box is off at each side, as a part of the box: a normal deviation, cut at twice this."""


def innermost(mask: BoolMask) -> tuple[int, int]:
    """The pixel ``(x, y)`` farthest from what is not the mask ``[H, W]``; the picture's edge is not the mask either."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), mask.shape)
    return int(x), int(y)


def bounds(mask: BoolMask) -> tuple[int, int, int, int]:
    """The tight box ``(x0, y0, x1, y1)`` of a mask that is not empty; right and bottom edge exclusive."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def exact_box(mask: BoolMask, rng: np.random.Generator) -> Region:
    """The tight box, filled."""
    return from_box(bounds(mask), _size(mask))


def exact_point(mask: BoolMask, rng: np.random.Generator) -> Region:
    """A disc at the innermost pixel."""
    x, y = innermost(mask)
    return from_points([(x + 0.5, y + 0.5)], _size(mask))


def exact_mask(mask: BoolMask, rng: np.random.Generator) -> Region:
    """The mask itself."""
    return Region(RLE.encode(mask), "mask")


def scribble(mask: BoolMask, rng: np.random.Generator) -> Region:
    """A wave along a diagonal, as benchmarks draw it."""
    return _synthetic(mask, "scribble", rng)


def loose_box(mask: BoolMask, rng: np.random.Generator) -> Region:
    """A box as hands draw it: every side a little off."""
    x0, y0, x1, y1 = bounds(mask)
    height, width = _size(mask)
    off = rng.normal(0, JITTER / 2, 4).clip(-JITTER, JITTER) * [x1 - x0, y1 - y0, x1 - x0, y1 - y0]
    low = np.clip([x0 + off[0], y0 + off[1]], 0, [width - 1, height - 1])
    high = np.clip([x1 + off[2], y1 + off[3]], low + 1, [width, height])
    return from_box([*low, *high], (height, width))


def any_point(mask: BoolMask, rng: np.random.Generator) -> Region:
    """A click at the innermost pixel or, as often, at any other inside."""
    if rng.random() < 0.5:
        return exact_point(mask, rng)
    y, x = np.argwhere(mask)[rng.integers(np.count_nonzero(mask))]
    return from_points([(x + 0.5, y + 0.5)], _size(mask))


def rough_mask(mask: BoolMask, rng: np.random.Generator) -> Region:
    """The mask or, as often, one that is blurred, as benchmarks draw it."""
    return exact_mask(mask, rng) if rng.random() < 0.5 else _synthetic(mask, "mask", rng)


Draw = Callable[[BoolMask, np.random.Generator], Region]
EXACT: dict[str, Draw] = {"box": exact_box, "point": exact_point, "scribble": scribble, "mask": exact_mask}
"""By kind, as evaluation draws."""
LOOSE: dict[str, Draw] = {"box": loose_box, "point": any_point, "scribble": scribble, "mask": rough_mask}
"""By kind, as training draws."""


def _synthetic(mask: BoolMask, kind: RegionKind, rng: np.random.Generator) -> Region:
    return Region(RLE.encode(synthesize(mask, kind, rng)), kind)


def _size(mask: BoolMask) -> tuple[int, int]:
    return mask.shape[0], mask.shape[1]
