"""Whether a score tells what is there from what is not, at a threshold that keeps most of what is."""

from __future__ import annotations

import math

from x2sam.metrics.base import Metric

KEEP = 0.9
"""Part of what is there that must be found."""


class Presence(Metric):
    """The share of absent phrases that are refused at the highest threshold that keeps 90 % of the present ones.

    Memory grows with the phrases.
    """

    state = ("present", "absent")

    def __init__(self) -> None:
        self.present: list[float] = []
        self.absent: list[float] = []

    def update(self, score: float, there: bool) -> None:
        """Count in one phrase: the score of its best mask (0 without one), and whether it is there."""
        (self.present if there else self.absent).append(score)

    def compute(self) -> dict[str, float]:
        """``refused@90``, and ``threshold@90``; a phrase is kept if its score reaches the threshold."""
        if not self.present:
            return {"refused@90": math.nan, "threshold@90": math.nan}
        ranked = sorted(self.present, reverse=True)
        threshold = ranked[math.ceil(KEEP * len(ranked)) - 1]
        refused = sum(score < threshold for score in self.absent)
        return {
            "refused@90": refused / len(self.absent) if self.absent else math.nan,
            "threshold@90": threshold,
        }
