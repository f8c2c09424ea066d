"""The grounded video captions of VideoGLaMM. Their phrases point to objects; the four forms differ in where these are.

``mevis`` and ``ytvos``: a caption a file, masks as in MeViS (a json) or YouTube-VOS (palette PNGs). ``folders``
(VidSTG, HC-STVG): a caption a file, a folder of PNGs an object. ``words``: one json like YouTube-VIS's, where single
words of a caption have masks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from x2sam.data.base import Packed, Records, Split, lazy_frames, part, read_json, record_error
from x2sam.data.families._folders import (
    Masks,
    frame_names,
    mask_dict,
    masks_of,
    sample_name,
    track_in,
    tracks_in,
    whole_number,
    windows,
)
from x2sam.types import ObjectTrack, Prompt, Sample

MARKED = re.compile(r"\[([^\]]*)\]\(([^)]*)\)")
"""``[phrase](1, 2)``: what is said of the objects 1 and 2."""

Tracks = Mapping[int, Masks]
Caption = tuple[str, list[tuple[int, ...]]]
"""The text with its phrases between ``<p>`` and ``</p>``, and the objects of every phrase."""


@dataclass(frozen=True)
class Video:
    """A video with its caption."""

    name: str
    frames: Sequence[Path]
    caption: Callable[[], Caption]
    masks: Callable[[Sequence[int], range], Tracks]
    """From object ids and frames to the masks of each object."""


def read(root: Path, split: Split, seed: int) -> Records:
    """Options: ``form``; ``captions``, a folder of ``<video>.json`` (of ``words``: the json); ``images``; ``masks``
    (mevis, ytvos); ``expressions`` (mevis); ``window``, ``spread``.

    Every window has the caption of the whole video.
    """
    paths = {key: root / value for key, value in split.options.items() if isinstance(value, str)}
    videos = list(FORMS[split.options["form"]](paths))
    index = [(video, frames) for video in videos for frames in windows(len(video.frames), split.options)]

    def make(number: int) -> Sample:
        video, frames = index[number]
        answer, phrases = video.caption()
        found = video.masks(sorted({i for objects in phrases for i in objects}), frames)
        return Sample(
            sample_id=sample_name(video.name, frames, len(video.frames)),
            task=split.task,
            frames=lazy_frames([video.frames[t] for t in frames]),
            prompt=Prompt(),
            objects=tuple(
                ObjectTrack(i, n, found[i]) for n, ids in enumerate(phrases) for i in ids if any(found.get(i, ()))
            ),
            answer=answer,
        )

    return Records(len(index), make)


def _captions(folder: Path) -> Iterator[tuple[str, Callable[[], Caption]]]:
    """Names of videos, and how to read their captions."""
    return ((name, partial(_parsed, folder / f"{name}.json")) for name in frame_names(folder, ".json"))


def _parsed(path: Path) -> Caption:
    text = part(read_json(path, dict), "caption", str, path, None)
    phrases = [tuple(whole_number(i, path, said) for i in ids.split(",")) for said, ids in MARKED.findall(text)]
    return MARKED.sub(r"<p>\1</p>", text).strip(), phrases


def _mevis(paths: Mapping[str, Path]) -> Iterator[Video]:
    path, find = paths["expressions"], mask_dict(paths["masks"])
    said = part(read_json(path, dict), "videos", dict, path, None)
    for name, caption in _captions(paths["captions"]):
        video = part(said, name, dict, path, None)
        stems = sorted(part(video, "frames", list, path, f"video {name}"))
        annotations: dict[int, int] = {}
        for e in part(video, "expressions", dict, path, f"video {name}").values():
            pairs = zip(*(part(e, key, list, path, f"video {name}") for key in ("obj_id", "anno_id")), strict=False)
            annotations |= {int(i): int(a) for i, a in pairs}
        files = [paths["images"] / name / f"{stem}.jpg" for stem in stems]
        yield Video(name, files, caption, partial(_by_annotation, find, annotations, len(stems)))


def _by_annotation(find: Any, annotations: Mapping[int, int], length: int, ids: Sequence[int], frames: range) -> Tracks:
    return {i: find(annotations[i], frames, length) for i in ids if i in annotations}


def _ytvos(paths: Mapping[str, Path]) -> Iterator[Video]:
    for name, caption in _captions(paths["captions"]):
        stems = frame_names(paths["masks"] / name, ".png")
        files = [paths["images"] / name / f"{stem}.jpg" for stem in stems]
        yield Video(name, files, caption, partial(_by_id, [paths["masks"] / name / f"{stem}.png" for stem in stems]))


def _by_id(files: Sequence[Path], ids: Sequence[int], frames: range) -> Tracks:
    return tracks_in([files[t] for t in frames], ids)[0]


def _folders(paths: Mapping[str, Path]) -> Iterator[Video]:
    for name, caption in _captions(paths["captions"]):
        folder = paths["images"] / name
        stems = frame_names(folder / "frames", ".png")
        files = [folder / "frames" / f"{stem}.png" for stem in stems]
        yield Video(name, files, caption, partial(_by_folder, folder / "masks", stems))


def _by_folder(folder: Path, stems: Sequence[str], ids: Sequence[int], frames: range) -> Tracks:
    return {i: track_in([folder / f"{i:03d}" / f"{stems[t]}.png" for t in frames]) for i in ids}


def _words(paths: Mapping[str, Path]) -> Iterator[Video]:
    path = paths["captions"]
    content = read_json(path, dict)
    rows = part(content, "annotations", list, path, None)
    places = {part(row, "id", int, path, n): n for n, row in enumerate(rows)}
    tracks = Packed(part(row, "segmentations", list, path, n) for n, row in enumerate(rows))
    for n, video in enumerate(part(content, "videos", list, path, None)):
        where = f"video {part(video, 'id', int, path, n)}"
        said = part(video, "dense_cap", dict, path, where)
        if not said.get("token_pos") or len(said["token_pos"]) != len(said.get("mask_id") or ()):
            continue  # a caption without masks, or whose words and masks do not match
        source = part(video, "dataset_split", str, path, where)
        side = "train/JPEGImages" if source == "yt19" else "train" if path.stem == "train" else "val"
        names = part(video, "file_names", list, path, where)
        files = [paths["images"] / source / side / name for name in names]
        size = part(video, "height", int, path, where), part(video, "width", int, path, where)
        masks = partial(_by_code, tracks, places, path, len(files), size)
        yield Video(str(video["id"]), files, partial(_marked_words, said, path, where), masks)


def _by_code(
    tracks: Packed,
    places: Mapping[int, int],
    path: Path,
    length: int,
    size: tuple[int, int],
    ids: Sequence[int],
    frames: range,
) -> Tracks:
    codes = {i: tracks[part(places, i, int, path, None)] for i in ids}
    return {i: masks_of(codes[i], frames, length, path, f"annotation {i}", size) for i in ids}


def _marked_words(said: Any, path: Path, where: str) -> Caption:
    """The caption with a phrase for every marked word, in the order of the words."""
    words = part(said, "caption", str, path, where).split(" ")
    objects: dict[int, list[int]] = {}
    for position, i in sorted(zip(said["token_pos"], said["mask_id"], strict=True)):
        if not 0 <= position < len(words):
            raise record_error(path, where, f"the word {position} of a caption of {len(words)} words")
        objects.setdefault(position, []).append(i)
    text = " ".join(f"<p>{word}</p>" if n in objects else word for n, word in enumerate(words))
    return text, [tuple(ids) for ids in objects.values()]


FORMS: dict[str, Callable[[Mapping[str, Path]], Iterator[Video]]] = {
    "mevis": _mevis,
    "ytvos": _ytvos,
    "folders": _folders,
    "words": _words,
}
