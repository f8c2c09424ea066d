"""Media of every kind as one type: a `Clip` gives frames one at a time, and an image is a clip of one frame."""

from __future__ import annotations

import base64
import os
import re
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from PIL import Image

from x2sam.errors import InputError, MediaError
from x2sam.media.cameras import open_camera, open_live
from x2sam.media.pictures import Animation, as_array, flatten, is_animated, open_picture, to_frame
from x2sam.media.streams import Arrival, Stream, TimedFrame
from x2sam.media.videofile import VideoFile
from x2sam.names import stem_of
from x2sam.types import Frame

WALK = 8
"""Frames that are fetched together where a clip is walked in any direction."""
MAX_DOWNLOAD = 2 * 1024**3
"""Bytes that are fetched from a URL at most."""
ENDINGS = {
    ".jpg",
    ".jpeg",
    ".png",
    ".webp",
    ".avif",
    ".heic",
    ".heif",
    ".gif",
    ".tif",
    ".tiff",
    ".bmp",
    ".ppm",
    ".pgm",
    ".tga",
    ".jp2",
}
"""Files of a folder that count as frames."""
FILMS = {
    *(".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".vob", ".flv"),
    *(".wmv", ".asf", ".3gp", ".ogv", ".mjpeg", ".mjpg", ".y4m", ".h264", ".hevc", ".ivf", ".dv", ".mxf"),
}
"""Usual endings of videos."""

Kind = Literal["image", "video"]
Source = Any
"""A path, URL, bytes, open file, array, PIL image, camera number, list or iterator of pictures, or a `Clip`."""


class _Frames(Protocol):
    """Where the frames of a clip come from: one class per kind of source, `VideoFile` among them."""

    fps: float | None
    warnings: list[str]

    @property
    def size(self) -> tuple[int, int]: ...
    @property
    def length(self) -> int | None: ...
    @property
    def times(self) -> Sequence[float] | None: ...
    def __iter__(self) -> Iterator[TimedFrame]: ...
    def pick(self, indices: Sequence[int]) -> Iterator[Frame]: ...


class Clip:
    """One opened medium. Iterating gives ``(index, seconds or None, frame)``; frames are ``[H, W, 3]`` uint8, RGB.

    Files, folders, lists and arrays can be iterated again and again. What comes from an iterator, a camera or a network
    stream comes once: `sample` then looks at the *first* frames and the next iteration still begins with them.
    """

    def __init__(self, frames: _Frames, kind: Kind, name: str) -> None:
        self._frames = frames
        self.kind: Kind = kind
        self.name = name
        """The file's name, or what stands for it."""
        self.path: Path | None = None
        """The file or folder, if there is one."""
        self.fps = frames.fps if kind == "video" else None
        self.warnings = frames.warnings
        """What went wrong without stopping, such as damaged parts that were skipped; grows while iterating."""
        self._download: tempfile.TemporaryDirectory[str] | None = None  # deleted with the clip

    def __getstate__(self) -> dict[str, Any]:
        """For pickle: whoever gets it opens the files again."""
        fetched = self._download is not None and self.kind == "video"
        if self.stream is not None or fetched:
            got = f"Got {self.name} to pickle, which {'was downloaded' if fetched else 'comes once'}"
            raise InputError(got, "a result of a file, a folder, an array or a list", "Pass on result.to_dict()")
        return {**self.__dict__, "_download": None}

    @property
    def size(self) -> tuple[int, int]:
        """Height and width; of a stream, those of its newest frame."""
        return self._frames.size

    @property
    def stream(self) -> Stream | None:
        """The source, if its frames come once."""
        return self._frames if isinstance(self._frames, Stream) else None

    @property
    def stem(self) -> str:
        """The name without its ending, fit to be stored under."""
        return stem_of(self.name)

    def frame_name(self, index: int) -> str:
        """File name of a frame as its owner knows it: its own where it has one, else its number."""
        own = self._frames.name_of(index) if isinstance(self._frames, _Sequence) else None
        if own or self.kind == "video":
            return own or f"{index:05d}.jpg"
        return self.name if Path(self.name).suffix or self.path is not None else f"{self.stem}.png"

    @property
    def length(self) -> int | None:
        """Number of frames, from the file's packet headers; None for streams."""
        return 1 if self.kind == "image" else self._frames.length

    @property
    def times(self) -> Sequence[float] | None:
        """Seconds of every frame since the first; None where unknown."""
        return None if self.kind == "image" else self._frames.times

    @property
    def sound(self) -> VideoFile | None:
        """The file that sounds, if this is a video with sound."""
        frames = self._frames
        return frames if isinstance(frames, VideoFile) and frames.has_sound and self.kind == "video" else None

    def __iter__(self) -> Iterator[TimedFrame]:
        if self.kind == "video":
            return iter(self._frames)
        return ((index, None, frame) for index, _, frame in islice(self._frames, 1))

    def arrivals(self) -> Iterator[Arrival]:
        """The same, with what came and cannot be used: then an error stands in place of the picture."""
        return self.stream.arrivals() if self.stream is not None and self.kind == "video" else iter(self)

    def frame_at(self, index: int) -> Frame:
        """One frame; of a stream, one that `sample` has read, or one of the newest that it remembers."""
        if self.length is not None and not 0 <= index < self.length:
            raise InputError(f"Got frame {index} of {self.name}", f"0 to {self.length - 1}")
        return next(iter(self._frames.pick([index])))

    def walk(self, indices: Sequence[int]) -> Iterator[tuple[int, Frame]]:
        """The frames at rising or falling indices; of a stream, those that are at hand. A few are held at a time."""
        wanted = [i for i in indices if self.stream is None or i in self.stream]
        for start in range(0, len(wanted), WALK):
            chunk = wanted[start : start + WALK]
            frames = dict(zip(sorted(chunk), self._frames.pick(sorted(chunk)), strict=True))
            yield from ((i, frames.pop(i)) for i in chunk)

    def recent(self, index: int, n: int) -> list[TimedFrame]:
        """At most ``n`` frames up to the one at ``index``; of a stream, those that are at hand."""
        if self.stream is not None:
            return [timed for timed in self.stream.passed if timed[0] <= index][-n:]
        times, indices = self.times, range(max(0, index + 1 - n), index + 1)
        return [(i, times[i] if times else None, frame) for i, frame in self.walk(indices)]

    def sample(self, n: int) -> list[TimedFrame]:
        """At most ``n`` frames spread evenly over the time of the clip, the first and the last among them.

        Nothing else is kept, and long files are not decoded in between. Of a stream: its first ``n`` frames.
        """
        if n < 1:
            raise InputError(f"Got {n} frames to sample", "at least 1")
        if isinstance(self._frames, Stream):
            return self._frames.peek(self.length or n)
        times = self.times
        indices = _spread(n, self.length or 1, times)
        frames = zip(indices, self._frames.pick(indices), strict=True)
        return [(index, times[index] if times else None, frame) for index, frame in frames]


def open_media(source: Source, *, kind: Kind | None = None, fps: float | None = None) -> Clip:
    """Open one medium.

    source: the path of a picture, a video or a folder of frames; a URL (http, https, rtsp, ...); bytes; an open binary
        file; an array ``[H, W]``, ``[H, W, C]`` or ``[T, H, W, C]`` with C = 1, 3 or 4, of uint8, uint16, bool or
        floats from 0 to 1; a PIL image; the number of a camera; a list or an iterator of pictures.
    kind: what to take it for; by default what it is. An animation or a video taken for an image is its first frame.
    fps: frames a second, for sources that do not say (folders, arrays, lists, iterators).
    Raises MediaError for what cannot be read.
    """
    if kind not in (None, "image", "video"):
        raise InputError(f"Got the kind {kind!r}", "'image' or 'video'")
    if isinstance(source, Clip):
        return source
    if isinstance(source, str) and source.isdigit() and not os.path.lexists(source):
        source = int(source)
    if isinstance(source, str) and source[:5].lower() == "data:":
        return _open_file(embedded(source), "media", kind)
    if isinstance(source, str) and "://" in source:
        return _open_url(source, kind)
    if isinstance(source, (str, os.PathLike)):
        path = _path(source)
        with file_errors(path.name):
            clip = _open_folder(path, kind, fps) if path.is_dir() else _open_file(path, path.name, kind)
        clip.path = path
        return clip
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _open_file(bytes(source), "media", kind)
    if hasattr(source, "read"):
        return _spool(source, Path(str(getattr(source, "name", "file"))).name, kind)
    if isinstance(source, (int, np.integer)):
        return Clip(Stream(open_camera(int(source)), f"camera {source}"), kind or "video", f"camera {source}")
    return _open_objects(source, kind, fps)


def _path(source: str | os.PathLike[Any]) -> Path:
    """The path, as it is if that exists; else with ``~`` for the home."""
    path = Path(os.fsdecode(source))
    if os.path.lexists(path):
        return path
    try:
        return path.expanduser()
    except RuntimeError:  # no such user, or no home
        return path


@contextmanager
def file_errors(name: str) -> Iterator[None]:
    """Whatever the file system says against a path is said in one sentence."""
    try:
        yield
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        why = getattr(error, "strerror", None) or error
        raise MediaError(f"Got {name[:120]!r}, which cannot be read ({why})", "a file that may be read") from None


def embedded(url: str) -> bytes:
    """The bytes of a ``data:`` URL."""
    head, comma, body = url.partition(",")
    try:
        if not comma or not head.lower().endswith(";base64"):
            raise ValueError
        return base64.b64decode("".join(body.split()), validate=True)
    except ValueError:
        raise MediaError(f"Got {url[:40]!r}", "data:image/png;base64,... with whole base64") from None


def open_pushed(fps: float | None = None) -> Clip:
    """A stream whose frames the caller pushes; ``fps``: frames a second, if they come evenly."""
    return Clip(Stream(None, "the stream", fps), "video", "stream")


# --- kinds of sources -------------------------------------------------------------------------------------------------


class _Sequence:
    """Frames that can be had in any order: items, and a function that reads one."""

    def __init__(self, items: Sequence[Any], name: str, read: Callable[[Any], Frame], times: Any, fps: float | None):
        if len(items) == 0:
            raise MediaError(f"Got {name} without any frame", "at least one frame")
        self._items, self._name, self._read = items, name, read
        self.length, self.times, self.fps = len(items), times, fps
        self.warnings: list[str] = []
        self.size: tuple[int, int] = read(items[0]).shape[:2]

    def __iter__(self) -> Iterator[TimedFrame]:
        for index, item in enumerate(self._items):
            frame = self._whole(index, item)
            if frame is not None:
                yield index, self.times[index] if self.times else None, frame

    def name_of(self, index: int) -> str | None:
        item = self._items[index]
        return item.name if isinstance(item, Path) else None

    def pick(self, indices: Sequence[int]) -> Iterator[Frame]:
        """The frames at these indices; where one cannot be read, the next that can (or the last before)."""
        for index in indices:
            near = [*range(index, self.length), *range(index - 1, -1, -1)]
            yield next(frame for i in near if (frame := self._whole(i, self._items[i])) is not None)

    def _whole(self, index: int, item: Any) -> Frame | None:
        """One frame; None for a bad file of a folder, which is no reason to lose the others."""
        try:
            frame = self._read(item)
        except MediaError as error:
            if not isinstance(item, Path):
                raise
            if str(error) not in self.warnings:
                self.warnings.append(str(error))
            return None
        return _of_size(frame, self.size, index, self._name)


def _open_file(source: Path | bytes, name: str, kind: Kind | None) -> Clip:
    if isinstance(source, Path) and not source.is_file():
        raise MediaError(f"Got {str(source)!r}, which does not exist", "a picture, a video or a folder of frames")
    if not (source if isinstance(source, bytes) else source.stat().st_size):
        raise MediaError(f"Got {name}, which is empty (0 bytes)", "a picture or a video", "Copy or download it again")
    image = open_picture(source, name)
    if image is None:
        return Clip(VideoFile(source, name), kind or "video", name)
    if kind != "image" and is_animated(image):
        animation = Animation(image, name, source)
        frames = _Sequence(range(animation.length), name, animation.read, animation.times, animation.fps)
        frames.warnings += animation.warnings
        return Clip(frames, "video", name)
    with image:
        frame = flatten(image, name)
    return Clip(_Sequence([frame], name, _itself, None, None), kind or "image", name)


def _itself(item: Any) -> Any:
    return item


def _open_folder(path: Path, kind: Kind | None, fps: float | None) -> Clip:
    """A folder of frames, in natural order: frame2 comes before frame10."""
    if kind == "image":
        raise MediaError(f"Got the folder {path}", "one image", "Give its files one by one")
    files = [f for f in path.iterdir() if f.suffix.lower() in ENDINGS and not f.name.startswith(".")]
    files.sort(key=lambda f: [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", f.name)])
    return Clip(_Sequence(files, f"the folder {path.name}", to_frame, _steps(len(files), fps), fps), "video", path.name)


def _open_objects(source: Any, kind: Kind | None, fps: float | None) -> Clip:
    """What is in memory already: a PIL image, an array, a list or an iterator of pictures."""
    if hasattr(source, "__array__") and not isinstance(source, Image.Image):
        source = as_array(source)
        if source.ndim == 4 or (source.ndim == 3 and kind == "video" and source.shape[2] not in (1, 3, 4)):
            source = list(source)  # views, not copies
    if isinstance(source, (Image.Image, np.ndarray)):
        source, kind = [source], kind or "image"
    name = kind or "video"
    if isinstance(source, Sequence):
        frames: _Frames = _Sequence(source, f"the {name}", to_frame, _steps(len(source), fps), fps)
    elif isinstance(source, Iterable):
        timed = ((i, i / fps if fps else None, picture) for i, picture in enumerate(source))
        frames = Stream(timed, "the iterator", fps)
    else:
        raise MediaError(
            f"Got {type(source).__name__} for a medium",
            "a path, URL, bytes, open file, array, PIL image, camera number, or a list or iterator of pictures",
        )
    return Clip(frames, name, name)


def _open_url(url: str, kind: Kind | None) -> Clip:
    parts = urllib.parse.urlsplit(url)
    name = Path(urllib.parse.unquote(parts.path)).name or parts.netloc
    if parts.scheme in ("rtsp", "rtsps", "rtmp", "srt", "rtp", "udp"):
        return Clip(Stream(open_live(url, name), name), kind or "video", name)
    if parts.scheme not in ("http", "https"):
        raise MediaError(f"Got the URL {url!r}", "http, https, rtsp, rtmp, srt, rtp or udp")
    request = urllib.request.Request(url, headers={"User-Agent": "x2sam"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return _spool(answer, name, kind, MAX_DOWNLOAD)
    except (OSError, ValueError) as error:
        if isinstance(error, MediaError):
            raise
        raise MediaError(f"Got {url}, which cannot be downloaded ({error})", "a URL that answers") from None


def _spool(stream: Any, name: str, kind: Kind | None, limit: int | None = None) -> Clip:
    """Bring an open file to the disk, so that it can be read again and again; it is deleted with the clip."""
    folder = tempfile.TemporaryDirectory(prefix="x2sam-")
    path, size = Path(folder.name) / "media", 0
    if getattr(stream, "seekable", bool)():
        stream.seek(0)
    with path.open("wb") as file:
        while chunk := stream.read(1 << 20):
            if not isinstance(chunk, bytes):
                raise MediaError(f"Got {name}, opened as text", "a binary file", "Open it with mode 'rb'")
            size += file.write(chunk)
            if limit is not None and size > limit:
                raise MediaError(f"Got {name} of more than {limit / 1024**2:.0f} MB", "a smaller file")
    clip = _open_file(path, name, kind)
    clip._download = folder
    return clip


def _of_size(frame: Frame, size: tuple[int, int], index: int, name: str) -> Frame:
    if frame.shape[:2] != size:
        raise MediaError(
            f"Got {name}, whose frame {index} has {frame.shape[1]}x{frame.shape[0]} pixels",
            f"{size[1]}x{size[0]} as in its first frame",
            "Scale the frames to one size",
        )
    return frame


def _steps(length: int, fps: float | None) -> list[float] | None:
    return [i / fps for i in range(length)] if fps else None


def _spread(n: int, length: int, times: Sequence[float] | None) -> list[int]:
    """Indices of at most ``n`` frames, evenly spread over time."""
    if n >= length:
        return list(range(length))
    clock = np.asarray(times if times else range(length), dtype=float)
    wanted = np.linspace(clock[0], clock[-1], n)
    after = np.searchsorted(clock, wanted).clip(1, length - 1)
    nearest = after - (wanted - clock[after - 1] <= clock[after] - wanted)
    return np.unique(nearest).tolist()
