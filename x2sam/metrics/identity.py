"""Whether objects keep their identity through a video: HOTA (with DetA, AssA), IDF1 and identity switches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from x2sam.masks import RLE
from x2sam.metrics.base import Metric, exact_zeros, paired, ratio
from x2sam.metrics.overlap import Counts, mask_counts

ALPHAS = np.arange(0.05, 0.99, 0.05)
"""Localisation thresholds over which HOTA is averaged."""
MATCH = 0.5
"""IoU from which IDF1 and the switches take two masks for the same object."""
EPSILON = float(np.finfo(np.float64).eps)

_Overlaps = tuple[Counts, Counts, NDArray[np.float64]]
"""Of one frame: places of the annotated ids [G], of the predicted ids [P], and their IoU [G, P]."""


class TrackIdentity(Metric):
    """HOTA = mean of sqrt(DetA x AssA) over IoU thresholds (arXiv 2009.07736), IDF1, and identity switches.

    Classes are not looked at; for one score per class use ``Grouped``. Memory does not grow; while a video is counted
    it holds, per frame, the IoU of its objects.
    """

    state = ("hits", "misses", "extras", "association", "id_hits", "id_sizes", "switches")

    def __init__(self) -> None:
        self.hits, self.misses, self.extras = np.zeros((3, len(ALPHAS)), dtype=np.int64)
        self.association = exact_zeros(len(ALPHAS))
        self.id_hits = self.id_sizes = self.switches = 0

    def update(self, predicted: Iterable[Mapping[int, RLE]], truth: Iterable[Mapping[int, RLE]]) -> None:
        """Count in one video: for every frame the mask of each object id."""
        ids: tuple[dict[int, int], dict[int, int]] = ({}, {})
        frames: list[_Overlaps] = []
        for ours, theirs in paired(predicted, truth):
            places = [
                np.array([known.setdefault(i, len(known)) for i in masks], dtype=np.int64)
                for known, masks in zip(ids, (theirs, ours), strict=True)
            ]
            shared, union = mask_counts(list(theirs.values()), list(ours.values()))
            frames.append((places[0], places[1], shared / np.maximum(union, 1)))
        shape = len(ids[0]), len(ids[1])
        seen = np.bincount(_joined(f[0] for f in frames), minlength=shape[0])
        given = np.bincount(_joined(f[1] for f in frames), minlength=shape[1])
        self._count_hota(frames, seen, given)
        self._count_id(frames, seen, given)
        self.switches += _switches(frames, shape[0])

    def _count_hota(self, frames: list[_Overlaps], seen: Counts, given: Counts) -> None:
        sizes = seen[:, None] + given
        likely = np.zeros(sizes.shape)
        for rows, columns, iou in frames:
            rivals = iou.sum(0) + iou.sum(1)[:, None] - iou
            likely[np.ix_(rows, columns)] += np.where(rivals > EPSILON, iou / np.maximum(rivals, EPSILON), 0)
        alignment = likely / np.maximum(sizes - likely, EPSILON)

        matches = np.zeros((len(ALPHAS), *sizes.shape), dtype=np.int64)
        for rows, columns, iou in frames:
            r, c = linear_sum_assignment(alignment[np.ix_(rows, columns)] * iou, maximize=True)
            for alpha, near in enumerate(iou[r, c] >= ALPHAS[:, None] - EPSILON):
                matches[alpha, rows[r[near]], columns[c[near]]] += 1
        hits = matches.sum((1, 2))
        self.hits += hits
        self.misses += seen.sum() - hits
        self.extras += given.sum() - hits
        quality = (matches * (matches / np.maximum(sizes - matches, 1))).sum((1, 2))
        self.association += np.array([Fraction(v) for v in quality.tolist()], dtype=object)

    def _count_id(self, frames: list[_Overlaps], seen: Counts, given: Counts) -> None:
        together = np.zeros((len(seen), len(given)), dtype=np.int64)
        for rows, columns, iou in frames:
            together[np.ix_(rows, columns)] += iou >= MATCH
        self.id_hits += int(together[linear_sum_assignment(together, maximize=True)].sum())
        self.id_sizes += int(seen.sum() + given.sum())

    def compute(self) -> dict[str, float]:
        """``HOTA``, ``DetA``, ``AssA``, ``IDF1``, and ``IDSW``, the number of identity switches.

        Where nothing is annotated and nothing is found in any video there is nothing to score, and all are NaN
        (TrackEval says 0). A video like this among others changes nothing, here and there.
        """
        if not self.id_sizes:
            return dict.fromkeys(("HOTA", "DetA", "AssA", "IDF1", "IDSW"), float("nan"))
        detection = self.hits / (self.hits + self.misses + self.extras)
        association = np.array([ratio(a, int(n)) if n else 0.0 for a, n in zip(self.association, self.hits)])  # noqa: B905
        return {
            "HOTA": float(np.sqrt(detection * association).mean()),
            "DetA": float(detection.mean()),
            "AssA": float(association.mean()),
            "IDF1": 2 * self.id_hits / self.id_sizes,
            "IDSW": float(self.switches),
        }


def _switches(frames: list[_Overlaps], objects: int) -> int:
    """How often an annotated object is matched to another id than the last time it was matched.

    Matches of the frame before are kept where they still hold; the others are assigned by IoU.
    """
    last = np.full(objects, -1)  # the id an object had when it was last matched
    before = np.full(objects, -1)  # the id it had on the last frame where both sides have masks
    switches = 0
    for rows, columns, iou in frames:
        if not iou.size:
            continue
        worth = np.where(iou >= MATCH - EPSILON, 1000.0 * (columns == before[rows][:, None]) + iou, 0)
        r, c = linear_sum_assignment(worth, maximize=True)
        kept = worth[r, c] > EPSILON
        matched, ids = rows[r[kept]], columns[c[kept]]
        switches += int(((last[matched] >= 0) & (last[matched] != ids)).sum())
        last[matched] = ids
        before[:] = -1
        before[matched] = ids
    return switches


def _joined(places: Iterable[Counts]) -> Counts:
    return np.concatenate([np.zeros(0, dtype=np.int64), *places])
