"""A sheet of samples to look at: every task with what is asked, what answers it, and the regions drawn."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from x2sam.data.scenes.samples import World
from x2sam.draw import colour, overlay, prompt_panel
from x2sam.tasks import get_task
from x2sam.types import Frame, Sample, Segment

CELL = 232
LINE = 15


def contact_sheet(world: World, tasks: list[str], per_task: int) -> Image.Image:
    """One row of ``per_task`` samples for every task: the picture above, the masks (and regions) below, and the words.

    Of a clip the first, the middle and the last frame share a cell.
    """
    font = ImageFont.load_default(size=12)
    text_height = 7 * LINE
    row = LINE + 2 * CELL + text_height
    sheet = Image.new("RGB", (per_task * (CELL + 8) + 8, len(tasks) * (row + 8)), "white")
    pen = ImageDraw.Draw(sheet)
    for j, name in enumerate(tasks):
        pen.text(
            (8, j * (row + 8)), f"{name}: {get_task(name).title}", fill="black", font=ImageFont.load_default(size=14)
        )
        for i in range(per_task):
            sample = world.sample(name, i)
            x, y = 8 + i * (CELL + 8), j * (row + 8) + LINE + 4
            sheet.paste(_picture(sample, marked=False), (x, y))
            sheet.paste(_picture(sample, marked=True), (x, y + CELL))
            _write(pen, sample, (x, y + 2 * CELL), font)
    return sheet


def _picture(sample: Sample, marked: bool) -> Image.Image:
    """A square cell of the sample; a clip fills its quarters."""
    count = len(sample.frames)
    shown = [0] if count == 1 else [round(k * (count - 1) / 3) for k in range(4)]
    tiles = [Image.fromarray(_marked(sample, t) if marked else sample.frames[t]) for t in shown]
    across = 1 if count == 1 else 2
    cell = Image.new("RGB", (CELL, CELL))
    for k, tile in enumerate(tiles):
        side = CELL // across
        cell.paste(tile.resize((side, side), Image.Resampling.BILINEAR), (k % across * side, k // across * side))
    return cell


def _marked(sample: Sample, t: int) -> Frame:
    regions = [r for r in sample.prompt.regions if r.frame == t]
    segments = [
        Segment(rle, str(track.condition), 1.0, track.object_id, track.condition)
        for track in sample.objects
        if (rle := track.masks[t]) is not None
    ]
    picture = overlay(sample.frames[t], segments, tags=False)
    if not regions:
        return picture
    panel = prompt_panel(sample.frames[t], regions)
    for region in regions:
        picture[region.mask] = (np.array(colour(region.object_id or 0)) * 0.5 + panel[region.mask] * 0.5).astype(
            np.uint8
        )
    return picture


def _write(
    pen: ImageDraw.ImageDraw, sample: Sample, at: tuple[int, int], font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> None:
    """Conditions (with the number of objects of each) or question, then the answer, wrapped to the cell."""
    counts = [sum(o.condition == i for o in sample.objects) for i in range(len(sample.prompt.conditions))]
    lines = [
        f"{c.text or f'{c.region.kind} at {c.region.frame}' if c.region else c.text} ({n})"
        for c, n in zip(sample.prompt.conditions, counts, strict=True)
    ]
    text = "; ".join(lines) or sample.prompt.text
    words = f"{text} -> {sample.answer}" if sample.answer else text
    line, y = "", at[1]
    for word in [*words.split(), "\n"]:
        if word == "\n" or pen.textlength(f"{line} {word}", font=font) > CELL:
            pen.text((at[0], y), line.strip(), fill="black", font=font)
            line, y = "", y + LINE
            if y > at[1] + 6 * LINE:
                return
        line += f" {word}"
