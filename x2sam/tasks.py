"""The task table: fourteen segmentation tasks and two chats as rows of one table.

Code branches on the columns, never on a task's name.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

from x2sam.errors import InputError

Media = Literal["image", "video"]
Conditions = Literal["categories", "expressions", "questions", "answer", "regions", "none"]
Prompting = Literal["categories", "expression", "question", "caption", "regions", "chat"]
Answer = Literal["generic", "best", "instances", "none"]


@dataclass(frozen=True)
class Task:
    """One row. The columns say how a request is worded, where its conditions come from and how logits become masks."""

    name: str
    title: str
    media: Media
    conditions: Conditions
    """What stands between ``<p>`` and ``</p>``; ``answer`` means that the generated text names the conditions."""
    prompt: Prompting
    """Which bank of instruction wordings is used (``prompts.py``)."""
    answer: Answer
    """Which function of ``answer.py`` turns logits into segments."""
    generates: bool
    """Text must be generated token by token; otherwise the answer is a template and one prefill is enough."""
    one_region: bool = False
    """Each region is one object (interactive, object); otherwise every instance of what a region shows (grounded)."""
    shared_conditions: bool = False
    """In a training batch the phrases of the other samples serve as negatives (referring, reasoning)."""
    paper: str = ""
    """Row name in the paper's tables."""
    scene: str = ""
    """Which kind of generated scenes and annotations suits it (`x2sam.data.world`)."""
    metrics: tuple[str, ...] = ()
    """How answers on the generated world are scored (`x2sam.metrics`); a data set's row says how on real data."""
    open_vocabulary: bool = False
    """Names are asked for that training did not show; the world's held-out splits have kinds of their own."""

    @property
    def is_chat(self) -> bool:
        return self.answer == "none"


_SHORT: dict[Media, str] = {"image": "img", "video": "vid"}


def _pair(name: str, title: str, paper: str, metrics: str = "", **columns: object) -> tuple[Task, Task]:
    """The image row and the video row of one task; a ``/`` parts what the two have differently."""
    names, titles, papers, scored = ((text.split("/") * 2)[:2] for text in (name, title, paper, metrics))

    def row(i: int, media: Media) -> Task:
        own = {"paper": f"{media[0].upper()}-{papers[i]}", "scene": names[i], "metrics": tuple(scored[i].split())}
        title = f"{media.capitalize()} {titles[i]}"
        return Task(f"{_SHORT[media]}_{names[i]}", title, media, **own, **columns)  # type: ignore[arg-type]

    return row(0, "image"), row(1, "video")


_GENERIC = {"conditions": "categories", "prompt": "categories", "answer": "generic", "generates": False}
_PHRASE = {"answer": "best", "generates": False, "shared_conditions": True}
_FOUND = "referring/jf referring"
_REGIONS = {"conditions": "regions", "prompt": "regions", "generates": False}

_ROWS: tuple[tuple[Task, Task], ...] = (
    _pair("chat", "chat", "Chat", conditions="none", prompt="chat", answer="none", generates=True),
    _pair("genseg", "generic segmentation", "Gen", "pq miou mask_ap/vpq stq identity", **_GENERIC),
    _pair("ovseg", "open-vocabulary segmentation", "OV", "miou pq/miou vpq", open_vocabulary=True, **_GENERIC),
    _pair("refseg", "referring segmentation", "Ref", _FOUND, conditions="expressions", prompt="expression", **_PHRASE),
    _pair("reaseg", "reasoning segmentation", "Rea", _FOUND, conditions="questions", prompt="question", **_PHRASE),
    _pair(
        "gcgseg",
        "grounded conversation generation",
        "GCG",
        "gcg",
        conditions="answer",
        prompt="caption",
        answer="best",
        generates=True,
    ),
    _pair(
        "intseg/objseg",
        "interactive segmentation/object segmentation",
        "Int/Obj",
        "interactive/jf identity",
        answer="best",
        one_region=True,
        **_REGIONS,
    ),
    _pair("vgdseg", "visual grounded segmentation", "VGD", "mask_ap/track_ap identity", answer="instances", **_REGIONS),
)

TASKS: dict[str, Task] = {task.name: task for column in zip(*_ROWS, strict=True) for task in column}
"""Every task by name: image rows, then video rows."""


COUNTERPARTS: dict[str, str] = {a.name: b.name for image, video in _ROWS for a, b in ((image, video), (video, image))}
"""The same task for the other medium."""


def get_task(name: str) -> Task:
    """The row called ``name``; an unknown name gets the nearest known ones."""
    if name in TASKS:
        return TASKS[name]
    near = difflib.get_close_matches(name, TASKS, n=3, cutoff=0.3)
    raise InputError(
        f"Got the task {name!r}, which does not exist",
        f"one of: {', '.join(TASKS)}",
        f"Did you mean {' or '.join(near)}?" if near else "See: x2sam tasks",
    )
