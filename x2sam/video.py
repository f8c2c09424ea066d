"""Video files: read and written one frame at a time with PyAV, never whole in memory. The only user of PyAV."""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from functools import cached_property
from io import BytesIO
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import av
import numpy as np
from av.error import FFmpegError

from x2sam.errors import MediaError
from x2sam.pictures import MAX_PIXELS
from x2sam.types import Frame

CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,mpegts,mpeg,flv,ogg,asf,mjpeg,h264,hevc,ivf,yuv4mpegpipe"
"""What may be opened. Playlists and text formats stay out: they could point at other files."""
UNTIMED = {"avi", "h264", "hevc", "mjpeg", "m4v"}
"""Formats without time stamps, or with those of decoding, not showing: their frames come at the frame rate."""
CLOCK = Fraction(1, 90_000)
"""Ticks in which written frames are timed; fine enough for any frame rate, fixed or not."""
COPIED_SOUND = {"aac", "mp3", "ac3", "eac3", "opus", "alac"}
"""Sound that an mp4 file takes as it is; other sound is encoded anew."""


class _Index(NamedTuple):
    """Where the frames of a file are, from its packet headers alone."""

    pts: list[int]
    """Time stamps of all frames in the order they are shown, in units of the stream's time base."""
    keys: list[int]
    """Those from which decoding can start."""


