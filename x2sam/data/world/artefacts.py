"""Outlines of buildings, furniture and clothes."""

from __future__ import annotations

from x2sam.data.world.shapes import category, curve, limb, oval, poly, rect, tube

BUILDINGS = (
    category(
        "house",
        "building",
        rect(48, -84, 66, -40).dark(),
        rect(-70, -16, 70, 86),
        poly("-92 -14 0 -92 92 -14").dark(),
        rect(-16, 28, 16, 86).dark(),
        rect(-54, 6, -28, 34).light(),
        rect(28, 6, 54, 34).light(),
    ),
    category(
        "castle",
        "building",
        poly(
            "-92 86 -92 -56 -80 -56 -80 -40 -70 -40 -70 -56 -58 -56 -58 -40 -48 -40 -48 -10 48 -10 48 -40 58 -40 58 -56"
            " 70 -56 70 -40 80 -40 80 -56 92 -56 92 86"
        ),
        poly("-30 -6 -30 -70 -30 -84 -14 -84 -14 -72 -6 -72 -6 -84 6 -84 6 -72 14 -72 14 -84 30 -84 30 -6"),
        curve("-20 86 -20 46 0 28 20 46 20 86").dark(),
        rect(-78, -18, -64, 10).dark(),
        rect(64, -18, 78, 10).dark(),
        rect(-7, -52, 7, -26).dark(),
    ),
    category(
        "windmill",
        "building",
        poly("-28 96 -16 -22 16 -22 28 96"),
        poly("-20 -20 0 -48 20 -20").dark(),
        *(
            poly(p).light().swings(0, -26, 25)
            for p in (
                "-2 -28 10 -30 62 -84 46 -98",
                "2 -24 6 -36 -48 -92 -62 -78",
                "-2 -20 -8 -30 -62 28 -46 42",
                "2 -28 -6 -22 46 36 62 22",
            )
        ),
        oval(0, -26, 7).dark(),
        rect(-9, 66, 9, 96).dark(),
    ),
    category(
        "lighthouse",
        "building",
        poly("-28 96 -18 -48 18 -48 28 96"),
        poly("-25 50 -22 14 22 14 25 50").light(),
        poly("-20 -16 -18 -44 18 -44 20 -16").light(),
        rect(-26, -54, 26, -46).dark(),
        rect(-15, -78, 15, -54).light(),
        poly("-22 -76 0 -100 22 -76").dark(),
        rect(-8, 70, 8, 96).dark(),
    ),
    category(
        "tent",
        "building",
        poly("-100 74 -20 -66 30 -66 100 60 60 76"),
        poly("-100 74 -20 -66 60 76").far(),
        poly("-44 75 -20 -40 6 76").dark(),
    ),
    category(
        "bridge",
        "building",
        rect(-100, -16, 100, 4),
        rect(-66, -66, -54, 60).dark(),
        rect(54, -66, 66, 60).dark(),
        *tube("-100 -16 -60 -62 -30 -30 0 -20 30 -30 60 -62 100 -16", 3),
        *(
            limb(x, y, x, -10, 2).dark()
            for x, y in [(-40, -38), (-20, -24), (20, -24), (40, -38), (-80, -36), (80, -36)]
        ),
    ),
)

