"""Label Studio's regions and ours: places in percent, brush masks, polygons and boxes; clicks become regions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

import numpy as np

from x2sam import regions as shapes
from x2sam.errors import InputError
from x2sam.integrations.label_config import LABELLED, Control, LabelConfig
from x2sam.results.labelstudio import brush_code, brush_mask, moving_box, place, shares
from x2sam.results.outlines import outlines
from x2sam.types import FrameResult, Region, Segment

Size = tuple[int, int]
"""Height, width."""
Item = dict[str, Any]
"""An entry of a Label Studio result."""


# --- what people draw -------------------------------------------------------------------------------------------------


@contextmanager
def understood() -> Iterator[None]:
    """Whatever an entry lacks, or has of another type, is said in one sentence."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        got = f"Got something drawn that cannot be read ({type(error).__name__}: {error})"
        raise InputError(got[:300], "a region as Label Studio sends it") from None


@understood()
def read_clicks(items: Sequence[Item], size: Size) -> Region | None:
    """All that was drawn for one object as one region: keypoints of both signs, rectangles, brushes, polygons.

    A rectangle or a brush says where the object is; then negative keypoints alone add to it. None: nothing was drawn.
    """
    height, width = size
    positive: list[tuple[float, float]] = []
    negative: list[tuple[float, float]] = []
    drawn: list[Region] = []
    for item in items:
        value, type = item.get("value", {}), str(item.get("type", ""))
        if type.startswith("keypoint"):
            point = _clipped(value["x"], width), _clipped(value["y"], height)
            (positive if _is_positive(item) else negative).append(point)
        elif type.startswith(("rectangle", "brush", "polygon")):
            drawn.append(_drawn(type, value, size))
    if not drawn and not positive:
        if negative:
            raise InputError("Got negative keypoints alone", "one on the object, or a rectangle, too")
        return None
    if not drawn:
        return shapes.from_points(positive, size, negative=negative)
    first = drawn[0]
    mask = np.logical_or.reduce([region.mask for region in drawn])
    joined = first if len(drawn) == 1 else shapes.from_mask(mask, size)
    if positive and first.kind != "box":
        joined = shapes.from_mask(mask | shapes.from_points(positive, size).mask, size, kind=first.kind)
    if not negative:
        return joined
    return replace(joined, negative=shapes.from_points(negative, size).rle)


def read_phrase(items: Sequence[Item]) -> str:
    """What was written into a text area; empty where nothing was."""
    texts = [text for item in items if item.get("type") == "textarea" for text in _texts(item)]
    return " ".join(texts).strip()


def label_of(items: Sequence[Item]) -> str | None:
    """The label that was picked for what was drawn."""
    for item in items:
        for name, value in item.get("value", {}).items():
            if name.endswith("labels") and isinstance(value, list) and value:
                return str(value[0])
    return None


def _texts(item: Item) -> list[str]:
    text = item.get("value", {}).get("text", [])
    return [text] if isinstance(text, str) else [str(part) for part in text]


def _is_positive(item: Item) -> bool:
    given = item.get("is_positive", item.get("value", {}).get("is_positive", True))
    return given not in (False, 0, "0", "false")


def _clipped(share: float, side: int) -> float:
    return min(max(float(share) / 100 * side, 0.0), float(side))


def _drawn(type: str, value: Item, size: Size) -> Region:
    height, width = size
    if type.startswith("brush"):
        if value.get("format", "rle") != "rle" or "rle" not in value:
            raise InputError("Got a brush without run lengths", "a brush in the format 'rle'")
        return shapes.from_mask(brush_mask(value["rle"], height, width), size, kind="scribble")
    if type.startswith("polygon"):
        corners = [(_clipped(x, width), _clipped(y, height)) for x, y in value["points"]]
        return shapes.from_polygon(corners, size)
    return shapes.from_box(box_of(value, size), size)


