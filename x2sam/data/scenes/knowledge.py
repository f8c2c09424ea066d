"""Questions that need some knowledge of the world, and their answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from x2sam.data.scenes.facts import is_clear, leads
from x2sam.data.scenes.language import shuffled
from x2sam.data.scenes.scene import Entity, Kinds, Scene
from x2sam.data.scenes.shapes import article


class Use(NamedTuple):
    """Something that is true of some categories."""

    truth: str
    """What it does, after its name."""
    categories: frozenset[str]
    questions: tuple[str, ...]


def _use(truth: str, categories: str, *questions: str) -> Use:
    return Use(truth, frozenset(c.strip() for c in categories.split(",")), questions)


USES: tuple[Use, ...] = (
    _use("can be sat on", "chair, sofa, stool, bicycle, horse, bed", "What can you sit on?",
        "Where could a tired visitor sit down?"),
    _use("can fly", "bird, duck, owl, butterfly, plane, helicopter, balloon, rocket", "What can fly?",
        "Which of these can leave the ground?"),
    _use("keeps the rain off", "umbrella", "What keeps the rain off?", "What would you take along in bad weather?"),
    _use("lives in water", "fish, whale, crab, octopus, turtle, penguin", "What lives in the sea?",
        "Which creature is at home in the ocean?"),
    _use("travels on water", "boat, ship", "What floats with a crew on board?",
         "What would you take to get over a lake?"),
    _use("drives on roads", "car, bus, truck, tractor, bicycle", "What drives on a road?",
        "What would you use to get to the next town?"),
    _use("carries many passengers", "bus, train, plane, ship", "What carries many passengers at once?"),
    _use("grows and gives shade", "tree, palm, fir", "What gives shade and has roots?",
        "Where could a nest be built?"),
    _use("hunts small rodents", "cat, owl, snake", "What hunts small rodents?", "What makes rodents hide?"),
    _use("gives milk or wool", "cow, sheep", "Which animal gives milk or wool?",
        "What would a farmer keep on a meadow?"),
    _use("has a very long neck or nose", "giraffe, elephant", "Which animal has a remarkably long neck or nose?"),
    _use("carries its shelter on its back", "snail, turtle", "What carries its home around?"),
    _use("guards a home", "dog", "What barks at strangers?", "Which is a faithful friend that wants to be walked?"),
    _use("can be ridden over fences", "horse", "What can be ridden and eats hay?"),
    _use("shines at night", "star, moon", "What can be seen in the night sky?", "What would an astronomer look at?"),
    _use("is sweet and made in a kitchen", "cake, ice cream, doughnut", "What is a sweet treat?",
        "What should someone on a diet avoid?"),
    _use("is a fruit", "apple, pear, banana, cherry", "What is a fruit?",
        "What could be picked and go into a fruit salad?"),
    _use("cuts", "knife, scissors", "What can cut paper or bread?",
        "What must be kept away from small children because it is sharp?"),
    _use("opens locks", "key", "What opens a lock?", "What do you need to get in where it is locked?"),
    _use("tells the time", "clock", "What tells the time?", "What helps you not to be late?"),
    _use("makes music or sound", "guitar, bell", "What can make music or chime?",
        "What could be heard in a concert or a church?"),
    _use("is worn", "hat, shoe", "What can be worn?", "What would you put on before going out?"),
    _use("holds a drink", "cup, bottle", "What holds a drink?", "What helps against thirst?"),
    _use("gives light", "lamp", "What helps to see in the dark?", "What needs a bulb?"),
    _use("is read", "book", "What can be read?", "Where would you find a story?"),
    _use("drives nails", "hammer", "What drives a nail into a wall?"),
    _use("is climbed to reach high places", "ladder", "What helps to reach a high shelf?"),
    _use("is for sleeping", "bed", "Where does one sleep?"),
    _use("shelters families", "house", "Where does a family live?", "What has a roof and rooms?"),
    _use("needs little water and has thorns", "cactus", "Which plant grows in a desert and pricks?"),
    _use("smells nice and attracts bees", "flower", "What attracts bees?",
        "What could be given to someone on a birthday, in a vase?"),
    _use("spins webs", "spider", "What spins a web?"),
    _use("is round", "circle, ring, doughnut, clock", "What is round like a wheel?"),
    _use("has three corners", "triangle", "What has just three corners?"),
)  # fmt: skip
"""Every category that a truth fits must be in its row: an omission would make a question ambiguous."""
GROUPS = ("animal", "vehicle", "piece of furniture", "tool", "plant", "food", "shape")
_KINDS = {
    "animal": "animal", "vehicle": "vehicle", "piece of furniture": "piece of furniture", "tool": "household object",
    "plant": "plant", "food": "thing to eat", "shape": "geometric figure",
}  # fmt: skip


class Posed(NamedTuple):
    """A question about one entity of a scene, or about none."""

    text: str
    target: Entity | None
    explanation: str


def pose(scene: Scene, kinds: Kinds, absent: bool, rng: np.random.Generator) -> Posed | None:
    """A question with exactly one answer, or with ``absent`` one that nothing answers; None where there is none."""
    ways = (_by_group, _by_use) if rng.random() < 0.3 else (_by_use, _by_group)
    for way in ways:
        posed = way(scene, kinds, absent, rng)
        if posed is not None:
            return posed
    return None


def _by_use(scene: Scene, kinds: Kinds, absent: bool, rng: np.random.Generator) -> Posed | None:
    known = {c.name for c in kinds.categories}
    for use in shuffled(USES, rng):
        answers = [e for e in scene.things if e.category.name in use.categories]
        if bool(answers) == absent or not use.categories & known or use.categories & set(scene.shows):
            continue
        text = str(rng.choice(use.questions))
        if absent:
            return Posed(text, None, f"Nothing here {use.truth}.")
        named = Posed(text, answers[0], f"{article(answers[0].category.name).capitalize()} {use.truth}.")
        found = named if len(answers) == 1 and is_clear(answers[0]) else _extreme(text, answers, rng)
        if found is not None:
            return found
    return None


def _by_group(scene: Scene, kinds: Kinds, absent: bool, rng: np.random.Generator) -> Posed | None:
    """The largest animal, the only vehicle, and the like."""
    if any(scene.shows) and absent:
        return None
    for group in shuffled(GROUPS, rng):
        members = [e for e in scene.things if e.category.group == group]
        if bool(members) == absent:
            continue
        text = f"Which of these is {article(_KINDS[group])}?"
        if absent:
            return Posed(text, None, f"There is no {_KINDS[group]} here.")
        if len(members) == 1 and is_clear(members[0]):
            return Posed(text, members[0], f"The {members[0].category.name} is the only {_KINDS[group]}.")
        found = _extreme(f"Which is {article(_KINDS[group])}?", members, rng)
        if found is not None:
            return found
    return None


def _extreme(text: str, members: Sequence[Entity], rng: np.random.Generator) -> Posed | None:
    """The question narrowed to the member that takes most or least room in the picture, where one plainly does."""
    for order in shuffled(("largest", "smallest"), rng):
        for entity in members:
            if is_clear(entity) and len(members) > 1 and leads(order, entity, [e for e in members if e is not entity]):
                narrowed = f"{text[:-1]}, and appears {order} of all that do?" if text.startswith("What") else None
                asked = narrowed or f"{text[:-1]}, and the {order} of them in view?"
                return Posed(asked, entity, f"The {entity.category.name} appears {order} among those that fit.")
    return None
