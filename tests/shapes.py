"""A source of drawn rectangles for training tests: every task, a few hundred bytes, no learning needed to check it."""

from __future__ import annotations

import numpy as np

from x2sam.masks import RLE
from x2sam.tasks import get_task
from x2sam.types import Condition, ObjectTrack, Prompt, Region, Sample

COLOURS = {"red": (230, 30, 30), "green": (30, 200, 30), "blue": (40, 40, 230), "white": (240, 240, 240)}
SIDE, LENGTH = 64, 3


class Shapes:
    """Rectangles of different colours on a grey ground; in clips they move."""

    def __init__(self, split: str) -> None:
        self.seed = {"train": 0, "val": 1}[split]

    def sample(self, task: str, index: int) -> Sample:
        row = get_task(task)
        rng = np.random.default_rng((self.seed, index))
        length = LENGTH if row.media == "video" else 1
        names = rng.permutation(list(COLOURS))[:2].tolist()
        frames = np.full((length, SIDE, SIDE, 3), 100, np.uint8)
        masks = np.zeros((2, length, SIDE, SIDE), bool)
        for i, name in enumerate(names):
            y, x = int(rng.integers(4, 30)), int(rng.integers(4, 30)) + 30 * i - 4
            x = max(x - 20, 0) if i == 0 else x - 8
            for t in range(length):
                area = (slice(y + t, y + t + 20), slice(x, min(x + 20, SIDE)))
                frames[t][area], masks[i, t][area] = COLOURS[name], True
        tracks = [tuple(RLE.encode(m) for m in clip) for clip in masks]
        return self._sample(row, index, frames, names, tracks)

    def _sample(self, row, index, frames, names, tracks):
        answer = {"chat": f"A {names[0]} one.", "caption": f"There is <p>{names[0]}</p> and <p>{names[1]}</p>."}
        if row.conditions == "categories":
            conditions = tuple(Condition(name) for name in names)
        elif row.conditions == "regions":
            conditions = tuple(Condition(region=Region(track[0])) for track in tracks)
        elif row.conditions in ("expressions", "questions"):
            conditions = (Condition(f"the {names[0]} box"),)
        else:
            conditions = ()
        found = tracks if len(conditions) != 1 else tracks[:1]
        return Sample(
            sample_id=f"{row.name}/{index}",
            task=row.name,
            frames=list(frames),
            prompt=Prompt(conditions, "What is there?" if row.is_chat else ""),
            objects=() if row.is_chat else tuple(ObjectTrack(i + 1, i, t) for i, t in enumerate(found)),
            answer=answer.get(row.prompt),
        )
