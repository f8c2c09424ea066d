"""Label Studio tasks with predictions, as its import page takes them: brush masks in pictures, moving boxes in videos.

Label Studio has no masks in videos. The labelling interface must name its parts as here:

    <View><Image name="image" value="$image"/><BrushLabels name="label" toName="image"> ... </BrushLabels></View>
    <View><Video name="video" value="$video"/><VideoRectangle name="box" toName="video"/>
      <Labels name="label" toName="video"> ... </Labels></View>

``data`` holds the file's name alone: put before it the address from which Label Studio serves the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from x2sam.errors import InputError
from x2sam.masks import BoolMask
from x2sam.results.contents import Contents
from x2sam.types import FrameResult, Segment

RUN_BITS = 16
"""Runs are counted with this many bits."""


def task(result: Contents) -> dict[str, Any]:
    """One task, ready for json, whose prediction holds every segment."""
    if result.clip.kind == "image":
        regions = [_brush(segment, i) for i, segment in enumerate(result.segments)]
    else:
        regions = [_moving_box(result, segments) for segments in result.objects.values()]
    scores = [segment.score for segment in result.segments]
    prediction = {"model_version": "x2sam", "score": sum(scores) / max(1, len(scores)), "result": regions}
    return {"data": {result.clip.kind: result.clip.name}, "predictions": [prediction]}


def place(height: int, width: int, id: str, type: str, from_name: str, to_name: str) -> dict[str, Any]:
    """What every region on a picture says beside its value."""
    return {
        "id": id,
        "type": type,
        "from_name": from_name,
        "to_name": to_name,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
    }


def _brush(segment: Segment, number: int) -> dict[str, Any]:
    rle = segment.rle
    return {
        **place(rle.height, rle.width, f"segment{number}", "brushlabels", "label", "image"),
        "score": segment.score,
        "value": {"format": "rle", "rle": brush_code(rle.decode()), "brushlabels": [segment.label]},
    }


def _moving_box(result: Contents, segments: tuple[Segment, ...]) -> dict[str, Any]:
    last = result.frames[-1]
    return {
        "id": f"object{segments[0].object_id}",
        "type": "videorectangle",
        "from_name": "box",
        "to_name": "video",
        "score": sum(segment.score for segment in segments) / len(segments),
        "value": {
            "labels": [segments[0].label],
            "framesCount": result.clip.length or last.index + 1,
            "duration": (result.clip.length or last.index + 1) / (result.clip.fps or 25),
            "sequence": moving_box(result.frames, segments, result.clip.fps or 25),
        },
    }


def moving_box(frames: Sequence[FrameResult], segments: Sequence[Segment], fps: float) -> list[dict[str, Any]]:
    """Key frames of one object's box; where the object is gone, the box is switched off."""
    by_frame = {segment.frame: segment for segment in segments}
    sequence = []
    for here, after in zip(frames, [*frames[1:], None], strict=True):
        if here.index in by_frame:
            stays = after is not None and after.index in by_frame
            sequence.append(_box_at(here, by_frame[here.index], stays, fps))
    return sequence


def _box_at(frame: FrameResult, segment: Segment, stays: bool, fps: float) -> dict[str, Any]:
    """A key frame; places are percentages, and frames count from 1."""
    return {
        "frame": frame.index + 1,
        "time": frame.index / fps if frame.time is None else frame.time,
        "enabled": stays,
        "rotation": 0,
        **shares(segment.box, frame.height, frame.width),
    }


def shares(box: Sequence[float], height: int, width: int) -> dict[str, float]:
    """A box ``(x0, y0, x1, y1)`` in pixels as Label Studio has boxes: corner and sides in percent."""
    x0, y0, x1, y1 = box
    return {
        "x": 100 * x0 / width,
        "y": 100 * y0 / height,
        "width": 100 * (x1 - x0) / width,
        "height": 100 * (y1 - y0) / height,
    }


def brush_code(mask: BoolMask) -> list[int]:
    """A mask ``[H, W]`` in the brush's run-length code, as bytes.

    The code packs a picture of 4 bytes a pixel, row by row, into bits: the number of bytes (32 bits); their width less
    one (5); the widths, less one, of four counters (4 each); then runs: a one, the counter's number (2), the run's
    length less one, and the byte that repeats.
    """
    flat = mask.ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=~flat[:1]))
    ends = np.append(starts[1:], flat.size)
    bits = [f"{4 * flat.size:032b}{7:05b}", f"{RUN_BITS - 1:04b}" * 4]
    for run, value in zip((4 * (ends - starts)).tolist(), flat[starts].tolist(), strict=True):
        lengths = (min(left, 1 << RUN_BITS) for left in range(run, 0, -(1 << RUN_BITS)))
        bits += [f"100{length - 1:0{RUN_BITS}b}{255 * value:08b}" for length in lengths]
    return np.packbits(np.frombuffer("".join(bits).encode(), dtype=np.uint8) - ord("0")).tolist()


def brush_mask(code: Sequence[int], height: int, width: int) -> BoolMask:
    """The mask ``[H, W]`` of a brush's run-length code, as Label Studio's page or any other encoder writes it.

    A pixel belongs to it where it is not transparent. Raises InputError for a code of another size, or a broken one.
    """
    bits = np.unpackbits(np.frombuffer(bytes(code), dtype=np.uint8)).tobytes()
    at = 0

    def take(count: int) -> int:
        nonlocal at
        at += count
        if at > len(bits):
            raise InputError("Got a brush's run lengths that are cut off", f"a mask of {width}x{height}")
        return int(bits[at - count : at].translate(_DIGITS), 2)

    size, word = take(32), take(5) + 1
    counters = [take(4) + 1 for _ in range(4)]
    if size != 4 * height * width:
        raise InputError(f"Got a brush of {size // 4} pixels", f"{height * width}, those of {width}x{height}")
    flat, filled = np.zeros(size, dtype=np.uint8), 0
    while filled < size:
        repeats, length = take(1), take(counters[take(2)]) + 1
        if repeats:
            flat[filled : filled + length] = take(word) > 0
        else:
            flat[filled : filled + length] = [take(word) > 0 for _ in range(min(length, size - filled))]
        filled += length
    return flat.reshape(height, width, 4)[..., 3] > 0


_DIGITS = bytes.maketrans(b"\0\1", b"01")
