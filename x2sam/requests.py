"""What a user gives -> a task and a prompt: the task is inferred from what is there, or checked against it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from x2sam.errors import InputError
from x2sam.marks import read_regions
from x2sam.media.opening import Clip
from x2sam.prompts import check
from x2sam.tasks import COUNTERPARTS, TASKS, Task, get_task
from x2sam.types import Condition, Prompt

_MARK = re.compile(
    r"^\u00bf|\u055e"  # what opens a Spanish question, and what stands inside of an Armenian one
    r"|[?\uff1f\ufe56\u061f\u037e\u1367\u2cfa\ua60f\u2e2e\u2047-\u2049\u203d][?!.\u2026\uff01\u061f\uff1f\s]*$"
    r"|[\u0370-\u03ff\u1f00-\u1fff]\s*;$"  # Greek has a mark of its own, which normalising makes a semicolon
)
"""A question's mark: Latin, full width, small, Arabic, Greek, Ethiopic, Coptic, Vai, mirrored, doubled."""
_QUOTES = "\"'\u2018\u2019\u201c\u201d\u00ab\u00bb\u2039\u203a\u300c\u300d\u300e\u300f()"
_SUBJECT = (
    "the|this|that|these|those|there|a|an|any|it|he|she|they|you|we|i|one|someone|anyone|anything|my|your|its|our"
)
_OPENING = re.compile(
    r"(?:(?:what|which|who|whose|whom|where|when|why|how)(?:'s|\u2019s)?(?![\w-])|find out(?![\w-])"
    r"|(?:is|are|was|were|does|do|did|can|could|would|should|will|has|have)\s+(?:" + _SUBJECT + r")(?![\w-]))",
    re.IGNORECASE,
)
"""How English questions begin that go without a mark: a question word, or a verb before its subject."""


def is_question(text: str) -> bool:
    """Whether a text is taken for a question rather than a phrase."""
    return _is_marked(text) or bool(_OPENING.match(text.strip()))


def _is_marked(text: str) -> bool:
    """Ends as a question. In quotes altogether it does; what is quoted at the end of a phrase is no question."""
    text = text.strip()
    return bool(_MARK.search(text.strip(_QUOTES) if text[:1] in _QUOTES else text))


def listed(text: str) -> list[str]:
    """The names in a text with commas that is no question; empty where it is no such list."""
    if "," not in text or is_question(text):
        return []
    return [name.strip() for name in text.split(",") if name.strip()]


def guess(text: str) -> str:
    """What a text is taken for without saying so itself, for people; empty where nothing was guessed."""
    if not is_question(text) or _is_marked(text):
        return ""
    return "Taken for a question by how it begins; end it with '?', or name the task for a phrase"


@dataclass(frozen=True)
class Request:
    """One thing asked of one medium."""

    task: Task
    prompt: Prompt

    @property
    def nothing(self) -> bool:
        """Regions were given, and they are none: there is nothing to look for."""
        return self.task.conditions == "regions" and not self.prompt.conditions

    @property
    def single(self) -> bool:
        """It is answered by itself rather than in a batch: it marks nothing, or what it marks lies in other media."""
        return self.nothing or any(condition.example is not None for condition in self.prompt.conditions)


def make_request(
    clip: Clip,
    prompt: Any = None,
    regions: Any = None,
    task: str | None = None,
    examples: tuple[Condition, ...] = (),
    same: str = "kind",
) -> Request:
    """Understand what is asked.

    Args:
        clip: the opened medium.
        prompt: a phrase, a question, a list of category names, a `Prompt`, or None.
        regions: one or several of: `Region`; a point ``(x, y)``; a box ``(x0, y0, x1, y1)``; a mask array or file;
            a dict with one of ``points``, ``box``, ``scribble``, ``polygon``, ``mask`` and perhaps ``frame``, ``id``
            and ``name``. Arrays and tensors of them are judged by their shape (`x2sam.marks`). An empty list means
            that nothing was found to segment, and nothing is segmented; None that nothing is said.
        task: a name of the task table; None infers it:

            ================== ============================================
            regions            interactive (image) or object (video)
            several names      generic, by these names
            a question         reasoning
            a phrase           referring
            nothing            grounded caption
            examples           grounded: all of the kind; or, for the same object, as regions
            ================== ============================================
        examples: things that are shown in other media (`x2sam.examples`), in place of prompt and regions.
        same: ``kind`` or ``object``: what an example means.
    """
    if examples:
        if same not in ("kind", "object"):
            raise InputError(f"Got same={same!r}", "'kind' (all that are like it) or 'object' (that very one)")
        if regions is not None:
            raise InputError("Got regions beside examples", "one of them", "Ask twice on one session: model.open(...)")
        row = _row(clip, "", True, task, one_region=same == "object")
        if row.conditions != "regions":
            raise InputError(f"Got examples for {row.name}", "a task for regions, or none")
        check(row, Prompt(examples))
        return Request(row, Prompt(examples))
    if not isinstance(prompt, Prompt):
        prompt = _words(prompt)
        marked = tuple(Condition(region=r) for r in read_regions(regions, clip.size))
        row = _row(clip, prompt, regions is not None, task)
        prompt = _prompt(row, prompt, marked)
        if regions is not None and not marked and row.conditions == "regions":
            return Request(row, prompt)
    else:
        row = _row(clip, "", bool(prompt.regions), task)
    check(row, prompt)
    _check_regions(clip, prompt)
    return Request(row, prompt)


def _words(prompt: Any) -> Any:
    """A prompt as text, a list of texts (or `Condition`s), or None."""
    if prompt is None or isinstance(prompt, Condition):
        return None if prompt is None else [prompt]
    if isinstance(prompt, (str, bytes, int, float)):
        return _word(prompt)
    if hasattr(prompt, "tolist"):  # names in an array
        prompt = prompt.tolist()
        return _words(prompt)
    if not isinstance(prompt, Iterable) or isinstance(prompt, dict):
        raise InputError(f"Got {type(prompt).__name__} for a prompt", "a text or a list of names")
    return [item if isinstance(item, Condition) else _word(item) for item in prompt]


def _word(text: Any) -> str:
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    if isinstance(text, bool) or not isinstance(text, (str, int, float)):
        raise InputError(f"Got {text!r:.60} among the words of a prompt", "text")
    # Half of a surrogate pair comes from names of files that are not UTF-8; no tokenizer takes it.
    return str(text).encode("utf-8", "replace").decode()


def _row(clip: Clip, prompt: Any, marked: bool, task: str | None, one_region: bool = True) -> Task:
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
        wanted = {"conditions": "regions", "one_region": one_region}
    elif prompt is None:
        wanted = {"conditions": "answer"}
    elif not isinstance(prompt, str):
        wanted = {"conditions": "categories"}
    else:
        wanted = {"conditions": "questions" if is_question(prompt) else "expressions"}
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
