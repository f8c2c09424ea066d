"""Outlines of plants and food."""

from __future__ import annotations

import math

from x2sam.data.world.shapes import category, curve, limb, oval, poly, rect, tube

PLANTS = (
    category(
        "tree",
        "plant",
        poly("-14 96 -9 10 9 10 14 96").dark(),
        *(
            oval(x, y, r)
            for x, y, r in [(-36, -8, 34), (36, -8, 34), (-22, -50, 36), (24, -50, 36), (0, -20, 38), (0, -66, 30)]
        ),
    ),
    category(
        "pine tree",
        "plant",
        rect(-10, 66, 10, 98).dark(),
        poly("0 -40 66 72 -66 72"),
        poly("0 -70 54 22 -54 22"),
        poly("0 -100 40 -24 -40 -24"),
    ),
    category(
        "palm tree",
        "plant",
        *[p.dark() for p in tube("10 98 4 40 -4 0 -6 -40", 9, 6)],
        *(
            curve(f"-6 -42 {x * 0.5:.0f} {y - 14:.0f} {x} {y + 24} {x * 0.5:.0f} {y + 10:.0f}").swings(
                -6, -42, 8, x / 300
            )
            for x, y in [(-92, -44), (-70, -86), (-40, 4), (84, -44), (56, -88), (38, 4)]
        ),
        oval(-10, -34, 7).dark(),
    ),
    category(
        "flower",
        "plant",
        limb(0, 0, 4, 98, 4).dark(),
        curve("4 66 40 34 60 40 34 70").dark(),
        curve("4 80 -36 50 -54 60 -28 84").dark(),
        *(oval(34 * math.cos(a), -40 + 34 * math.sin(a), 24) for a in (0.5, 1.55, 2.6, 3.65, 4.7, 5.75)),
        oval(0, -40, 18).light(),
    ),
    category(
        "cactus",
        "plant",
        poly("-40 76 40 76 30 98 -30 98").dark(),
        limb(0, 70, 0, -78, 20),
        *tube("-14 30 -54 26 -54 -24", 12),
        *tube("14 6 54 2 54 -44", 12),
        limb(0, 60, 0, -76, 2).dark(),
    ),
    category(
        "mushroom",
        "plant",
        curve("-22 0 22 0 28 84 0 94 -28 84").light(),
        curve("-94 10 -76 -44 0 -84 76 -44 94 10 0 24"),
        oval(-38, -24, 12, 10).light(),
        oval(8, -46, 13, 11).light(),
        oval(48, -12, 11, 9).light(),
    ),
    category(
        "leaf",
        "plant",
        limb(0, 40, 0, 100, 4).dark(),
        curve("0 -100 44 -52 56 4 36 50 0 64 -36 50 -56 4 -44 -52"),
        limb(0, -80, 0, 60, 2).dark(),
        *(limb(0, y, s * 34, y - 24, 1.5).dark() for s in (-1, 1) for y in (-30, 4, 36)),
        plural="leaves",
        turns=True,
    ),
)

FOOD = (
    category(
        "apple",
        "food",
        limb(2, -50, 10, -90, 4).dark(),
        curve("12 -72 40 -96 62 -80 38 -62").dark(),
        curve("0 -50 38 -66 78 -40 82 10 52 72 20 84 0 78 -20 84 -52 72 -82 10 -78 -40 -38 -66"),
    ),
    category(
        "pear",
        "food",
        limb(0, -78, 8, -100, 4).dark(),
        curve("0 -84 22 -70 28 -26 56 10 62 56 34 90 -34 90 -62 56 -56 10 -28 -26 -22 -70"),
    ),
    category(
        "banana",
        "food",
        curve("-92 -46 -78 -52 -52 0 0 26 58 16 84 -14 98 -10 84 38 34 66 -24 64 -72 26"),
        curve("-96 -46 -84 -66 -74 -50 -84 -36").dark(),
        turns=True,
    ),
    category(
        "cherry",
        "food",
        *(p.dark() for p in tube("-44 40 -20 -30 14 -84", 4)),
        *(p.dark() for p in tube("46 46 34 -20 14 -84", 4)),
        curve("14 -84 50 -98 84 -80 50 -66").dark(),
        oval(-46, 52, 42),
        oval(48, 56, 42),
        oval(-58, 38, 9).light(),
        oval(36, 42, 9).light(),
        plural="cherries",
    ),
    category(
        "carrot",
        "food",
        *(limb(0, -40, x, -98, 7, 5).dark() for x in (-28, -8, 14, 34)),
        curve("-34 -40 0 -52 34 -40 18 30 0 98 -18 30"),
        limb(-20, -10, 4, -12, 2).dark(),
        limb(-2, 26, 14, 24, 2).dark(),
        turns=True,
    ),
    category(
        "ice cream",
        "food",
        poly("-42 0 42 0 0 100").dark(),
        oval(-26, -18, 34),
        oval(26, -18, 34),
        oval(0, -58, 36),
        oval(0, -94, 8).light(),
        plural="ice creams",
    ),
    category(
        "pizza",
        "food",
        poly("-78 -62 78 -62 0 98"),
        curve("-90 -62 -60 -86 0 -94 60 -86 90 -62 60 -52 0 -60 -60 -52").dark(),
        oval(-26, -24, 15).dark(),
        oval(26, -30, 14).dark(),
        oval(2, 26, 13).dark(),
    ),
    category(
        "cake",
        "food",
        *(limb(x, -40, x, -72, 4).light() for x in (-36, 0, 36)),
        *(oval(x, -82, 5, 9).dark() for x in (-36, 0, 36)),
        rect(-56, -42, 56, 14),
        rect(-84, 14, 84, 76),
        limb(-54, -34, 54, -34, 8).light(),
        limb(-80, 22, 80, 22, 8).light(),
        limb(-98, 80, 98, 80, 7).dark(),
    ),
    category(
        "burger",
        "food",
        curve("-86 -14 -76 -58 0 -80 76 -58 86 -14"),
        curve("-94 -14 94 -14 90 4 60 12 30 4 0 14 -30 4 -60 12 -90 4").light(),
        curve("-86 8 86 8 86 36 -86 36").dark(),
        curve("-86 38 86 38 74 70 -74 70"),
    ),
)
