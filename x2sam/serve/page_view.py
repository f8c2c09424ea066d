"""What the browser gets of a `Page`: the stage's state, the masks of a frame, the conversation, a picture. All pure."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from x2sam.masks import RLE
from x2sam.results.draw import LUMA, colour
from x2sam.results.export import FORMATS
from x2sam.results.outlines import rings
from x2sam.serve.page_state import Page, Said
from x2sam.types import Frame, FrameResult

PREVIEW = 1280
"""Longer side of a picture in the browser, at most."""
FINE = 2048
"""Longer side of the grid that outlines keep to, at most."""


def stage(page: Page) -> dict[str, Any]:
    """What the stage shows; pictures and masks it fetches by ``key``, frame by frame."""
    about: dict[str, Any] = {"key": None, "error": page.error, "note": page.note, "busy": False}
    if page.opened is None:
        return about
    upload = page.opened.upload
    busy = page.job is not None and not page.job.ended
    return about | {
        "key": page.key,
        "medium": page.opened.id,
        "name": upload.name,
        "kind": upload.kind,
        "height": upload.size[0],
        "width": upload.size[1],
        "length": page.length,
        "fps": page.opened.session.clip.fps or 10,
        "done": page.done,
        "revision": page.revision,
        "show": page.show,
        "objects": [
            {"id": i, "name": name, "colour": hexadecimal(i), "best": score} for i, (name, score) in page.best().items()
        ],
        "marks": [
            {"object": i, "colour": hexadecimal(i), "tool": m.tool, "frame": m.frame, "points": m.points}
            for i, marks in page.marks.items()
            for m in marks
        ],
        "selected": page.selected,
        "least": {str(i): least for i, least in page.least.items()},
        "usual": page.usual,
        "task": page.task.title if page.task else "",
        "busy": busy,
        "note": waiting(page) if busy else page.note,
        "share": page.clock.share if busy and page.clock and page.length > 1 else None,
        "left": not busy and page.track is not None and 0 < page.done < page.length,
        "formats": [
            {"name": name, "about": row.description} for name, row in FORMATS.items() if upload.kind in row.media
        ]
        if page.results
        else [],
    }


def waiting(page: Page) -> str:
    """What a running job says of itself."""
    place = page.job.place if page.job is not None else 0
    return f"Waiting: {place} request{'s' * (place > 1)} before yours." if place else page.note


def masks(found: FrameResult | None) -> list[dict[str, Any]]:
    """The masks of a frame as outlines, large ones first, so that small ones lie on top."""
    segments = sorted(found.segments, key=lambda s: -s.area) if found else []
    return [
        {
            "id": s.object_id,
            "name": s.label,
            "score": round(s.score, 3),
            "colour": hexadecimal(s.object_id),
            "dark": bool(np.array(colour(s.object_id)) @ LUMA <= 140),
            "box": s.box,
            "path": outline(s.rle),
        }
        for s in segments
        if s.area
    ]


def outline(rle: RLE) -> str:
    """A mask as an SVG path, pixel for pixel (of large pictures: more coarsely); filled by the even-odd rule."""
    coarse = math.ceil(max(rle.height, rle.width) / FINE)
    parts = []
    for ring in rings(rle.decode()[::coarse, ::coarse]):
        (x, y), steps = ring[0] * coarse, np.diff(ring, axis=0) * coarse
        parts.append(f"M{x} {y}" + "".join(f"h{dx}" if dx else f"v{dy}" for dx, dy in steps.tolist()) + "z")
    return "".join(parts)


def hexadecimal(object_id: int) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour(object_id))


def jpeg(frame: Frame) -> bytes:
    """A frame as the browser gets it."""
    picture, buffer = Image.fromarray(frame), BytesIO()
    picture.thumbnail((PREVIEW, PREVIEW))
    picture.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def conversation(talk: Sequence[Said]) -> str:
    """The turns as HTML; whatever was said is text, never markup."""
    if not talk:
        return (
            '<p class="hint">What you ask and what is found stands here. Say “the red car”, ask “What can fly?”, '
            "list “car, tree, sky”, or mark something in the picture.</p>"
        )
    turns = (f'<li class="{turn.who}">{coloured(turn) or "<i>…</i>"}</li>' for turn in talk)
    return f'<ol class="talk" role="log" aria-live="polite" aria-label="Conversation">{"".join(turns)}</ol>'


def coloured(turn: Said) -> str:
    """The text with its phrases in the colours of their masks."""
    out, position = "", 0
    for phrase, object_id in turn.phrases:
        match = re.search(re.escape(phrase), turn.text[position:], re.IGNORECASE)
        if match is None:
            continue
        start, end = position + match.start(), position + match.end()
        out += html.escape(turn.text[position:start])
        out += f'<mark style="--colour:{hexadecimal(object_id)}">{html.escape(turn.text[start:end])}</mark>'
        position = end
    return out + html.escape(turn.text[position:])
