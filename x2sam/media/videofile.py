"""Video files, read one frame at a time with PyAV, never whole in memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError

from x2sam.errors import MediaError
from x2sam.media.display import picture, readable, shape_of_pixels, square
from x2sam.media.pictures import MAX_PIXELS
from x2sam.media.timeline import Clock, Key, Timeline
from x2sam.signatures import MOTION_JPEG, begins_like, head_of
from x2sam.types import Frame

CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,mpegts,mpeg,flv,ogg,asf,mjpeg,h264,hevc,ivf,yuv4mpegpipe,\
mpegvideo,m4v,dv,mxf,nut,obu"
"""What may be opened. Playlists and text formats stay out: they could point at other files."""
UNTIMED = {"h264", "hevc", "mjpeg", "m4v", "obu"}
"""Formats without time stamps: their frames come at the frame rate."""
COUNTED = {"avi"}
"""Formats that number their packets in the order of decoding; a packet's place in it says when a frame is shown."""
INDEXED = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}
"""Formats whose packets are frames, each with the time at which it is shown, if the codec has it so."""
WHOLE = {
    "h264",
    "hevc",
    "av1",
    "libdav1d",
    "libaom",
    "vp9",
    "libvpx-vp9",
    "prores",
    "mjpeg",
    "png",
    "qtrle",
    "dnxhd",
    "ffv1",
}
"""Codecs that make one frame of one packet. (VP8 hides frames, MPEG-4 packs two into one or leaves them out.)"""
ESTIMATED = {"mpegts", "mpeg", "mpegvideo", *UNTIMED}
"""Formats whose header does not say how long they are."""


