"""Films: mp4 files, written frame by frame with PyAV, with the sound of the video that they show."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import av
import numpy as np
from av.error import FFmpegError
from av.video.reformatter import ColorRange, Colorspace

from x2sam.media.display import readable
from x2sam.media.videofile import VideoFile
from x2sam.types import Frame

CLOCK = Fraction(1, 90_000)
"""Ticks in which written frames are timed; fine enough for any frame rate, fixed or not."""
COPIED_SOUND = {"aac", "mp3", "ac3", "eac3", "opus", "alac"}
"""Sound that an mp4 file takes as it is; other sound is encoded anew."""
HD_LINES = 720
"""From so many lines on, films are of BT.709 colours, below of BT.601, as players take them."""


class VideoWriter:
    """An mp4 file (H.264), written frame by frame, with the sound of ``sound`` under it."""

    def __init__(self, path: Path, size: tuple[int, int], fps: float | None, sound: VideoFile | None = None) -> None:
        self._size, self._step = size, Fraction(1 / (fps or 25)).limit_denominator(90_000)
        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        rate = (1 / self._step).limit_denominator(60_000)
        self._video: Any = self._container.add_stream("libx264", rate=rate, options={"crf": "20", "preset": "veryfast"})
        self._video.width, self._video.height = (side + side % 2 for side in reversed(size))  # H.264 wants even sides
        self._video.pix_fmt, self._video.codec_context.time_base = "yuv420p", CLOCK
        self._colours = _HD if size[0] >= HD_LINES else _SD
        self._colours.tag(self._video.codec_context)
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
        coded = self._colours.convert(av.VideoFrame.from_ndarray(padded, format="rgb24"))
        coded.pts, coded.time_base = round(moment / CLOCK), CLOCK
        self._container.mux(self._video.encode(coded))
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


class _Colours(NamedTuple):
    """Colours of a film by their numbers in the standards of video (H.273)."""

    matrix: Colorspace
    number: int
    primaries: int
    transfer: int

    def convert(self, picture: Any) -> Any:
        """An RGB picture as the encoder takes it."""
        return picture.reformat(format="yuv420p", dst_colorspace=self.matrix, dst_color_range=ColorRange.MPEG)

    def tag(self, context: Any) -> None:
        """Let the film say what its colours are."""
        context.colorspace, context.color_primaries, context.color_trc = self.number, self.primaries, self.transfer
        context.color_range = ColorRange.MPEG


_HD = _Colours(Colorspace.ITU709, 1, 1, 1)
_SD = _Colours(Colorspace.ITU601, 6, 6, 6)


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
        for packet in readable(self._source.demux(stream), []):
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
