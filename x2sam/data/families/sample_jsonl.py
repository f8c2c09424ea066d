"""Samples of any task, one json object a line: for own data, with a writer.

    {"id": "12", "frames": ["a.jpg"], "conditions": [{"text": "the left dog"}],
     "objects": [{"id": 1, "condition": 0, "masks": [{"size": [480, 640], "counts": "..."}]}]}

frames       paths of pictures of one size, relative to the file; one of an image, more of a video
task         a row of the task table (by default the split's)
conditions   each {"text", "is_thing": true} or {"region": mask, "kind": "mask", "frame": 0, "object_id", "name"}; of
             a region perhaps also "label" (the category that it shows) and "is_thing"
text         what is asked in words (chat)
history      questions and answers that came before (chat), each [question, answer]
objects      each {"id", "condition", "masks", "crowd": false}; one mask a frame, null where there is nothing to see
answer       what is said; phrases of grounded captions stand between <p> and </p>
times        seconds of every frame
ignore       masks of what nobody labelled, one a frame

A mask is COCO's run lengths or a list of polygons. Everything but id and frames may be left out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
from PIL import Image

from x2sam.data.base import (
    PictureFiles,
    Records,
    Split,
    lazy_frames,
    mask_of,
    parse_json,
    part,
    picture_size,
    record_error,
)
from x2sam.errors import InputError
from x2sam.masks import RLE
from x2sam.tasks import get_task
from x2sam.types import Condition, Frame, ObjectTrack, Prompt, Region, RegionKind, Sample


def read(root: Path, split: Split, seed: int) -> Records:
    """One sample per line. Of a file of a million lines, only where they begin is kept in memory."""
    file = root / split.options["json"]
    if not file.is_file():
        raise record_error(file, None, "the file is missing", "a file of json lines")
    with file.open("rb") as lines:
        ends = np.fromiter((len(line) if line.strip() else -len(line) for line in lines), np.int64)
    numbers = np.flatnonzero(ends > 0)  # blank lines count, but are no samples
    starts = (np.cumsum(np.abs(ends)) - np.abs(ends))[numbers]

    def make(index: int) -> Sample:
        with file.open("rb") as lines:
            lines.seek(starts[index])
            return Line(lines.readline(), file, f"line {numbers[index] + 1}", split.task).sample()

    return Records(len(numbers), make)


class Line:
    """One line, and how its errors call it."""

    name: str | None

    def __init__(self, text: bytes, file: Path, name: str, task: str) -> None:
        self.file, self.name = file, name
        self.row = parse_json(text, file, name)
        frames = self.get(self.row, "frames", list)
        self.paths = [file.parent / self.get(frames, i, str) for i in range(len(frames))]
        self.task = self.get(self.row, "task", str, task)
        if not self.paths:
            raise record_error(file, name, "no frames", "at least one picture")
        self.size = picture_size(self.paths[0])

    def get(self, row: Any, key: str | int, kind: type | tuple[type, ...], otherwise: Any = None) -> Any:
        if otherwise is not None and isinstance(row, dict) and row.get(key) is None:
            return otherwise
        return part(row, key, kind, self.file, self.name)

    def sample(self) -> Sample:
        try:
            task = get_task(self.task)
        except InputError as error:
            raise record_error(self.file, self.name, error.got, error.expected, error.hint) from None
        row, answer = self.row, self.get(self.row, "answer", str, "")
        conditions = tuple(self.condition(c) for c in self.get(row, "conditions", list, ()))
        named = answer.count("<p>") if task.conditions == "answer" else len(conditions)
        objects = tuple(self.track(o, named) for o in self.get(row, "objects", list, ()))
        times = self.get(row, "times", list, [])
        return Sample(
            sample_id=str(self.get(row, "id", (str, int))),
            task=self.task,
            frames=self.frames(),
            prompt=Prompt(conditions, self.get(row, "text", str, ""), self.history()),
            objects=objects,
            answer=answer or None,
            times=tuple(float(self.get(times, i, (int, float))) for i in range(len(self.paths))) if times else None,
            ignore=self.masks(row, "ignore") if row.get("ignore") else None,
        )

    def history(self) -> tuple[tuple[str, str], ...]:
        turns = self.get(self.row, "history", list, [])
        if not all(isinstance(t, list) and len(t) == 2 and all(isinstance(v, str) for v in t) for t in turns):
            raise record_error(self.file, self.name, f"the history {turns!r:.80}", "pairs of a question and an answer")
        return tuple((question, answer) for question, answer in turns)

    def frames(self) -> Sequence[Frame]:
        """The pictures, read when they are indexed."""
        return lazy_frames(self.paths)

    def condition(self, row: Any) -> Condition:
        if not isinstance(row, dict) or ("region" in row) == ("text" in row):
            raise record_error(self.file, self.name, f"the condition {row!r:.80}", "an object with a text or a region")
        if "text" in row:
            return Condition(self.get(row, "text", str), is_thing=self.get(row, "is_thing", bool, True))
        mask = mask_of(row["region"], *self.size, self.file, self.name)
        kind, frame = self.get(row, "kind", str, "mask"), self.get(row, "frame", int, 0)
        if mask is None or kind not in get_args(RegionKind) or not 0 <= frame < len(self.paths):
            got = f"a region of the kind {kind!r} on frame {frame}"
            kinds = ", ".join(get_args(RegionKind))
            raise record_error(self.file, self.name, got, f"a mask, one of {kinds}, on one of {len(self.paths)} frames")
        region = Region(mask, kind, frame, row.get("object_id"), row.get("name"))
        return Condition(row.get("label"), region, self.get(row, "is_thing", bool, True))

    def track(self, row: Any, conditions: int) -> ObjectTrack:
        place = self.get(row, "condition", int)
        if not 0 <= place < conditions:
            raise record_error(self.file, self.name, f"an object of condition {place}", f"one of {conditions}, from 0")
        return ObjectTrack(
            self.get(row, "id", int), place, self.masks(row, "masks"), self.get(row, "crowd", bool, False)
        )

    def masks(self, row: Any, key: str) -> tuple[RLE | None, ...]:
        codes = self.get(row, key, list)
        if len(codes) != len(self.paths):
            got = f"{len(codes)} {key} for {len(self.paths)} frames"
            raise record_error(self.file, self.name, got, "one for every frame, or null")
        return tuple(mask_of(code, *self.size, self.file, self.name) for code in codes)


def write(samples: Iterable[Sample], file: Path) -> int:
    """Write samples to a file of json lines; how many they were.

    Frames that are picture files are referred to, others are stored as PNG in a folder beside the file.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with file.open("w", encoding="utf-8") as lines:
        for sample in samples:
            lines.write(json.dumps(row_of(sample, _relative(_stored(sample, file, count), file.parent))) + "\n")
            count += 1
    return count


