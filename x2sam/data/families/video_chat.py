"""VideoInstruct-100K: questions and answers about whole videos (`VideoChatGPT`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import overload

from x2sam.data.base import Packed, Records, Split, part, read_json, record_error
from x2sam.errors import MediaError
from x2sam.media.opening import open_media
from x2sam.types import Frame, Prompt, Sample

ENDINGS = (".mp4", ".mkv", ".webm", ".avi", ".mov")


class SpreadFrames(Sequence[Frame]):
    """At most ``most`` frames of a video file, evenly spread; they are read together when one is asked for."""

    def __init__(self, path: Path, most: int) -> None:
        self.path, self.most = path, most

    @cached_property
    def _frames(self) -> list[Frame]:
        try:
            return [frame for _, _, frame in open_media(self.path, kind="video").sample(self.most)]
        except MediaError as error:
            raise record_error(self.path, None, error.got, error.expected, error.hint) from None

    def __len__(self) -> int:
        return len(self._frames)

    @overload
    def __getitem__(self, index: int) -> Frame: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Frame]: ...
    def __getitem__(self, index: int | slice) -> Frame | Sequence[Frame]:
        return self._frames[index]


def read(root: Path, split: Split, seed: int) -> Records:
    """Options: ``json``; ``videos``, the folder of the video files; ``frames`` of a sample.

    Each question is a sample. Those about videos that are not in the folder are left out: many have left the web.
    """
    path, folder = root / split.options["json"], root / split.options["videos"]
    files = {file.stem: file.name for file in sorted(folder.glob("*")) if file.suffix.lower() in ENDINGS}
    turns: Counter[str] = Counter()
    rows = []
    for n, row in enumerate(read_json(path, list)):
        question, answer, video = (part(row, key, str, path, n) for key in ("q", "a", "video_id"))
        if video in files:
            rows.append([f"{video}/{turns[video]}", files[video], question, answer])
            turns[video] += 1
    if not rows:
        raise record_error(folder, None, f"none of the videos that {path.name} asks about", f"files *{ENDINGS[0]}")
    packed = Packed(rows)

    def make(index: int) -> Sample:
        name, file, question, answer = packed[index]
        frames = SpreadFrames(folder / file, split.options["frames"])
        return Sample(name, split.task, frames, Prompt(text=question), answer=answer)

    return Records(len(packed), make)
