"""Grounded captions, and questions with answers about a scene."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from x2sam.data.world.facts import Facts
from x2sam.data.world.language import Noun, an, is_plural
from x2sam.data.world.questions import ask
from x2sam.data.world.vocabulary import GROUP_NOUNS, HELD_OUT, THINGS

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
MENTIONS = 4
"""Most groups of things that a caption names."""
COUNTED = ("sky", "water", "grass", "sand", "snow", "gravel", "soil")
"""Stuff that takes no article."""
SHOWN = tuple(name for name in THINGS if name not in HELD_OUT)
"""Things that training may speak of."""


@dataclass(frozen=True)
class Group:
    """Things that one phrase of a caption means, or a kind of stuff."""

    text: str
    members: tuple[int, ...] = ()
    stuff: str | None = None


def groups(facts: Facts) -> list[Group]:
    """The named things, those of one category and colour together, largest first."""
    found: dict[tuple[str, str | None], list[int]] = {}
    for category in dict.fromkeys(c for c in facts.category if c):
        members = [k for k, c in enumerate(facts.category) if c == category]
        known = all(facts.colour[k] for k in members)
        for k in members:
            found.setdefault((category, facts.colour[k] if known else None), []).append(k)
    out = []
    for (category, colour), members in found.items():
        textures = {facts.texture[k] for k in members}
        texture = textures.pop() if colour and len(textures) == 1 else None
        noun = Noun(category, colour, None if texture == "plain" else texture)
        out.append(
            Group(an(noun.text) if len(members) == 1 else f"{NUMBERS[len(members)]} {plural(noun)}", tuple(members))
        )
    return sorted(out, key=lambda g: -sum(facts.size[list(g.members)]))


def plural(noun: Noun) -> str:
    """``"striped red boats"``."""
    name = THINGS[noun.name].plural if noun.name in THINGS else noun.name + "s"
    return Noun(name, noun.colour, noun.texture).text


def caption(rng: np.random.Generator, facts: Facts) -> tuple[str, list[Group]]:
    """A caption with every grounded phrase between ``<p>`` and ``</p>``, and what the phrases mean, in order."""
    named = groups(facts)[:MENTIONS]
    spans: list[Group] = []

    def span(group: Group) -> str:
        spans.append(group)
        return f"<p>{group.text}</p>"

    sentences = []
    if named:
        first, rest = named[0], named[1:]
        opening = span(first)
        doing = _doing(facts, first)
        relation = _relation(facts, first, rest[0]) if rest else None
        if doing:
            sentences.append(f"{opening} {doing}.")
        elif relation:
            sentences.append(f"{opening} {_be(first)} {relation} {span(rest[0])}.")
            rest = rest[1:]
        else:
            sentences.append(f"{opening} {_be(first)} in the picture.")
        if rest:
            sentences.append(f"There {_be(rest[0])} also {_listed([span(g) for g in rest])}.")
    least = 0.02 * facts.scene.owners[0].size
    stuff = sorted(((-int(n.sum()), name) for name, n in facts.stuff().items() if n.max() > least))
    if stuff:
        words = [span(Group(_stuff_noun(name), stuff=name)) for _, name in stuff]
        sentences.append(f"The background shows {_listed(words)}.")
    return " ".join(s[:3] + s[3].upper() + s[4:] if s.startswith("<p>") else s for s in sentences), spans


def _be(group: Group) -> str:
    return "is" if group.text.startswith(("a ", "an ")) else "are"


def _stuff_noun(name: str) -> str:
    return f"the {name}" if name == "sky" else name if name in COUNTED else an(name)


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def _doing(facts: Facts, group: Group) -> str | None:
    """What a single thing certainly does."""
    if facts.frames == 1 or len(group.members) > 1:
        return None
    (k,) = group.members
    plain = _be(group) == "are"
    for way, words in (("left", "to the left"), ("right", "to the right"), ("up", "upwards"), ("down", "downwards")):
        if facts.moving(way)[k] == 1:
            return f"{'move' if plain else 'moves'} {words}"
    return f"{'stand' if plain else 'stands'} still" if facts.still()[k] == 1 else None


def _relation(facts: Facts, first: Group, second: Group) -> str | None:
    """How a single thing certainly lies to another one."""
    if len(first.members) > 1 or len(second.members) > 1:
        return None
    (a,), (b,) = first.members, second.members
    rules = {
        "in front of": facts.before(b),
        "behind": facts.behind(b),
        "to the left of": facts.beside("left", b),
        "to the right of": facts.beside("right", b),
        "above": facts.beside("up", b),
        "below": facts.beside("down", b),
    }
    return next((words for words, truth in rules.items() if truth[a] == 1), None)


# --- chat -------------------------------------------------------------------------------------------------------------

Pair = tuple[str, str]
Form = Callable[[np.random.Generator, Facts], "Pair | None"]


def chat(rng: np.random.Generator, facts: Facts) -> Pair:
    """A question about the scene and its answer."""
    forms = VIDEO_FORMS if facts.frames > 1 else IMAGE_FORMS
    for _ in range(20):
        pair = forms[rng.integers(len(forms))](rng, facts)
        if pair is not None:
            return pair
    return _describe(rng, facts)


def _describe(rng: np.random.Generator, facts: Facts) -> Pair:
    text, _ = caption(rng, facts)
    question = ("What is in the picture?", "Please describe what you see.")[rng.integers(2)]
    return question, text.replace("<p>", "").replace("</p>", "") or "There is nothing that I could name."


def _count(rng: np.random.Generator, facts: Facts) -> Pair | None:
    noun = _some_noun(rng, facts, 0.3)
    truth = noun.truth(facts)
    if (truth == 0.5).any() or noun.name in facts.scene.depicted or noun.texture:
        return None
    count = int(truth.sum())
    answer = f"There is one {noun.text}." if count == 1 else f"There are {NUMBERS[count]} {plural(noun)}."
    return f"How many {plural(noun)} are there?", answer


def _exists(rng: np.random.Generator, facts: Facts) -> Pair | None:
    noun = _some_noun(rng, facts, 0.6)
    truth = noun.truth(facts)
    if (truth == 0.5).any() or noun.name in facts.scene.depicted:
        return None
    if is_plural(noun.name):
        return None
    there = "Yes, there is" if truth.any() else "No, there is no"
    return f"Is there {an(noun.text)}?", f"{there} {an(noun.text) if truth.any() else noun.text}."


def _colour(rng: np.random.Generator, facts: Facts) -> Pair | None:
    k = _only_one(rng, facts)
    if k is None or facts.colour[k] is None:
        return None
    return f"What colour is the {facts.category[k]}?", f"The {facts.category[k]} is {facts.colour[k]}."


def _texture(rng: np.random.Generator, facts: Facts) -> Pair | None:
    k = _only_one(rng, facts)
    if k is None or facts.texture[k] is None:
        return None
    return f"What pattern does the {facts.category[k]} have?", f"The {facts.category[k]} is {facts.texture[k]}."


def _side(rng: np.random.Generator, facts: Facts) -> Pair | None:
    k = _only_one(rng, facts)
    if k is None:
        return None
    for side, words in (("left", "on the left"), ("right", "on the right")):
        if facts.on_side(side)[k] == 1:
            return f"Where is the {facts.category[k]}?", f"The {facts.category[k]} is {words}."
    return None


def _largest(rng: np.random.Generator, facts: Facts) -> Pair | None:
    largest = facts.largest(np.ones(len(facts)))
    if largest.max() < 1 or facts.category[int(largest.argmax())] is None:
        return None
    return "What is the largest object?", f"The largest object is {an(str(facts.category[int(largest.argmax())]))}."


def _background(rng: np.random.Generator, facts: Facts) -> Pair | None:
    least = 0.05 * facts.scene.owners.size
    found = sorted((-int(n.sum()), name) for name, n in facts.stuff().items() if n.sum() > least)
    if not found:
        return None
    return "What is in the background?", f"The background shows {_listed([_stuff_noun(n) for _, n in found])}."


def _moves(rng: np.random.Generator, facts: Facts) -> Pair | None:
    k = _only_one(rng, facts)
    if k is None:
        return None
    doing = _doing(facts, Group("a thing", (k,)))
    return None if doing is None else (f"What does the {facts.category[k]} do?", f"The {facts.category[k]} {doing}.")


def _fastest(rng: np.random.Generator, facts: Facts) -> Pair | None:
    fastest = facts.fastest(np.ones(len(facts)))
    if fastest.max() < 1 or facts.category[int(fastest.argmax())] is None:
        return None
    return (
        "What moves the fastest?",
        f"{an(str(facts.category[int(fastest.argmax())])).capitalize()} moves the fastest.",
    )


def _thought(rng: np.random.Generator, facts: Facts) -> Pair | None:
    """A question that needs a step of thought."""
    absent = bool(rng.random() < 0.15)
    asked = ask(rng, facts, absent)
    if asked is None:
        return None
    return asked.phrase.text, asked.answer(facts) or "There is no such thing."


IMAGE_FORMS: tuple[Form, ...] = (
    _thought,
    _thought,
    _thought,
    _count,
    _count,
    _exists,
    _exists,
    _colour,
    _colour,
    _texture,
    _side,
    _largest,
    _background,
    _describe,
)
VIDEO_FORMS: tuple[Form, ...] = (*IMAGE_FORMS, _moves, _moves, _moves, _fastest)


def _some_noun(rng: np.random.Generator, facts: Facts, rich: float) -> Noun:
    """A noun of something in the scene, now and then with a wrong word, so that the answer is no."""
    words = sorted({c for c in facts.category if c})
    draw = rng.random()
    if not words or draw < 0.2:
        return Noun(GROUP_NOUNS[rng.integers(len(GROUP_NOUNS))])
    if draw < 0.4:
        return Noun(SHOWN[rng.integers(len(SHOWN))])
    name = words[rng.integers(len(words))]
    k = facts.category.index(name)
    colour = facts.colour[k] if rng.random() < rich else None
    return Noun(name, colour)


def _only_one(rng: np.random.Generator, facts: Facts) -> int | None:
    """A thing whose category no other one has, and which is no plural word."""
    single = [k for k, c in enumerate(facts.category) if c and facts.category.count(c) == 1 and not is_plural(c)]
    return single[rng.integers(len(single))] if single else None
