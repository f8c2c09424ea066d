"""What nano costs a user: loading, a photo, its prompts, a film. Run by hand on a quiet machine:

    python benchmarks/nano_speed.py

Predicted from the backbone's 63 ms of one core: under 150 ms a phrase on an opened photo, under 120 a click, 6 frames a
second or more of a film with one object. Medians of nine.
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable
from statistics import median

import numpy as np
from skimage import data

from x2sam import X2Sam

PHRASES = ["the dog", "a red cup", "the person", "green grass", "a chair", "a boat", "the sky", "two horses", "a kite"]
NAMES = ["cat", "dog", "wall", "person", "chair", "tree", "car"]


def milliseconds(ask: Callable[[int], object], times: int = 9) -> int:
    spent = []
    for i in range(times):
        start = time.perf_counter()
        ask(i)
        spent.append(time.perf_counter() - start)
    return round(1000 * median(spent))


def main() -> None:
    start = time.perf_counter()
    model = X2Sam.from_pretrained("nano")
    found: dict[str, float] = {"load, s": round(time.perf_counter() - start, 2)}
    photo = data.chelsea()
    session = model.open(photo)
    session.segment("the cat")
    found["peak memory of a first photo, MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    found["phrase on an opened photo, ms"] = milliseconds(lambda i: session.segment(PHRASES[i]))
    found["click, ms"] = milliseconds(lambda i: session.segment(regions=(200 + i, 120)))
    found["list of eight, ms"] = milliseconds(lambda i: session.segment([*NAMES, PHRASES[i]]))
    found["new photo and phrase, ms"] = milliseconds(lambda i: model.open(np.roll(photo, i, 1)).segment("the cat"))
    film = [np.roll(data.astronaut(), 4 * i, 1) for i in range(25)]
    frames = iter(model.open(film).track(regions=[{"box": (150, 20, 300, 200)}]))
    next(frames)
    start = time.perf_counter()
    rest = len(list(frames))
    found["frames a second, one object"] = round(rest / (time.perf_counter() - start), 1)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
