"""What it costs in quality that followed objects take turns at the decoder (`per_frame`), on crowded clips. By hand:

    python benchmarks/turns.py --clips 8 --least 4

Clips of the world's test split in which at least so many objects are pointed at on the first frame. Predicted: J&F
within a point of decoding every object on every frame.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import count

from x2sam import X2Sam
from x2sam.data.world import World
from x2sam.evaluate.answers import Answer, View
from x2sam.evaluate.judges import Setting, judge

SETTING = Setting({}, {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--least", type=int, default=4, help="objects of a clip")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--per-frame", type=int, nargs="+", default=[0, 1, 2], help="0: all")
    arguments = parser.parse_args()
    model = X2Sam.from_pretrained("nano", device="cpu")
    world = World("test", size=(arguments.size, arguments.size), frames=arguments.frames)
    quality = {k: judge("jf").make(SETTING) for k in arguments.per_frame}
    seconds = dict.fromkeys(arguments.per_frame, 0.0)
    done = objects = 0
    for index in count():
        sample = world.sample("vid_objseg", index)
        if len(sample.prompt.conditions) < arguments.least:
            continue
        done, objects = done + 1, objects + len(sample.prompt.conditions)
        for k in arguments.per_frame:
            track = model.open(sample.frames, kind="video").track(sample.prompt, task=sample.task, per_frame=k or None)
            started = time.process_time()
            found = track.finish().frames
            seconds[k] += time.process_time() - started
            labels = sample.prompt.labels
            view = View(tuple(frame.segments for frame in found), labels, "")
            answer = Answer(index, sample.sample_id, labels, (True,) * len(labels), {"default": view}, "")
            judge("jf").score(quality[k], sample, answer, SETTING)
        for k in arguments.per_frame:
            score = {name: round(100 * value, 1) for name, value in quality[k][0].compute().items()}
            row = {"clips": done, "objects": objects, "per_frame": k or "all", **score}
            print(json.dumps(row | {"ms a frame": round(1e3 * seconds[k] / done / arguments.frames)}), flush=True)
        if done == arguments.clips:
            return


if __name__ == "__main__":
    main()
