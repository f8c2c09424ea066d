"""What the second prompt on an opened image costs, as a share of the first (each the fastest of several). By hand:

    python benchmarks/second_prompt.py --model tiny

Predicted: the first prompt reads the picture with two encoders and the language model; the second only runs its own
words and the mask decoder, so it should cost well under half.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import torch

from x2sam import X2Sam


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--repeat", type=int, default=10)
    arguments = parser.parse_args()
    model = X2Sam.from_pretrained(arguments.model)
    picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    first, second = [], []
    for number in range(arguments.repeat + 1):
        start = time.perf_counter()
        session = model.open(picture)
        session.segment("the cat on the left")
        middle = time.perf_counter()
        session.segment("the dog on the right")
        end = time.perf_counter()
        if number:  # the first round warms up
            first.append(middle - start)
            second.append(end - middle)
    print(
        json.dumps(
            {
                "model": arguments.model,
                "threads": torch.get_num_threads(),
                "first_ms": round(1e3 * min(first), 1),
                "second_ms": round(1e3 * min(second), 1),
                "ratio": round(min(second) / min(first), 3),
            }
        )
    )


if __name__ == "__main__":
    main()