def box_of(value: Item, size: Size) -> tuple[float, float, float, float]:
    """A rectangle in percent, perhaps turned, as the box ``(x0, y0, x1, y1)`` around it in pixels of the frame."""
    height, width = size
    x, y = value["x"] * width / 100, value["y"] * height / 100
    w, h = value["width"] * width / 100, value["height"] * height / 100
    angle = np.deg2rad(value.get("rotation", 0) or 0)  # around the upper left corner
    along, down = np.array([np.cos(angle), np.sin(angle)]) * w, np.array([-np.sin(angle), np.cos(angle)]) * h
    corners = np.array([x, y]) + np.array([(0, 0), along, down, along + down])
    (x0, y0), (x1, y1) = corners.min(axis=0).clip(0), corners.max(axis=0).clip(None, (width, height))
    return float(x0), float(y0), float(x1), float(y1)


# --- what we answer ---------------------------------------------------------------------------------------------------


def picture_regions(segments: Sequence[Segment], config: LabelConfig, names: Sequence[str | None]) -> list[Item]:
    """Segments as the labelling interface wants them; ``names``: the label of each condition that was asked for."""
    items: list[Item] = []
    for segment in segments:
        name = names[segment.condition] if segment.condition < len(names) else segment.label
        control = config.control_of(name)
        if segment.score >= (control.threshold or 0.0):
            items += _region(segment, control, name)
    return items


def _region(segment: Segment, control: Control, label: str | None) -> Iterator[Item]:
    """One segment; a polygon for each of its pieces, as Label Studio's have one ring."""
    height, width = segment.rle.height, segment.rle.width
    for value in _values(segment, control):
        id = uuid4().hex[:10]
        about = {"score": segment.score, "origin": "prediction"}
        item = {**place(height, width, id, control.tag, control.name, control.to_name), **about, "value": value}
        if control.tag in LABELLED:
            value[control.tag] = [label]
        yield item
        if control.label_tag is not None:  # the label is an entry of its own, under the same id
            named = place(height, width, id, "labels", control.label_tag, control.to_name)
            yield {**named, **about, "value": {**value, "labels": [label]}}


def _values(segment: Segment, control: Control) -> Iterator[Item]:
    height, width = segment.rle.height, segment.rle.width
    if not segment.area:
        return
    if control.shape == "brush":
        yield {"format": "rle", "rle": brush_code(segment.rle.decode())}
    elif control.shape == "rectangle":
        yield {**shares(segment.box, height, width), "rotation": 0}
    else:
        for corners in outlines(segment.rle.decode()):
            yield {"points": (corners * (100 / width, 100 / height)).tolist(), "closed": True}


def film_regions(
    frames: Sequence[FrameResult], config: LabelConfig, names: Sequence[str | None], fps: float, length: int
) -> list[Item]:
    """Objects of a film as boxes that move; ``names`` as in `picture_regions`."""
    found: dict[int, list[Segment]] = {}
    for segment in (segment for frame in frames for segment in frame.segments):
        found.setdefault(segment.object_id, []).append(segment)
    items = []
    for segments in found.values():
        first, sequence = segments[0], moving_box(frames, segments, fps)
        name = names[first.condition] if first.condition < len(names) else first.label
        score = sum(segment.score for segment in segments) / len(segments)
        if score >= (config.control_of(name).threshold or 0.0):
            items.append(film_region(config.control_of(name), sequence, name, fps, length, score))
    return items


def film_region(
    control: Control, sequence: list[Item], label: str | None, fps: float, length: int, score: float, id: str = ""
) -> Item:
    """A box that moves."""
    value = {"framesCount": length, "duration": length / fps, "sequence": sequence, "labels": [label]}
    return {
        "id": id or uuid4().hex[:10],
        "type": control.tag,
        "from_name": control.name,
        "to_name": control.to_name,
        "score": score,
        "origin": "prediction",
        "value": value,
    }
