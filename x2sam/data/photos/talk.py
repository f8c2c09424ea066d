"""What is said about a photo: captions of people, sentences of names, and answers to short questions."""

from __future__ import annotations

import re
from collections.abc import Sequence

from x2sam.data.photos.augment import SIDES
from x2sam.data.photos.drafts import Content, Draft
from x2sam.data.photos.folder import Photo
from x2sam.data.photos.names import counted, listed, plural
from x2sam.data.photos.questions import FORMS
from x2sam.types import Prompt

QUESTIONS = 0.45
"""Share of questions, where one can be asked; the others ask for a description."""
DESCRIBE = (
    "Describe the image.",
    "What is in the picture?",
    "What does the image show?",
    "Describe this photo in one sentence.",
    "Write a short caption for the image.",
    "What can you see here?",
)
SENTENCES = ("A photo of {}.", "You can see {} in the picture.", "The picture shows {}.", "{}.")
WEARING = ("A person wearing {}.", "The person in front wears {}.", "Someone in {}.")
NAMED = 5
"""Most names of a sentence."""


def spoken(photo: Photo) -> bool:
    """Whether there is something to be said."""
    return bool(photo.captions or photo.names)


def talk(draft: Draft) -> Content | None:
    """A description, or a question whose answer is sure."""
    rng = draft.rng
    if rng.random() < QUESTIONS:
        for i in rng.permutation(len(FORMS)):
            pair = FORMS[i](draft)
            if pair is not None:
                return Content(Prompt(text=pair[0]), (), pair[1])
    captions = captions_of(draft)
    answer = captions[rng.integers(len(captions))] if captions else sentence(draft)[0]
    question = DESCRIBE[rng.integers(len(DESCRIBE))]
    return Content(Prompt(text=question), (), answer) if answer else None


def captions_of(draft: Draft) -> list[str]:
    """What people wrote, as whole sentences; without what is wrong in a mirror."""
    flipped = draft.scene.flipped
    return [tidy(c) for c in draft.photo.captions if c.strip() and not (flipped and SIDES.search(c))]


def tidy(caption: str) -> str:
    """A caption with a capital in front, a full stop at the end and single spaces."""
    text = " ".join(caption.split()).rstrip(" .,")
    text = text.lower() if text.isupper() else text
    return text[:1].upper() + text[1:] + ("" if text.endswith(("!", "?")) else ".")


def sentence(draft: Draft, frame: str = "{}") -> tuple[str, list[Sequence[int]]]:
    """A sentence of names with their numbers, the largest first, clothes as what a person wears; and their segments.

    frame: what is put around every name with its number.
    """
    found = draft.names()
    names = sorted(found, key=lambda name: -draft.scene.area([s.id for s in found[name]]))
    clothes = draft.photo.set == "ccp"
    bank = WEARING if clothes else SENTENCES
    if clothes:
        names = [name for name in names if found[name][0].thing]
    words = []
    for name in names[:NAMED]:
        shapes = found[name]
        count = 1 if clothes else draft.count(shapes)
        if not shapes[0].thing:
            words.append(name)
        elif count is not None:
            words.append(counted(name, count))
        else:  # nobody counted
            several = len(shapes) > 1 or shapes[0].inst == "many"
            words.append(f"some {plural(name)}" if several else counted(name, 1))
    if not words:
        return "", []
    text = bank[draft.rng.integers(len(bank))].format(listed([frame.format(word) for word in words]))
    first = re.search(r"(?<![<\w])\w(?!>)", text)
    at = first.start() if first else 0
    return text[:at] + text[at].upper() + text[at + 1 :], [[s.id for s in found[name]] for name in names[:NAMED]]
