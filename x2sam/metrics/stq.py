"""Segmentation and tracking quality of panoptic videos (STQ)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from fractions import Fraction

import numpy as np

from x2sam.metrics.base import Metric, mean, paired, ratio
from x2sam.metrics.overlap import IdMap, joint_counts, segment_table


class SegmentationTrackingQuality(Metric):
    """STQ, the geometric mean of association quality AQ and segmentation quality SQ (arXiv 2102.11859).

    AQ asks whether the pixels of every annotated thing keep one id through the video; SQ is the mean class IoU over
    all videos. As in the authors' implementation, predictions on void count towards a predicted tube's size, those on
    a crowd do not; and where labelled pixels are predicted void, void is one more class of IoU 0.
    ``categories`` says of every category id whether it is a thing. Memory grows with the square of the categories;
    while a video is counted, also with (its annotated segments) x (its predicted segments).
    """

    state = ("confusion", "association", "tubes")

    def __init__(self, categories: Mapping[int, bool]) -> None:
        self.index = {category: n for n, category in enumerate(categories)}
        self.things = np.array([*categories.values(), False], dtype=bool)  # [C + 1], void last
        self.confusion = np.zeros((len(self.things), len(self.things)), dtype=np.int64)  # [truth, predicted]
        self.association = Fraction()
        self.tubes = 0

    def update(
        self,
        predicted: Iterable[IdMap],
        truth: Iterable[IdMap],
        predicted_categories: Mapping[int, int],
        truth_categories: Mapping[int, int],
        crowd: Collection[int] = (),
    ) -> None:
        """Count in one video: maps ``[H, W]`` of segment ids (0 is void), frame after frame. An id is one tube."""
        ids, columns = segment_table(predicted_categories, self.index)
        truth_ids, rows = segment_table(truth_categories, self.index)
        counts = np.zeros((len(truth_ids), len(ids)), dtype=np.int64)
        for ours, theirs in paired(predicted, truth):
            counts += joint_counts(ours, theirs, ids, truth_ids)
        np.add.at(self.confusion, (rows[:, None], columns), counts)

        crowds = np.isin(truth_ids, list(crowd)) & self.things[rows]
        area = counts[~crowds].sum(0)
        truth_area = counts.sum(1)
        kept = self.things[rows] & ~crowds & (truth_area > 0)
        shared = counts[np.ix_(kept, self.things[columns])]
        union = truth_area[kept][:, None] + area[self.things[columns]] - shared
        per_tube = (shared * (shared / union)).sum(1) / truth_area[kept]
        self.association += sum(map(Fraction, per_tube.tolist()), Fraction())
        self.tubes += int(kept.sum())

    def compute(self) -> dict[str, float]:
        """``STQ``, ``AQ``, ``SQ``."""
        labelled = self.confusion[:-1]
        same = np.append(np.diagonal(labelled), 0)
        union = np.append(labelled.sum(1), 0) + labelled.sum(0) - same
        segmentation = mean(ratio(int(s), int(u)) for s, u in zip(same, union, strict=True))
        association = ratio(self.association, self.tubes)
        return {"STQ": float(np.sqrt(association * segmentation)), "AQ": association, "SQ": segmentation}
