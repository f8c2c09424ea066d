"""V-VGD: for a region that shows one object of a category on one frame, all objects of that category in a video."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from x2sam.data.base import Packed, Records, Split, drawn_for, lazy_frames, mask_of, part, read_json
from x2sam.data.families._folders import sample_name, seen, windows
from x2sam.data.families.coco import Image, named
from x2sam.data.families.coco_vgd import KINDS, kinds_of, names_in, pointed
from x2sam.masks import RLE
from x2sam.types import Condition, ObjectTrack, Prompt, RegionKind, Sample

Shown = tuple[int, Any]
"""A frame of the sample and an annotation on it."""


def read(root: Path, split: Split, seed: int) -> Records:
    """Options: ``json``; ``images``, the folder its file names start from; ``names``, a json whose ``categories`` name
    the regions; ``prompt``, their kind (absent: drawn for each); ``window``, ``spread``, ``shortest``. ``first``: true
    to point only at objects on the sample's first frame.

    One region per category, in the order of their ids; the frame and the object it is on are drawn from the seed. What
    cannot be pointed at leaves the sample, and a window without anything to point at is none.
    """
    options, file = split.options, root / split.options["json"]
    kinds = (options["prompt"],) if "prompt" in options else KINDS
    names = names_in(root / options["names"]) if "names" in options else {}
    first = options.get("first", False)
    data = read_json(file, list)
    index = [
        (n, frames)
        for n, video in enumerate(data)
        for frames in windows(len(part(video, "annotations", list, file, n)), options)
        if _pointable(video, frames, kinds, first, file)
    ]
    videos = Packed(data)
    del data

    def make(number: int) -> Sample:
        n, frames = index[number]
        video, rng = videos[n], drawn_for(seed, number)
        pointable = _pointable(video, frames, kinds, first, file)
        conditions, objects = [], []
        for place, category in enumerate(sorted(pointable)):
            t, annotation = pointable[category][rng.integers(len(pointable[category]))]
            region = pointed(annotation, kinds, _image(video, frames[t], file), file, rng)
            name = annotation.get("category") or names.get(category, f"category {category}")
            key = object_id(annotation, frames[t])
            conditions.append(Condition(region=replace(region, frame=t, object_id=key, name=name)))
            objects += _tracks(video, frames, category, place, file)
        return Sample(
            sample_id=sample_name(str(video["video_id"]), frames, len(video["annotations"])),
            task=split.task,
            frames=lazy_frames([root / options["images"] / video["image_files"][t] for t in frames]),
            prompt=Prompt(tuple(conditions)),
            objects=tuple(objects),
        )

    return Records(len(index), make)


def object_id(annotation: Any, frame: int) -> int:
    """Which object an annotation on a frame shows. The release says it in the id: a hundred times the object's, plus
    the frame, counted with frames that were left out because they show nothing.
    """
    return annotation.get("object_id", (annotation["id"] - frame) // 100)


def _image(video: Any, frame: int, file: Path) -> Image:
    """The name and the size of a frame."""
    where = f"video {part(video, 'video_id', (int, str), file, None)}"
    name = part(part(video, "image_files", list, file, where), frame, str, file, where)
    size = part(part(video, "image_sizes", list, file, where), frame, list, file, where)
    return Image(name, name, part(size, 0, int, file, where), part(size, 1, int, file, where))


def _pointable(
    video: Any, frames: range, kinds: Sequence[RegionKind], first: bool, file: Path
) -> dict[int, list[Shown]]:
    """Of every category the objects that have a prompt, with the frame."""
    found = defaultdict(list)
    for t, frame in enumerate(frames[:1] if first else frames):
        image = _image(video, frame, file)
        for annotation in part(video["annotations"], frame, list, file, image.file_name):
            if kinds_of(annotation, kinds, image, file):
                found[annotation["category_id"]].append((t, annotation))
    return found


def _tracks(video: Any, frames: range, category: int, condition: int, file: Path) -> list[ObjectTrack]:
    """The objects of a category."""
    found: dict[int, list[RLE | None]] = {}
    for t, frame in enumerate(frames):
        image = _image(video, frame, file)
        for annotation in video["annotations"][frame]:
            if annotation["category_id"] == category:
                code = part(annotation, "segmentation", (dict, list), file, named(annotation, image))
                mask = seen(mask_of(code, image.height, image.width, file, named(annotation, image)))
                found.setdefault(object_id(annotation, frame), [None] * len(frames))[t] = mask
    return [ObjectTrack(i, condition, tuple(masks)) for i, masks in found.items() if any(masks)]
