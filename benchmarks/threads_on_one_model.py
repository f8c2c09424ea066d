"""Many threads ask one model: is every answer the one that a single thread gets, and are they as quick?

    OMP_NUM_THREADS=1 python benchmarks/threads_on_one_model.py model=nano threads=16 requests=50

Every request is of another kind than the one before it: names, a phrase, a question, a click, a box, a conversation, a
clip; threads begin at different ones, so that at any moment all kinds are under way. The same requests are asked one
after the other in one thread, at once, and at once but with a lock around each, in rounds one behind the other, so
that whatever else the machine does meets all three alike (the first and the last in every fifth round only). The
answers are compared as json, to the last digit.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from skimage import data

from x2sam import X2Sam

ROUND, BESIDE = 2, 5
"""Requests of every thread in one round, and how many rounds go by before the other ways are tried again."""

Ask = Callable[[], Any]


def kinds(model: X2Sam) -> list[Ask]:
    photo = np.ascontiguousarray(data.chelsea()[::2, ::2])
    clip = [np.roll(photo, 4 * i, axis=1) for i in range(3)]
    return [
        lambda: model.segment(photo, ["cat", "dog", "stuff: wall"]).to_dict(),
        lambda: model.segment(photo, "the cat").to_dict(),
        lambda: model.segment(photo[:, ::-1], "What has whiskers?", max_new_tokens=12).to_dict(),
        lambda: model.segment(photo, regions=(110, 70)).to_dict(),
        lambda: model.segment(photo[::-1], regions=[{"box": (40, 20, 190, 130)}]).to_dict(),
        lambda: model.chat(photo, "What is this?", max_new_tokens=12).to_dict(),
        lambda: model.track(clip, "the cat").finish().to_dict(),
        lambda: model.segment(photo, max_new_tokens=12).to_dict(),
    ]


def plainly(answer: Any) -> str:
    return json.dumps(answer, sort_keys=True)


def asked(asks: list[Ask], expected: list[str], numbers: list[list[int]], guard: AbstractContextManager[Any]) -> int:
    """All of ``numbers``, a thread for each list; how many answers differ from the expected ones."""
    wrong = [0] * len(numbers)

    def work(thread: int) -> None:
        for number in numbers[thread]:
            try:
                with guard:
                    answer = plainly(asks[number]())
                wrong[thread] += answer != expected[number]
            except Exception as error:
                print(f"request {number}: {error!r}", file=sys.stderr)
                wrong[thread] += 1

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(numbers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(wrong)


def main(words: list[str]) -> int:
    given = {"model": "nano", "threads": "16", "requests": "50", **dict(word.split("=", 1) for word in words)}
    threads, requests = int(given["threads"]), int(given["requests"])
    model = X2Sam.from_pretrained(given["model"], device="cpu")
    asks = kinds(model)
    expected = [plainly(ask()) for ask in asks]
    spent = {name: [0.0, 0.0] for name in ("one thread", "at once", "at once, with a lock")}
    wrong, answers = dict.fromkeys(spent, 0), dict.fromkeys(spent, 0)
    for start in range(0, requests, ROUND):
        each = [[(t + n) % len(asks) for n in range(start, min(start + ROUND, requests))] for t in range(threads)]
        ways = {
            "one thread": ([[number for one in each for number in one]], nullcontext()),
            "at once": (each, nullcontext()),
            "at once, with a lock": (each, threading.Lock()),
        }
        for name, (numbers, guard) in ways.items():
            if name != "at once" and start // ROUND % BESIDE:
                continue
            answers[name] += sum(map(len, numbers))
            wall, processor = time.perf_counter(), time.process_time()
            wrong[name] += asked(asks, expected, numbers, guard)
            spent[name][0] += time.perf_counter() - wall
            spent[name][1] += time.process_time() - processor
        done = {"requests": start + ROUND, "answers": answers, "others": wrong, "seconds": spent}
        print(json.dumps(done), file=sys.stderr, flush=True)
    first = spent["one thread"]
    for name, (wall, processor) in spent.items():
        share = answers[name] / answers["one thread"]
        found = {
            "way": name,
            "answers": answers[name],
            "others": wrong[name],
            "throughput": round(share * first[0] / wall, 2),
            "processor_time": round(processor / first[1] / share, 2),
            "per_second": round(answers[name] / wall, 2),
        }
        print(json.dumps(found))
    print(json.dumps({"model": model.name, "torch_threads": torch.get_num_threads(), "cores": os.cpu_count()}))
    return 1 if any(wrong.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
