"""Which frames a video has: told by its packet headers where those can be trusted, else by what decoding has shown.

Frames are known by their *stamp*: the time stamp that the decoder hands on with them, in units of the stream's time
base. A frame's number is its place in the order in which decoding from the start shows the frames.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

WAVER = 1.0
"""Seconds that stamps may go back without being those of another recording."""
UNSTAMPED = -(2**63)
"""In place of the stamp of a frame that has none."""


class Clock:
    """Seconds at which frames are shown, one after the other: they never run backward.

    Where stamps jump back (joined recordings, a counter that begins anew), time goes on by one step. Where they only
    waver (writers that number frames in the order of decoding), it waits.

    unit: seconds of one tick of the stamps. fps: frames a second, for frames without a stamp; None where unknown.
    """

    def __init__(self, unit: float, fps: float | None) -> None:
        self._unit, self._step = unit, 1 / fps if fps else None
        self._origin: int | None = None
        self._last: int | None = None
        self._shift = 0.0
        self.now: float | None = None
        """Seconds of the newest frame since the first; None where nothing tells."""

    def tick(self, stamp: int | None) -> float | None:
        """The time of the next frame."""
        if stamp is None:
            if self._step is None:
                return None
            self.now = 0.0 if self.now is None else self.now + self._step
            return self.now
        if self._origin is None:
            self._origin = stamp
            self._shift = 0.0 if self.now is None else self.now + (self._step or 0.0)
        elif self._last is not None and (self._last - stamp) * self._unit > WAVER:
            self._origin, self._shift = stamp, (self.now or 0.0) + (self._step or self._unit)
        self._last = stamp
        seconds = (stamp - self._origin) * self._unit + self._shift
        self.now = seconds if self.now is None else max(self.now, seconds)
        return self.now


@dataclass(frozen=True)
class Key:
    """A packet from which decoding can start."""

    pts: int
    dts: int | None
    size: int
    """Bytes; with the stamp they tell it from others where stamps go astray after a seek."""


@dataclass
class Timeline:
    """The frames of a file in the order they are shown."""

    stamps: array[int] = field(default_factory=lambda: array("q"))
    seconds: array[float] = field(default_factory=lambda: array("d"))
    timed: bool = True
    """Whether ``seconds`` say anything."""
    keys: list[Key] = field(default_factory=list)
    from_headers: bool = False
    """Told by packet headers, not by decoding."""

    @classmethod
    def of_headers(cls, stamps: array[int], keys: list[Key], unit: float) -> Timeline | None:
        """From the stamps of all packets that are shown, in any order; None if two share one."""
        ordered = array("q", sorted(stamps))
        if any(a == b for a, b in pairwise(ordered)):
            return None
        return cls(ordered, array("d", ((s - ordered[0]) * unit for s in ordered)), keys=keys, from_headers=True)

    def show(self, stamp: int | None, seconds: float | None) -> None:
        """Note the next frame."""
        self.stamps.append(UNSTAMPED if stamp is None else stamp)
        self.seconds.append(seconds or 0.0)
        self.timed &= seconds is not None

    def __len__(self) -> int:
        return len(self.stamps)

    def number(self, stamp: int | None) -> int | None:
        """The number of the frame with this stamp; None if there is none, or more than one."""
        if stamp is None or not self.from_headers:
            return None if stamp is None else self._numbers.get(stamp)
        place = bisect_left(self.stamps, stamp)
        return place if place < len(self.stamps) and self.stamps[place] == stamp else None

    def starts(self, number: int) -> Iterator[Key]:
        """Keys from which the frame can be decoded: the nearest before it, then ones ever further back."""
        back = bisect_right(self._key_numbers, number) - 1
        step = 1
        while back >= 0:
            yield self._ordered_keys[back][1]
            back, step = back - step, 2 * step

    def stamp(self, number: int) -> int | None:
        """The stamp of a frame."""
        stamp = self.stamps[number]
        return None if stamp == UNSTAMPED else stamp

    def key_between(self, number: int, other: int) -> bool:
        """Whether decoding can start at a frame after ``number`` and up to ``other``."""
        return bisect_right(self._key_numbers, other) > bisect_right(self._key_numbers, number)

    @cached_property
    def times(self) -> list[float]:
        """The seconds as plain numbers."""
        return self.seconds.tolist()

    @cached_property
    def _numbers(self) -> dict[int, int]:
        numbers: dict[int, int] = {}
        twice: set[int] = {UNSTAMPED}
        for number, stamp in enumerate(self.stamps):
            if stamp in numbers:
                twice.add(stamp)
            numbers[stamp] = number
        for stamp in twice & numbers.keys():
            del numbers[stamp]
        return numbers

    @cached_property
    def _ordered_keys(self) -> list[tuple[int, Key]]:
        placed = [(number, key) for key in self.keys if (number := self.number(key.pts)) is not None]
        return sorted(placed, key=lambda pair: pair[0])

    @cached_property
    def _key_numbers(self) -> list[int]:
        return [number for number, _ in self._ordered_keys]
