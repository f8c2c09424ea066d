"""Frames that come once: from an iterator or a camera, or pushed by the caller. The newest stay at hand for a while.

What comes is taken as it is: a frame that cannot be used is passed on as the error that says why, and the stream goes
on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from x2sam.errors import InputError, MediaError
from x2sam.media.pictures import to_frame
from x2sam.types import Frame

TimedFrame = tuple[int, float | None, Frame]
"""Index, seconds since the first frame (None where unknown), picture."""
Arrival = tuple[int, float | None, Frame | MediaError]
"""The same as it came: in place of a picture that cannot be used the error that says why."""

WARNINGS = 100
"""Warnings that are kept of one medium or one track: the newest."""
WARM_UP = 30
"""Unusable frames in a row that are no reason to give a stream up at its start; cameras need a moment."""


def warn(warnings: list[str], text: str) -> None:
    """Append a warning to a list that stays short."""
    warnings.append(text)
    del warnings[:-WARNINGS]


class Stream:
    """Frames that come once. Those looked at beforehand wait for the iteration; those that passed stay for a while.

    source: tuples of index, seconds and picture; None: the caller pushes the pictures.
    """

    length: int | None = None
    times: Sequence[float] | None = None

    def __init__(self, source: Iterator[tuple[int, float | None, Any]] | None, name: str, fps: float | None = None):
        self.pushed, self._name, self.fps = source is None, name, fps
        self.warnings: list[str] = []
        self.newest: Arrival | None = None
        """The last one that passed, usable or not."""
        self._coming = map(self._receive, source or ())
        self._waiting: deque[Arrival] = deque()
        self._passed: deque[TimedFrame] = deque(maxlen=0)
        self._size = (0, 0)
        self._shift, self._delay = 0, 0.0
        self._ended = False
        if not self.pushed:
            self._warm_up()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the newest frame; zeros before the first."""
        return self._size

    @property
    def passed(self) -> list[TimedFrame]:
        """The newest usable frames that passed, oldest first."""
        return list(self._passed)

    def remember(self, count: int) -> None:
        """Keep so many of the frames that pass."""
        self._passed = deque(self._passed, maxlen=count)

    def arrivals(self) -> Iterator[Arrival]:
        """Every frame as it comes, the unusable ones among them."""
        if self.pushed:
            raise MediaError(f"Got {self._name} to iterate, whose frames are pushed", "step(frame) for each of them")
        if self._ended:
            raise MediaError(f"Got {self._name} a second time", "one pass over a stream", "Keep it in a list or a file")
        while (arrival := self._waiting.popleft() if self._waiting else next(self._coming, None)) is not None:
            self._pass(arrival)
            yield arrival
        self._ended = True

    def __iter__(self) -> Iterator[TimedFrame]:
        for index, time, frame in self.arrivals():
            if not isinstance(frame, MediaError):
                yield index, time, frame

    def push(self, picture: Any, index: int | None = None, time: float | None = None, after: int = -1) -> Arrival:
        """Take the next picture; without an ``index`` it is numbered on.

        after: where the caller has got to. If another caller has pushed this very picture already, it is not taken a
            second time.
        """
        if not self.pushed:
            raise InputError(f"Got a frame for {self._name}, which has its own", "no frame", "Iterate over the track")
        last = -1 if self.newest is None else self.newest[0]
        number = last + 1 if index is None else index
        frame = _frame_or_error(picture, number)
        if self.newest is not None and last > after and index in (None, last) and _same(frame, self.newest[2]):
            return self.newest
        arrival = self._noted((number, number / self.fps if time is None and self.fps else time, frame))
        self._pass(arrival)
        return arrival

    @property
    def unseen(self) -> bool:
        """Nothing that can be looked at has come so far."""
        return self.pushed and not self._passed

    def peek(self, n: int) -> list[TimedFrame]:
        """The next ``n`` usable frames, which stay in place."""
        while len(usable := _usable(self._waiting)) < n and len(self._waiting) < n + WARM_UP:
            arrival = next(self._coming, None)
            if arrival is None:
                break
            self._waiting.append(arrival)
        return usable[:n]

    def pick(self, indices: Sequence[int]) -> Iterator[Frame]:
        """The frames at these indices, if they wait or have just passed."""
        there = self._there()
        for index in indices:
            if index not in there:
                raise MediaError(
                    f"Got frame {index} of {self._name}, which cannot be fetched from a stream",
                    f"one of those at hand: {min(there)} to {max(there)}" if there else "a frame that has come",
                    "Open it with a longer history, or keep the frames in a list or a file",
                )
            yield there[index]

    def __contains__(self, index: object) -> bool:
        return index in self._there()

    def resume(self, passed: Sequence[TimedFrame], last: int) -> None:
        """Go on where another stream stopped, at frame ``last``: what comes is numbered (and timed) from there on."""
        self._passed.extend(passed)
        lost = MediaError(f"Got frame {last} of {self._name}, which could not be used", "a picture")
        self.newest = passed[-1] if passed and passed[-1][0] == last else (last, None, lost)
        if passed:
            self._size = passed[-1][2].shape[0], passed[-1][2].shape[1]
        if self.pushed:
            return
        first = self._waiting[0][0] if self._waiting else 0
        self._shift = last + 1 - first
        self._delay = self._shift / self.fps if self.fps else 0.0
        self._waiting = deque(self._moved(arrival) for arrival in self._waiting)

    # --- taking pictures in -----------------------------------------------------------------------------------------

    def _warm_up(self) -> None:
        for arrival in islice(self._coming, WARM_UP):
            self._waiting.append(arrival)
            if not isinstance(arrival[2], MediaError):
                self._size = arrival[2].shape[0], arrival[2].shape[1]
                return
        if self._waiting and isinstance(self._waiting[0][2], MediaError):
            raise self._waiting[0][2]
        raise MediaError(f"Got {self._name} without any frame", "at least one frame")

    def _receive(self, item: tuple[int, float | None, Any]) -> Arrival:
        index, time, picture = item
        return self._noted(self._moved((index, time, _frame_or_error(picture, index + self._shift))))

    def _noted(self, arrival: Arrival) -> Arrival:
        if isinstance(arrival[2], MediaError):
            warn(self.warnings, str(arrival[2]))
        return arrival

    def _moved(self, arrival: Arrival) -> Arrival:
        index, time, frame = arrival
        return index + self._shift, time if time is None else time + self._delay, frame

    def _pass(self, arrival: Arrival) -> None:
        self.newest = arrival
        index, time, frame = arrival
        if not isinstance(frame, MediaError):
            self._size = frame.shape[0], frame.shape[1]
            self._passed.append((index, time, frame))

    def _there(self) -> dict[int, Frame]:
        return {index: frame for index, _, frame in [*self._passed, *_usable(self._waiting)]}


def _usable(arrivals: deque[Arrival]) -> list[TimedFrame]:
    return [(index, time, frame) for index, time, frame in arrivals if not isinstance(frame, MediaError)]


def _same(ours: Frame | MediaError, theirs: Frame | MediaError) -> bool:
    if isinstance(ours, MediaError) or isinstance(theirs, MediaError):
        return isinstance(ours, MediaError) and isinstance(theirs, MediaError)
    return np.array_equal(ours, theirs)


def _frame_or_error(picture: Any, index: int) -> Frame | MediaError:
    """A copy of the picture as a frame (whoever sends it may use its memory again), or why it is none."""
    try:
        return to_frame(picture, f"frame {index}").copy()
    except MediaError as error:
        return error
    except (TypeError, ValueError) as error:  # what NumPy says of things that are no arrays
        return MediaError(f"Got frame {index} that is no picture ({error})", "an array or a picture")
