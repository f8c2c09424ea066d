"""What every split may show and name: categories and surfaces held back for open vocabulary."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from x2sam.data.scenes.appearance import COLOURS, TEXTURES
from x2sam.data.scenes.catalog import THINGS
from x2sam.data.scenes.scene import Kinds

Pair = tuple[str, str]
"""Category, and a colour or texture."""


@lru_cache(maxsize=1)
def held_categories() -> frozenset[str]:
    """Every eighth named thing or so, the same in every world."""
    names = sorted(n for n, c in THINGS.items() if c.parts)
    order = np.random.default_rng(2025).permutation(len(names))
    return frozenset(names[i] for i in order[: max(1, len(names) // 8)])


@lru_cache(maxsize=1)
def held_pairs() -> frozenset[Pair]:
    """Of every other category two colours and a texture."""
    rng = np.random.default_rng(2026)
    pairs: set[Pair] = set()
    for name in sorted(set(THINGS) - held_categories() - {"blob"}):
        pairs.update((name, str(c)) for c in rng.choice(list(COLOURS), 2, replace=False))
        pairs.add((name, str(rng.choice(TEXTURES[1:]))))
    return frozenset(pairs)


@lru_cache(maxsize=1)
def seen() -> Kinds:
    """All that training shows."""
    categories = [c for n, c in THINGS.items() if n not in held_categories()]
    every = {(c.name, a) for c in categories for a in (*COLOURS, *TEXTURES)}
    return Kinds(categories, every - held_pairs())


@lru_cache(maxsize=1)
def unseen() -> Kinds:
    """Only what training does not show: held-back categories on any surface, the others in held-back colours."""
    held = held_categories()
    categories = [c for n, c in THINGS.items() if c.parts]
    every = {(c.name, a) for c in categories if c.name in held for a in (*COLOURS, *TEXTURES)}
    textures = {(c.name, t) for c in categories for t in TEXTURES}
    return Kinds(categories, every | set(held_pairs()) | textures)
