"""ReVOS: referring phrases and questions that need reasoning about the objects of a video, and about none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from x2sam.data.base import Records, Split, part, read_json
from x2sam.data.families._folders import Expression, Masks, Video, mask_dict, phrase_records, whole_number


def read(root: Path, split: Split, seed: int) -> Records:
    """Options: ``expressions``; ``masks`` (json: annotation to a mask a frame); ``images``, a folder with
    ``<video>/<frame>``; ``types``, kinds of expressions that are kept: 0 referring, 1 reasoning, 2 about what is not
    there; ``phrases``, ``window``, ``spread``. An object's id is its annotation's.
    """
    path, types = root / split.options["expressions"], set(split.options["types"])
    masks_of = mask_dict(root / split.options["masks"])
    videos = [
        _video(name, video, types, path)
        for name, video in part(read_json(path, dict), "videos", dict, path, None).items()
    ]

    def find(video: Video, asked: Sequence[Expression], frames: range) -> list[Mapping[int, Masks]]:
        tracks = [{i: masks_of(i, frames, len(video.frames)) for i in e.objects} for e in asked]
        return [{i: masks for i, masks in found.items() if any(masks)} for found in tracks]

    return phrase_records(split, root / split.options["images"], videos, find)


def _video(name: str, video: Any, types: set[int], path: Path) -> Video:
    where = f"video {name}"
    expressions = []
    for key, e in part(video, "expressions", dict, path, where).items():
        this = f"{where}, expression {key}"
        objects = tuple(whole_number(i, path, this) for i in part(e, "anno_id", list, path, this))
        if part(e, "type_id", int, path, this) in types:
            expressions.append(Expression(key, part(e, "exp", str, path, this), objects))
    return Video(name, tuple(sorted(part(video, "frames", list, path, where))), tuple(expressions))