class VideoFile:
    """The frames of one video file. Every iteration decodes it anew from its start."""

    def __init__(self, source: Path | bytes, name: str) -> None:
        self._source, self._name = source, name
        self.warnings: list[str] = []
        with self.open() as container:
            stream = self._stream(container)
            rate = stream.average_rate or stream.guessed_rate
            self.fps = float(rate) if rate else None
            self.has_sound = bool(container.streams.audio)
            self._unit = float(stream.time_base or 0)
            self._end = self._stated_end(container, stream)
            first = next(self._decode(container, stream), None)
            if first is None:
                raise MediaError(f"Got {name}, a video without frames that can be decoded", "at least one frame")
            self._coded = first.width, first.height
            self._origin = None if container.format.name in UNTIMED else first.pts
            self.size: tuple[int, int] = self._picture(first).shape[:2]

    def open(self) -> Any:
        """The file as PyAV sees it; close it after use."""
        source = BytesIO(self._source) if isinstance(self._source, bytes) else str(self._source)
        limits = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
        try:
            return av.open(source, container_options=limits, metadata_errors="replace")
        except (FFmpegError, OSError, ValueError) as error:
            raise MediaError(
                f"Got {self._name}, which is neither a picture nor a video that can be decoded",
                "JPEG, PNG, WebP, TIFF, BMP, GIF, mp4, mov, webm, mkv, avi or a folder of frames",
                f"It may be cut off or of another kind; try to play it first ({type(error).__name__})",
            ) from None

    @cached_property
    def _headers(self) -> list[tuple[int | None, bool]]:
        """Time stamp of every packet, and whether decoding can start there."""
        with self.open() as container:
            packets = _readable(container.demux(self._stream(container)), [])
            return [(packet.pts, packet.is_keyframe) for packet in packets if packet.size and not packet.is_discard]

    @cached_property
    def _index(self) -> _Index | None:
        """None where time stamps cannot be had."""
        if self._origin is None or any(pts is None for pts, _ in self._headers):
            return None
        shown = sorted((pts, key) for pts, key in self._headers if pts is not None and pts >= self._origin)
        return _Index([pts for pts, _ in shown], [pts for pts, key in shown if key]) if shown else None

    @cached_property
    def times(self) -> list[float] | None:
        """Seconds of every frame since the first, without decoding; None where the file does not say."""
        if self._index:
            return [(pts - self._index.pts[0]) * self._unit for pts in self._index.pts]
        return [i / self.fps for i in range(self.length)] if self.fps else None

    @cached_property
    def length(self) -> int:
        """Number of frames, without decoding."""
        return len(self._index.pts if self._index else self._headers)

    def __iter__(self) -> Iterator[tuple[int, float | None, Frame]]:
        time: float | None = None
        end = 0.0
        with self.open() as container:
            for index, frame in enumerate(self._decode(container, self._stream(container))):
                if self._origin is not None and frame.pts is not None:
                    time = (frame.pts - self._origin) * self._unit
                elif self.fps:
                    time = index / self.fps
                end = (time or 0.0) + (frame.duration or 0) * self._unit
                yield index, time, self._picture(frame)
        if self._end is not None and end < self._end - max(0.1, 3 / (self.fps or 25)):
            self._warn(f"{self._name} ends early: {end:.1f} of {self._end:.1f} seconds can be read")

    def pick(self, indices: Sequence[int]) -> Iterator[Frame]:
        """The frames at these rising indices; where one is damaged, the next that is whole (or the last)."""
        index = self._index
        if index is None:
            wanted, frame = deque(indices), None
            for i, _, frame in self:
                while wanted and wanted[0] <= i:
                    wanted.popleft()
                    yield frame
                if not wanted:
                    return
            yield from [frame] * len(wanted) if frame is not None else []
            return
        with self.open() as container:
            stream = self._stream(container)
            frames, last, previous = self._decode(container, stream), None, -1
            for i in indices:
                key = bisect_right(index.keys, index.pts[i])
                if i > previous + 1 and key and (last is None or index.keys[key - 1] > last.pts):
                    container.seek(index.keys[key - 1], stream=stream)
                    frames = self._decode(container, stream)
                while last is None or last.pts is None or last.pts < index.pts[i]:
                    frame = next(frames, None)
                    if frame is None:
                        break
                    last = frame
                if last is None:
                    raise MediaError(f"Got {self._name}, whose frame {i} cannot be decoded", "a whole video file")
                yield self._picture(last)
                previous = i

    def _stream(self, container: Any) -> Any:
        stream = container.streams.best("video")
        if stream is None or stream.disposition & av.stream.Disposition.attached_pic:  # the cover of a record
            raise MediaError(f"Got {self._name}, which holds no video", "a file with pictures in it, not only sound")
        if stream.width * stream.height > MAX_PIXELS:
            raise MediaError(
                f"Got {self._name} of {stream.width}x{stream.height} pixels",
                f"at most {MAX_PIXELS // 10**6} million pixels",
            )
        stream.thread_type = "AUTO"
        return stream

    def _decode(self, container: Any, stream: Any) -> Iterator[Any]:
        """Decoded frames, past whatever is damaged."""
        damage: list[str] = []
        for packet in _readable(container.demux(stream), damage):
            try:
                yield from packet.decode()
            except FFmpegError as error:
                damage.append(error.strerror or "unreadable")
        with suppress(FFmpegError):  # a file that broke off has not been flushed
            yield from stream.codec_context.decode(None)
        if damage:
            self._warn(f"{self._name} is damaged: {len(damage)} of its packets were skipped ({damage[0]})")

    def _picture(self, frame: Any) -> Frame:
        pixels = frame.to_ndarray(format="rgb24", width=self._coded[0], height=self._coded[1])
        return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)

    @staticmethod
    def _stated_end(container: Any, stream: Any) -> float | None:
        """Seconds that the header promises, to notice a file that was cut off."""
        if stream.duration:
            return float(stream.duration * stream.time_base)
        alone = len(container.streams) == 1
        return container.duration / av.time_base if alone and container.duration else None


class VideoWriter:
    """An mp4 file (H.264), written frame by frame, with the sound of ``sound`` under it."""

    def __init__(self, path: Path, size: tuple[int, int], fps: float | None, sound: VideoFile | None = None) -> None:
        self._size, self._step = size, Fraction(1 / (fps or 25)).limit_denominator(90_000)
        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        rate = (1 / self._step).limit_denominator(60_000)
        self._video: Any = self._container.add_stream("libx264", rate=rate, options={"crf": "20", "preset": "veryfast"})
        self._video.width, self._video.height = (side + side % 2 for side in reversed(size))  # H.264 wants even sides
        self._video.pix_fmt, self._video.codec_context.time_base = "yuv420p", CLOCK
        self._sound = _Sound(self._container, sound) if sound is not None and sound.has_sound else None
        self._start: float | None = None
        self._next = Fraction(0)

    def write(self, frame: Frame, time: float | None = None) -> None:
        """Append a frame ``[H, W, 3]``, to be shown at ``time`` seconds (one step after the last where None)."""
        if self._start is None:
            self._start = time or 0.0
        moment = self._next if time is None else max(Fraction(time - self._start), self._next - self._step + CLOCK)
        height, width = self._size
        padded = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        picture = av.VideoFrame.from_ndarray(padded, format="rgb24")
        picture.pts, picture.time_base = round(moment / CLOCK), CLOCK
        self._container.mux(self._video.encode(picture))
        self._next = moment + self._step
        if self._sound:
            self._sound.copy(self._start, float(self._next))

    def close(self) -> None:
        """Finish the file."""
        self._container.mux(self._video.encode(None))
        if self._sound:
            self._sound.close()
        self._container.close()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            with suppress(FFmpegError):
                self._container.close()


