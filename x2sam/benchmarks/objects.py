"""``x2sam bench objects``: frames a second with 1, 4, 16, 64 and 128 objects that were clicked one after the other.

The film is generated: discs that wander over a textured ground. All numbers of objects take turns frame by frame, so
that what else the machine does disturbs them alike; the best of some frames counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import median
from typing import Any

import numpy as np

from x2sam.predictor import X2Sam
from x2sam.types import Frame

COUNTS = (1, 4, 16, 64, 128)


@dataclass(frozen=True)
class Row:
    """What one number of objects costs."""

    objects: int
    frames_per_second: float
    seconds_per_frame: float
    """The best of some frames."""
    cost: float
    """Seconds a frame as a share of those with the first number of objects."""
    second_click_seconds: float | None
    """From a click to its mask, on a frame that is encoded and a medium that was read (by the first click)."""
    last_click_seconds: float | None
    found_per_frame: float
    """Objects with a mask, on average."""


@dataclass(frozen=True)
class Film:
    """Discs on a ground."""

    size: int
    discs: int

    def centre(self, disc: int, frame: int) -> tuple[float, float]:
        """x and y of a disc."""
        side = int(np.ceil(np.sqrt(self.discs)))
        cell = self.size / side
        x, y = (disc % side + 0.5) * cell, (disc // side + 0.5) * cell
        return x + 0.2 * cell * np.sin(frame / 6 + disc), y + 0.2 * cell * np.cos(frame / 7 + 2 * disc)

    def frames(self) -> Iterator[Frame]:
        """Frames without end."""
        random = np.random.default_rng(0)
        ground = random.integers(60, 130, (self.size, self.size, 3), dtype=np.uint8)
        colours = random.integers(0, 256, (self.discs, 3))
        radius = 0.28 * self.size / np.ceil(np.sqrt(self.discs))
        rows, columns = np.ogrid[: self.size, : self.size]
        number = 0
        while True:
            frame = ground.copy()
            for disc in range(self.discs):
                x, y = self.centre(disc, number)
                frame[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = colours[disc]
            yield frame
            number += 1


def bench_objects(
    model: X2Sam,
    counts: Sequence[int] = COUNTS,
    frames: int = 8,
    size: int = 480,
    clock: Callable[[], float] = time.perf_counter,
    **options: Any,
) -> list[Row]:
    """Follow so many objects each through a film of its own track; see the module.

    Args:
        model: loaded.
        counts: numbers of objects.
        frames: that are timed, after two that are not.
        size: pixels a side of the film.
        clock: what time is; ``time.process_time`` where other work runs.
        options: of `Session.track`, such as ``per_frame``.
    """
    film = Film(size, max(counts))
    pictures = list(islice(film.frames(), frames + 3))
    walks, clicks = [], []
    for count in counts:
        region = {"point": film.centre(0, 0), "id": 1, "frame": 0}
        started = clock()
        track = model.track(iter(pictures), regions=[region], keep=False, threshold=0.0, **options)
        walk = iter(track)
        next(walk)
        spent = [clock() - started]  # reads the medium, too
        for disc in range(1, count):
            started = clock()
            list(track.add(regions=[{"point": film.centre(disc, 0), "id": disc + 1}], frame=0))
            spent.append(clock() - started)
        walks.append(walk)
        clicks.append(spent)
    seconds: list[list[float]] = [[] for _ in counts]
    found = [0] * len(counts)
    for number in range(frames + 2):
        for i, walk in enumerate(walks):
            started = clock()
            result = next(walk)
            if number >= 2:
                seconds[i].append(clock() - started)
                found[i] += len(result.segments)
    base = min(seconds[0])
    return [
        Row(
            objects=count,
            frames_per_second=round(1 / min(own), 2),
            seconds_per_frame=round(min(own), 4),
            cost=round(min(own) / base, 3),
            second_click_seconds=_middle(spent[1:4]),
            last_click_seconds=_middle(spent[1:][-3:]),
            found_per_frame=round(there / frames, 1),
        )
        for count, own, spent, there in zip(counts, seconds, clicks, found, strict=True)
    ]


def _middle(seconds: Sequence[float]) -> float | None:
    return round(median(seconds), 4) if seconds else None
