"""Decoded video frames as a player shows them: the right way round, of square pixels, RGB, in memory of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from av.error import FFmpegError
from av.sidedata.sidedata import Type

from x2sam.types import Frame

STRETCH = 3.0
"""Pixels of another shape than this many times as wide as high (or as high as wide) are a mistake of the header."""
ALMOST = 0.01
"""Shapes of pixels so near to a square come from rounding, and are left alone."""


def shape_of_pixels(stream: Any) -> float:
    """How many times as wide as high the pixels of a stream are shown."""
    ratio = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    shape = float(ratio) if ratio else 1.0
    return shape if 1 / STRETCH <= shape <= STRETCH and abs(shape - 1) > ALMOST else 1.0


def square(width: int, height: int, shape: float) -> tuple[int, int]:
    """Width and height in square pixels; one side is made longer, so that nothing is lost."""
    return (round(width * shape), height) if shape >= 1 else (width, round(height / shape))


def picture(frame: Any, size: tuple[int, int]) -> Frame:
    """A decoded frame ``[H, W, 3]``, scaled to ``size`` (width and height before it is turned), then turned."""
    converted = frame.reformat(width=size[0], height=size[1], format="rgb24")
    pixels = converted.to_ndarray()
    turned = upright(pixels, matrix_of(frame))
    # A frame that needed no conversion may lie in the decoder's memory, which it uses again.
    return turned.copy() if converted is frame else np.ascontiguousarray(turned)


def matrix_of(frame: Any) -> tuple[int, ...] | None:
    """The nine numbers of the frame's display matrix, row by row; None where it is shown as it is stored."""
    found = frame.side_data.get(Type.DISPLAYMATRIX)
    return None if found is None else tuple(np.frombuffer(bytes(found), dtype=np.int32).tolist())


def upright(pixels: Frame, matrix: tuple[int, ...] | None) -> Frame:
    """A view of the pixels, turned and mirrored to the nearest of the eight ways that a picture can lie."""
    if matrix is None:
        return pixels
    # x' = a x + c y, y' = b x + d y
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    across, down = a, d
    if abs(b) + abs(c) > abs(a) + abs(d):
        pixels, across, down = pixels.transpose(1, 0, 2), c, b
    return pixels[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1]


def readable(packets: Iterator[Any], damage: list[str]) -> Iterator[Any]:
    """The packets up to where a file that is cut off or broken stops being readable; why, in ``damage``."""
    try:
        yield from packets
    except FFmpegError as error:
        damage.append(error.strerror or "unreadable")
