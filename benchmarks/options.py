"""What each option saves and what it costs, on the world's test clips. By hand:

    python benchmarks/options.py --clips 8 every=2 every=4 image_size=128 memory_size=0 dtype=bfloat16

A variant is one or more options of `X2Sam.from_pretrained` and of `X2Sam.track`, joined by commas. Every clip is run
with the default and with every variant in turn. Time is the processor's, of this process, so that other work disturbs
less; the first frame of a clip is left out. Quality is J&F of objects that were pointed at and of phrases.
"""

from __future__ import annotations

import argparse
import ast
import json
import time
from collections.abc import Iterator
from itertools import product
from typing import Any

from x2sam import AnswerOptions, X2Sam
from x2sam.data.world import World
from x2sam.evaluate.answers import Answer, View
from x2sam.evaluate.judges import Setting, judge
from x2sam.types import FrameResult, Sample

TASKS = ("vid_objseg", "vid_refseg")
FRAMES = 9
"""After the first there are 8: of every=2 and every=4 just as many key frames as of a long clip."""
SETTING = Setting({}, {})


class Variant:
    """A model as some options make it, and what was measured of it."""

    def __init__(self, name: str, model: str) -> None:
        given = {} if name == "default" else dict(part.split("=", 1) for part in name.split(","))
        options = {key: _number(value) for key, value in given.items()}
        self.name = name
        self.asking = {key: options.pop(key) for key in given if key in AnswerOptions.__dataclass_fields__}
        self.model = X2Sam.from_pretrained(model, device="cpu", **options)
        self.quality = {task: judge("jf").make(SETTING) for task in TASKS}
        self.seconds = dict.fromkeys(TASKS, 0.0)
        self.frames = dict.fromkeys(TASKS, 0)

    def start(self, sample: Sample) -> Iterator[FrameResult]:
        """The results of a clip."""
        return iter(self.model.open(sample.frames, kind="video").track(sample.prompt, task=sample.task, **self.asking))

    def run(self, sample: Sample, index: int) -> None:
        """Follow what a clip's prompt asks for, and score it."""
        track = self.start(sample)
        found = [next(track)]
        started = time.process_time()
        found.extend(track)
        self.seconds[sample.task] += time.process_time() - started
        self.frames[sample.task] += len(found) - 1
        labels = sample.prompt.labels
        view = View(tuple(frame.segments for frame in found), labels, "")
        answer = Answer(index, sample.sample_id, labels, (True,) * len(labels), {"default": view}, "")
        judge("jf").score(self.quality[sample.task], sample, answer, SETTING)

    def row(self, default: Variant) -> dict[str, Any]:
        """Time as a share of the default's, and J&F."""
        found: dict[str, Any] = {"variant": self.name}
        for task in TASKS:
            found[f"{task} ms"] = round(1e3 * self.seconds[task] / self.frames[task], 1)
            found[f"{task} time"] = round(self.seconds[task] / default.seconds[task], 2)
            found[f"{task} J&F"] = round(100 * self.quality[task][0].compute()["J&F"], 1)
        return found


def _number(value: str) -> Any:
    try:
        return ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="*", default=["every=2", "every=4", "image_size=128", "image_size=96"])
    parser.add_argument("--model", default="nano")
    parser.add_argument("--clips", type=int, default=8, help="of each task")
    parser.add_argument("--size", type=int, default=224)
    arguments = parser.parse_args()
    variants = [Variant(name, arguments.model) for name in ("default", *arguments.variants)]
    world = World("test", size=(arguments.size, arguments.size), frames=FRAMES)
    for task, variant in product(TASKS, variants):
        list(variant.start(world.sample(task, arguments.clips)))  # prepares tables and kernels
    for index in range(arguments.clips):
        for task in TASKS:
            sample = world.sample(task, index)
            for variant in variants:
                variant.run(sample, index)
        for variant in variants:
            print(json.dumps({"clips": index + 1, **variant.row(variants[0])}), flush=True)


if __name__ == "__main__":
    main()
