"""Referring, reasoning and interactive segmentation: cumulative and mean IoU of one mask per expression."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from x2sam.errors import DataError
from x2sam.masks import RLE
from x2sam.metrics.base import Metric, ratio


class ReferringIoU(Metric):
    """cIoU (all intersections over all unions), gIoU (mean IoU of the samples), N-acc and T-acc (gRefCOCO).

    A sample without a target counts 1 in gIoU if nothing was predicted, else 0, and its prediction adds to cIoU's
    union. N-acc is the share of samples without, T-acc of samples with a target where the model says so.
    Interactive segmentation by prompt kind is ``Grouped(ReferringIoU)``. Memory does not grow.
    """

    state = ("intersection", "union", "iou", "targets", "right")

    def __init__(self) -> None:
        self.intersection = self.union = 0
        self.iou = Fraction()
        self.targets = np.zeros(2, dtype=np.int64)  # samples [without, with] a target
        self.right = np.zeros(2, dtype=np.int64)  # of these, predicted as such

    def update(self, predicted: RLE | None, truth: RLE | None, ignore: RLE | None = None) -> None:
        """Count in one expression. None and an empty mask both say: not there. ``ignore`` is left out of the IoU."""
        sizes = {(m.height, m.width) for m in (predicted, truth, ignore) if m is not None}
        if len(sizes) > 1:
            raise DataError(f"Got masks of the sizes {sorted(sizes)}", "masks of one size")
        shape = sizes.pop() if sizes else (1, 1)
        ours, theirs, out = (np.zeros(shape, bool) if m is None else m.decode() for m in (predicted, truth, ignore))
        found, there = int(ours.any()), int(theirs.any())
        intersection = int(np.count_nonzero(ours & theirs & ~out))
        union = int(np.count_nonzero((ours | theirs) & ~out))
        self.intersection += intersection
        self.union += union
        self.iou += Fraction(intersection / union) if union else 1
        self.targets[there] += 1
        self.right[there] += found == there

    def compute(self) -> dict[str, float]:
        """``cIoU``, ``gIoU``, ``N-acc``, ``T-acc``."""
        return {
            "cIoU": ratio(self.intersection, self.union),
            "gIoU": ratio(self.iou, int(self.targets.sum())),
            "N-acc": ratio(int(self.right[0]), int(self.targets[0])),
            "T-acc": ratio(int(self.right[1]), int(self.targets[1])),
        }
