"""Phrases for the entities of a scene: names, unique references, and phrases that match nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from x2sam.data.scenes.facts import (
    LAYERS,
    MOTIONS,
    PLACES,
    RELATIONS,
    SUPERLATIVES,
    Claim,
    both,
    coloured,
    is_a,
    layered,
    leads,
    moving,
    placed,
    related,
    textured,
)
from x2sam.data.scenes.scene import Entity, Scene

T = TypeVar("T")


@dataclass(frozen=True)
class Reference:
    """``the [superlative] [adjectives] noun [suffix]``."""

    noun: Claim
    adjectives: tuple[Claim, ...] = ()
    suffix: Claim | None = None
    superlative: str | None = None

    @property
    def text(self) -> str:
        words = [self.superlative, *(a.words for a in self.adjectives), self.noun.words]
        words.append(self.suffix.words if self.suffix else None)
        return "the " + " ".join(w for w in words if w)

    def holds(self, entity: Entity) -> int:
        """Of the claims, without the superlative."""
        claims = (self.noun, *self.adjectives, *((self.suffix,) if self.suffix else ()))
        return both(claim.holds(entity) for claim in claims)

    def picks(self, target: Entity, everyone: Sequence[Entity]) -> bool:
        """Whether it plainly means ``target`` and no one else."""
        if self.holds(target) != 1:
            return False
        rivals = [e for e in everyone if e is not target and self.holds(e) >= 0]
        if self.superlative is None:
            return not rivals
        return bool(rivals) and leads(self.superlative, target, rivals)

    def misses(self, everyone: Sequence[Entity]) -> bool:
        """Whether it plainly means nobody."""
        return all(self.holds(e) == -1 for e in everyone)


def shuffled(items: Sequence[T], rng: np.random.Generator) -> list[T]:
    """In random order."""
    return [items[i] for i in rng.permutation(len(items))]


def refer(target: Entity, scene: Scene, rng: np.random.Generator) -> Reference | None:
    """A reference that is unique in the scene, not always the shortest; None where none was found."""
    for noun in _nouns(target, rng):
        adjectives = _adjectives(target, rng)
        extras = _extras(target, scene, rng)
        plans = [Reference(noun), Reference(noun, adjectives)]
        plans += [Reference(noun, adjectives[:k], **extra) for extra in extras for k in range(len(adjectives) + 1)]
        if rng.random() < 0.5:  # now and then a longer phrase than needed
            plans = plans[2:] + plans[:2]
        for plan in plans:
            if plan.picks(target, scene.entities):
                return plan
    return None


def _nouns(target: Entity, rng: np.random.Generator) -> list[Claim]:
    names = [target.category.name]
    if target.category.is_thing and rng.random() < 0.12:
        names.insert(0, target.category.group if target.category.group in ("animal", "vehicle") else "thing")
    return [is_a(name) for name in names]


def _adjectives(target: Entity, rng: np.random.Generator) -> tuple[Claim, ...]:
    found = []
    if target.look.texture and (target.look.texture != "plain" or rng.random() < 0.1):
        found.append(textured(target.look.texture))
    if target.look.colour:
        found.append(coloured(target.look.colour))
    if len(found) == 2 and rng.random() < 0.5:
        found = [found[int(rng.integers(2))]]
    return tuple(found)


def _extras(target: Entity, scene: Scene, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Superlatives and suffixes that could be added, in random order, motion first half of the time."""
    if not target.category.is_thing:
        return []
    others = [e for e in scene.things if e is not target and e.area.max() > 0.004]
    suffixes = [placed(words) for words in PLACES]
    for anchor in shuffled(others, rng)[:3]:
        name = Reference(is_a(anchor.category.name), _adjectives(anchor, rng))
        if name.picks(anchor, scene.entities):
            suffixes += [related(words, anchor, name.text) for words in RELATIONS]
            suffixes += [layered(words, anchor, name.text) for words in LAYERS]
    extras: list[dict[str, Any]] = [{"suffix": s} for s in suffixes if s.holds(target) == 1]
    extras = shuffled([*extras, *({"superlative": words} for words in SUPERLATIVES)], rng)
    motions = [moving(words, scene) for words in MOTIONS] if len(scene.frames) > 1 else []
    active = [{"suffix": m} for m in shuffled(motions, rng) if m.holds(target) == 1]
    return [*active, *extras] if rng.random() < 0.7 else [*extras, *active]
