"""Masks as polygons, exactly: the rings that run along the edges of the pixels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from x2sam.masks import BoolMask

Ring = NDArray[np.int64]
"""Corners ``[N, 2]`` as x, y; the last is joined to the first. The mask lies to the right of each step."""
STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))
"""Right, down, left, up: each is the right turn of the one before."""


def rings(mask: BoolMask) -> list[Ring]:
    """Every outline of a mask ``[H, W]``: clockwise around a piece, anticlockwise around a hole.

    Filled by the even-odd rule they give the mask again, pixel for pixel. Pieces that touch at a corner are two.
    """
    edges = _edges(mask)
    found = []
    while edges:
        x, y, way = start = next(iter(edges))
        corners, turned = [], -1
        while (x, y, way) in edges:
            edges.discard((x, y, way))
            if way != turned:
                corners.append((x, y))
            turned = way
            x, y = x + STEPS[way][0], y + STEPS[way][1]
            # right first, so that a ring never crosses itself where pixels touch at a corner
            way = next((w for w in ((way + 1) % 4, way, (way + 3) % 4) if (x, y, w) in edges), way)
        found.append(np.array(corners[1:] if turned == start[2] else corners, dtype=np.int64))
    return found


def _edges(mask: BoolMask) -> set[tuple[int, int, int]]:
    """Where each step along the border of the mask starts, and its way (an index of `STEPS`)."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return set()
    top, left = int(rows[0]), int(columns[0])
    padded = np.pad(mask[top : rows[-1] + 1, left : columns[-1] + 1], 1).astype(np.int8)
    down, right = np.diff(padded, axis=0)[:, 1:-1], np.diff(padded, axis=1)[1:-1]
    edges = set()
    for way, found, (dx, dy) in (
        (0, down == 1, (0, 0)),
        (1, right == -1, (0, 0)),
        (2, down == -1, (1, 0)),
        (3, right == 1, (0, 1)),
    ):
        ys, xs = np.nonzero(found)
        edges |= {(x, y, way) for x, y in zip((xs + (left + dx)).tolist(), (ys + (top + dy)).tolist(), strict=True)}
    return edges


def area(ring: Ring) -> float:
    """Pixels inside a ring; negative for a hole."""
    x, y = ring.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2


def one_ring(mask: BoolMask, inset: float = 0.0) -> NDArray[np.float64]:
    """Pieces and holes of a mask as one polygon ``[N, 2]``: bridges of no width, there and back, join near rings.

    inset: how far into the mask its edges are moved, in pixels. An empty mask has no corners.
    """
    from scipy.spatial import KDTree  # slow to import, and seldom needed

    parts = sorted(rings(mask), key=area, reverse=True)
    if not parts:
        return np.zeros((0, 2))
    joined, *others = (_inset(ring, inset) for ring in parts)
    for ring in others:
        distances, nearest = KDTree(ring).query(joined)
        here = int(distances.argmin())
        there = int(nearest[here])
        joined = np.concatenate([joined[: here + 1], ring[there:], ring[: there + 1], joined[here:]])
    return joined


def _inset(ring: Ring, by: float) -> NDArray[np.float64]:
    """Every edge moved to its right, where the mask is."""
    after = np.sign(np.roll(ring, -1, axis=0) - ring)  # [N, 2], the way each corner is left by
    ways = after + np.roll(after, 1, axis=0)
    return ring + by * np.stack([-ways[:, 1], ways[:, 0]], axis=1)


def simplified(ring: NDArray[np.float64], tolerance: float = 0.75) -> NDArray[np.float64]:
    """A ring ``[N, 2]`` with fewer corners, none of whose left-out ones lies further than ``tolerance`` pixels off it.

    Below one pixel, so that the steps of the pixels go and what they outline stays (Douglas and Peucker's way).
    """
    if len(ring) <= 4:
        return ring
    far = int(np.abs(ring - ring[0]).sum(axis=1).argmax())
    closed = np.concatenate([ring, ring[:1]])
    keep = np.zeros(len(closed), dtype=bool)
    keep[[0, far, -1]] = True
    spans = [(0, far), (far, len(ring))]
    while spans:
        start, end = spans.pop()
        if end - start < 2:
            continue
        (dx, dy), inner = closed[end] - closed[start], closed[start + 1 : end] - closed[start]
        long = float(np.hypot(dx, dy))
        off = np.abs(inner[:, 0] * dy - inner[:, 1] * dx) / long if long else np.hypot(*inner.T)
        worst = int(off.argmax())
        if off[worst] > tolerance:
            keep[start + 1 + worst] = True
            spans += [(start, start + 1 + worst), (start + 1 + worst, end)]
    corners = closed[:-1][keep[:-1]]
    return corners if len(corners) > 2 else ring


def outlines(mask: BoolMask) -> Iterator[NDArray[np.float64]]:
    """Every piece of a mask ``[H, W]`` as one polygon ``[N, 2]`` that a person can edit; bridges lead to its holes."""
    from scipy import ndimage  # slow to import, and seldom needed

    pieces, _ = ndimage.label(mask)
    for number, (rows, columns) in enumerate(ndimage.find_objects(pieces), start=1):
        piece = pieces[rows, columns] == number
        yield simplified(one_ring(piece)) + np.array([columns.start, rows.start])
