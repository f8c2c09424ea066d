"""Do objects keep their ids? Switches on the world's test clips, and the return after a cut of 20 frames.

    python benchmarks/identity.py --model nano --clips 50

A cut-away shows one clip, then 20 frames of another scene, then the first clip backwards. Of the objects that the model
finds (IoU of at least a half) before and after, how many have the same id? Ours against identity="released".
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from x2sam import X2Sam
from x2sam.data.world import World
from x2sam.masks import RLE, iou_matrix
from x2sam.metrics import TrackIdentity
from x2sam.types import FrameResult, Sample

ABSENT = 20


def things(sample: Sample, t: int) -> dict[int, RLE]:
    """The annotated things of a frame."""
    conditions = sample.prompt.conditions
    return {o.object_id: m for o in sample.objects if conditions[o.condition].is_thing and (m := o.masks[t])}


def found(frame: FrameResult) -> dict[int, RLE]:
    """The things that a model found on a frame."""
    return {s.object_id: s.rle for s in frame.segments if s.is_thing}


def names(truth: dict[int, RLE], ours: dict[int, RLE]) -> dict[int, int]:
    """The id that each annotated object was given, where it was found."""
    if not truth or not ours:
        return {}
    overlap = iou_matrix(list(truth.values()), list(ours.values()))
    return {key: list(ours)[row.argmax()] for key, row in zip(truth, overlap, strict=True) if row.max() >= 0.5}


def cut_away(model: X2Sam, sample: Sample, other: Sample, identity: str) -> tuple[int, int]:
    """Objects that returned with their id, and objects that returned."""
    filler = [other.frames[i % len(other.frames)] for i in range(ABSENT)]
    frames = [*sample.frames, *filler, *reversed(list(sample.frames))]
    track = model.open(frames, kind="video").track(sample.prompt, task="vid_genseg", identity=identity)
    results: Sequence[FrameResult] = track.finish().frames
    last = len(sample.frames) - 1
    before, after = (names(things(sample, last), found(results[i])) for i in (last, last + ABSENT + 1))
    both = before.keys() & after.keys()
    return sum(before[key] == after[key] for key in both), len(both)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="nano")
    parser.add_argument("--clips", type=int, default=50)
    parser.add_argument("--frames", type=int, default=16)
    arguments = parser.parse_args()
    model = X2Sam.from_pretrained(arguments.model)
    world = World("test", size=(160, 160), frames=arguments.frames)
    for identity in ("x2sam", "released"):
        metric, kept, returned = TrackIdentity(), 0, 0
        for i in range(arguments.clips):
            sample = world.sample("vid_genseg", i)
            track = model.open(sample.frames, kind="video").track(sample.prompt, task="vid_genseg", identity=identity)
            frames = track.finish().frames
            metric.update([found(f) for f in frames], [things(sample, t) for t in range(len(frames))])
            right, all_of_them = cut_away(model, sample, world.sample("vid_genseg", i + 1), identity)
            kept, returned = kept + right, returned + all_of_them
        row = {"identity": identity, **metric.compute(), "returned": returned, "with_their_id": kept}
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