class VideoFile:
    """The frames of one video file. Every iteration decodes it anew from its start.

    A frame's number is its place in that iteration. Numbers, times and the length come from the packet headers where
    these are to be trusted, otherwise from decoding the file once.
    """

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
            self._shown = self._square(first, shape_of_pixels(stream))
            self._format = container.format.name
            self._telling = self._format in INDEXED and stream.codec_context.name in WHOLE
            self._telling &= not first.interlaced_frame  # its two fields may be two packets
            self._origin: int | None = first.pts
            self.size: tuple[int, int] = picture(first, self._shown).shape[:2]
        self._known: Timeline | None = None

    def open(self) -> Any:
        """The file as PyAV sees it; close it after use."""
        source = BytesIO(self._source) if isinstance(self._source, bytes) else str(self._source)
        limits = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
        try:
            format = "mjpeg" if Path(self._name).suffix.lower() in MOTION_JPEG else None
            container = av.open(source, format=format, container_options=limits, metadata_errors="replace")
            if not begins_like(container.format.name, head_of(self._source)):
                container.close()
                raise ValueError("a picture in something else")
        except (FFmpegError, OSError, ValueError) as error:
            raise MediaError(
                f"Got {self._name}, which is neither a picture nor a video that can be decoded",
                "JPEG, PNG, WebP, HEIC, TIFF, BMP, GIF, mp4, mov, webm, mkv, avi or a folder of frames",
                f"It may be cut off or of another kind; try to play it first ({type(error).__name__})",
            ) from None
        return container

    # --- which frames there are ---------------------------------------------------------------------------------------

    @property
    def length(self) -> int:
        """Number of frames."""
        return len(self.timeline)

    @property
    def times(self) -> list[float] | None:
        """Seconds of every frame since the first; None where the file does not say."""
        timeline = self.timeline
        return timeline.times if timeline.timed else None

    @property
    def timeline(self) -> Timeline:
        """The frames as iterating shows them, without unpacking pixels where the headers tell."""
        if self._known is None:
            self._known = self._headers() or self._count()
        return self._known

    def _headers(self) -> Timeline | None:
        """From the packets' headers; None where they need not be the frames."""
        stamps = array("q")
        keys: list[Key] = []
        if not self._telling or self._origin is None:
            return None
        with self.open() as container:
            for packet in readable(container.demux(self._stream(container)), []):
                if not packet.size or packet.is_discard:
                    continue
                if packet.pts is None or packet.is_corrupt:
                    return None
                if packet.pts >= self._origin:
                    stamps.append(packet.pts)
                    if packet.is_keyframe:
                        keys.append(Key(packet.pts, packet.dts, packet.size))
        return Timeline.of_headers(stamps, keys, self._unit) if self._origin in stamps else None

    def _count(self) -> Timeline:
        """From decoding the file once."""
        found, clock = Timeline(), self._clock()
        with self.open() as container:
            stream = self._stream(container)
            context = stream.codec_context
            context.options = {**context.options, "skip_loop_filter": "all"}  # the pixels do not matter here
            for frame in self._decode(container, stream, found.keys):
                found.show(frame.pts, self._time(clock, frame))
        return found

    def _clock(self) -> Clock:
        return Clock(self._unit, self.fps)

    def _time(self, clock: Clock, frame: Any) -> float | None:
        return clock.tick(None if self._format in UNTIMED else frame.dts if self._format in COUNTED else frame.pts)

    # --- reading ------------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[tuple[int, float | None, Frame]]:
        seen, clock, end = Timeline(), self._clock(), 0.0
        told = self._known if self._known is not None and self._known.from_headers else None
        with self.open() as container:
            for index, frame in enumerate(self._decode(container, self._stream(container), seen.keys)):
                time = self._time(clock, frame)
                seen.show(frame.pts, time)
                end = (time or 0.0) + (frame.duration or 0) * self._unit
                number = index if told is None else told.number(frame.pts)
                if number is None:  # the headers were wrong
                    told, number = None, index
                yield number, time, picture(frame, self._shown)
        if told is None:  # numbers that were given out stay, even if damage left some of the frames out
            self._known = seen
        if self._end is not None and end < self._end - max(0.1, 3 / (self.fps or 25)):
            self._warn(f"{self._name} ends early: {end:.1f} of {self._end:.1f} seconds can be read")

    def pick(self, indices: Sequence[int]) -> Iterator[Frame]:
        """The frames at these rising indices; where one is damaged, the next that is whole (or the last)."""
        with closing(_Cursor(self)) as cursor:
            for index in indices:
                yield picture(cursor.reach(index), self._shown)

    def _stream(self, container: Any) -> Any:
        stream = container.streams.best("video")
        if stream is None or stream.disposition & av.stream.Disposition.attached_pic:  # the cover of a record
            raise MediaError(f"Got {self._name}, which holds no video", "a file with pictures in it, not only sound")
        if stream.codec_context is None:
            raise MediaError(
                f"Got {self._name}, whose pictures are packed in a way that is not known here",
                "a video of a common codec",
                "Convert it first, for instance: ffmpeg -i FILE out.mp4",
            )
        if stream.width * stream.height > MAX_PIXELS:
            raise MediaError(
                f"Got {self._name} of {stream.width}x{stream.height} pixels",
                f"at most {MAX_PIXELS // 10**6} million pixels",
            )
        stream.thread_type = "AUTO"
        return stream

    def _decode(
        self, container: Any, stream: Any, keys: list[Key] | None = None, key: Key | None = None
    ) -> Iterator[Any]:
        """Decoded frames, past whatever is damaged.

        keys: takes the packets from which decoding can start. key: begin at this one, which is near after a seek.
        """
        damage: list[str] = []
        for packet in readable(container.demux(stream), damage):
            if keys is not None and packet.is_keyframe and packet.pts is not None and packet.size:
                keys.append(Key(packet.pts, packet.dts, packet.size))
            if key is not None:
                if packet.is_keyframe and packet.pts is not None and packet.pts > key.pts:
                    return
                if (packet.pts, packet.size) != (key.pts, key.size):
                    continue
                key = None
            try:
                yield from packet.decode()
            except FFmpegError as error:
                damage.append(error.strerror or "unreadable")
        with suppress(FFmpegError):  # a file that broke off has not been flushed
            yield from stream.codec_context.decode(None)
        if damage:
            self._warn(f"{self._name} is damaged: {len(damage)} of its packets were skipped ({damage[0]})")

    @staticmethod
    def _square(frame: Any, shape: float) -> tuple[int, int]:
        size = square(frame.width, frame.height, shape)
        return size if size[0] * size[1] <= MAX_PIXELS else (frame.width, frame.height)

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)

    @staticmethod
    def _stated_end(container: Any, stream: Any) -> float | None:
        """Seconds that the header promises, to notice a file that was cut off."""
        if container.format.name in ESTIMATED:
            return None
        if stream.duration:
            return float(stream.duration * stream.time_base)
        alone = len(container.streams) == 1
        return container.duration / av.time_base if alone and container.duration else None