class _Sound:
    """The sound of one file on its way into another, no further than the pictures have got."""

    def __init__(self, target: Any, source: VideoFile) -> None:
        self._target, self._source = target, source.open()
        stream = self._source.streams.audio[0]
        self._copied = stream.codec_context.name in COPIED_SOUND
        if self._copied:
            self._out = target.add_stream_from_template(stream)
        else:
            self._out = target.add_stream("aac", rate=stream.codec_context.sample_rate)
        self._pieces = self._timed(stream, (source._origin or 0) * source._unit)
        self._waiting: tuple[float, Any] | None = next(self._pieces, None)

    def _timed(self, stream: Any, origin: float) -> Iterator[tuple[float, Any]]:
        """Packets (to copy) or frames (to encode) with their seconds on the video's clock."""
        for packet in _readable(self._source.demux(stream), []):
            pieces: list[Any] = [packet] if packet.size else []
            if not self._copied:
                with suppress(FFmpegError):
                    pieces = packet.decode()
            yield from ((float(p.pts * p.time_base) - origin, p) for p in pieces if p.pts is not None)

    def copy(self, start: float, end: float) -> None:
        """Pass on what sounds before ``end``; both in seconds, ``end`` counted from ``start``."""
        while self._waiting is not None and self._waiting[0] - start < end:
            time, piece = self._waiting
            if time >= start:
                shift = round(start / piece.time_base)
                piece.pts -= shift
                if self._copied:
                    piece.dts = piece.pts if piece.dts is None else piece.dts - shift
                    piece.stream = self._out
                    self._target.mux(piece)
                else:
                    self._target.mux(self._out.encode(piece))
            self._waiting = next(self._pieces, None)

    def close(self) -> None:
        if not self._copied:
            self._target.mux(self._out.encode(None))
        self._source.close()


def open_camera(index: int) -> Iterator[tuple[int, float | None, Frame]]:
    """Frames of the camera with this number, for ever."""
    system, device = {
        "linux": ("v4l2", f"/dev/video{index}"),
        "darwin": ("avfoundation", str(index)),
        "win32": ("dshow", f"video={index}"),
    }.get(sys.platform, ("v4l2", f"/dev/video{index}"))
    return open_live(device, f"camera {index}", system)


def open_live(address: str, name: str, system: str | None = None) -> Iterator[tuple[int, float | None, Frame]]:
    """Frames of a camera or a network stream (rtsp and the like), as they come."""
    try:
        container = av.open(address, format=system, timeout=None if system else 10.0)
        stream = container.streams.best("video")
    except (FFmpegError, OSError, ValueError) as error:
        raise MediaError(
            f"Got {name}, which cannot be opened ({error})",
            "a connected camera or a running stream",
            "Check the address",
        ) from None
    return _live(container, stream)


def _live(container: Any, stream: Any) -> Iterator[tuple[int, float | None, Frame]]:
    numbers, start = count(), None
    with container:
        for packet in _readable(container.demux(stream), []):
            frames: list[Any] = []
            with suppress(FFmpegError):
                frames = packet.decode()
            for frame in frames:
                start = frame.time if start is None else start
                time = None if frame.time is None or start is None else frame.time - start
                yield next(numbers), time, frame.to_ndarray(format="rgb24")


def _readable(packets: Iterator[Any], damage: list[str]) -> Iterator[Any]:
    """The packets up to where a file that is cut off or broken stops being readable."""
    try:
        yield from packets
    except FFmpegError as error:
        damage.append(error.strerror or "unreadable")
