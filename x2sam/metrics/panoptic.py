"""Panoptic quality of images (PQ, SQ, RQ) and of videos over windows of several lengths (VPQ)."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from x2sam.metrics.base import Metric, mean, paired
from x2sam.metrics.overlap import Counts, IdMap, joint_counts, segment_table

IOU_UNIT = 2**53
"""Floats above 1/2 are whole multiples of its inverse, so that the IoU of matches add up exactly, as integers."""


class PanopticQuality(Metric):
    """PQ, SQ and RQ over all categories, things and stuff (Kirillov et al., arXiv 1801.00868).

    A predicted and an annotated segment of one category match where their IoU exceeds 1/2; void is taken out of the
    union. A prediction that lies more than half on void or on a crowd of its category is no mistake; a crowd need not
    be found. ``categories`` says of every category id whether it is a thing. Memory grows with the categories only.
    """

    state = ("iou", "tp", "fp", "fn")

    def __init__(self, categories: Mapping[int, bool]) -> None:
        self.categories = dict(categories)
        self.index = {category: n for n, category in enumerate(self.categories)}
        self.iou = np.full(len(self.index), 0, dtype=object)
        self.tp, self.fp, self.fn = np.zeros((3, len(self.index)), dtype=np.int64)

    def update(
        self,
        predicted: IdMap,
        truth: IdMap,
        predicted_categories: Mapping[int, int],
        truth_categories: Mapping[int, int],
        crowd: Collection[int] = (),
    ) -> None:
        """Count in one image: two maps ``[H, W]`` of segment ids (0 is void), and every id's category.

        ``crowd`` holds those ids of the ground truth that are crowds. An id without pixels counts for nothing.
        """
        ids, categories = segment_table(predicted_categories, self.index)
        truth_ids, truth_places = segment_table(truth_categories, self.index)
        counts = joint_counts(predicted, truth, ids, truth_ids)
        self.count(counts, categories, truth_places, np.isin(truth_ids, list(crowd)))

    def count(self, counts: Counts, categories: Counts, truth_categories: Counts, crowd: NDArray[np.bool_]) -> None:
        """Count in the pixels ``[truth, predicted]`` that segments share; row and column 0 are void."""
        void, area, truth_area = counts[0], counts.sum(0), counts.sum(1)
        same = (truth_categories[:, None] == categories) & ((truth_categories >= 0) & ~crowd)[:, None]
        union = truth_area[:, None] + (area - void) - counts
        matched = same & (2 * counts > union)
        rows, columns = np.nonzero(matched)
        for place, value in zip(categories[columns], counts[rows, columns] / union[rows, columns], strict=True):
            self.iou[place] += int(value * IOU_UNIT)
        missed = (truth_area > 0) & (truth_categories >= 0) & ~crowd & ~matched.any(1)
        excused = void + (counts * (crowd[:, None] & (truth_categories[:, None] == categories))).sum(0)
        wrong = (categories >= 0) & (area > 0) & ~matched.any(0) & (2 * excused <= area)
        self.tp += self._per_category(categories[columns])
        self.fn += self._per_category(truth_categories[missed])
        self.fp += self._per_category(categories[wrong])

    def _per_category(self, places: Counts) -> Counts:
        return np.bincount(places, minlength=len(self.index))

    def compute(self) -> dict[str, float]:
        """``PQ``, ``SQ``, ``RQ``, and the same with ``_things`` and ``_stuff``: means over the categories seen."""
        found = {"PQ": [], "SQ": [], "RQ": []}  # type: dict[str, list[float]]
        for iou, tp, fp, fn in zip(self.iou, self.tp, self.fp, self.fn, strict=True):
            size = tp + (fp + fn) / 2
            found["PQ"].append(iou / IOU_UNIT / size if size else np.nan)
            found["SQ"].append((iou / IOU_UNIT / tp if tp else 0.0) if size else np.nan)
            found["RQ"].append(tp / size if size else np.nan)
        things = np.array(list(self.categories.values()), dtype=bool)
        kinds = {"": np.ones_like(things), "_things": things, "_stuff": ~things}
        return {name + kind: mean(np.array(v)[mask]) for kind, mask in kinds.items() for name, v in found.items()}


class VideoPanopticQuality(Metric):
    """VPQ (Kim et al., arXiv 2006.11339): panoptic quality of the tubes in all windows of k neighbouring frames.

    ``windows`` holds the k, as VIPSeg takes them. Memory grows with the categories; while a video is counted, also
    with (its annotated segments) x (its predicted segments) x (the longest window).
    """

    state = ("windows",)

    def __init__(self, categories: Mapping[int, bool], windows: Sequence[int] = (1, 2, 4, 6)) -> None:
        self.windows = {k: PanopticQuality(categories) for k in windows}
        self.index = {category: n for n, category in enumerate(categories)}

    def update(
        self,
        predicted: Iterable[IdMap],
        truth: Iterable[IdMap],
        predicted_categories: Mapping[int, int],
        truth_categories: Mapping[int, int],
        crowd: Collection[int] = (),
    ) -> None:
        """Count in one video: maps ``[H, W]`` of segment ids (0 is void), frame after frame. An id is one tube."""
        ids, categories = segment_table(predicted_categories, self.index)
        truth_ids, truth_places = segment_table(truth_categories, self.index)
        crowds = np.isin(truth_ids, list(crowd))
        so_far = deque([np.zeros((len(truth_ids), len(ids)), dtype=np.int64)], maxlen=max(self.windows) + 1)
        for ours, theirs in paired(predicted, truth):
            so_far.append(so_far[-1] + joint_counts(ours, theirs, ids, truth_ids))
            for k, quality in self.windows.items():
                if len(so_far) > k:
                    quality.count(so_far[-1] - so_far[-1 - k], categories, truth_places, crowds)

    def compute(self) -> dict[str, float]:
        """``VPQ`` (the mean over the windows), ``VPQ@k``, and the same with ``_things`` and ``_stuff``."""
        scores = {k: quality.compute() for k, quality in self.windows.items()}
        result = {}
        for kind in ("", "_things", "_stuff"):
            result[f"VPQ{kind}"] = mean(score[f"PQ{kind}"] for score in scores.values())
            result |= {f"VPQ{kind}@{k}": score[f"PQ{kind}"] for k, score in scores.items()}
        return result
