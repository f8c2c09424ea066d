"""What comes from the browser, checked and in the words of the package: what was typed, and what was drawn."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from x2sam.errors import InputError
from x2sam.tasks import get_task

TOOLS = ("point", "negative", "box", "scribble")


@dataclass(frozen=True)
class Mark:
    """What the visitor drew: corners of a box, a click, or the points of a stroke, in pixels of the medium."""

    tool: str
    points: tuple[tuple[float, float], ...]
    frame: int = 0


def wording(text: str, task: str = "") -> str | list[str] | None:
    """What was typed as a prompt: nothing, a phrase, a question, or names between commas."""
    text = " ".join(text.split())
    if not text:
        return None
    categories = task and get_task(task).conditions == "categories"
    if categories or ("," in text and not task and not text.endswith("?")):
        return [name.strip() for name in text.split(",") if name.strip()]
    return text


def read_mark(data: Mapping[str, Any], size: tuple[int, int], length: int) -> tuple[Mark, int | None]:
    """A mark and the object it is meant for, as the browser sends them; all of it is checked."""
    tool, points, frame, chosen = (data.get(k) for k in ("tool", "points", "frame", "object"))
    if tool not in TOOLS or not isinstance(points, list) or not 1 <= len(points) <= 2000:
        raise InputError("Got a mark that cannot be read", f"one of {', '.join(TOOLS)} with its points")
    if not isinstance(frame, int) or not 0 <= frame < length:
        raise InputError(f"Got a mark on frame {frame!r}", f"0 to {length - 1}")
    if not isinstance(chosen, (int, type(None))):
        raise InputError("Got a mark for no object", "the number of one, or none")
    height, width = size
    try:
        pairs = [(float(x), float(y)) for x, y in points]
    except (TypeError, ValueError):
        raise InputError("Got a mark that cannot be read", "pairs of numbers") from None
    if not all(math.isfinite(v) for pair in pairs for v in pair):
        raise InputError("Got a mark that cannot be read", "finite numbers")
    inside = tuple((min(max(x, 0.0), float(width)), min(max(y, 0.0), float(height))) for x, y in pairs)
    return Mark(str(tool), inside, frame), chosen


def regions_of(marks: Iterable[Mark]) -> Any:
    """Marks of one object on one frame, as `Track.correct` takes them: a list of regions that are one together.

    A newest mark that says "not this" cuts the mask as it is; otherwise such marks are left out of the points.
    """
    marks = list(marks)
    negative = [mark.points[0] for mark in marks if mark.tool == "negative"]
    if marks[-1].tool == "negative":
        return {"negative": [marks[-1].points[0]]}
    positive = [mark.points[0] for mark in marks if mark.tool == "point"]
    regions: list[dict[str, Any]] = []
    if positive:
        regions.append({"points": positive, **({"negative": negative} if negative else {})})
    for mark in marks:
        if mark.tool == "box":
            (x0, y0), (x1, y1) = mark.points[0], mark.points[-1]
            regions.append({"box": (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))})
        elif mark.tool == "scribble":
            regions.append({"scribble": list(mark.points)})
    return regions
