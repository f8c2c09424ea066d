"""Referring phrases: text together with the truth about whom it means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from x2sam.data.world.facts import Facts, Truth
from x2sam.data.world.vocabulary import COLOURS, GROUP_NOUNS, TEXTURES, THINGS

TRIES = 14
"""Random phrases tried for one target before another target is chosen."""


@dataclass(frozen=True)
class Phrase:
    """Words, and for every visible thing whether they mean it."""

    text: str
    truth: Truth

    @property
    def target(self) -> int | None:
        """The only thing it means; None if there is none, several, or room for argument."""
        return int(self.truth.argmax()) if (self.truth > 0).sum() == 1 == self.truth.max() else None

    @property
    def is_absent(self) -> bool:
        """It certainly means nothing here."""
        return not self.truth.any()


@dataclass(frozen=True)
class Noun:
    """What a thing may be called: a category, a group or just object, with adjectives."""

    name: str
    colour: str | None = None
    texture: str | None = None

    @property
    def text(self) -> str:
        return " ".join(word for word in (self.texture, self.colour, self.name) if word)

    def truth(self, facts: Facts) -> Truth:
        truth = facts.named(self.name)
        if self.colour:
            truth = np.minimum(truth, facts.coloured(self.colour))
        return np.minimum(truth, facts.textured(self.texture)) if self.texture else truth


def is_plural(noun: str) -> bool:
    """Whether a noun is always plural."""
    return noun.split()[-1] in ("trousers", "glasses", "scissors")


def an(noun: str) -> str:
    """The noun with its indefinite article."""
    return f"some {noun}" if is_plural(noun) else f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def noun_for(rng: np.random.Generator, facts: Facts, target: int, rich: float = 0.5) -> Noun:
    """A random true noun for a thing; ``rich`` is the chance of each adjective."""
    category = str(facts.category[target])
    group, draw = THINGS[category].group, rng.random()
    name = (
        category
        if draw < 0.75
        else group
        if draw < 0.9 and group in GROUP_NOUNS
        else "object"
        if draw > 0.9
        else category
    )
    colour = facts.colour[target] if rng.random() < rich else None
    texture = facts.texture[target] if rng.random() < rich * 0.6 and facts.texture[target] != "plain" else None
    return Noun(name, colour, texture)


# --- forms ------------------------------------------------------------------------------------------------------------

Form = Callable[[np.random.Generator, Facts, Noun], "Phrase | None"]


def _plain(rng: np.random.Generator, facts: Facts, noun: Noun) -> Phrase | None:
    return None if noun.name == "object" and not noun.colour else Phrase(f"the {noun.text}", noun.truth(facts))


def _size(rng: np.random.Generator, facts: Facts, noun: Noun) -> Phrase:
    word, sign = (("largest", 1), ("smallest", -1))[rng.integers(2)]
    return Phrase(f"the {word} {noun.text}", facts.largest(noun.truth(facts), sign))


_SIDES = {"left": "on the left", "right": "on the right", "up": "at the top", "down": "at the bottom"}
_EXTREMES = {"left": "leftmost", "right": "rightmost", "up": "topmost", "down": "lowest"}
_BESIDE = {"left": "to the left of", "right": "to the right of", "up": "above", "down": "below"}
_WAYS = {"left": "to the left", "right": "to the right", "up": "upwards", "down": "downwards"}


def _side(rng: np.random.Generator, facts: Facts, noun: Noun) -> Phrase:
    side = list(_SIDES)[rng.integers(4)]
    return Phrase(f"the {noun.text} {_SIDES[side]}", np.minimum(noun.truth(facts), facts.on_side(side)))


def _extreme(rng: np.random.Generator, facts: Facts, noun: Noun) -> Phrase:
    side = list(_EXTREMES)[rng.integers(4)]
    return Phrase(f"the {_EXTREMES[side]} {noun.text}", facts.furthest(noun.truth(facts), side))


def _relation(rng: np.random.Generator, facts: Facts, noun: Noun) -> Phrase | None:
    anchor = anchor_phrase(rng, facts)
    if anchor is None or anchor.target is None:
        return None
    words, truth = _RELATIONS[rng.integers(len(_RELATIONS))]
    return Phrase(f"the {noun.text} {words} {anchor.text}", np.minimum(noun.truth(facts), truth(facts, anchor.target)))


_RELATIONS: list[tuple[str, Callable[[Facts, int], Truth]]] = [
    *((words, lambda f, a, s=side: f.beside(s, a)) for side, words in _BESIDE.items()),
    ("behind", Facts.behind),
    ("behind", Facts.behind),
    ("in front of", Facts.before),
    ("in front of", Facts.before),
    ("larger than", Facts.larger),
    ("smaller than", Facts.smaller),
]


def _nearest(rng: np.random.Generator, facts: Facts, noun: Noun) -> Phrase | None:
    anchor = anchor_phrase(rng, facts)
    if anchor is None or anchor.target is None:
        return None
    truth = facts.nearest(noun.truth(facts), anchor.target)
    return Phrase(f"the {noun.text} closest to {anchor.text}", truth)


def _motion(rng: np.random.Generator, facts: Facts, noun: Noun) -> Phrase:
    kind = rng.integers(8)
    base = noun.truth(facts)
    if kind < 4:
        way = list(_WAYS)[kind]
        return Phrase(f"the {noun.text} moving {_WAYS[way]}", np.minimum(base, facts.moving(way)))
    words, truth = (
        (f"the {noun.text} standing still", np.minimum(base, facts.still())),
        (f"the fastest {noun.text}", facts.fastest(base)),
        (f"the {noun.text} entering the picture", np.minimum(base, facts.entering())),
        (f"the {noun.text} leaving the picture", np.minimum(base, facts.leaving())),
    )[kind - 4]
    if kind >= 6 and rng.random() < 0.3:
        return Phrase(f"the {noun.text} that leaves and returns", np.minimum(base, facts.returning()))
    return Phrase(words, truth)


def _towards(rng: np.random.Generator, facts: Facts, noun: Noun) -> Phrase | None:
    anchor = anchor_phrase(rng, facts)
    if anchor is None or anchor.target is None:
        return None
    return Phrase(
        f"the {noun.text} moving towards {anchor.text}", np.minimum(noun.truth(facts), facts.towards(anchor.target))
    )


IMAGE_FORMS: tuple[Form, ...] = (_size, _side, _extreme, _relation, _relation, _relation, _nearest)
VIDEO_FORMS: tuple[Form, ...] = (*IMAGE_FORMS, *[_motion] * 8, _towards, _towards)
PLAIN = 0.35
"""Share of phrases that name no more than a thing's looks, where others are possible."""


