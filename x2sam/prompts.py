"""How a task is worded for the language model, and how its words are read back.

A conversation is a list of turns. Conditions stand between ``<p>`` and ``</p>``; where masks are answered, the answer
ends in ``<SEG>``. Wordings are drawn at random in training and fixed at inference.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from x2sam.errors import InputError
from x2sam.tasks import Task
from x2sam.types import Condition, Prompt

SEG, PHRASE_START, PHRASE_END = "<SEG>", "<p>", "</p>"
REGION = "<region>"
"""Where a region's embeddings go; not a token of its own."""
ADDED_TOKENS = (SEG, PHRASE_START, PHRASE_END)
"""Added to the language model's tokenizer, in this order."""

QUESTIONS: dict[str, tuple[str, ...]] = {
    "categories": (
        "Can you segment the {media} by these categories: {conditions}? Please answer with the segmentation masks.",
        "Please segment everything in this {media} that belongs to these categories: {conditions}.",
        "Which parts of the {media} show {conditions}? Please give the segmentation masks.",
        "Find {conditions} in this {media} and reply with their masks.",
    ),
    "expression": (
        "Please segment {conditions} in this {media}.",
        "Can you segment {conditions} in the {media}?",
        "Where is {conditions} in this {media}? Please answer with a segmentation mask.",
        "Show me {conditions} in the {media} as a mask.",
    ),
    "question": (
        "{conditions} Please segment the answer in this {media}.",
        "{conditions} Please reply with a segmentation mask.",
        "Look at the {media}. {conditions} Answer with a mask.",
    ),
    "caption": (
        "Please describe this {media} in a few words and give the masks of what you mention.",
        "What does this {media} show? Answer briefly, with segmentation masks for the phrases.",
        "Give a short description of the {media} with the masks that belong to its phrases.",
    ),
    "regions": (
        "Can you segment the {media} by these regions: {conditions}? Please answer with the segmentation masks.",
        "Please segment in this {media} what these regions show: {conditions}.",
        "Find what {conditions} mark in the {media} and reply with the masks.",
    ),
    "chat": ("{conditions}",),
}
"""Question wordings by `Task.prompt`."""

ANSWERS = (f"{SEG}.", f"It is {SEG}.", f"Sure, {SEG}.", f"Sure, it is {SEG}.", f"Sure, here is the mask: {SEG}.")
"""How masks are announced."""

CAPTION_ENDINGS = (f"And {SEG}.", f"The masks are {SEG}.", f"{SEG}.")
"""How they are announced after a caption."""


@dataclass(frozen=True)
class Turn:
    """One exchange. ``answer`` is None where the model is to speak."""

    question: str
    answer: str | None = None


@dataclass(frozen=True)
class Phrase:
    """A grounded phrase of an answer."""

    text: str
    start: int
    end: int
    """Character span in the cleaned text."""


def conversation(
    task: Task, prompt: Prompt, answer: str | None = None, rng: np.random.Generator | None = None
) -> list[Turn]:
    """The turns that put ``prompt`` to the model.

    Args:
        task: the row of the table.
        prompt: what is asked.
        answer: what is to be said (training, or a templated answer's explanation); None lets a generating task speak.
        rng: draws the wordings; None takes the first of each.

    Raises:
        InputError: the prompt lacks what the task needs, or has what it cannot use.
    """
    check(task, prompt)
    if task.is_chat:
        return [*(Turn(clean(q), a) for q, a in prompt.history), Turn(clean(prompt.text), answer)]
    conditions = [_marked(task, condition) for condition in prompt.conditions]
    # Each expression or question is asked in a turn of its own; lists of categories and regions share one.
    asked = [[c] for c in conditions] if task.prompt in ("expression", "question") else [conditions]
    turns = []
    for number, group in enumerate(asked):
        wording = _pick(QUESTIONS[task.prompt], rng)
        question = wording.format(media=task.media, conditions=", ".join(group))
        last = number == len(asked) - 1
        turns.append(Turn(question, _answer(task, answer if last else None, rng)))
    return turns


