"""Cameras and network streams, whose frames come once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from typing import Any

import av
from av.error import FFmpegError

from x2sam.errors import MediaError
from x2sam.media.display import picture, readable, shape_of_pixels, square
from x2sam.media.timeline import Clock
from x2sam.types import Frame


def open_camera(index: int) -> Iterator[tuple[int, float | None, Frame]]:
    """Frames of the camera with this number, for ever."""
    system, device = {
        "linux": ("v4l2", f"/dev/video{index}"),
        "darwin": ("avfoundation", str(index)),
        "win32": ("dshow", f"video={index}"),
    }.get(sys.platform, ("v4l2", f"/dev/video{index}"))
    return open_live(device, f"camera {index}", system)


def open_live(address: str, name: str, system: str | None = None) -> Iterator[tuple[int, float | None, Frame]]:
    """Frames of a camera or a network stream (rtsp and the like), as they come and as they are to be shown."""
    try:
        container = av.open(address, format=system, timeout=None if system else 10.0)
        stream = container.streams.best("video")
    except (FFmpegError, OSError, ValueError) as error:
        raise MediaError(
            f"Got {name}, which cannot be opened ({error})",
            "a connected camera or a running stream",
            "Check the address",
        ) from None
    if stream is None:
        container.close()
        raise MediaError(f"Got {name}, which sends no pictures", "a stream with video in it")
    return _live(container, stream)


def _live(container: Any, stream: Any) -> Iterator[tuple[int, float | None, Frame]]:
    numbers, rate = count(), stream.average_rate or stream.guessed_rate
    clock = Clock(float(stream.time_base or 0), float(rate) if rate else None)
    shape = shape_of_pixels(stream)
    with container:
        for packet in readable(container.demux(stream), []):
            frames: list[Any] = []
            with suppress(FFmpegError):
                frames = packet.decode()
            for frame in frames:
                yield next(numbers), clock.tick(frame.pts), picture(frame, square(frame.width, frame.height, shape))
