"""ReasonVOS: questions about one object of a video each, whose masks are in a folder of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from x2sam.data.base import Records, Split, part, read_json
from x2sam.data.families._folders import (
    Expression,
    Masks,
    Video,
    frame_names,
    phrase_records,
    track_in,
    whole_number,
)


def read(root: Path, split: Split, seed: int) -> Records:
    """Options: ``expressions``; ``images``, a folder with ``<video>/<frame>``; ``masks``, a folder with
    ``<source>_<video>_<object>/<frame>``; ``phrases``, ``window``, ``spread``.
    """
    path = root / split.options["expressions"]
    images, masks = root / split.options["images"], root / split.options["masks"]
    videos = []
    for name, video in part(read_json(path, dict), "videos", dict, path, None).items():
        where = f"video {name}"
        expressions = tuple(
            Expression(key, part(e, "exp_text", str, path, where), (whole_number(e.get("obj_id"), path, where),))
            for key, e in part(video, "expressions", dict, path, where).items()
        )
        frames = tuple(sorted(video.get("frames") or frame_names(images / name)))
        videos.append(Video(name, frames, expressions, part(video, "source", str, path, where).lower()))

    def find(video: Video, asked: Sequence[Expression], frames: range) -> list[Mapping[int, Masks]]:
        found: list[Mapping[int, Masks]] = []
        for e in asked:
            folder = masks / f"{video.source}_{video.name}_{e.objects[0]}"
            track = track_in([folder / f"{video.frames[t]}.png" for t in frames])
            found.append({e.objects[0]: track} if any(track) else {})
        return found

    return phrase_records(split, images, videos, find)
