"""Semantic maps: one picture of category numbers for every photo (COCO's panoptic_semseg, ADE20K).

Options: images, masks (folders with files of one stem), names (a json with COCO's ``categories``, or ADE20K's table
``objectInfo150.txt``), shift (added to the stored numbers; ADE20K's own maps need -1), categories.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from x2sam.data.base import (
    Records,
    Split,
    drawn_for,
    lazy_frames,
    part,
    read_bytes,
    read_ids,
    read_json,
    record_error,
)
from x2sam.data.families.coco import Vocabulary
from x2sam.masks import RLE
from x2sam.types import ObjectTrack, Sample

UNLABELLED = 255
"""The stored number of pixels that nobody labelled."""


def read(root: Path, split: Split, seed: int) -> Records:
    """One sample per map, one object per category in it, whose id is the category's place from 1. 255 is void."""
    options = split.options
    vocabulary = _names(root / options["names"])
    folder, images, shift = root / options["masks"], root / options["images"], options.get("shift", 0)
    stems = sorted(path.stem for path in folder.glob("*.png"))
    if not stems:
        raise record_error(folder, None, "no PNG is there", "a semantic map for every photo", "Look at --root")

    def make(index: int) -> Sample:
        png = folder / f"{stems[index]}.png"
        stored = read_ids(png)  # [H, W]
        ids = np.where(stored == UNLABELLED, -1, stored + shift)
        present = [int(i) for i in np.flatnonzero(np.bincount(ids.ravel() + 1)[1:])] if ids.min() >= -1 else [-1]
        if present and not 0 <= present[0] <= present[-1] < len(vocabulary.names):
            got = f"the numbers {stored.min()} to {stored.max()}"
            raise record_error(png, None, got, f"those of {len(vocabulary.names)} categories, or {UNLABELLED}")
        prompt, place = vocabulary.ask(present, options.get("categories"), drawn_for(seed, index))
        objects = tuple(ObjectTrack(i + 1, place[i], (RLE.encode(ids == i),)) for i in present)
        frames = lazy_frames([images / f"{stems[index]}.jpg"])
        return Sample(stems[index], split.task, frames, prompt, objects, ignore=(RLE.encode(ids < 0),))

    return Records(len(stems), make)


def _names(file: Path) -> Vocabulary:
    if file.suffix == ".json":
        return Vocabulary.of(part(read_json(file, dict), "categories", list, file, None), file)
    lines = [line.split("\t") for line in read_bytes(file).decode("utf-8", "replace").splitlines()[1:] if line.strip()]
    if any(len(cells) < 2 or not cells[0].strip().isdigit() for cells in lines):
        raise record_error(file, None, "a line that is no row of a table", "a number, tabs, and a name at the end")
    return Vocabulary.of([{"id": int(cells[0]), "name": cells[-1]} for cells in lines], file)
