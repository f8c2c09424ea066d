"""Short questions about a photo whose answers its masks and names make sure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from x2sam.data.photos.drafts import Draft
from x2sam.data.photos.drawing import bounds
from x2sam.data.photos.names import counted, is_plural, plural

Pair = tuple[str, str]
"""A question and its answer."""
Form = Callable[[Draft], "Pair | None"]

TRIES = 4
ALONE = 0.3
"""How often things are counted where there is one of each name."""
MOST = 6
"""So many are counted at most."""
NUMBERS = ("none", "one", "two", "three", "four", "five", "six")
CLOTHES = "ccp"
IS_THERE = (
    "Is there {} in the picture?",
    "Is there {}?",
    "Can you see {} here?",
    "Does the photo show {}?",
    "Is {} in the image?",
)
ARE_THERE = ("Are there any {} in the picture?", "Are there {} here?", "Can you see any {}?", "Does it show any {}?")
WEARS = ("Is the person wearing {}?", "Does the person in front wear {}?", "Do you see {} on the person?")
HOW_MANY = (
    "How many {} are there?",
    "How many {} can you see?",
    "How many {} are in the picture?",
    "Count the {}.",
    "What is the number of {} here?",
)
WHERE = ("Where is the {}?", "Where in the picture is the {}?", "In which part of the photo is the {}?")
PLACES = {"on the left": (0.0, 0.36), "in the middle": (0.44, 0.56), "on the right": (0.64, 1.0)}
"""Where the centre of an object is, as a part of the width."""
WHAT = ("What is on the {}?", "What can you see on the {}?", "What is on the {} of the picture?")
WIDE = 0.5
"""What is wider than this part of the frame is on no side."""
BIG = 0.01
"""Part of the frame that something covers at least to be what is on a side."""
MAIN = 5
"""How much more of a side something covers than all else that has a name, to be what is there."""


def exists(draft: Draft) -> Pair | None:
    """Whether there is such a thing: as often yes as no, so asked only where both can be."""
    rng, here = draft.rng, [name for name, shapes in draft.names().items() if shapes[0].thing]
    tries = (draft.missing(1) for _ in range(TRIES if draft.others else 0))
    missing = [name for names in tries for name in names if name in draft.things]
    if not here or not missing:
        return None
    yes = bool(rng.random() < 0.5)
    name = here[rng.integers(len(here))] if yes else missing[0]
    a = counted(name, 1)
    if draft.photo.set == CLOTHES:
        return _one(draft, WEARS).format(a), _one(draft, ("Yes.", f"Yes, {a}.") if yes else ("No.", f"No, not {a}."))
    many = is_plural(name) or bool(rng.random() < 0.3)
    question = _one(draft, ARE_THERE).format(plural(name)) if many else _one(draft, IS_THERE).format(a)
    if not yes:
        none = f"are no {plural(name)}" if many else f"is no {name}"
        return question, _one(draft, ("No.", f"No, there {none}."))
    shapes = draft.photo.called(name)
    count = draft.count(shapes)
    if count is None or is_plural(name):
        return question, "Yes."
    return question, _one(draft, ("Yes.", f"Yes, there {'is' if count == 1 else 'are'} {counted(name, count)}."))


def how_many(draft: Draft) -> Pair | None:
    """The number of things of a name, mostly of one that there are several of."""
    counts = {}
    for name, shapes in draft.names().items():
        count = draft.count(shapes)
        if shapes[0].thing and not is_plural(name) and count and count <= MOST:
            counts[name] = count
    if not counts or (max(counts.values()) == 1 and draft.rng.random() >= ALONE):
        return None
    chances = np.array(list(counts.values()), float) ** 3
    name = list(counts)[draft.rng.choice(len(counts), p=chances / chances.sum())]
    words, count = plural(name), counts[name]
    text = f"{NUMBERS[count]} {name if count == 1 else words}"
    answers = (NUMBERS[count], text, f"there {'is' if count == 1 else 'are'} {text}")
    return _one(draft, HOW_MANY).format(words), _one(draft, answers).capitalize() + "."


def where(draft: Draft) -> Pair | None:
    """The part of the picture where the only thing of a name is."""
    found = {}
    for name, shapes in draft.names().items():
        if draft.count(shapes) == 1 and not is_plural(name):
            left, right = _ends(draft, [s.id for s in shapes])
            places = [p for p, (low, high) in PLACES.items() if low <= (left + right) / 2 < high]
            if places and right - left < WIDE:
                found[name] = places[0]
    if not found:
        return None
    name = list(found)[draft.rng.integers(len(found))]
    answers = (found[name], f"the {name} is {found[name]}")
    return _one(draft, WHERE).format(name), _sentence(_one(draft, answers))


def what(draft: Draft) -> Pair | None:
    """What a side shows, where that is one thing and all else is small there."""
    if len(draft.sure & draft.things) < 2 or draft.photo.set == CLOTHES:
        return None
    side = ("left", "right")[draft.rng.integers(2)]
    low, high = PLACES[f"on the {side}"]
    ids = draft.scene.maps[0]
    part = ids[:, round(low * ids.shape[1]) : round(high * ids.shape[1])]
    covered: dict[str, int] = {}
    for shape in draft.photo.shapes:
        if shape.thing:
            name = shape.name or ""
            covered[name] = covered.get(name, 0) + int(np.count_nonzero(part == shape.id))
    name = max(covered, key=lambda n: covered[n], default="")
    rest = sum(covered.values()) - covered.get(name, 0)
    if name not in draft.names() or covered[name] < BIG * ids.size or covered[name] < MAIN * rest:
        return None
    inside = [s for s in draft.photo.called(name) if np.count_nonzero(part == s.id)]
    left, right = _ends(draft, [s.id for s in inside])
    if draft.count(inside) != 1 or not low <= (left + right) / 2 < high or right - left >= WIDE:
        return None
    a = counted(name, 1)
    answers = (a, a, f"there {'are' if is_plural(name) else 'is'} {a} on the {side}")
    return _one(draft, WHAT).format(side), _sentence(_one(draft, answers))


FORMS: tuple[Form, ...] = (exists, exists, exists, how_many, how_many, how_many, where, where, what, what)
"""As often as each is tried first."""


def _ends(draft: Draft, ids: Sequence[int]) -> tuple[float, float]:
    """Left and right end of some segments, as parts of the width."""
    mask = draft.scene.mask(ids)
    left, _, right, _ = bounds(mask)
    return left / mask.shape[1], right / mask.shape[1]


def _one(draft: Draft, texts: Sequence[str]) -> str:
    return texts[int(draft.rng.integers(len(texts)))]


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."
