"""Grounded captions (GCG): how well the masks of a caption's phrases are met (AP50, mIoU, recall)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from x2sam.errors import InputError
from x2sam.metrics.average_precision import Instance, TrackAP
from x2sam.metrics.base import Metric, ratio
from x2sam.metrics.overlap import Tube, tube_iou

MATCH = 0.5
"""IoU, and likeness of the phrases, from which a phrase counts as recalled."""


class GroundedMasks(Metric):
    """AP50, mIoU and recall of the masks of a grounded caption (GLaMM arXiv 2311.03356; VideoGLaMM: over tubes).

    mIoU pairs masks greedily by IoU; what finds no partner does not count against it. Recall goes down the pairs the
    same way and stops at the first that fails in IoU or in wording. Memory as in ``MaskAP``.
    """

    state = ("precision", "iou", "samples", "recalled", "phrases")

    def __init__(self) -> None:
        self.precision = TrackAP()
        self.iou = Fraction()
        self.samples = self.recalled = self.phrases = 0

    def update(
        self,
        key: Hashable,
        predicted: Sequence[Instance],
        truth: Sequence[Instance],
        likeness: NDArray[np.float64] | None = None,
    ) -> None:
        """Count in one image or video, one instance per phrase. ``key`` as in ``MaskAP``.

        ``likeness`` ``[predicted, truth]`` says how alike two phrases are, from 0 to 1 (see ``PhraseLikeness``);
        without it, recall looks at the masks alone.
        """
        iou = tube_iou([p.masks for p in predicted], [t.masks for t in truth])
        if likeness is not None and likeness.shape != iou.shape:
            raise InputError(f"Got likeness of shape {likeness.shape}", f"one number for every pair, {iou.shape}")
        self.precision.update(key, predicted, truth)
        pairs = _greedy_pairs(iou)
        self.iou += Fraction(float(np.mean([iou[pair] for pair in pairs]))) if pairs else 0
        self.samples += 1
        self.phrases += len(truth)
        for pair in _greedy_pairs(iou.T):
            if iou.T[pair] < MATCH or (likeness is not None and likeness.T[pair] < MATCH):
                break
            self.recalled += 1

    def compute(self) -> dict[str, float]:
        """``AP50``, ``mIoU``, ``Recall``."""
        return {
            "AP50": self.precision.compute()["AP50"],
            "mIoU": ratio(self.iou, self.samples),
            "Recall": ratio(self.recalled, self.phrases),
        }


class GroundedNouns(Metric):
    """Of the phrases of a grounded caption, how many have their mask (IoU 1/2), and how many of these their noun.

    Masks are paired as in ``GroundedMasks``; the noun of a phrase is its last word, in the singular. Needs no language
    model, so it suits captions of few words. Memory does not grow.
    """

    state = ("phrases", "recalled", "named")

    def __init__(self) -> None:
        self.phrases = self.recalled = self.named = 0

    def update(
        self, predicted: Sequence[tuple[str, Tube]], truth: Sequence[tuple[str, Tube]], threshold: float = 0.5
    ) -> None:
        """Count in one image or video: phrases with the mask of every frame."""
        iou = tube_iou([tube for _, tube in predicted], [tube for _, tube in truth])
        pairs = [(p, t) for p, t in _greedy_pairs(iou) if iou[p, t] >= threshold]
        self.phrases += len(truth)
        self.recalled += len(pairs)
        self.named += sum(noun(predicted[p][0]) == noun(truth[t][0]) for p, t in pairs)

    def compute(self) -> dict[str, float]:
        """``MaskRecall``; ``Nouns``, the share of the recalled whose noun is right."""
        return {"MaskRecall": ratio(self.recalled, self.phrases), "Nouns": ratio(self.named, self.recalled)}


def noun(phrase: str) -> str:
    """``two striped boats`` -> ``boat``."""
    words = phrase.lower().split()
    return words[-1].removesuffix("s") if words else ""


def _greedy_pairs(iou: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Pairs that overlap, best first, each row and column taken once; of equal ones the first row, then column."""
    free, pairs = iou.copy(), []
    while free.size and free.max() > 0:
        row, column = np.unravel_index(int(free.argmax()), free.shape)
        pairs.append((int(row), int(column)))
        free[row], free[:, column] = 0, 0
    return pairs
