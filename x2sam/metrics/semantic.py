"""Semantic segmentation: mean IoU, and how steady the labels of a video are (mVC)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

import numpy as np

from x2sam.errors import DataError
from x2sam.metrics.base import Metric, exact_zeros, mean, paired, ratio
from x2sam.metrics.overlap import IdMap


class MeanIoU(Metric):
    """Mean IoU over classes, from one confusion matrix over all pixels of all images or frames.

    Classes are 0..classes-1; pixels annotated ``ignore`` do not count. A prediction outside the classes is wrong
    everywhere. Classes that are never annotated are left out of the means. Memory grows with classes squared.
    """

    state = ("confusion",)

    def __init__(self, classes: int, ignore: int = 255) -> None:
        self.classes, self.ignore = classes, ignore
        self.confusion = np.zeros((classes, classes + 1), dtype=np.int64)  # [truth, predicted]

    def update(self, predicted: IdMap, truth: IdMap) -> None:
        """Count in one image or frame: two maps ``[H, W]`` of class numbers."""
        if predicted.shape != truth.shape:
            raise DataError(f"Got a prediction {predicted.shape} for a truth {truth.shape}", "maps of the same size")
        kept = truth != self.ignore
        rows, columns = truth[kept].astype(np.int64), predicted[kept].astype(np.int64)
        if rows.size and not 0 <= rows.min() <= rows.max() < self.classes:
            raise DataError(
                f"Got annotated classes from {rows.min()} to {rows.max()}",
                f"classes below {self.classes}, or {self.ignore} for pixels that do not count",
            )
        columns[(columns < 0) | (columns >= self.classes)] = self.classes
        counts = np.bincount(rows * (self.classes + 1) + columns, minlength=self.confusion.size)
        self.confusion += counts.reshape(self.confusion.shape)

    def compute(self) -> dict[str, float]:
        """``mIoU``, ``fwIoU`` (weighted by how often a class occurs), ``mACC`` (classes) and ``pACC`` (pixels)."""
        right = np.diagonal(self.confusion)
        truth, predicted = self.confusion.sum(1), self.confusion.sum(0)[:-1]
        seen = truth > 0
        iou = right[seen] / (truth + predicted - right)[seen]
        return {
            "mIoU": mean(iou),
            "fwIoU": ratio(float((iou * truth[seen]).sum()), int(truth.sum())),
            "mACC": mean(right[seen] / truth[seen]),
            "pACC": ratio(int(right.sum()), int(truth.sum())),
        }


class VideoConsistency(Metric):
    """mVC@n (VSPW): of the pixels whose true label is the same in n frames, the share whose predicted label is, too.

    Whether the label is right does not matter. As in the authors' script the window that ends at the last frame is not
    taken, and a window without a steady pixel does not count. Memory does not grow; a video costs two maps.
    """

    state = ("total", "count")

    def __init__(self, windows: Sequence[int] = (8, 16)) -> None:
        self.windows = tuple(windows)
        self.total = exact_zeros(len(self.windows))
        self.count = np.zeros(len(self.windows), dtype=np.int64)

    def update(self, predicted: Iterable[IdMap], truth: Iterable[IdMap]) -> None:
        """Count in one video: maps ``[H, W]`` of class numbers, frame after frame."""
        shares: list[list[float]] = []  # [frames][windows], the window that ends at this frame
        for ours, theirs in paired(predicted, truth):
            if not shares:
                last, steady = (ours, theirs), [np.ones(theirs.shape, dtype=np.int32) for _ in range(2)]
            else:  # how many frames each pixel has kept its label, up to this one
                steady = [np.where(now == old, s + 1, 1) for now, old, s in zip((ours, theirs), last, steady)]  # noqa: B905
                last = (ours, theirs)
            shares.append([self._share(steady[0] >= n, steady[1] >= n) for n in self.windows])
        for place, n in enumerate(self.windows):
            kept = [row[place] for row in shares[n - 1 : -1] if not np.isnan(row[place])]
            self.total[place] += sum(map(Fraction, kept), Fraction())
            self.count[place] += len(kept)

    @staticmethod
    def _share(predicted: np.ndarray, truth: np.ndarray) -> float:
        return ratio(int(np.count_nonzero(predicted & truth)), int(np.count_nonzero(truth)))

    def compute(self) -> dict[str, float]:
        """``mVC@n`` for every window."""
        return {
            f"mVC@{n}": ratio(total, int(count))
            for n, total, count in zip(self.windows, self.total, self.count, strict=True)
        }