# --- phrases ----------------------------------------------------------------------------------------------------------


def anchor_phrase(rng: np.random.Generator, facts: Facts) -> Phrase | None:
    """A short unique phrase for a random thing, by which others are placed; None if the first try fails."""
    named = [k for k, category in enumerate(facts.category) if category]
    if len(named) < 2:
        return None
    target = named[rng.integers(len(named))]
    category = str(facts.category[target])
    for noun in (Noun(category), Noun(category, facts.colour[target])):
        phrase = Phrase(f"the {noun.text}", noun.truth(facts))
        if phrase.target == target:
            return phrase
    return None


def refer(rng: np.random.Generator, facts: Facts, target: int) -> Phrase | None:
    """A random phrase that means this thing and nothing else; None if none was found."""
    if facts.category[target] is None:
        return None
    forms = VIDEO_FORMS if facts.frames > 1 else IMAGE_FORMS
    order = [_plain] * (TRIES // 2)
    if rng.random() > PLAIN:
        order = [*(forms[k] for k in rng.integers(len(forms), size=TRIES)), *order]
    for form in order:
        phrase = form(rng, facts, noun_for(rng, facts, target))
        if phrase is not None and phrase.target == target:
            return phrase
    return None


def mislead(
    rng: np.random.Generator,
    facts: Facts,
    names: tuple[str, ...],
    allowed: Callable[[str, str | None, str | None], bool],
) -> Phrase | None:
    """A phrase that means nothing in the scene, mostly by one wrong word; None if none was found."""
    forms = VIDEO_FORMS if facts.frames > 1 else IMAGE_FORMS
    named = [k for k, category in enumerate(facts.category) if category]
    for _ in range(TRIES):
        noun = noun_for(rng, facts, named[rng.integers(len(named))]) if named else Noun(names[rng.integers(len(names))])
        draw = rng.random()
        if draw < 0.35:
            noun = Noun(names[rng.integers(len(names))], noun.colour, noun.texture)
        elif draw < 0.65:
            noun = Noun(noun.name, list(COLOURS)[rng.integers(len(COLOURS))], noun.texture)
        elif draw < 0.75:
            noun = Noun(noun.name, noun.colour, TEXTURES[rng.integers(1, len(TEXTURES))])
        if (
            noun.name == "object"
            or noun.name in facts.scene.depicted
            or not allowed(noun.name, noun.colour, noun.texture)
        ):
            continue
        # One in three wrong phrases is long; what it says beside its noun does not matter then.
        form = _plain if rng.random() < 0.65 else forms[rng.integers(len(forms))]
        phrase = form(rng, facts, noun)
        if phrase is not None and phrase.is_absent:
            return phrase
    return None