class _Cursor:
    """A place in an open file, moved from frame to frame by number.

    A seek is only a request: where it landed is told by the packets that come. Decoding begins at the very key that
    was meant; if that is past, or what follows is not what the timeline says, the next try starts further back, and
    the last at the file's start.
    """

    def __init__(self, file: VideoFile) -> None:
        self._file = file
        self._lenient = False
        self._container: Any = None
        self._frame: Any = None
        self._number = -1

    def close(self) -> None:
        """Let go of the file."""
        if self._container is not None:
            self._container.close()

    def reach(self, number: int) -> Any:
        """The frame with this number, decoded."""
        if number == 0:  # the file's first; nothing else need be known
            return self._count_up_to(0)
        timeline = self._file.timeline
        self._lenient = timeline.from_headers
        near = self._number < number and (number == self._number + 1 or not timeline.key_between(self._number, number))
        if self._number == number or (self._frame is not None and near and self._advance(timeline, number)):
            return self._frame
        for key in timeline.starts(number):
            for moment in self._moments(key):
                if self._jump(moment, key) and self._advance(timeline, number):
                    return self._frame
        return self._from_start(timeline, number)

    def _moments(self, key: Key) -> list[int]:
        """What to ask for, to land on a key: formats are searched by either of its stamps, and some land behind it."""
        decoded = key.pts if key.dts is None else key.dts
        wanted = [key.pts, decoded] if self._file._format == "matroska,webm" else [decoded, key.pts]
        return list(dict.fromkeys([*wanted, decoded - round(1 / self._file._unit)]))

    def _jump(self, moment: int, key: Key) -> bool:
        if self._container is None:
            self._begin()
        self._frame, self._number = None, -1
        try:
            self._container.seek(moment, stream=self._stream)
        except (FFmpegError, OSError, OverflowError):
            return False
        self._frames = self._file._decode(self._container, self._stream, None, key)
        return True

    def _advance(self, timeline: Timeline, number: int) -> bool:
        """Go on to a frame; False where it is not on this way."""
        while self._number < number:
            frame = next(self._frames, None)
            place = None if frame is None else self._place(timeline, frame.pts)
            if place is None or (self._frame is None and place > number):
                return False
            self._frame, self._number = frame, place
        return True

    def _place(self, timeline: Timeline, stamp: int | None) -> int | None:
        """The number of the frame that came next."""
        following = self._number + 1
        if self._frame is not None and following < len(timeline) and timeline.stamp(following) == stamp:
            return following
        found = timeline.number(stamp)
        if self._frame is None:
            return found
        return found if self._lenient and found is not None and found > self._number else None

    def _from_start(self, timeline: Timeline, number: int) -> Any:
        """By counting; of headers that proved wrong no more is believed."""
        if timeline.from_headers:
            self._file._known = self._file._count()
            return self.reach(min(number, self._file.length - 1))
        return self._count_up_to(number)

    def _count_up_to(self, number: int) -> Any:
        self._begin()
        for place, frame in enumerate(self._frames):
            self._number, self._frame = place, frame
            if place == number:
                break
        if self._frame is None:
            raise MediaError(f"Got {self._file._name}, whose frame {number} cannot be decoded", "a whole video file")
        return self._frame

    def _begin(self) -> None:
        """Stand before the first frame."""
        self.close()
        self._container = self._file.open()
        self._stream = self._file._stream(self._container)
        self._frames = self._file._decode(self._container, self._stream)
        self._frame, self._number = None, -1
