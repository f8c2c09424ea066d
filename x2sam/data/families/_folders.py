"""What the video families share: windows of frames, masks by object id, and phrases asked of a video."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from x2sam.data.base import (
    Packed,
    Records,
    Split,
    lazy_frames,
    mask_of,
    part,
    read_bytes,
    read_ids,
    read_json,
    record_error,
)
from x2sam.masks import RLE
from x2sam.types import Condition, ObjectTrack, Prompt, Sample

Masks = tuple[RLE | None, ...]
"""The mask of one object on every frame of a sample; None where it is not visible."""


def windows(length: int, options: Mapping[str, Any]) -> list[range]:
    """Which frames of a video of ``length`` frames make a sample; every frame is in exactly one.

    Options: ``window``, frames of a sample (absent: all); ``spread``, true for windows spread over the whole video
    instead of runs of frames; ``shortest``, the least number of frames (shorter rests are left out).
    """
    most = options.get("window") or max(length, 1)
    step = math.ceil(length / most)
    if options.get("spread"):
        parts = [range(start, length, step) for start in range(step)]
    else:
        parts = [range(start, min(start + most, length)) for start in range(0, length, most)]
    return [frames for frames in parts if len(frames) >= options.get("shortest", 1)]


def sample_name(video: str, frames: range, length: int) -> str:
    """The video's name and, if the sample is a part of it, its first frame: ``video@8``."""
    return video if len(frames) == length else f"{video}@{frames.start}"


def frame_names(folder: Path, suffix: str = ".jpg") -> list[str]:
    """Names, without the ending, of the pictures in a folder, in order.

    Raises:
        DataError: a folder that is missing or holds none.
    """
    names = sorted(file.stem for file in folder.glob(f"*{suffix}"))
    if not names:
        there = "no such file in it" if folder.is_dir() else "the folder is missing"
        raise record_error(folder, None, there, f"frames *{suffix}", "Look at --root and at the data set's layout")
    return names


def read_list(path: Path) -> list[str]:
    """The lines of a text file that are not empty, such as names of videos."""
    return [line.strip() for line in read_bytes(path).decode("utf-8", "replace").splitlines() if line.strip()]


def id_maps(files: Sequence[Path]) -> Iterable[NDArray[np.int64]]:
    """The maps of ids ``[H, W]`` of PNGs, one after the other, all of one size."""
    size = None
    for file in files:
        ids = read_ids(file)
        size = size or ids.shape
        if ids.shape != size:
            got = f"a mask of {ids.shape[1]}x{ids.shape[0]} pixels in a video of {size[1]}x{size[0]}"
            raise record_error(file, None, got, "one size")
        yield ids


def tracks_in(files: Sequence[Path | None], wanted: Collection[int] | None = None) -> tuple[dict[int, Masks], Masks]:
    """The masks of every object id in PNGs, in order of id, and the pixels of no object; None: a frame without a file.

    wanted: ids of objects (absent: all but 0). One that is on no frame has no entry.
    """
    found: dict[int, list[RLE | None]] = {}
    rest: list[RLE | None] = [None] * len(files)
    maps = iter(id_maps([file for file in files if file]))
    for t in (t for t, file in enumerate(files) if file):
        ids = next(maps)
        taken = ids != 0 if wanted is None else np.isin(ids, list(wanted))
        for i in np.unique(ids[taken]).tolist():
            found.setdefault(i, [None] * len(files))[t] = RLE.encode(ids == i)
        rest[t] = None if taken.all() else RLE.encode(~taken)
    return {i: tuple(found[i]) for i in sorted(found)}, tuple(rest)


def track_in(files: Sequence[Path]) -> Masks:
    """The masks of one object in binary PNGs: every pixel but 0 belongs to it."""
    return tuple(RLE.encode(ids) if ids.any() else None for ids in id_maps(files))


def masks_of(
    codes: Sequence[Any], frames: range, length: int, path: Path, name: str, size: tuple[int, int] | None = None
) -> Masks:
    """The masks of an object on some frames of a video, from a COCO run-length code or null for every frame of it.

    size: height and width (absent: what the first code says).
    """
    if len(codes) != length:
        got = f"{len(codes)} masks for a video of {length} frames"
        raise record_error(path, name, got, "one a frame, null where the object is not visible")
    height, width = size or next((part(c, "size", list, path, name) for c in codes if c), (0, 0))
    return tuple(seen(mask_of(codes[t], height, width, path, name)) for t in frames)


def seen(mask: RLE | None) -> RLE | None:
    """The mask; None if it has no pixels."""
    return mask if mask is not None and mask.area else None


def mask_dict(path: Path) -> Callable[[int, range, int], Masks]:
    """A reader of a json file with the masks (see `masks_of`) of every annotation id.

    It takes the annotation's id, the frames that are wanted and the video's length.
    """
    content = read_json(path, dict)
    places = {key: n for n, key in enumerate(content)}
    tracks = Packed(content.values())

    def find(annotation: int, frames: range, length: int) -> Masks:
        name = f"annotation {annotation}"
        codes = tracks[part(places, str(annotation), int, path, None)]
        return masks_of(codes if isinstance(codes, list) else [], frames, length, path, name)

    return find


@dataclass(frozen=True)
class Expression:
    """A phrase or question about some objects of a video."""

    name: str
    """Its id in the file."""
    text: str
    objects: tuple[int, ...]


@dataclass(frozen=True)
class Video:
    """A video and what is asked about it."""

    name: str
    frames: tuple[str, ...]
    """Names of the frames, without the ending."""
    expressions: tuple[Expression, ...]
    source: str = ""
    """Of videos that come from several data sets: which."""
    folder: str = ""
    """Where its frames are, if that is not called as the video."""


FindMasks = Callable[[Video, Sequence[Expression], range], Sequence[Mapping[int, Masks]]]
"""The masks, by object id, that each expression means, on some frames of a video."""


def phrase_records(split: Split, images: Path, videos: Sequence[Video], find: FindMasks) -> Records:
    """A sample for every ``phrases`` expressions (absent: one) of a window of a video.

    Its id is the video's name, a slash and the expressions' names with commas between.
    """
    size = split.options.get("phrases", 1)
    index = [
        (video, video.expressions[first : first + size], frames)
        for video in videos
        for first in range(0, len(video.expressions), size)
        for frames in windows(len(video.frames), split.options)
    ]

    def make(number: int) -> Sample:
        video, asked, frames = index[number]
        name = f"{video.name}/{','.join(e.name for e in asked)}"
        return Sample(
            sample_id=sample_name(name, frames, len(video.frames)),
            task=split.task,
            frames=lazy_frames([images / (video.folder or video.name) / f"{video.frames[t]}.jpg" for t in frames]),
            prompt=Prompt(tuple(Condition(e.text) for e in asked)),
            objects=tuple(
                ObjectTrack(object_id, condition, masks)
                for condition, tracks in enumerate(find(video, asked, frames))
                for object_id, masks in tracks.items()
            ),
        )

    return Records(len(index), make)


def whole_number(value: Any, file: Path, name: str) -> int:
    """An id that a file gives as a number or as text."""
    try:
        return int(value)
    except (TypeError, ValueError):
        raise record_error(file, name, f"the id {value!r:.80}", "a whole number") from None
