"""One metric for each group of samples: by prompt kind, referring or reasoning, seen or unseen categories."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from x2sam.metrics.base import Metric, mean


class Grouped(Metric):
    """Keeps one metric for each group of samples, and the mean over the groups.

    ``make`` builds an empty metric. The mean over groups is what ReVOS calls overall (referring, reasoning) and, with
    J&F, what YouTube-VOS calls G (seen, unseen). Memory as that of the metric, for every group.
    """

    state = ("groups",)

    def __init__(self, make: Callable[[], Metric]) -> None:
        self.make = make
        self.groups: dict[str, Metric] = {}

    def update(self, group: str, /, *args: Any, **kwargs: Any) -> None:
        """Count one sample into its group; the other arguments are the metric's."""
        self.groups.setdefault(group, self.make()).update(*args, **kwargs)

    def compute(self) -> dict[str, float]:
        """``group/name`` for every group and number, and ``name`` for the mean over the groups."""
        scores = {group: self.groups[group].compute() for group in sorted(self.groups)}
        names = [name for score in list(scores.values())[:1] for name in score]
        means = {name: mean(score[name] for score in scores.values()) for name in names}
        return means | {f"{group}/{name}": v for group, score in scores.items() for name, v in score.items()}