FURNITURE = (
    category(
        "chair",
        "furniture",
        limb(-42, 10, -48, 96, 6, 5),
        limb(30, 10, 26, 96, 6, 5).far(),
        limb(46, 10, 54, 96, 6, 5),
        limb(-28, 10, -28, 90, 6, 5).far(),
        limb(-46, 12, -56, -96, 7, 6),
        limb(-26, 6, -34, -96, 6, 5),
        *(limb(-52, y, -30, y, 6) for y in (-84, -56, -28)),
        poly("-54 2 44 2 56 22 -54 22"),
    ),
    category(
        "table",
        "furniture",
        limb(-64, 0, -64, 70, 7, 5).far(),
        limb(64, 0, 64, 70, 7, 5).far(),
        limb(-84, -10, -86, 84, 8, 6),
        limb(84, -10, 86, 84, 8, 6),
        rect(-100, -34, 100, -10),
        rect(-92, -10, 92, 4).dark(),
    ),
    category(
        "bed",
        "furniture",
        rect(-100, -58, -86, 60).dark(),
        rect(86, -10, 98, 60).dark(),
        rect(-90, 20, 90, 42).dark(),
        curve("-84 22 -84 -6 -40 -14 60 -16 88 -4 88 24"),
        curve("-84 -4 -80 -30 -44 -32 -40 -8").light(),
    ),
    category(
        "sofa",
        "furniture",
        limb(-70, 40, -70, 60, 6).dark(),
        limb(70, 40, 70, 60, 6).dark(),
        curve("-78 10 -74 -50 0 -54 74 -50 78 10"),
        rect(-76, 4, 76, 44),
        limb(-3, 6, 3, 6, 3).dark(),
        rect(-70, 6, 70, 12).dark(),
        curve("-100 -8 -86 -20 -70 -8 -68 46 -98 46").far(),
        curve("100 -8 86 -20 70 -8 68 46 98 46").far(),
    ),
    category(
        "lamp",
        "furniture",
        poly("-24 -96 24 -96 58 -20 -58 -20"),
        limb(0, -20, 0, 80, 6).dark(),
        curve("-40 92 -20 80 20 80 40 92").dark(),
        limb(26, -20, 26, 6, 2).dark(),
    ),
    category(
        "door",
        "furniture",
        rect(-52, -98, 52, 98).dark(),
        rect(-42, -90, 42, 98),
        rect(-30, -78, 30, -14).far(),
        rect(-30, 4, 30, 80).far(),
        oval(32, -4, 6).light(),
    ),
    category(
        "ladder",
        "furniture",
        limb(-34, -98, -34, 98, 7),
        limb(34, -98, 34, 98, 7),
        *(limb(-30, y, 30, y, 5) for y in (-78, -46, -14, 18, 50, 82)),
    ),
)

CLOTHES = (
    category(
        "hat",
        "clothing",
        curve("-46 20 -42 -56 -10 -66 20 -66 44 -54 46 20"),
        rect(-46, 0, 46, 20).dark(),
        curve("-100 32 -46 16 46 16 100 32 60 46 -60 46"),
    ),
    category(
        "shirt",
        "clothing",
        poly("-24 -78 -60 -66 -98 -10 -68 12 -52 -12 -52 84 52 84 52 -12 68 12 98 -10 60 -66 24 -78 0 -62"),
        curve("-24 -78 0 -54 24 -78 0 -68").dark(),
        limb(0, -50, 0, 76, 2).dark(),
    ),
    category(
        "trousers",
        "clothing",
        poly("-46 -92 46 -92 64 92 18 92 0 -24 -18 92 -64 92"),
        rect(-47, -94, 47, -78).dark(),
        plural="trousers",
    ),
    category(
        "shoe",
        "clothing",
        curve("-92 44 -88 -44 -40 -46 -24 -14 40 0 88 16 98 44"),
        poly("-94 40 100 40 98 60 -92 60").dark(),
        limb(-18, -20, 4, -26, 4).light(),
        limb(2, -8, 24, -16, 4).light(),
    ),
    category(
        "glasses",
        "clothing",
        oval(-52, 10, 44, 38).dark(),
        oval(-52, 10, 34, 28).light(),
        oval(52, 10, 44, 38).dark(),
        oval(52, 10, 34, 28).light(),
        limb(-12, 2, 12, 2, 6),
        limb(-94, 2, -100, -22, 6),
        limb(94, 2, 100, -22, 6),
        plural="glasses",
    ),
    category(
        "crown",
        "clothing",
        poly("-86 60 -98 -50 -50 4 0 -76 50 4 98 -50 86 60"),
        rect(-86, 40, 86, 64).dark(),
        oval(0, 52, 7).light(),
        oval(-46, 52, 6).light(),
        oval(46, 52, 6).light(),
        oval(-98, -54, 9).light(),
        oval(0, -82, 9).light(),
        oval(98, -54, 9).light(),
    ),
)
