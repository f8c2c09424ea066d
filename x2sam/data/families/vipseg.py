"""VIPSeg: video panoptic segmentation. A json as COCO panoptic's, with videos; PNG colours are segment ids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from x2sam.data.base import Packed, Records, Split, drawn_for, lazy_frames, part, read_json, record_error
from x2sam.data.families._folders import sample_name, tracks_in, windows
from x2sam.data.families.coco import Vocabulary
from x2sam.types import ObjectTrack, Sample


def read(root: Path, split: Split, seed: int) -> Records:
    """Options: ``json``; ``images`` and ``masks``, folders with ``<video>/<frame>``; ``categories``, ``window``.

    Pixels of no segment are void.
    """
    path, images, masks = (root / split.options[key] for key in ("json", "images", "masks"))
    content = read_json(path, dict)
    vocabulary = Vocabulary.of(part(content, "categories", list, path, None), path)
    videos = Packed(_videos(content, vocabulary, path))
    lengths = [len(frames) for _, frames in videos]
    index = [(n, frames) for n, length in enumerate(lengths) for frames in windows(length, split.options)]

    def make(number: int) -> Sample:
        n, frames = index[number]
        name, records = videos[n]
        stems, rows = zip(*(records[t] for t in frames), strict=True)
        segments = _segments(f"video {name}", rows, path)
        files = [masks / name / f"{stem}.png" for stem in stems]
        tracks, void = tracks_in(files)
        for file, shown, listed in zip(files, zip(*tracks.values(), strict=True), rows, strict=False):
            unknown = {i for i, mask in zip(tracks, shown, strict=True) if mask} - {row[0] for row in listed}
            if unknown:
                got = f"pixels of the segment {min(unknown)}, which {path.name} does not list for this frame"
                raise record_error(file, None, got, "segments of 'segments_info'")
        present = {segments[i][0] for i in tracks}
        prompt, places = vocabulary.ask(present, split.options.get("categories"), drawn_for(seed, number))
        return Sample(
            sample_id=sample_name(name, frames, lengths[n]),
            task=split.task,
            # The official converter writes the masks' names (.png) for the images, too, which are JPEG files.
            frames=lazy_frames([images / name / f"{stem}.jpg" for stem in stems]),
            prompt=prompt,
            objects=tuple(ObjectTrack(i, places[segments[i][0]], t, segments[i][1]) for i, t in tracks.items()),
            ignore=void,
        )

    return Records(len(index), make)


def _videos(content: Any, vocabulary: Vocabulary, path: Path) -> list[Any]:
    """Of every video its name and, of every frame, the file's name without ending and the segments."""
    annotated = {
        part(record, "video_id", str, path, n): part(record, "annotations", list, path, n)
        for n, record in enumerate(part(content, "annotations", list, path, None))
    }
    videos = []
    for n, video in enumerate(part(content, "videos", list, path, None)):
        name = part(video, "video_id", str, path, n)
        where = f"video {name}"
        frames = {part(f, "image_id", str, path, where): f for f in part(annotated, name, list, path, where)}
        records = []
        for image in sorted(part(video, "images", list, path, where), key=lambda i: part(i, "id", str, path, where)):
            stem = Path(part(image, "file_name", str, path, where)).stem
            rows = part(part(frames, image["id"], dict, path, where), "segments_info", list, path, where)
            records.append([stem, [_segment(row, vocabulary, path, where) for row in rows]])
        videos.append([name, records])
    return videos


def _segment(row: Any, vocabulary: Vocabulary, path: Path, where: str) -> list[Any]:
    """Id, place of the category, and whether it is a crowd."""
    position = vocabulary.position(part(row, "category_id", int, path, where), path, where)
    return [part(row, "id", int, path, where), position, bool(row.get("iscrowd"))]


def _segments(name: str, frames: Sequence[Any], path: Path) -> dict[int, tuple[int, bool]]:
    """The category's place, and whether it is a crowd, of every segment of the frames."""
    segments: dict[int, tuple[int, bool]] = {}
    for rows in frames:
        for i, position, crowd in rows:
            if segments.setdefault(i, (position, crowd))[0] != position:
                raise record_error(path, name, f"the segment {i} of two categories", "one for a segment of a video")
    return segments
