"""How often a prompt must be read again on long clips: `refresh="auto"` beside every frame and never. By hand:

    python benchmarks/refresh.py --clips 6 --frames 32

Phrases on clips of the world's test split. Predicted: J&F of "auto" within a point of refresh=1, with a quarter of its
readings or fewer.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from x2sam import X2Sam
from x2sam.data.world import World
from x2sam.evaluate.answers import Answer, View
from x2sam.evaluate.judges import Setting, judge
from x2sam.types import Sample

SETTING = Setting({}, {})


class Variant:
    """One way to refresh, and what was measured of it."""

    def __init__(self, refresh: Any) -> None:
        self.refresh, self.quality = refresh, judge("jf").make(SETTING)
        self.readings, self.seconds = 0, 0.0

    def run(self, model: X2Sam, sample: Sample, index: int) -> None:
        session = model.open(iter(sample.frames), kind="video")
        engine, read = session.engine, session.engine.read

        def counted(*arguments: Any, **options: Any) -> Any:
            self.readings += 1
            return read(*arguments, **options)

        engine.read = counted  # type: ignore[method-assign]
        started = time.process_time()
        found = session.track(sample.prompt, task=sample.task, refresh=self.refresh).finish().frames
        self.seconds += time.process_time() - started
        labels = sample.prompt.labels
        view = View(tuple(frame.segments for frame in found), labels, "")
        answer = Answer(index, sample.sample_id, labels, (True,) * len(labels), {"default": view}, "")
        judge("jf").score(self.quality, sample, answer, SETTING)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--task", default="vid_refseg")
    arguments = parser.parse_args()
    model = X2Sam.from_pretrained("nano", device="cpu")
    world = World("test", size=(arguments.size, arguments.size), frames=arguments.frames)
    variants = [Variant(refresh) for refresh in (1, "auto", None)]
    for index in range(arguments.clips):
        sample = world.sample(arguments.task, index)
        for variant in variants:
            variant.run(model, sample, index)
        for variant in variants:
            score = round(100 * variant.quality[0].compute()["J&F"], 1)
            row = {"clips": index + 1, "refresh": variant.refresh, "J&F": score, "readings": variant.readings}
            print(json.dumps(row | {"seconds": round(variant.seconds, 1)}), flush=True)


if __name__ == "__main__":
    main()
