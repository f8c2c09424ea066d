"""How fast objects that were pointed at are followed on a stream, and how soon a prompt has its first mask. By hand:

    python benchmarks/live_speed.py --model nano --objects 1 5

Predicted: objects of one request share the frame and its queries, so five should cost little more than one. The first
mask on an opened clip reads the prompt and decodes one frame.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import numpy as np
import torch

from x2sam import X2Sam


def clip(frames: int, size: int) -> list[np.ndarray]:
    """A bright square that moves over noise: what is measured does not depend on what is seen."""
    random = np.random.default_rng(0)
    pictures = random.integers(0, 128, (frames, size, size, 3), dtype=np.uint8)
    for number, picture in enumerate(pictures):
        start = size // 4 + number % (size // 4)
        picture[start : start + size // 4, start : start + size // 4] = 255
    return list(pictures)


def followed(model: X2Sam, pictures: list[np.ndarray], objects: int) -> float:
    """Median seconds a frame, from the frame on at which the memory is full."""
    side = len(pictures[0])
    regions: list[Any] = [{"point": (side * (k + 1) / (objects + 1), side / 2), "id": k} for k in range(objects)]
    seconds = []
    results = iter(model.track(pictures, regions=regions))
    for _ in pictures:
        started = time.perf_counter()
        next(results)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[model.config.memory_size + 1 :])


def first_masks(model: X2Sam, pictures: list[np.ndarray]) -> float:
    """Median seconds to the first frame's masks of prompts after the first on an opened clip."""
    session = model.open(pictures, kind="video")
    seconds = []
    for prompt in ("the red ball", "the dog on the left", "a small green box", "the tree", "the person in white"):
        started = time.perf_counter()
        next(iter(session.track(prompt)))
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--frames", type=int, default=40)
    arguments = parser.parse_args()
    model = X2Sam.from_pretrained(arguments.model, device="cpu")
    pictures = clip(arguments.frames, model.config.image_size)
    rates = {f"fps_{n}_objects": round(1 / followed(model, pictures, n), 2) for n in arguments.objects}
    first = round(1e3 * first_masks(model, pictures))
    found = {"model": arguments.model, "size": model.config.image_size, "threads": torch.get_num_threads()}
    print(json.dumps(found | rates | {"first_mask_ms": first}))


if __name__ == "__main__":
    main()
