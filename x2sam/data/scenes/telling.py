"""Captions with grounded phrases, and small talk about a scene."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from x2sam.data.scenes.facts import MOTIONS, RELATIONS, is_clear, leads, moving, related
from x2sam.data.scenes.language import shuffled
from x2sam.data.scenes.scene import Entity, Kinds, Scene
from x2sam.data.scenes.shapes import article, plural

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_OPENINGS = ("There is", "The {medium} shows", "We see", "In this {medium} there is", "One can see")
_ENDINGS = {
    "sky": "under <p>the sky</p>", "wall": "in front of <p>the wall</p>", "grass": "on <p>the grass</p>",
        "water": "by <p>the water</p>",
    "sand": "on <p>the sand</p>", "road": "on <p>the road</p>", "snow": "in <p>the snow</p>",
        "gravel": "on <p>the gravel</p>",
}  # fmt: skip
Pair = tuple[str, str]
Group = list[Entity]


def describe(scene: Scene, rng: np.random.Generator) -> tuple[str, list[Group]] | None:
    """A caption with ``<p>`` spans, and the entities of each span in order."""
    groups = [g for g in _groups(scene) if any(is_clear(e) for e in g)]
    if not groups:
        return None
    chosen = shuffled(groups, rng)[: 1 + int(rng.integers(4))]
    chosen = _linked(chosen) or chosen
    spans = [f"<p>{_named(group, rng)}</p>" + _doing(group, scene, rng) for group in chosen]
    link = _link(chosen) or "and"
    listed = f"{', '.join(spans[:-1])} {link} {spans[-1]}" if len(spans) > 1 else spans[0]
    opening = str(rng.choice(_OPENINGS)).format(medium="picture" if len(scene.frames) == 1 else "clip")
    text = f"{opening} {listed}"
    grounds = [e for e in scene.entities if not e.category.is_thing and e.area.max() > 0.03]
    if grounds and rng.random() < 0.7:
        ground = grounds[int(rng.integers(len(grounds)))]
        chosen, text = [*chosen, [ground]], f"{text} {_ENDINGS[ground.category.name]}"
    return text + ".", chosen


def _groups(scene: Scene) -> list[Group]:
    groups: dict[str, Group] = {}
    for entity in scene.things:
        groups.setdefault(entity.category.name, []).append(entity)
    return list(groups.values())


def _link(chosen: list[Group]) -> str | None:
    """The relation of two single things, where one is plain."""
    if len(chosen) != 2 or len(chosen[0]) != 1 or len(chosen[1]) != 1:
        return None
    return next((w for w in RELATIONS if related(w, chosen[1][0], "").holds(chosen[0][0]) == 1), None)


def _linked(chosen: list[Group]) -> list[Group] | None:
    """Two of the chosen that stand in a plain relation."""
    pairs = ([a, b] for a in chosen for b in chosen if a is not b)
    return next((pair for pair in pairs if _link(pair)), None)


def _named(group: Group, rng: np.random.Generator) -> str:
    first = group[0]
    if len(group) > 1:
        return f"{NUMBERS[len(group)]} {plural(first.category.name)}"
    texture = first.look.texture if first.look.texture != "plain" and rng.random() < 0.4 else None
    colour = first.look.colour if rng.random() < 0.7 else None
    return article(" ".join(w for w in (texture, colour, first.category.name) if w))


def _doing(group: Group, scene: Scene, rng: np.random.Generator) -> str:
    if len(scene.frames) == 1 or len(group) > 1 or rng.random() < 0.3:
        return ""
    true = [words for words in MOTIONS if moving(words, scene).holds(group[0]) == 1]
    return f" {rng.choice(true)}" if true else ""


def converse(scene: Scene, kinds: Kinds, rng: np.random.Generator) -> Pair | None:
    """A question and its answer."""
    groups = [g for g in _groups(scene) if all(is_clear(e) for e in g)]
    if not groups:
        return None
    for talk in shuffled(_TALKS, rng):
        pair = talk(scene, groups, kinds, rng)
        if pair is not None:
            return pair
    return None


def _count(scene: Scene, groups: list[Group], kinds: Kinds, rng: np.random.Generator) -> Pair | None:
    group = groups[int(rng.integers(len(groups)))]
    name, number = group[0].category.name, NUMBERS[len(group)]
    verb, noun = ("is", name) if len(group) == 1 else ("are", plural(name))
    return f"How many {plural(name)} are there?", f"There {verb} {number} {noun}."


def _look(scene: Scene, groups: list[Group], kinds: Kinds, rng: np.random.Generator) -> Pair | None:
    single = [g[0] for g in groups if len(g) == 1 and g[0].look.colour]
    if not single:
        return None
    entity = single[int(rng.integers(len(single)))]
    name, look = entity.category.name, entity.look
    if look.texture and look.texture != "plain" and rng.random() < 0.4:
        return f"What pattern has the {name}?", f"The {name} is {look.texture}."
    return f"What colour is the {name}?", f"The {name} is {look.colour}."


def _presence(scene: Scene, groups: list[Group], kinds: Kinds, rng: np.random.Generator) -> Pair | None:
    if rng.random() < 0.5:
        group = groups[int(rng.integers(len(groups)))]
        name = group[0].category.name
        number = "one" if len(group) == 1 else NUMBERS[len(group)]
        return f"Is there {article(name)}?", f"Yes, there {'is' if len(group) == 1 else 'are'} {number}."
    there = {e.category.name for e in scene.entities} | set(scene.shows)
    others = [c.name for c in kinds.categories if c.name not in there]
    name = str(rng.choice(others))
    return f"Is there {article(name)}?", f"No, there is no {name}."


def _place(scene: Scene, groups: list[Group], kinds: Kinds, rng: np.random.Generator) -> Pair | None:
    single = [g for g in groups if len(g) == 1]
    pair = _linked(shuffled(single, rng))
    if pair is None:
        return None
    first, second = (g[0].category.name for g in pair)
    return f"Where is the {first} seen from the {second}?", f"The {first} is {_link(pair)} the {second}."


def _largest(scene: Scene, groups: list[Group], kinds: Kinds, rng: np.random.Generator) -> Pair | None:
    everyone = list(scene.things)
    for entity in everyone:
        if (
            is_clear(entity)
            and len(everyone) > 1
            and leads("largest", entity, [e for e in everyone if e is not entity])
        ):
            return "Which thing takes the most room?", f"The {entity.category.name} does."
    return None


def _ground(scene: Scene, groups: list[Group], kinds: Kinds, rng: np.random.Generator) -> Pair | None:
    names = [e.category.name for e in scene.entities if not e.category.is_thing and e.area.max() > 0.03]
    return ("What is in the background?", f"There is {' and '.join(names)}.") if names else None


def _motion(scene: Scene, groups: list[Group], kinds: Kinds, rng: np.random.Generator) -> Pair | None:
    if len(scene.frames) == 1:
        return None
    single = [g[0] for g in groups if len(g) == 1]
    for entity in shuffled(single, rng):
        true = [words for words in MOTIONS if moving(words, scene).holds(entity) == 1]
        if true:
            name = entity.category.name
            return f"What is the {name} doing?", f"The {name} is {' and '.join(true)}."
    return None


_Talk = Callable[[Scene, list[Group], Kinds, np.random.Generator], Pair | None]
_TALKS: tuple[_Talk, ...] = (_count, _look, _presence, _place, _largest, _ground, _motion, _motion)