def _stored(sample: Sample, file: Path, number: int) -> list[Path]:
    if isinstance(sample.frames, PictureFiles):
        return list(sample.frames.paths)
    folder = file.with_name(f"{file.stem}_frames") / f"{number:06d}"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{t:05d}.png" for t in range(len(sample.frames))]
    for path, frame in zip(paths, sample.frames, strict=True):
        Image.fromarray(frame).save(path)
    return paths


def _relative(paths: list[Path], folder: Path) -> list[str]:
    return [Path(os.path.relpath(path, folder)).as_posix() for path in paths]


def row_of(sample: Sample, frames: list[str]) -> dict[str, Any]:
    """What a line says, with ``frames`` for paths; parts that are empty are left out."""
    row = {
        "id": sample.sample_id,
        "task": sample.task,
        "frames": frames,
        "conditions": [_condition(c) for c in sample.prompt.conditions],
        "text": sample.prompt.text,
        "history": [list(turn) for turn in sample.prompt.history],
        "objects": [
            {"id": o.object_id, "condition": o.condition, "masks": _codes(o.masks), "crowd": o.is_crowd}
            for o in sample.objects
        ],
        "answer": sample.answer,
        "times": sample.times,
        "ignore": _codes(sample.ignore) if sample.ignore is not None else None,
    }
    return {key: value for key, value in row.items() if value not in (None, "", [])}


def _condition(condition: Condition) -> dict[str, Any]:
    region = condition.region
    if region is None:
        return {"text": condition.text, "is_thing": condition.is_thing}
    about = {"kind": region.kind, "frame": region.frame, "object_id": region.object_id, "name": region.name}
    about |= {"label": condition.text, "is_thing": None if condition.is_thing else False}
    return {"region": region.rle.to_coco(), **{key: value for key, value in about.items() if value is not None}}


def _codes(masks: Iterable[RLE | None]) -> list[Any]:
    return [mask.to_coco() if mask is not None else None for mask in masks]
