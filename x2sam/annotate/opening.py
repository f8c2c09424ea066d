"""Media from anywhere, and pieces of films as media of their own."""

from __future__ import annotations

import posixpath
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from x2sam.annotate.sources import Item
from x2sam.media.opening import FILMS, Clip, open_media
from x2sam.media.streams import TimedFrame
from x2sam.store import patiently, reach
from x2sam.types import Frame


def open_item(item: Item) -> Clip:
    """The medium of an item; what is far away is fetched, films to the disk.

    Raises:
        MediaError: what cannot be read. OSError: what is not there. UnreachableError: what did not answer.
    """
    address = item["input"]
    if "://" not in address:
        clip = open_media(address)
    else:
        fs, path = reach(address)
        if posixpath.splitext(path)[1].lower() in FILMS:
            folder = tempfile.TemporaryDirectory(prefix="x2sam-")
            file = Path(folder.name) / posixpath.basename(path)
            patiently(lambda: fs.get_file(path, str(file)), address)
            clip = open_media(file)
            clip._download = folder  # deleted with the clip
        else:
            clip = open_media(patiently(lambda: fs.cat_file(path), address))
    clip.name = item["name"]
    if "frames" in item:
        whole, clip = clip, Clip(Piece(clip, *item["frames"]), "video", item["name"])
        clip._download = whole._download
    return clip


class Piece:
    """The frames ``start`` to ``stop`` of a clip, numbered from 0, with the clip's times."""

    def __init__(self, clip: Clip, start: int, stop: int) -> None:
        self._clip, self.start, self.stop = clip, start, stop
        self.fps, self.warnings, self.size = clip.fps, clip.warnings, clip.size
        self.length = stop - start
        self.times: Sequence[float] | None = clip.times[start:stop] if clip.times else None

    def __iter__(self) -> Iterator[TimedFrame]:
        for at in range(self.start, self.stop, CHUNK):
            indices = range(at, min(at + CHUNK, self.stop))
            for index, frame in zip(indices, self._clip._frames.pick(indices), strict=True):
                yield index - self.start, self.times[index - self.start] if self.times else None, frame

    def pick(self, indices: Sequence[int]) -> Iterator[Frame]:
        """The frames at these of the piece's indices."""
        return self._clip._frames.pick([self.start + i for i in indices])


CHUNK = 64
"""Frames between two seeks in a film."""
