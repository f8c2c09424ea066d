"""How an individual of a category looks in outline: the table's parts, bent, stretched and mirrored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from x2sam.data.scenes.outlines import Outline, blob

Part = tuple[str, Outline]
"""Role (see `appearance.ROLES`) and outline; later parts lie on earlier ones, the role ``hole`` cuts them out."""
IRREGULAR = {
    "sheep": "sheep", "fish": "fish", "knife": "knives", "mouse": "mice", "scissors": "scissors", "leaf": "leaves",
    "cactus": "cactuses", "person": "people", "pair of glasses": "pairs of glasses",
}  # fmt: skip


@dataclass(frozen=True)
class Category:
    """One nameable kind of thing or stuff."""

    name: str
    group: str
    parts: tuple[Part, ...] = ()
    """Empty: a new random blob every time."""

    @property
    def is_thing(self) -> bool:
        return self.group != "stuff"

    @property
    def plural(self) -> str:
        return plural(self.name)


def plural(noun: str) -> str:
    """More than one of it."""
    if noun in IRREGULAR:
        return IRREGULAR[noun]
    if noun.endswith(("s", "x", "ch", "sh")):
        return noun + "es"
    return noun[:-1] + "ies" if noun.endswith("y") and noun[-2] not in "aeiou" else noun + "s"


def article(phrase: str) -> str:
    """The phrase with its indefinite article."""
    if phrase.split()[-1] in ("scissors",):
        return phrase
    return ("an " if phrase[0] in "aeio" or phrase.startswith("umb") else "a ") + phrase


def individual(category: Category, rng: np.random.Generator) -> list[Part]:
    """The parts of one individual, its box fitted into -1..1 with its proportions kept."""
    parts = list(category.parts) or [("main", blob(rng))]
    bend = rng.uniform(0, 0.09, 2)
    phase, pitch = rng.uniform(0, 2 * np.pi, 2), rng.uniform(1.2, 2.6, 2)
    aspect = np.exp(rng.normal(0, 0.12))
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    bent = []
    for role, outline in parts:
        centre = outline.mean(axis=0)
        points = centre + (outline - centre) * np.exp(rng.normal(0, 0.05, 2))
        points = points + bend * np.sin(points[:, ::-1] * pitch + phase)
        bent.append((role, points * [mirror * aspect, 1 / aspect]))
    every = np.concatenate([p for _, p in bent])
    low, high = every.min(axis=0), every.max(axis=0)
    half = (high - low).max() / 2
    return [(role, (p - (low + high) / 2) / half) for role, p in bent]
