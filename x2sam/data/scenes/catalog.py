"""The table of categories: name, group, and the parts that make its outline."""

from __future__ import annotations

from x2sam.data.scenes.animals import ANIMALS
from x2sam.data.scenes.artefacts import FURNITURE, TOOLS, VEHICLES
from x2sam.data.scenes.outlines import ellipse, line, poly, rect, star
from x2sam.data.scenes.shapes import Category, Part

PLANTS: dict[str, list[Part]] = {
    "tree": [
        ("brown", rect(-0.14, 0.1, 0.14, 1)), ("main", ellipse(0, -0.35, 0.7, 0.65)), ("main", ellipse(-0.45, 0, 0.4)),
            ("main", ellipse(0.45, 0, 0.4)),
    ],
    "palm": [
        ("brown", line(0.16, 0.15, 1, 0.1, 0.3, -0.05, -0.35)),
        *(("main", ellipse(-0.05 + 0.42 * x, -0.4 + 0.42 * y, 0.5, 0.14, tilt=a)) for x, y, a in ((1, 0.1, 15),
            (-1, 0.1, -15), (0.75, -0.6, -40), (-0.75, -0.6, 40), (0.6, 0.6, 55), (-0.6, 0.6, -55))),
    ],
    "fir": [("brown", rect(-0.12, 0.6, 0.12, 1)), ("main", poly(0, -1, 0.35, -0.4, -0.35, -0.4)),
        ("main", poly(0, -0.75, 0.52, 0.1, -0.52, 0.1)), ("main", poly(0, -0.3, 0.68, 0.7, -0.68, 0.7))],
    "flower": [
        ("green", rect(-0.05, 0, 0.05, 1)), ("green", ellipse(0.25, 0.6, 0.26, 0.1, tilt=-30)),
        *(("main", ellipse(0.36 * x, -0.4 + 0.36 * y, 0.27)) for x, y in ((0, -1), (0.95, -0.31), (0.59, 0.81),
            (-0.59, 0.81), (-0.95, -0.31))), ("gold", ellipse(0, -0.4, 0.2)),
    ],
    "cactus": [
        ("main", ellipse(0, 0.05, 0.26, 0.95)), ("main", line(0.22, -0.15, 0.3, -0.6, 0.28, -0.62, -0.3)),
            ("main", line(0.22, 0.15, 0.1, 0.6, 0.05, 0.62, -0.5)),
            ("brown", poly(-0.4, 0.7, 0.4, 0.7, 0.3, 1.05, -0.3, 1.05)),
    ],
    "leaf": [("main", poly(-1, 0.1, -0.6, -0.35, 0, -0.45, 0.5, -0.25, 0.9, 0.1, 0.5, 0.35, 0, 0.5, -0.6, 0.4)),
        ("dark", line(0.06, -0.95, 0.1, 0.0, 0.05, 1.1, 0.12))],
    "mushroom": [("white", rect(-0.2, -0.1, 0.2, 0.8)), ("main", ellipse(0, 0, 0.85, 0.75, 180, 359)),
        ("white", ellipse(-0.35, -0.3, 0.12)), ("white", ellipse(0.2, -0.45, 0.14)),
        ("white", ellipse(0.5, -0.15, 0.09))],
}  # fmt: skip

