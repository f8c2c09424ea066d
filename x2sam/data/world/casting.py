"""Who is in a scene: how many things, of which categories, how they look, where they stand and how they move."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from x2sam.data.world.appearance import Surface, accent, photo_surface, surface
from x2sam.data.world.motion import path
from x2sam.data.world.shapes import silhouette, vary
from x2sam.data.world.things import Thing
from x2sam.data.world.vocabulary import COLOURS, TEXTURES, THINGS, held_back_looks

Look = tuple[str, str, str]
"""Category, colour, texture."""


@dataclass(frozen=True)
class Recipe:
    """What kind of scene suits a task."""

    count: tuple[int, int] = (2, 7)
    """Fewest and most things."""
    radius: tuple[float, float] = (0.10, 0.30)
    """Half a thing's longer side, as a share of the frame's shorter side."""
    nameless: float = 0.0
    """Share of things that are silhouettes without a name."""
    photo: float = 0.1
    """Share of things cut out of photos, so that no colour or texture word fits."""
    stuff: float = 0.5
    """Share of backgrounds with named stuff."""
    moves: float = 0.5
    """Share of clips with a moving camera."""
    repeat: float = 0.35
    """Share of things that take the category, or the look, of an earlier one."""
    wild: bool = False
    """Any angle, strong deformation, surfaces that slide or hide in the background: for learning to follow anything."""


Allowed = Callable[[str, str | None, str | None], bool]
"""Whether a category, colour and texture may be shown together."""


def cast(
    rng: np.random.Generator,
    recipe: Recipe,
    names: tuple[str, ...],
    allowed: Allowed,
    frames: int,
    size: tuple[int, int],
    looks: tuple[Look, ...] = (),
    background: str | None = None,
) -> list[Thing]:
    """The things of a scene, far to near; ``looks`` are certain to be among them.

    ``background`` is the photo behind, from which camouflaged things are cut.
    """
    count = max(len(looks), int(rng.integers(recipe.count[0], recipe.count[1] + 1)))
    light = rng.uniform(0, 2 * np.pi)
    sun = (float(np.cos(light)), float(np.sin(light)))
    things: list[Thing] = []
    for i in range(count):
        look = looks[i] if i < len(looks) else _look(rng, recipe, names, allowed, things)
        things.append(_thing(rng, recipe, look, things, frames, size, sun, background))
    things = [things[k] for k in rng.permutation(count)]
    for thing, nearness in zip(things, np.sort(rng.uniform(0.7, 1.15, count)).tolist(), strict=True):
        thing.nearness = nearness
    return things


def _look(
    rng: np.random.Generator, recipe: Recipe, names: tuple[str, ...], allowed: Allowed, things: list[Thing]
) -> tuple[str | None, str | None, str | None]:
    """Category, colour and texture of the next thing; often one it shares with an earlier one."""
    if rng.random() < recipe.nameless:
        return None, None, None
    named = [t for t in things if t.category]
    model = named[rng.integers(len(named))] if named and rng.random() < recipe.repeat else None
    for _ in range(50):
        name = names[rng.integers(len(names))]
        colour: str | None = list(COLOURS)[rng.integers(len(COLOURS))]
        texture: str | None = "plain" if rng.random() < 0.4 else TEXTURES[rng.integers(1, len(TEXTURES))]
        if rng.random() < recipe.photo:
            colour = texture = None
        if model is not None:
            share = rng.random()
            name = str(model.category) if share < 0.75 else name
            colour, texture = (model.colour, model.texture) if share > 0.6 else (colour, texture)
        if allowed(name, colour, texture):
            break
    else:  # never seen to happen: every category has eleven colours and is allowed in plain
        colour, texture = None, None
    return name, colour, texture


def _thing(
    rng: np.random.Generator,
    recipe: Recipe,
    look: tuple[str | None, str | None, str | None],
    others: list[Thing],
    frames: int,
    size: tuple[int, int],
    sun: tuple[float, float],
    background: str | None,
) -> Thing:
    category, colour, texture = look
    kind = THINGS.get(category or "")
    parts = vary(kind.parts, rng, 1.0 if kind.group != "shape" else 0.5) if kind else silhouette(rng)
    low, high = recipe.radius
    radius = float(low * (high / low) ** rng.random())
    angle = rng.normal(0, 0.12)
    if (kind is None or kind.turns or recipe.wild) and rng.random() < (0.9 if kind is None or kind.turns else 0.3):
        angle = rng.uniform(-np.pi, np.pi)
    centre = _place(rng, radius, others, size)
    way = path(rng, frames, centre, radius, float(angle), recipe.wild)
    thing = Thing(
        category, colour, texture, parts, way, 1.0, light=sun, gloss=rng.uniform(0, 1.4) * (rng.random() < 0.6)
    )
    width, height = thing.canvas(min(size))
    if way.drift.any():
        width, height = int(width * 1.6), int(height * 1.6)
    unit = max(width, height) / float((thing.high - thing.low).max())
    thing.surfaces = _surfaces(rng, thing, width, height, unit, background if recipe.wild else None, others)
    return thing


def _surfaces(
    rng: np.random.Generator,
    thing: Thing,
    width: int,
    height: int,
    unit: float,
    background: str | None,
    others: list[Thing],
) -> list[Surface]:
    """Base, dark and light surface of a thing."""
    if thing.colour is None or thing.texture is None:
        twins = [t for t in others if t.colour is None and t.category == thing.category]
        if twins and rng.random() < 0.3:  # a distractor of the same look
            return [_fit(s, width, height) for s in twins[-1].surfaces]
        source = background if background and rng.random() < 0.2 else None
        base = _plain_or_photo(rng, width, height, source)
    else:
        base = surface(rng, width, height, unit, thing.colour, thing.texture)
    accents = []
    for light in (False, True):
        if thing.colour is None and rng.random() < 0.7:
            accents.append(_plain_or_photo(rng, width, height, None))
        else:
            flat = accent(rng, thing.colour, light).clip(0, 255).astype(np.uint8)
            accents.append(np.broadcast_to(flat, (height, width, 3)))
    return [base, *accents]


def _plain_or_photo(rng: np.random.Generator, width: int, height: int, source: str | None) -> Surface:
    """A piece of a photo; now and then any colour in any pattern."""
    if source is None and rng.random() < 0.25:
        colour, texture = list(COLOURS)[rng.integers(len(COLOURS))], TEXTURES[rng.integers(len(TEXTURES))]
        return surface(rng, width, height, max(width, height) / 2, colour, texture)
    return photo_surface(rng, width, height, source)


def _fit(pixels: Surface, width: int, height: int) -> Surface:
    """A surface repeated and cut to another size."""
    repeats = (-(-height // pixels.shape[0]), -(-width // pixels.shape[1]), 1)
    return np.tile(pixels, repeats)[:height, :width]


def _place(rng: np.random.Generator, radius: float, others: list[Thing], size: tuple[int, int]) -> NDArray[np.float64]:
    """A place in the frame; three times in four the emptiest of several, so that overlaps are partial."""
    room = np.maximum(np.array([size[1], size[0]]) / min(size) / 2 - 0.55 * radius, 0.05)
    spots = rng.uniform(-room, room, (5 if rng.random() < 0.75 else 1, 2))
    if not others:
        return spots[0]
    centres = np.stack([t.path.centre.mean(axis=0) for t in others])
    reach = np.array([float(t.path.scale.mean()) for t in others]) + radius
    gap = (np.linalg.norm(spots[:, None] - centres, axis=2) / reach).min(axis=1)
    return spots[int(gap.argmax())]


def new_look(rng: np.random.Generator, names: tuple[str, ...]) -> Look:
    """A thing in a colour or texture in which it is held back from training."""
    name = names[rng.integers(len(names))]
    colour, texture = held_back_looks(name)
    if rng.random() < 0.5:
        return name, colour, "plain" if rng.random() < 0.5 else TEXTURES[rng.integers(1, len(TEXTURES))]
    return name, list(COLOURS)[rng.integers(len(COLOURS))], texture


def any_look(rng: np.random.Generator, names: tuple[str, ...]) -> Look:
    """A thing in any colour and texture."""
    name = [n for n in names if n in THINGS][rng.integers(sum(n in THINGS for n in names))]
    return name, list(COLOURS)[rng.integers(len(COLOURS))], TEXTURES[rng.integers(len(TEXTURES))]