def check(task: Task, prompt: Prompt) -> None:
    """Raise InputError unless ``prompt`` has just what ``task`` needs."""
    texts = [c for c in prompt.conditions if c.text]
    marked = [c for c in prompt.conditions if c.region or c.example]
    wants = {
        "categories": ("category names", texts),
        "expressions": ("a phrase", texts),
        "questions": ("a question", texts),
        "regions": ("a point, box, scribble, mask or example", marked),
    }.get(task.conditions)
    if wants is not None and (not wants[1] or len(wants[1]) != len(prompt.conditions)):
        raise InputError(f"Got no {wants[0]} for {task.name}", f"{wants[0]}, since that is what {task.title} answers")
    if wants is None and prompt.conditions:
        raise InputError(f"Got conditions for {task.name}", "none: this task takes text or nothing")
    if task.is_chat and not prompt.text.strip():
        raise InputError(f"Got no text for {task.name}", "a message")


def clean(text: str) -> str:
    """User text on one spacing, without anything that the model would take for a marker."""
    text = re.sub(r"<\|[^|>]*\|>|</?p>|<SEG>|<region>|<image>|<video>", " ", text, flags=re.IGNORECASE)
    return " ".join(text.split())


def read_answer(text: str) -> tuple[str, list[Phrase]]:
    """Take the markers out of a spoken answer: (clean text, its grounded phrases in order).

    The sentence that only announces ``<SEG>`` is dropped.
    """
    text = re.sub(r"<\|[^|>]*\|>", "", text)
    text = " ".join(s for s in re.split(r"(?<=[.!?])\s+", text.strip()) if not _announces(s))
    out, phrases, position = "", [], 0
    for match in re.finditer(r"<p>(.*?)</p>", text, flags=re.DOTALL):
        out += _tidy(text[position : match.start()], out)
        start = len(out)
        out += " ".join(match[1].replace(PHRASE_START, " ").split())
        phrases.append(Phrase(out[start:], start, len(out)))
        position = match.end()
    out += _tidy(text[position:], out)
    return out.rstrip(), phrases


def may_announce(text: str) -> bool:
    """Whether the last sentence of an unfinished answer could turn out to announce masks and nothing else."""
    last = re.split(r"(?<=[.!?])\s+", text.strip())[-1]
    return any(wording.startswith(last) for wording in (*ANSWERS, *CAPTION_ENDINGS))


def _announces(sentence: str) -> bool:
    return SEG in sentence and PHRASE_START not in sentence


def _tidy(text: str, before: str) -> str:
    """Text between phrases without markers, with single spaces and none before punctuation."""
    for marker in ADDED_TOKENS:
        text = text.replace(marker, " ")
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"\s+([.,;:!?])", r"\1", text)
    return text.lstrip() if not before else text


def _marked(task: Task, condition: Condition) -> str:
    shown = condition.example
    if condition.region is not None or (shown is not None and not shown.words):
        return f"{PHRASE_START}{REGION}{PHRASE_END}"
    text = clean(shown.words if shown is not None else condition.text or "")
    if not text:
        raise InputError(f"Got the empty phrase {condition.text!r} for {task.name}", "words")
    return f"{PHRASE_START}{text if task.prompt == 'question' else text.lower()}{PHRASE_END}"


def _answer(task: Task, answer: str | None, rng: np.random.Generator | None) -> str | None:
    if task.generates:
        return f"{answer.strip()} {_pick(CAPTION_ENDINGS, rng)}" if answer is not None else None
    announced = _pick(ANSWERS, rng)
    return f"{answer.strip()} {announced}" if answer else announced


def _pick(bank: Sequence[str], rng: np.random.Generator | None) -> str:
    return bank[0] if rng is None else bank[int(rng.integers(len(bank)))]
