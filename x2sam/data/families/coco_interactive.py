"""COCO-Interactive (PSALM): objects of COCO with a point, scribble, box and mask drawn for each.

Options: json, images, prompt ("point", "scribble", "box" or "mask"). Points are stored as single pixels and scribbles
as thin lines, which are dilated as PSALM does before it shows them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scipy import ndimage

from x2sam.data.base import Packed, Records, Split, lazy_frames, mask_of, part, read_json, record_error
from x2sam.data.families.coco import Image, named, track
from x2sam.masks import RLE
from x2sam.types import Condition, Prompt, Region, Sample

RADIUS = {"point": 10, "scribble": 5}
"""Pixels by which what is stored is made thicker."""


def read(root: Path, split: Split, seed: int) -> Records:
    """One sample per annotation: its region, and the one object that it means."""
    file, kind = root / split.options["json"], split.options["prompt"]
    data = read_json(file, list)
    pairs = [(number, i) for number, row in enumerate(data) for i in range(len(part(row, "anns", list, file, number)))]
    images = Packed(data)
    del data

    def make(index: int) -> Sample:
        number, i = pairs[index]
        row = images[number]
        image = Image.of(part(row, "image_info", dict, file, number), file, number)
        annotation: Any = row["anns"][i]
        name = named(annotation, image)
        code = part(annotation, f"{kind}_visual_prompt_mask", dict, file, name)
        drawn = mask_of(code, image.height, image.width, file, name)
        if drawn is None:
            raise record_error(file, name, f"no {kind}", "a prompt of every kind")
        key = part(annotation, "id", int, file, name)
        region = Region(_thicker(drawn, RADIUS.get(kind, 0)), kind, object_id=key)
        found = track(annotation, 0, image, file)
        frames = lazy_frames([root / split.options["images"] / image.file_name])
        prompt = Prompt((Condition(region=region),))
        return Sample(f"{image.key}/{key}", split.task, frames, prompt, (found,) if found is not None else ())

    return Records(len(pairs), make)


def _thicker(mask: RLE, radius: int) -> RLE:
    """All pixels at most ``radius`` away."""
    if not radius or not mask.area:
        return mask
    return RLE.encode(ndimage.distance_transform_edt(~mask.decode()) <= radius)