FOOD: dict[str, list[Part]] = {
    "apple": [("main", ellipse(-0.25, 0.1, 0.6, 0.7)), ("main", ellipse(0.25, 0.1, 0.6, 0.7)),
        ("brown", line(0.09, 0, -0.5, 0.1, -0.95)), ("green", ellipse(0.32, -0.8, 0.25, 0.11, tilt=-25))],
    "pear": [("main", ellipse(0, 0.4, 0.58, 0.55)), ("main", ellipse(0, -0.2, 0.34, 0.5)),
        ("brown", line(0.08, 0, -0.6, 0.08, -1)), ("green", ellipse(0.25, -0.8, 0.2, 0.08, tilt=-20))],
    "banana": [("main", poly(-1, -0.3, -0.85, -0.4, -0.4, 0.05, 0.15, 0.12, 0.65, -0.15, 0.85, -0.5,
            1, -0.45, 0.85, 0.15, 0.35, 0.5, -0.25, 0.5, -0.75, 0.2)),
        ("brown", poly(0.82, -0.45, 0.86, -0.7, 1, -0.68, 1, -0.42))],
    "cherry": [("green", line(0.06, -0.45, 0.3, -0.1, -0.5, 0.15, -0.95)),
        ("green", line(0.06, 0.5, 0.4, 0.35, -0.3, 0.15, -0.95)), ("main", ellipse(-0.45, 0.5, 0.38)),
        ("main", ellipse(0.5, 0.55, 0.38)), ("white", ellipse(-0.55, 0.38, 0.08)), ("white", ellipse(0.4, 0.43, 0.08))],
    "carrot": [("green", poly(0.6, 0, 1.1, -0.4, 0.85, -0.05, 1.15, 0.05, 0.85, 0.1, 1.05, 0.4)),
        ("main", poly(-1, 0.05, 0.5, -0.28, 0.68, 0, 0.5, 0.28))],
    "ice cream": [("brown", poly(-0.4, 0, 0.4, 0, 0, 1.1)), ("main", ellipse(0, -0.3, 0.48)),
        ("light", ellipse(0, -0.65, 0.33)), ("red", ellipse(0, -0.98, 0.1))],
    "cake": [("main", rect(-0.85, 0, 0.85, 0.7)), ("white", ellipse(0, 0, 0.85, 0.2)),
        ("dark", rect(-0.85, 0.3, 0.85, 0.4)), ("red", rect(-0.05, -0.5, 0.05, -0.05)),
        ("gold", ellipse(0, -0.6, 0.07, 0.13))],
    "pizza": [("gold", ellipse(0, -0.7, 0.85, 0.2)), ("main", poly(-0.82, -0.65, 0.82, -0.65, 0, 1)),
        ("red", ellipse(-0.25, -0.3, 0.16)), ("red", ellipse(0.3, -0.35, 0.15)), ("red", ellipse(0.02, 0.25, 0.14))],
    "doughnut": [("brown", ellipse(0, 0, 1)), ("main", star(11, 0.9, radius=0.9)), ("hole", ellipse(0, 0, 0.32))],
    "egg": [("main", ellipse(0, 0.2, 0.62, 0.6)), ("main", ellipse(0, 0.05, 0.56, 0.85))],
}  # fmt: skip

SHAPES: dict[str, list[Part]] = {
    "star": [("main", star(5, 0.42))], "circle": [("main", ellipse(0, 0, 1))],
        "square": [("main", rect(-0.85, -0.85, 0.85, 0.85))],
    "triangle": [("main", poly(0, -0.9, 1, 0.85, -1, 0.85))], "ring": [("main", ellipse(0, 0, 1)),
        ("hole", ellipse(0, 0, 0.62))],
    "cross": [("main", rect(-0.28, -1, 0.28, 1)), ("main", rect(-1, -0.28, 1, 0.28))],
    "heart": [("main", poly(0, 1, -0.9, 0.05, -1, -0.4, -0.7, -0.8, -0.3, -0.82,
            0, -0.45, 0.3, -0.82, 0.7, -0.8, 1, -0.4, 0.9, 0.05))],
    "arrow": [("main", poly(-1, 0, -0.3, -0.65, -0.3, -0.25, 1, -0.25, 1, 0.25, -0.3, 0.25, -0.3, 0.65))],
    "moon": [("main", poly(0.35, -1, -0.2, -0.85, -0.6, -0.4, -0.68, 0, -0.6, 0.4,
            -0.2, 0.85, 0.35, 1, 0.0, 0.6, -0.13, 0, 0.0, -0.6))],
    "hexagon": [("main", star(3, 1.0))],
    "blob": [],
}  # fmt: skip

PERSON: list[Part] = [
    ("dark", line(0.2, -0.12, 0.3, -0.2, 1)), ("dark", line(0.2, 0.12, 0.3, 0.2, 1)),
    ("main", line(0.15, -0.22, -0.35, -0.45, 0.0, -0.5, 0.3)), ("main", line(0.15, 0.22, -0.35, 0.45, 0.0, 0.5, 0.3)),
    ("main", poly(-0.28, -0.42, 0.28, -0.42, 0.22, 0.4, -0.22, 0.4)), ("skin", ellipse(0, -0.7, 0.2, 0.25)),
    ("brown", ellipse(0, -0.8, 0.22, 0.17, 180, 359)), ("skin", ellipse(-0.5, 0.32, 0.08)),
        ("skin", ellipse(0.5, 0.32, 0.08)),
]  # fmt: skip
_GROUPS = {
    "human": {"person": PERSON},
    "animal": ANIMALS, "vehicle": VEHICLES, "piece of furniture": FURNITURE, "tool": TOOLS, "plant": PLANTS,
        "food": FOOD, "shape": SHAPES,
}  # fmt: skip

THINGS: dict[str, Category] = {
    name: Category(name, group, tuple(parts)) for group, table in _GROUPS.items() for name, parts in table.items()
}
"""Every kind of thing by name."""
BLOB = THINGS["blob"]

STUFF: dict[str, Category] = {
    name: Category(name, "stuff") for name in ("sky", "grass", "water", "sand", "road", "wall", "snow", "gravel")
}
"""Every kind of ground or backdrop by name."""
