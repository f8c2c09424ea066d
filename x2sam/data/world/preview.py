"""A contact sheet of the world: samples of every task, with their prompt, regions, masks and answer, for people."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from x2sam.data.world.samples import World
from x2sam.results.draw import Colour, colour, overlay, prompt_panel
from x2sam.tasks import get_task
from x2sam.types import Frame, Sample, Segment

PICTURE = 200
"""Height of a picture on the sheet in pixels."""
SHOWN = 4
"""Frames shown of a clip."""
GAP = 10
_INK, _PAPER, _PALE = (28, 30, 36), (250, 250, 248), (228, 229, 232)


def contact_sheet(world: World, tasks: Sequence[str], per_task: int = 3) -> Image.Image:
    """Samples 0 to ``per_task`` - 1 of every task: images beside each other, clips below each other."""
    blocks = [_block(world, task, per_task) for task in tasks]
    sheet = Image.new(
        "RGB", (max(b.width for b in blocks) + 2 * GAP, sum(b.height + GAP for b in blocks) + GAP), _PAPER
    )
    y = GAP
    for block in blocks:
        sheet.paste(block, (GAP, y))
        y += block.height + GAP
    return sheet


def _block(world: World, task_name: str, count: int) -> Image.Image:
    """One task: a title over its samples."""
    cards = [_card(world.sample(task_name, index)) for index in range(count)]
    beside = get_task(task_name).media == "image"
    width = sum(c.width + GAP for c in cards) if beside else max(c.width for c in cards)
    height = max(c.height for c in cards) if beside else sum(c.height + GAP for c in cards)
    block = Image.new("RGB", (max(width, 1100), height + 34), _PAPER)
    draw = ImageDraw.Draw(block)
    draw.rectangle((0, 0, block.width, 26), fill=_INK)
    draw.text((8, 4), f"{get_task(task_name).title}   ({task_name})", fill="white", font=_font(16))
    x, y = 0, 32
    for card in cards:
        block.paste(card, (x, y))
        x, y = (x + card.width + GAP, y) if beside else (x, y + card.height + GAP)
    return block


def _card(sample: Sample) -> Image.Image:
    """One sample: the frame with its regions, some frames with their masks, and the words."""
    steps = np.unique(np.linspace(0, len(sample.frames) - 1, SHOWN).astype(int)).tolist()
    first = sample.prompt.regions[0].frame if sample.prompt.regions else 0
    pictures = [_asked(sample, first), *(_answered(sample, t) for t in steps)]
    row = [Image.fromarray(p).resize((PICTURE * p.shape[1] // p.shape[0], PICTURE)) for p in pictures]
    width = sum(p.width + 4 for p in row)
    lines = _lines(sample, width // 7)
    card = Image.new("RGB", (width, PICTURE + 8 + 17 * len(lines)), _PALE)
    x = 0
    for picture in row:
        card.paste(picture, (x, 0))
        x += picture.width + 4
    draw = ImageDraw.Draw(card)
    for i, (text, tint) in enumerate(lines):
        y = PICTURE + 5 + 17 * i
        if tint:
            draw.rectangle((6, y + 3, 16, y + 13), fill=tint)
        draw.text((22 if tint else 6, y), text, fill=_INK, font=_font(13))
    return card


def _asked(sample: Sample, frame: int) -> Frame:
    """The frame as it is, or dimmed with the regions of the prompt."""
    regions = [c.region for c in sample.prompt.conditions if c.region and c.region.frame == frame]
    if not regions:
        return sample.frames[frame]
    by_condition = [c.region for c in sample.prompt.conditions]
    tinted = [
        type(r)(
            r.rle, r.kind, r.frame, object_id=by_condition.index(r) + 1, name=f"{by_condition.index(r) + 1} {r.kind}"
        )
        for r in regions
    ]
    return prompt_panel(sample.frames[frame], tinted)


def _answered(sample: Sample, t: int) -> Frame:
    """A frame under its masks, coloured by condition."""
    segments = [
        Segment(mask, "", 1.0, track.condition + 1) for track in sample.objects if (mask := track.masks[t]) is not None
    ]
    return overlay(sample.frames[t], segments, tags=False)


def _lines(sample: Sample, width: int) -> list[tuple[str, Colour | None]]:
    """The words below the pictures, with the colour of what they mean."""
    used = {track.condition for track in sample.objects}
    lines: list[tuple[str, Colour | None]] = []
    for i, condition in enumerate(sample.prompt.conditions):
        if condition.region is not None:
            count = sum(track.condition == i for track in sample.objects)
            text = f"{condition.region.kind} on frame {condition.region.frame}: {count} object{'s' * (count != 1)}"
        else:
            text = str(condition.text) + ("" if i in used else "   (not there)")
        lines.append((text, colour(i + 1) if i in used else _PALE))
    if len(lines) > 6:
        lines.sort(key=lambda line: line[1] == _PALE)
        there = [line for line in lines if line[1] != _PALE]
        absent = ", ".join(text.split("   ")[0] for text, tint in lines if tint == _PALE)
        lines = there + [(part, None) for part in textwrap.wrap(f"not there: {absent}", width)]
    spans = str(sample.answer).split("<p>")[1:] if sample.answer else []
    words = [f"Q: {sample.prompt.text}"] if sample.prompt.text else []
    words += [f"A: {sample.answer}".replace("<p>", "[").replace("</p>", "]")] if sample.answer else []
    lines += [(part, None) for text in words for part in textwrap.wrap(text, width)]
    return lines + [(span.split("</p>")[0], colour(i + 1)) for i, span in enumerate(spans)]


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
