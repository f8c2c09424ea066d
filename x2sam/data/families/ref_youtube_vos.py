"""Ref-YouTube-VOS: expressions about the objects of YouTube-VOS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from x2sam.data.base import Records, Split, part, read_json
from x2sam.data.families._folders import Expression, Masks, Video, phrase_records, track_in, tracks_in, whole_number


def read(root: Path, split: Split, seed: int) -> Records:
    """Options: ``expressions``; ``images`` and ``masks``, folders with ``<video>/<frame>``; ``phrases``, ``window``,
    ``spread``. ``per_expression``: true for masks in ``<video>/<expression>/<frame>``, one object to a PNG.

    Where the ground truth is on a server and not in the folder, the samples have no objects.
    """
    path, images, masks = (root / split.options[key] for key in ("expressions", "images", "masks"))

    def find(video: Video, asked: Sequence[Expression], frames: range) -> list[Mapping[int, Masks]]:
        names = [f"{video.frames[t]}.png" for t in frames]
        if split.hidden and not (masks / video.name).is_dir():
            return []
        if split.options.get("per_expression"):
            tracks = [track_in([masks / video.name / e.name / name for name in names]) for e in asked]
            return [{e.objects[0]: track} if any(track) else {} for e, track in zip(asked, tracks, strict=True)]
        found, _ = tracks_in([masks / video.name / name for name in names], {i for e in asked for i in e.objects})
        return [{i: found[i] for i in e.objects if i in found} for e in asked]

    return phrase_records(split, images, _videos(path), find)


def _videos(path: Path) -> list[Video]:
    videos = []
    for name, video in part(read_json(path, dict), "videos", dict, path, None).items():
        where = f"video {name}"
        expressions = [
            # The public validation split does not say which object is meant; the expression's id stands for it.
            Expression(key, part(e, "exp", str, path, where), (whole_number(e.get("obj_id", key), path, where),))
            for key, e in part(video, "expressions", dict, path, where).items()
        ]
        frames = part(video, "frames", list, path, where)
        videos.append(Video(name, tuple(sorted(frames)), tuple(expressions)))
    return videos
