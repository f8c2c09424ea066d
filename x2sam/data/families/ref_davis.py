"""Ref-DAVIS17: four text files of expressions, one an annotator, about the objects of DAVIS 2017."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from x2sam.data.base import Records, Split, read_bytes, record_error
from x2sam.data.families._folders import (
    Expression,
    Masks,
    Video,
    frame_names,
    phrase_records,
    read_list,
    tracks_in,
    whole_number,
)

MISSPELT = {"clasic-car": "classic-car", "dog-scale": "dogs-scale", "motor-bike": "motorbike"}
"""Names of videos in the text files, and what the videos are called."""


def read(root: Path, split: Split, seed: int) -> Records:
    """Options: ``texts``, the annotators' files; ``list``, names of videos; ``images`` and ``masks``, folders with
    ``<video>/<frame>``; ``phrases``, ``window``.

    A sample's id is ``annotator/video/object``; annotators are counted from 0 in the order of ``texts``.
    """
    images, masks = root / split.options["images"], root / split.options["masks"]
    names = read_list(root / split.options["list"])
    frames = {name: tuple(frame_names(images / name)) for name in names}
    videos = []
    for annotator, text in enumerate(split.options["texts"]):
        said = _expressions(root / text)
        videos += [
            Video(f"{annotator}/{name}", frames[name], tuple(said[name]), folder=name) for name in names if name in said
        ]

    def find(video: Video, asked: Sequence[Expression], frames: range) -> list[Mapping[int, Masks]]:
        wanted = {i for e in asked for i in e.objects}
        found, _ = tracks_in([masks / video.folder / f"{video.frames[t]}.png" for t in frames], wanted)
        return [{i: found[i] for i in e.objects if i in found} for e in asked]

    return phrase_records(split, images, videos, find)


def _expressions(path: Path) -> dict[str, list[Expression]]:
    """Lines of ``video object "expression"``; two of the four files are Latin-1."""
    content = read_bytes(path)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    said: dict[str, list[Expression]] = defaultdict(list)
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split(maxsplit=2)
        if words and len(words) < 3:
            raise record_error(path, f"line {number}", f"{line!r:.80}", 'a video, an object and "an expression"')
        if words:
            key = str(whole_number(words[1], path, f"line {number}"))
            said[MISSPELT.get(words[0], words[0])].append(Expression(key, words[2].strip().strip('"'), (int(key),)))
    return said
