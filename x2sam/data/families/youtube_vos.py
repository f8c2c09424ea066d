"""YouTube-VOS: objects to be followed from their mask on the first frame that shows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from x2sam.data.base import Records, Split, lazy_frames, part, read_json, record_error
from x2sam.data.families._folders import frame_names, sample_name, tracks_in, whole_number, windows
from x2sam.types import Condition, ObjectTrack, Prompt, Region, Sample

# fmt: off
UNSEEN = frozenset({
    "backpack", "ball", "bottle", "box", "butterfly", "camera", "chameleon", "cloth", "cup", "eyeglasses", "flag",
    "guitar", "handbag", "jellyfish", "kangaroo", "microphone", "mirror", "ring", "rope", "shovel", "small_panda",
    "spider", "stuffed_toy", "table", "tissue", "watch",
})
# fmt: on
"""Categories that only the validation split has."""


def read(root: Path, split: Split, seed: int) -> Records:
    """Options: ``meta``; ``images`` and ``masks``, folders with ``<video>/<frame>``; ``part``: ``seen``, ``unseen`` or
    ``all``, by whether training has the object's category; ``objects`` of a sample (absent: all); ``window``.

    Frames without a PNG count as unlabelled, as all but the first of an object do in the public validation split.
    """
    path, images, masks = (root / split.options[key] for key in ("meta", "images", "masks"))
    videos = []
    for name, video in part(read_json(path, dict), "videos", dict, path, None).items():
        objects = _objects(f"video {name}", video, split.options.get("part", "all"), path)
        if objects:
            videos.append(Video(name, tuple(frame_names(images / name)), objects))
    return records(split, images, masks, videos)


@dataclass(frozen=True)
class Video:
    """A video and the objects that are to be followed in it."""

    name: str
    frames: tuple[str, ...]
    """Names of the frames, without the ending."""
    objects: Mapping[int, tuple[str, frozenset[str]]] = field(default_factory=dict)
    """The category of every object, and the frames that show it; empty: all that the masks show."""


def records(split: Split, images: Path, masks: Path, videos: Sequence[Video]) -> Records:
    """A sample for every ``objects`` of a window of a video; each is asked for by the first mask it has there."""
    index = [(video, *chosen) for video in videos for chosen in _parts(video, split.options)]

    def make(number: int) -> Sample:
        video, wanted, frames = index[number]
        stems = [video.frames[t] for t in frames]
        files = [masks / video.name / f"{stem}.png" for stem in stems]
        tracks, _ = tracks_in([file if file.is_file() else None for file in files], wanted or None)
        if not tracks or (lost := sorted(set(wanted) - set(tracks))):
            got = f"no pixel of the object {lost[0]}" if tracks else "no mask"
            raise record_error(masks / video.name, None, got, f"PNGs with object ids, one of {stems[0]} to {stems[-1]}")
        regions = []
        for i, track in tracks.items():
            first, mask = next((t, mask) for t, mask in enumerate(track) if mask)
            regions.append(Region(mask, frame=first, object_id=i, name=video.objects.get(i, (None,))[0]))
        name = video.name if "objects" not in split.options else f"{video.name}/{','.join(map(str, wanted))}"
        return Sample(
            sample_id=sample_name(name, frames, len(video.frames)),
            task=split.task,
            frames=lazy_frames([images / video.name / f"{stem}.jpg" for stem in stems]),
            prompt=Prompt(tuple(Condition(region=region) for region in regions)),
            objects=tuple(ObjectTrack(i, n, track) for n, (i, track) in enumerate(tracks.items())),
        )

    return Records(len(index), make)


def _parts(video: Video, options: Mapping[str, Any]) -> Iterator[tuple[list[int], range]]:
    """The objects and the frames of every sample."""
    for frames in windows(len(video.frames), options):
        stems = {video.frames[t] for t in frames}
        shown = [i for i, (_, where) in video.objects.items() if not stems.isdisjoint(where)]
        size = options.get("objects") or max(len(shown), 1)
        yield from ((shown[n : n + size], frames) for n in range(0, len(shown), size))
        if not video.objects:
            yield [], frames


def _objects(where: str, video: Any, which: str, path: Path) -> dict[int, tuple[str, frozenset[str]]]:
    """The category of every object of one part of the categories, and the frames that show it."""
    objects = {}
    for key, row in part(video, "objects", dict, path, where).items():
        category = part(row, "category", str, path, f"{where}, object {key}")
        if which == "all" or (category in UNSEEN) == (which == "unseen"):
            frames = frozenset(part(row, "frames", list, path, f"{where}, object {key}"))
            if not frames:
                raise record_error(path, f"{where}, object {key}", "no frames", "the frames that show the object")
            name = category.replace("gaint", "giant").replace("_", " ")  # the file's own spelling
            objects[whole_number(key, path, where)] = (name, frames)
    return objects
