"""Pictures of results: masks over a frame, the prompt beside it, many frames on one sheet."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from x2sam.masks import RLE, BoolMask
from x2sam.types import Frame, Region, Segment

Colour = tuple[int, int, int]
Rectangle = tuple[int, int, int, int]
"""``(x0, y0, x1, y1)``."""
GOLDEN = (math.sqrt(5) - 1) / 2
LUMA = np.array([0.299, 0.587, 0.114])
"""How bright red, green and blue look."""
MARGIN = 8
"""Pixels between the pictures of a panel or a sheet."""


class _Mark(NamedTuple):
    """Pixels to be coloured, and what stands beside them."""

    rle: RLE
    colour: Colour
    text: str


def colour(object_id: int) -> Colour:
    """The colour of an object, in every frame and picture: neighbouring ids lie far apart on the colour wheel."""
    lightness = (0.55, 0.68, 0.45)[object_id // 5 % 3]
    tint = np.array(colorsys.hls_to_rgb(object_id * GOLDEN % 1, lightness, 0.95))
    light = float(tint @ LUMA)
    if light < 0.4:  # blues would drown in shadows
        tint += (1 - tint) * (0.4 - light) / (1 - light)
    red, green, blue = (round(255 * part) for part in tint.tolist())
    return red, green, blue


def overlay(
    frame: Frame,
    segments: Sequence[Segment],
    *,
    opacity: float = 0.45,
    outlines: bool = True,
    tags: bool = True,
    ids: bool = False,
    colours: Mapping[int, Colour] | None = None,
) -> Frame:
    """The frame ``[H, W, 3]`` with its segments tinted, outlined, and tagged with label and score (and object id).

    colours: of objects by id, where they are not to be `colour`'s.
    """
    own = colours or {}
    marks = [
        _Mark(
            s.rle,
            own.get(s.object_id) or colour(s.object_id),
            f"{f'#{s.object_id} ' if ids else ''}{s.label} {s.score:.2f}",
        )
        for s in segments
    ]
    return _paint(frame, marks, opacity, outlines, tags)


def prompt_panel(frame: Frame, regions: Sequence[Region]) -> Frame:
    """The frame, dimmed, with the regions of a visual prompt ``[H, W, 3]``; colours as the objects will have them."""
    marks = [
        _Mark(region.rle, colour(i if region.object_id is None else region.object_id), region.name or f"region {i}")
        for i, region in enumerate(regions, start=1)
    ]
    return _paint((frame * 0.55).astype(np.uint8), marks, 0.75, outlines=True, tags=True)


def side_by_side(left: Frame, right: Frame) -> Frame:
    """Two pictures of one height as one."""
    return np.hstack([left, np.full((left.shape[0], MARGIN, 3), 255, dtype=np.uint8), right])


def contact_sheet(pictures: Sequence[tuple[Frame, str]], *, columns: int | None = None, width: int = 1280) -> Frame:
    """Pictures with captions on one sheet of this width in pixels, row by row."""
    columns = columns or math.ceil(math.sqrt(len(pictures)))
    cell = max(1, (width - MARGIN) // columns - MARGIN)
    height = max(1, round(cell * max(frame.shape[0] / frame.shape[1] for frame, _ in pictures)))
    font = _font(max(10, cell // 20))
    step = height + _text_size("0", font)[1] + MARGIN
    rows = math.ceil(len(pictures) / columns)
    sheet = Image.new("RGB", (width, rows * step + MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (frame, caption) in enumerate(pictures):
        x, y = MARGIN + i % columns * (cell + MARGIN), MARGIN + i // columns * step
        size = cell, max(1, round(cell * frame.shape[0] / frame.shape[1]))
        sheet.paste(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0), (x, y))
        draw.text((x, y + height), _shorten(caption, font, cell), fill="black", font=font)
    return np.array(sheet)


def _paint(frame: Frame, marks: Sequence[_Mark], opacity: float, outlines: bool, tags: bool) -> Frame:
    out = frame.copy()
    line = max(1, round(min(frame.shape[:2]) / 360))
    for mark in sorted(marks, key=lambda m: -m.rle.area):  # small ones last, so that nothing hides them
        _tint(out, mark, opacity, line if outlines else 0)
    return _tag(out, marks) if tags else out


def _tint(out: Frame, mark: _Mark, opacity: float, line: int) -> None:
    """Colour the mask; its edge gets a line of full colour inside and a dark one outside, to be seen on any ground."""
    x0, y0, x1, y1 = (int(v) for v in mark.rle.box)
    if x1 <= x0:
        return
    pad = line + 1
    window = slice(max(0, y0 - pad), y1 + pad), slice(max(0, x0 - pad), x1 + pad)
    mask, crop = mark.rle.decode()[window], out[window]
    _blend(crop, mask, mark.colour, opacity)
    if line:
        _blend(crop, ~_shrunk(~mask, max(1, line // 2)) & ~mask, (0, 0, 0), 0.6)
        _blend(crop, mask & ~_shrunk(mask, line), mark.colour, 1.0)


def _blend(crop: Frame, mask: BoolMask, tint: Colour, opacity: float) -> None:
    share = round(256 * opacity)  # whole numbers are several times as fast
    mixed = (crop.astype(np.uint16) * (256 - share) + (np.array(tint, dtype=np.uint16) * share + 128)) >> 8
    np.copyto(crop, mixed.astype(np.uint8), where=mask[..., None])


def _shrunk(mask: BoolMask, steps: int) -> BoolMask:
    """The mask without its outermost pixels; the border of the picture takes nothing away."""
    for _ in range(steps):
        inner = mask.copy()
        inner[1:] &= mask[:-1]
        inner[:-1] &= mask[1:]
        inner[:, 1:] &= mask[:, :-1]
        inner[:, :-1] &= mask[:, 1:]
        mask = inner
    return mask


def _tag(frame: Frame, marks: Sequence[_Mark]) -> Frame:
    """Write every mark's text at its box: inside the frame, and clear of the other texts where there is room."""
    height, width = frame.shape[:2]
    font = _font(min(48, max(11, round(min(height, width) / 32))))
    picture = Image.fromarray(frame)
    draw = ImageDraw.Draw(picture)
    taken: list[Rectangle] = []
    for mark in marks:
        text = _shorten(mark.text, font, width - 4)
        w, h = (side + 4 for side in _text_size(text, font))
        if not text or h > height / 4 or mark.rle.area == 0:
            continue
        box = _free_place(mark.rle.box, (w, h), (width, height), taken)
        taken.append(box)
        draw.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=mark.colour)
        light = np.array(mark.colour) @ LUMA > 140
        draw.text((box[0] + 2, box[1] + 2), text, fill="black" if light else "white", font=font)
    return np.array(picture)


def _free_place(
    box: tuple[float, float, float, float], size: tuple[int, int], frame: tuple[int, int], taken: Sequence[Rectangle]
) -> Rectangle:
    """Above the box, else at its top, else below it, else further down; whichever first touches no other tag."""
    (w, h), (width, height) = size, frame
    x = min(int(box[0]), width - w)
    tops = [int(box[1]) - h, int(box[1]), int(box[3]), *range(int(box[1]) + h, height, h)]
    places = [(x, top, x + w, top + h) for top in (min(max(0, top), height - h) for top in tops)]
    for place in places:
        if not any(place[0] < t[2] and t[0] < place[2] and place[1] < t[3] and t[1] < place[3] for t in taken):
            return place
    return places[0]


@lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _text_size(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> tuple[int, int]:
    """Width of the text, and a height that fits every letter."""
    return math.ceil(font.getlength(text)), math.ceil(font.getbbox("Âgjy|")[3])


def _shorten(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """As much of the text as fits into ``width`` pixels; empty if nothing does."""
    if font.getlength(text) <= width:
        return text
    fits = [n for n in range(len(text)) if font.getlength(text[:n] + "…") <= width]
    return text[: fits[-1]] + "…" if fits else ""
