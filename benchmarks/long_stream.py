"""Does memory stay flat on a stream without end? One pointed object is followed over generated frames. By hand:

    python benchmarks/long_stream.py --model nano --frames 10000

Predicted: what is kept of the past is bounded (memory bank, frames at hand, propagated masks, newest results), so the
peak after 10,000 frames is that after 50 but for what the allocator keeps.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from x2sam import X2Sam

SETTLED = 50
"""Frames after which whatever will be kept is there."""


def camera(size: int) -> Iterator[np.ndarray]:
    """A bright square that wanders over noise, for ever."""
    random = np.random.default_rng(0)
    square = size // 4
    for number in itertools.count():
        frame = random.integers(0, 128, (size, size, 3), dtype=np.uint8)
        angle = number / 40
        y, x = (round((size - square) / 2 * (1 + turn(angle))) for turn in (np.sin, np.cos))
        frame[y : y + square, x : x + square] = (255, 200, 60)
        yield frame


def forget_peak() -> None:
    """Count the peak anew: that of loading the weights would hide what the frames add. Linux alone can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mb() -> float:
    """The most memory that this process had resident, as the system counted it."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--every", type=int, default=500, help="frames between two reports of how far it is")
    parser.add_argument("--out", type=Path, help="file for the last line")
    arguments = parser.parse_args()
    model = X2Sam.from_pretrained(arguments.model, device="cpu")
    point = {"point": (arguments.size - arguments.size / 8 - 1, arguments.size / 2)}  # in the square of the first frame
    track = model.track(camera(arguments.size), regions=point, keep=False)
    forget_peak()
    settled, followed, started = 0.0, 0, time.perf_counter()
    for done, frame in enumerate(itertools.islice(track, arguments.frames), 1):
        followed += bool(frame.segments)
        if done == SETTLED:
            settled = peak_mb()
        if done % arguments.every == 0:
            print(f"{done} frames, {peak_mb():.1f} MB, {time.perf_counter() - started:.0f} s", file=sys.stderr)
    found = {
        "frames": done,
        "with_a_mask": followed,
        f"peak_mb_{SETTLED}": round(settled, 1),
        "peak_mb_end": round(peak_mb(), 1),
        "difference_mb": round(peak_mb() - settled, 1),
    }
    print(json.dumps(found))
    if arguments.out:
        arguments.out.write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
