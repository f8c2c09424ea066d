"""Files for the evaluation servers of splits whose ground truth is hidden.

phrases   Annotations/VIDEO/EXPRESSION/FRAME.png, 0 and 255      Ref-YouTube-VOS, MeViS
objects   Annotations/VIDEO/FRAME.png, object ids as palette     YouTube-VOS
tracks    results.json, one entry a track                        YouTube-VIS
"""

from __future__ import annotations

import json
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from x2sam.data.base import PictureFiles, Records, Split, clean_name, read_json
from x2sam.errors import InputError
from x2sam.evaluate.answers import Answer, View
from x2sam.masks import RLE, BoolMask, union
from x2sam.results.formats import DAVIS_PALETTE
from x2sam.tasks import get_task
from x2sam.types import Sample


def submit(split: Split, records: Records, answers: Iterable[Answer], root: Path, folder: Path) -> Path:
    """Write what the server of a split takes; returns the file.

    Raises:
        InputError: a task without a server's format.
    """
    task = get_task(split.task)
    pairs = ((records[answer.index], answer) for answer in answers)
    if task.answer == "generic" and task.media == "video":
        return _tracks(split, pairs, root, folder / "results.json")
    if task.media != "video" or not (task.one_region or task.answer == "best"):
        raise InputError(f"Got {split.name} to submit", "a video split of phrases, objects or tracks")
    pictures = _objects(pairs) if task.one_region else _phrases(pairs)
    path = folder / "submission.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, picture in pictures:
            buffer = BytesIO()
            picture.save(buffer, "PNG")
            archive.writestr(zipfile.ZipInfo(f"Annotations/{name}.png"), buffer.getvalue())
    return path


def _phrases(pairs: Iterable[tuple[Sample, Answer]]) -> Iterator[tuple[str, Image.Image]]:
    for sample, answer in pairs:
        video, _, names = _place(sample).partition("/")
        for condition, expression in enumerate(names.split(",")):
            for t, stem in enumerate(_stems(sample)):
                mask = _joined(answer.views.get("default"), t, condition, sample)
                yield f"{video}/{expression}/{stem}", Image.fromarray(mask.astype(np.uint8) * 255)


def _objects(pairs: Iterable[tuple[Sample, Answer]]) -> Iterator[tuple[str, Image.Image]]:
    """Frames of one video may come from several samples, some of its objects in each."""
    maps: dict[str, np.ndarray] = {}
    for sample, answer in pairs:
        video = _place(sample).partition("/")[0]
        for t, stem in enumerate(_stems(sample)):
            ids = maps.setdefault(f"{video}/{stem}", np.zeros(sample.frames[0].shape[:2], dtype=np.uint8))
            for condition, asked in enumerate(sample.prompt.conditions):
                mask = _joined(answer.views.get("default"), t, condition, sample)
                ids[mask] = asked.region.object_id if asked.region is not None else condition + 1
    for name, ids in maps.items():
        picture = Image.fromarray(ids, mode="P")
        picture.putpalette(DAVIS_PALETTE)
        yield name, picture


def _tracks(split: Split, pairs: Iterable[tuple[Sample, Answer]], root: Path, path: Path) -> Path:
    rows = read_json(root / split.options["json"], dict)["categories"]
    numbers = {clean_name(row["name"]): row["id"] for row in rows}
    entries: list[dict[str, Any]] = []
    for sample, answer in pairs:
        tracks: dict[tuple[int, int], list[Any]] = {}
        scores = defaultdict(list)
        view = answer.views.get("instance")
        for t, segments in enumerate(view.frames if view is not None else ()):
            for segment in segments:
                key = segment.condition, segment.object_id
                tracks.setdefault(key, [None] * len(sample.frames))[t] = segment.rle.to_coco()
                scores[key].append(segment.score)
        place = _place(sample)
        video = int(place) if place.isdigit() else place
        for key, masks in tracks.items():
            entries.append(
                {
                    "video_id": video,
                    "category_id": numbers[answer.labels[key[0]]],
                    "score": sum(scores[key]) / len(scores[key]),
                    "segmentations": masks,
                }
            )
    path.write_text(json.dumps(entries))
    return path


def _place(sample: Sample) -> str:
    """The sample's name without the window of frames."""
    return sample.sample_id.partition("@")[0]


def _stems(sample: Sample) -> list[str]:
    frames = sample.frames
    if isinstance(frames, PictureFiles):
        return [path.stem for path in frames.paths]
    return [f"{t:05d}" for t in range(len(frames))]


def _joined(view: View | None, t: int, condition: int, sample: Sample) -> BoolMask:
    found: list[RLE] = []
    if view is not None and t < len(view.frames):
        found = [segment.rle for segment in view.frames[t] if segment.condition == condition]
    return union(found).decode() if found else np.zeros(sample.frames[0].shape[:2], dtype=bool)
