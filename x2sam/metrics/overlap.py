"""How much segments overlap: pixel counts of id maps, and of run-length coded masks and tubes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from x2sam.errors import DataError
from x2sam.masks import RLE, iou_matrix

IdMap = NDArray[np.integer]
Counts = NDArray[np.int64]
Tube = Sequence[RLE | None]
"""The mask of one object on every frame, None where it is not seen. An image is a tube of one frame."""

VOID = 0
"""The id of pixels that belong to no segment."""


def segment_table(categories: Mapping[int, int], index: Mapping[int, int]) -> tuple[Counts, Counts]:
    """The ids of a map and the place of their category, both ``[1 + segments]``; void comes first, its place is -1.

    ``categories`` gives the category of every segment id, ``index`` the place of every category.
    """
    for segment, category in categories.items():
        if category not in index or segment <= VOID:
            raise DataError(
                f"Got the segment {segment} of category {category}",
                "ids above 0 (0 is void) and categories of the data set",
            )
    ids = sorted(categories)
    return np.array([VOID, *ids], dtype=np.int64), np.array([-1, *(index[categories[i]] for i in ids)], dtype=np.int64)


def joint_counts(predicted: IdMap, truth: IdMap, predicted_ids: Counts, truth_ids: Counts) -> Counts:
    """Pixels ``[truth_ids, predicted_ids]`` that have each pair of ids, of two maps ``[H, W]``; the ids are sorted.

    Maps are made of long runs of one id, so runs are counted, not pixels.
    """
    if predicted.shape != truth.shape:
        raise DataError(
            f"Got a prediction of shape {predicted.shape} for a ground truth of shape {truth.shape}",
            "maps of the same size",
            "Resize the prediction to the size of the medium",
        )
    p, t = predicted.ravel(), truth.ravel()
    changes = p[1:] != p[:-1]
    changes |= t[1:] != t[:-1]
    ends = np.append(np.flatnonzero(changes), len(p) - 1)
    pairs = _places(t[ends], truth_ids) * len(predicted_ids) + _places(p[ends], predicted_ids)
    counts = np.bincount(pairs, weights=np.diff(ends, prepend=-1), minlength=len(truth_ids) * len(predicted_ids))
    return counts.astype(np.int64).reshape(len(truth_ids), len(predicted_ids))


def _places(values: IdMap, ids: Counts) -> NDArray[np.intp]:
    places = np.searchsorted(ids, values)
    unknown = ids.take(places, mode="clip") != values
    if unknown.any():
        raise DataError(
            f"Got a map with the id {values[unknown][0]}, whose category is not given",
            "a category for every id of the map",
            "Set pixels of no segment to 0",
        )
    return places


def mask_counts(ours: Sequence[RLE], theirs: Sequence[RLE]) -> tuple[Counts, Counts]:
    """Pixels in the intersection and in the union of every pair of masks, each ``[len(ours), len(theirs)]``."""
    sizes = {(m.height, m.width) for m in (*ours, *theirs)}
    if len(sizes) > 1:
        raise DataError(f"Got masks of the sizes {sorted(sizes)}", "masks of one size", "Resize to the medium's size")
    total = np.add.outer([m.area for m in ours], [m.area for m in theirs]).astype(np.int64)
    iou = iou_matrix(ours, theirs)
    intersection = np.rint(iou * total / (1 + iou)).astype(np.int64)  # as iou = i / (total - i); whole pixels
    return intersection, total - intersection


def tube_counts(ours: Sequence[Tube], theirs: Sequence[Tube]) -> tuple[Counts, Counts]:
    """As ``mask_counts``, of tubes: pixels over all frames. All tubes have equally many frames."""
    lengths = {len(tube) for tube in (*ours, *theirs)}
    if len(lengths) > 1:
        raise DataError(f"Got tubes of {sorted(lengths)} frames", "tubes over the same frames")
    intersection, union = np.zeros((2, len(ours), len(theirs)), dtype=np.int64)
    for t in range(max(lengths, default=0)):
        a, b = ([(n, tube[t]) for n, tube in enumerate(side) if tube[t] is not None] for side in (ours, theirs))
        rows, columns = [n for n, _ in a], [n for n, _ in b]
        inside, _ = mask_counts([m for _, m in a if m], [m for _, m in b if m])
        intersection[np.ix_(rows, columns)] += inside
        union[rows] += np.array([m.area for _, m in a if m], dtype=np.int64)[:, None]
        union[:, columns] += np.array([m.area for _, m in b if m], dtype=np.int64)
    return intersection, union - intersection


def tube_iou(ours: Sequence[Tube], theirs: Sequence[Tube]) -> NDArray[np.float64]:
    """Intersection over union of every pair of tubes ``[len(ours), len(theirs)]``; 0 for two empty ones."""
    intersection, union = tube_counts(ours, theirs)
    return intersection / np.maximum(union, 1)
