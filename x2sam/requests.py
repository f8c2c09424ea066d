"""What a user gives -> a task and a prompt: the task is inferred from what is there, or checked against it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from x2sam import regions as shapes
from x2sam.errors import InputError
from x2sam.masks import RLE
from x2sam.media import Clip
from x2sam.prompts import check
from x2sam.tasks import COUNTERPARTS, TASKS, Task, get_task
from x2sam.types import Condition, Prompt, Region

_QUESTION = re.compile(
    r"^(what|which|who|whose|where|when|why|how|is|are|does|do|can|could|would|find out)\b|\?\s*$", re.IGNORECASE
)


@dataclass(frozen=True)
class Request:
    """One thing asked of one medium."""

    task: Task
    prompt: Prompt


def make_request(clip: Clip, prompt: Any = None, regions: Any = None, task: str | None = None) -> Request:
    """Understand what is asked.

    Args:
        clip: the opened medium.
        prompt: a phrase, a question, a list of category names, a `Prompt`, or None.
        regions: one or several of: `Region`; a point ``(x, y)``; a box ``(x0, y0, x1, y1)``; a mask array or file;
            a dict with one of ``points``, ``box``, ``scribble``, ``polygon``, ``mask`` and perhaps ``frame``, ``id``
            and ``name``.
        task: a name of the task table; None infers it:

            ================== ============================================
            regions            interactive (image) or object (video)
            several names      generic, by these names
            a question         reasoning
            a phrase           referring
            nothing            grounded caption
            ================== ============================================
    """
    if not isinstance(prompt, Prompt):
        marked = tuple(Condition(region=r) for r in read_regions(regions, clip.size))
        row = _row(clip, prompt, bool(marked), task)
        prompt = _prompt(row, prompt, marked)
    else:
        row = _row(clip, "", bool(prompt.regions), task)
    check(row, prompt)
    _check_regions(clip, prompt)
    return Request(row, prompt)


def read_regions(regions: Any, size: tuple[int, int]) -> list[Region]:
    """Regions in any of the forms of `make_request`."""
    if regions is None:
        return []
    one = isinstance(regions, (Region, dict, str, np.ndarray, RLE)) or hasattr(regions, "__fspath__")
    if not one and regions and all(isinstance(v, (int, float)) for v in regions):
        one = True
    return [_region(item, size) for item in ([regions] if one else regions)]


def _region(item: Any, size: tuple[int, int]) -> Region:
    if isinstance(item, Region):
        return item
    if isinstance(item, dict) and "counts" not in item:
        return _region_dict(dict(item), size)
    if isinstance(item, (Sequence, np.ndarray)) and not isinstance(item, str):
        if np.ndim(item) == 1 and len(item) in (2, 4):
            numbers = [float(v) for v in item]
            return shapes.from_points([numbers], size) if len(numbers) == 2 else shapes.from_box(numbers, size)
        if not isinstance(item, np.ndarray):
            raise InputError(
                f"Got {item!r} for a region",
                "a point (x, y), a box (x0, y0, x1, y1), a mask, or a dict",
                "For several points of one object write {'points': [...]}",
            )
    return shapes.from_mask(item, size)


def _region_dict(item: dict[str, Any], size: tuple[int, int]) -> Region:
    about = {
        "frame": int(item.pop("frame", 0)),
        "object_id": item.pop("id", item.pop("object_id", None)),
        "name": item.pop("name", None),
    }
    negative = item.pop("negative", ())
    makers = {
        "points": lambda v: shapes.from_points(v, size, negative=negative, **about),
        "point": lambda v: shapes.from_points([v], size, negative=negative, **about),
        "box": lambda v: shapes.from_box(v, size, **about),
        "scribble": lambda v: shapes.from_scribble(v, size, **about),
        "polygon": lambda v: shapes.from_polygon(v, size, **about),
        "mask": lambda v: shapes.from_mask(v, size, **about),
    }
    shape = [name for name in item if name in makers]
    if len(shape) != 1 or len(item) != 1:
        raise InputError(
            f"Got a region with {', '.join(item) or 'nothing'}",
            f"exactly one of {', '.join(makers)}, and perhaps frame, id, name, negative",
        )
    return makers[shape[0]](item[shape[0]])


def _row(clip: Clip, prompt: Any, marked: bool, task: str | None) -> Task:
    media = clip.kind
    if task is not None:
        row = get_task(task)
        if row.media != media:
            raise InputError(
                f"Got the {row.media} task {row.name} for the {media} {clip.name}",
                f"{'a video' if row.media == 'video' else 'an image'}, or a task for {media}s",
                f"Did you mean {COUNTERPARTS[row.name]}?",
            )
        return row
    if marked:
        wanted = {"conditions": "regions", "one_region": True}
    elif prompt is None:
        wanted = {"conditions": "answer"}
    elif not isinstance(prompt, str):
        wanted = {"conditions": "categories"}
    else:
        wanted = {"conditions": "questions" if _QUESTION.search(prompt.strip()) else "expressions"}
    return next(t for t in TASKS.values() if t.media == media and all(getattr(t, k) == v for k, v in wanted.items()))


def _prompt(task: Task, prompt: Any, marked: tuple[Condition, ...]) -> Prompt:
    if task.is_chat:
        return Prompt(text=str(prompt or ""))
    if task.conditions == "answer":
        if prompt or marked:
            raise InputError(f"Got a prompt for {task.name}", "none: it says what it sees")
        return Prompt()
    if task.conditions == "regions":
        names = [prompt] if isinstance(prompt, str) else list(prompt or ())
        if names and len(names) != len(marked):
            raise InputError(f"Got {len(names)} names for {len(marked)} regions", "one name for each region, or none")
        return Prompt(
            tuple(
                Condition(text=names[i] if names else None, region=condition.region)
                for i, condition in enumerate(marked)
            )
        )
    if marked:
        raise InputError(f"Got regions for {task.name}", "words", "Leave the task out, or take one for regions")
    if isinstance(prompt, str) and task.conditions == "categories":
        prompt = [name.strip() for name in prompt.split(",") if name.strip()]
    texts = [prompt] if isinstance(prompt, str) else list(prompt or ())
    return Prompt(tuple(_category(text) for text in texts))


def _category(text: Any) -> Condition:
    """A name; ``sky (stuff)`` or ``stuff: sky`` marks what has no instances."""
    if isinstance(text, Condition):
        return text
    match = re.fullmatch(r"\s*stuff:\s*(.+)|\s*(.+?)\s*\(stuff\)\s*", str(text))
    return Condition(text=match[1] or match[2], is_thing=False) if match else Condition(text=str(text))


def _check_regions(clip: Clip, prompt: Prompt) -> None:
    for region in prompt.regions:
        size = (region.rle.height, region.rle.width)
        if size != clip.size:
            raise InputError(
                f"Got a region of {size[1]}x{size[0]} pixels for {clip.name}", f"{clip.size[1]}x{clip.size[0]}"
            )
        if clip.length is not None and not 0 <= region.frame < clip.length:
            raise InputError(f"Got a region on frame {region.frame} of {clip.name}", f"0 to {clip.length - 1}")
