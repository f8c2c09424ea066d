"""YouTube-VIS json, 2019 and 2021, and anybody's own in that form: objects with a mask on every frame of a video."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from x2sam.data.base import Packed, Records, Split, drawn_for, lazy_frames, part, picture_size, read_json, record_error
from x2sam.data.families._folders import masks_of, sample_name, windows
from x2sam.data.families.coco import Vocabulary, slashed
from x2sam.types import ObjectTrack, Sample


def read(root: Path, split: Split, seed: int) -> Records:
    """Options: ``json``, ``images`` (the folder its file names start from), ``categories``, ``window``, ``spread``, and
    ``own``, true for anybody's data: names and sizes are looked at more closely.
    """
    own = split.options.get("own", False)
    path, images = root / split.options["json"], root / split.options["images"]
    content = read_json(path, dict)
    categories = part(content, "categories", list, path, None)
    vocabulary = Vocabulary.of_own(content, path) if own else Vocabulary.of(categories, path)
    videos = Packed(_with_annotations(content, split, vocabulary, path))
    lengths = [len(video["file_names"]) for video, _ in videos]
    index = [(n, frames) for n, length in enumerate(lengths) for frames in windows(length, split.options)]

    def make(number: int) -> Sample:
        n, frames = index[number]
        video, annotations = videos[n]
        size = video["height"], video["width"]
        names = video["file_names"]
        files = [images / slashed(part(names, t, str, path, f"video {video['id']}")) for t in frames]
        for file in files if own else ():
            if (shown := picture_size(file)) != size:
                got = f"{size[1]}x{size[0]} pixels, but {file.name} has {shown[1]}x{shown[0]}"
                raise record_error(path, f"video {video['id']}", got, "the size of its frames")
        found = [
            (a, masks_of(a["segmentations"], frames, lengths[n], path, f"annotation {a['id']}", size))
            for a in annotations
        ]
        seen = [(a, vocabulary.positions[a["category_id"]], masks) for a, masks in found if any(masks)]
        present = {position for _, position, _ in seen}
        prompt, places = vocabulary.ask(present, split.options.get("categories"), drawn_for(seed, number))
        return Sample(
            sample_id=sample_name(str(video["id"]), frames, lengths[n]),
            task=split.task,
            frames=lazy_frames(files),
            prompt=prompt,
            objects=tuple(
                ObjectTrack(a["id"], places[position], masks, bool(a.get("iscrowd"))) for a, position, masks in seen
            ),
        )

    return Records(len(index), make)


def _with_annotations(content: Any, split: Split, vocabulary: Vocabulary, path: Path) -> list[Any]:
    """Every video with its annotations; each checked as far as that costs no masks."""
    tracks: dict[Any, list[Any]] = defaultdict(list)
    there = not split.hidden or content.get("annotations")  # the public validation splits have none
    for n, a in enumerate(part(content, "annotations", list, path, None) if there else ()):
        name = f"annotation {part(a, 'id', int, path, n)}"
        vocabulary.position(part(a, "category_id", int, path, name), path, name)
        part(a, "segmentations", list, path, name)
        tracks[part(a, "video_id", (int, str), path, name)].append(a)
    videos = []
    for n, video in enumerate(part(content, "videos", list, path, None)):
        number = part(video, "id", (int, str), path, n)
        for key, kind in (("file_names", list), ("height", int), ("width", int)):
            part(video, key, kind, path, f"video {number}")
        videos.append((video, tracks.pop(number, [])))
    for number, left in tracks.items():
        raise record_error(path, f"annotation {left[0]['id']}", f"the video {number}", "an id of 'videos', used once")
    return videos
