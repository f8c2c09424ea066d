"""What every metric shares: ``update`` with one sample, ``merge`` with another process's part, ``compute`` the numbers.

Merging is exact, so any split over processes gives the same digits: counts are integers, sums of real numbers are
kept as fractions (a float is a fraction, and adding fractions never rounds), records are kept under their sample's key.
Every number is between 0 and 1 unless its name says otherwise; ``nan`` means that there was nothing to measure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from x2sam.errors import DataError, InputError

A = TypeVar("A")
B = TypeVar("B")


class Metric:
    """Base of all metrics. A metric names the attributes that hold its running state; all else is configuration."""

    state: ClassVar[tuple[str, ...]] = ()

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Count one sample in."""
        raise NotImplementedError

    def merge(self, other: Metric) -> None:
        """Count in all that ``other``, a metric of the same kind and configuration, has seen."""
        if type(other) is not type(self):
            raise InputError(f"Got a {type(other).__name__}", f"another {type(self).__name__} to merge")
        for name in self.state:
            setattr(self, name, _merged(getattr(self, name), getattr(other, name)))

    def compute(self) -> dict[str, float]:
        """The numbers over all samples so far."""
        raise NotImplementedError


def _merged(ours: Any, theirs: Any) -> Any:
    if isinstance(ours, Metric):
        ours.merge(theirs)
        return ours
    if isinstance(ours, dict):
        shared = {key: _merged(ours[key], theirs[key]) for key in ours.keys() & theirs.keys() if _mergeable(key, ours)}
        return {**ours, **theirs, **shared}
    return ours + theirs


def _mergeable(key: Any, records: dict[Any, Any]) -> bool:
    if isinstance(records[key], Metric):
        return True
    raise DataError(f"Got the sample {key!r} twice", "each sample scored once", "Give every sample its own key")


def exact_zeros(size: int) -> NDArray[np.object_]:
    """``[size]`` exact sums, each zero."""
    return np.full(size, Fraction(), dtype=object)


def ratio(part: float | Fraction, whole: float | Fraction) -> float:
    """``part / whole``; ``nan`` where there is no whole."""
    return float(part / whole) if whole else float("nan")


def mean(values: Iterable[float]) -> float:
    """The mean of those values that are not ``nan``; ``nan`` if none is left."""
    kept = [Fraction(float(v)) for v in values if not np.isnan(v)]
    return ratio(sum(kept, Fraction()), len(kept))


def paired(predicted: Iterable[A], truth: Iterable[B]) -> Iterator[tuple[A, B]]:
    """The frames of a prediction beside those of its ground truth, which must be equally many."""
    ends = object()
    ours, theirs = iter(predicted), iter(truth)
    while True:
        a, b = next(ours, ends), next(theirs, ends)
        if a is ends and b is ends:
            return
        if a is ends or b is ends:
            raise DataError(
                "Got a prediction and a ground truth of different length", "a predicted mask or map for every frame"
            )
        yield a, b  # type: ignore[misc]
