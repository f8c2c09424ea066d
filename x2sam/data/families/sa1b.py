"""SA-1B: masks of anything, without names. Folders of ``sa_<number>.jpg`` with a json of masks beside each.

Options: folder (holds the folders, or the files themselves), most (masks of a sample at most).
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from pathlib import Path

import numpy as np

from x2sam.data.base import Records, Split, lazy_frames, part, read_json, record_error
from x2sam.data.families.coco import Image, track
from x2sam.types import Condition, Prompt, Sample


def read(root: Path, split: Split, seed: int) -> Records:
    """One sample per picture; every object belongs to the one condition ``object``."""
    folder = root / split.options["folder"]
    shelves = sorted(path for path in folder.glob("sa_*") if path.is_dir()) or [folder]
    # Eleven million names are kept as numbers.
    numbers = [np.array(sorted(int(p.stem[3:]) for p in s.glob("sa_*.json") if p.stem[3:].isdigit())) for s in shelves]
    ends = list(accumulate(map(len, numbers)))
    if not ends[-1]:
        raise record_error(folder, None, "no sa_<number>.json is there", "SA-1B's folders", "Look at --root")

    def make(index: int) -> Sample:
        shelf = bisect_right(ends, index)
        file = shelves[shelf] / f"sa_{numbers[shelf][index - ends[shelf]]}.json"
        record = read_json(file, dict)
        row = part(record, "image", dict, file, None)
        image = Image.of({"id": row.get("image_id", file.stem), "file_name": f"{file.stem}.jpg", **row}, file)
        annotations = part(record, "annotations", list, file, None)[: split.options.get("most")]
        tracks = (track(annotation, 0, image, file) for annotation in annotations)
        frames = lazy_frames([file.with_suffix(".jpg")])
        prompt = Prompt((Condition("object"),))
        return Sample(file.stem, split.task, frames, prompt, tuple(t for t in tracks if t is not None))

    return Records(ends[-1], make)
