"""The words of the world: categories, colours and textures, and what is held back from training.

Held back for open vocabulary, in every split but only for the ``ovseg`` tasks of ``val`` and ``test``:

* the categories of `HELD_OUT`, one or two of most groups;
* for every other category one colour and one texture (`held_back`): no training sample shows, say, a red boat or a
  dotted boat, nor names one, though boats, red and dotted things abound.
"""

from __future__ import annotations

from x2sam.data.world.artefacts import BUILDINGS, CLOTHES, FURNITURE
from x2sam.data.world.creatures import CREATURES
from x2sam.data.world.grown import FOOD, PLANTS
from x2sam.data.world.household import KITCHEN, SHAPES, TOOLS, TOYS
from x2sam.data.world.shapes import Category
from x2sam.data.world.vehicles import VEHICLES

THINGS: dict[str, Category] = {
    c.name: c
    for group in (CREATURES, VEHICLES, BUILDINGS, FURNITURE, CLOTHES, TOOLS, KITCHEN, TOYS, SHAPES, PLANTS, FOOD)
    for c in group
}
"""Every thing by name."""

STUFF = ("sky", "grass", "water", "sand", "road", "wall", "snow", "gravel", "floor", "forest", "soil")
"""Regions without instances."""

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (208, 34, 38),
    "orange": (242, 132, 24),
    "yellow": (240, 216, 48),
    "green": (44, 156, 60),
    "cyan": (60, 204, 208),
    "blue": (38, 74, 208),
    "purple": (132, 52, 176),
    "pink": (244, 146, 190),
    "brown": (122, 76, 40),
    "black": (30, 30, 34),
    "white": (238, 238, 236),
    "gray": (134, 136, 140),
}
TEXTURES = ("plain", "striped", "dotted", "checkered", "speckled", "wavy", "shaded", "rough")
"""``plain`` is never spoken; ``shaded`` runs from bright to dark; ``rough`` is a photo's relief in one colour."""

GROUP_NOUNS = ("animal", "vehicle", "plant", "building", "shape")
"""Groups that are also said instead of a name."""

HELD_OUT = ("camel", "octopus", "helicopter", "lighthouse", "axe", "trumpet", "pear", "pine tree", "forest")
"""Categories that no training sample shows or names."""

_COLOUR_NAMES, _ORDER = tuple(COLOURS), {name: i for i, name in enumerate(THINGS)}
_SPOKEN = TEXTURES[1:]


def held_back(category: str, colour: str | None = None, texture: str | None = None) -> bool:
    """Whether training may neither show nor name this category, or this category in this colour or texture."""
    if category in HELD_OUT:
        return True
    order = _ORDER.get(category)
    if order is None:
        return False
    return colour == _COLOUR_NAMES[5 * order % 12] or texture == _SPOKEN[3 * order % 7]


def held_back_looks(category: str) -> tuple[str, str]:
    """The colour and the texture in which a category is held back."""
    return _COLOUR_NAMES[5 * _ORDER[category] % 12], _SPOKEN[3 * _ORDER[category] % 7]


def is_thing(category: str) -> bool:
    """Things have instances; the others are stuff."""
    return category in THINGS
