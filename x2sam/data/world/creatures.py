"""Outlines of animals and people."""

from __future__ import annotations

from x2sam.data.world.shapes import Part, category, curve, legs, limb, oval, poly, tube


def _pair(part: Part) -> list[Part]:
    """A part and its mirror image."""
    return [part, part.mirrored()]


def _crab_legs() -> list[Part]:
    return [
        part
        for i, y in enumerate((5, 20, 35))
        for part in _pair(limb(35, y, 85, y + 28 - 6 * i, 5, 3).swings(35, y, 12, i / 3))
    ]


def _spider_legs() -> list[Part]:
    parts = []
    for i, (x, y) in enumerate([(85, -70), (100, -25), (98, 30), (75, 80)]):
        knee = (0.62 * x, 0.62 * y - 28)
        for part in (limb(8, 0.2 * y, *knee, 5, 4), limb(*knee, x, y, 4, 2.5)):
            parts += _pair(part.swings(8, 0.2 * y, 7, i / 4))
    return parts


CREATURES = (
    category(
        "person",
        "person",
        limb(-10, 30, -16, 98, 12, 9).swings(-8, 30, 25, 0.5).dark().far(),
        limb(-14, -32, -36, 22, 8, 7).swings(-14, -32, 30, 0.0).far(),
        limb(9, 30, 14, 98, 12, 9).swings(8, 30, 25, 0.0).dark(),
        curve("-22 -38 0 -42 22 -38 20 0 18 36 -18 36 -20 0"),
        limb(15, -32, 36, 22, 8, 7).swings(15, -32, 30, 0.5),
        limb(0, -45, 0, -58, 7).light(),
        oval(0, -72, 17, 21).light(),
        curve("-18 -78 -14 -96 4 -98 18 -88 18 -76 4 -84").dark(),
        plural="people",
    ),
    category(
        "dog",
        "animal",
        legs(-44, 38, 5, 85, 8),
        limb(-52, -8, -92, -48, 8, 4).swings(-52, -8, 25),
        curve("-60 -8 -40 -24 20 -20 52 -22 54 12 30 24 -20 14 -50 24"),
        limb(40, -12, 60, -42, 17, 14),
        oval(62, -48, 23, 18),
        limb(72, -44, 98, -40, 10, 8),
        oval(102, -44, 6).dark(),
        curve("48 -64 62 -66 60 -26 50 -18 42 -34").dark(),
        oval(72, -54, 4).dark(),
    ),
    category(
        "cat",
        "animal",
        tube("-50 20 -80 10 -92 -25 -80 -60 -92 -85", 7, 5),
        legs(-42, 30, 25, 88, 7),
        curve("-58 10 -30 -14 20 -4 48 -8 46 34 10 42 -40 42"),
        poly("28 -40 26 -82 54 -58"),
        poly("92 -40 94 -82 66 -58"),
        oval(60, -34, 35, 28),
        oval(47, -38, 6, 5).light(),
        oval(73, -38, 6, 5).light(),
        oval(60, -24, 5, 4).dark(),
    ),
    category(
        "horse",
        "animal",
        legs(-46, 36, 5, 98, 7, 28),
        curve("-56 -14 -74 0 -82 50 -70 60 -64 20").dark().swings(-56, -14, 15),
        curve("-60 -20 -30 -30 20 -24 46 -26 50 10 20 18 -30 16 -58 14"),
        curve("28 -20 48 -70 62 -84 74 -70 58 -40 50 4 34 6"),
        curve("52 -84 70 -94 104 -62 100 -48 86 -50 62 -66"),
        curve("24 -26 42 -76 58 -98 56 -78 44 -52 38 -22").dark(),
        oval(76, -74, 4).dark(),
    ),
    category(
        "elephant",
        "animal",
        legs(-48, 30, 10, 90, 14, 14),
        limb(-72, -10, -86, 40, 4, 3).swings(-72, -10, 20),
        curve("-78 -10 -50 -52 10 -54 44 -40 46 20 10 38 -50 38 -76 24"),
        oval(56, -30, 30, 28),
        tube("76 -24 92 10 92 48 104 62", 13, 7),
        curve("22 -58 50 -50 52 -10 34 14 14 -6 10 -36").dark(),
        limb(76, 0, 100, 14, 5, 2).light(),
        oval(66, -40, 4).dark(),
    ),
    category(
        "giraffe",
        "animal",
        legs(-40, 20, 20, 100, 6, 18),
        limb(-50, 0, -62, 44, 4, 3).swings(-50, 0, 18),
        curve("-52 -2 -20 -14 22 -22 34 4 24 28 -20 30 -50 26"),
        curve("10 -14 34 -88 48 -92 44 -40 34 16"),
        curve("32 -92 48 -104 82 -82 78 -74 50 -78 36 -76"),
        limb(42, -96, 40, -114, 3, 4).dark(),
        oval(-25, 5, 9, 7).dark(),
        oval(2, 2, 9, 8).dark(),
        oval(30, -40, 6, 9).dark(),
        oval(-8, 18, 7, 5).dark(),
    ),
    category(
        "pig",
        "animal",
        legs(-42, 32, 25, 78, 9),
        tube("-70 -5 -84 -14 -92 0 -84 8", 4, 3),
        curve("-72 0 -50 -38 10 -44 50 -34 62 0 46 34 -10 44 -58 36"),
        oval(60, -10, 32, 28),
        oval(90, -4, 13, 15).light(),
        oval(88, -8, 3).dark(),
        oval(88, 2, 3).dark(),
        poly("38 -30 46 -62 66 -36").dark(),
        oval(68, -20, 4).dark(),
    ),
    category(
        "sheep",
        "animal",
        [part.dark() for part in legs(-35, 28, 25, 85, 6)],
        *(oval(x, y, 26) for x, y in [(-52, -8), (-40, -28), (-14, -36), (14, -34), (36, -22), (38, 6), (20, 24)]),
        *(oval(x, y, 26) for x, y in [(-8, 28), (-36, 22), (-10, -2)]),
        oval(68, -22, 24, 17, 25).dark(),
        limb(52, -34, 40, -22, 7, 5).dark(),
        plural="sheep",
    ),
    category(
        "camel",
        "animal",
        legs(-44, 30, 15, 98, 6, 20),
        limb(-58, -4, -70, 34, 4, 3).swings(-58, -4, 18),
        curve("-60 -2 -44 -22 -32 -62 -18 -22 -4 -22 10 -62 24 -22 42 -10 44 20 10 30 -50 26"),
        tube("40 0 62 22 76 -12 74 -56", 13, 9),
        curve("62 -58 70 -74 104 -64 102 -50 78 -48"),
        oval(78, -64, 3).dark(),
    ),
    category(
        "rabbit",
        "animal",
        oval(-70, 40, 16).light(),
        oval(-16, 40, 54, 42, -15),
        limb(36, 40, 46, 84, 10, 9),
        oval(-24, 80, 38, 12),
        curve("34 -40 20 -100 34 -108 48 -44").far().swings(36, -40, 10, 0.3),
        curve("46 -40 50 -106 66 -104 60 -38").swings(52, -40, 10),
        oval(50, -14, 34, 30),
        oval(62, -22, 5).dark(),
        oval(82, -8, 5, 4).dark(),
    ),
    category(
        "bird",
        "animal",
        poly("-50 6 -104 -8 -98 22 -44 26").dark(),
        limb(-6, 36, -8, 70, 3).dark(),
        limb(10, 36, 10, 70, 3).dark(),
        curve("-56 12 -30 -16 20 -34 52 -26 56 2 30 34 -16 40"),
        oval(50, -34, 26),
        poly("72 -42 104 -30 72 -24").dark(),
        curve("20 -14 -6 -70 -60 -84 -46 -30 -24 10").swings(10, -8, 38).far(),
        oval(56, -40, 4).dark(),
    ),
    category(
        "duck",
        "animal",
        curve("-92 -22 -60 0 -10 -8 30 6 54 -10 66 20 44 52 -20 58 -66 44"),
        curve("22 10 30 -50 50 -72 66 -50 60 14"),
        oval(50, -58, 25, 22),
        curve("70 -62 100 -56 102 -46 70 -46").dark(),
        curve("-50 14 0 4 28 26 0 40 -36 36").far().swings(20, 20, 8),
        oval(56, -64, 4).dark(),
    ),
    category(
        "penguin",
        "animal",
        limb(-32, -24, -56, 40, 12, 7).swings(-32, -24, 18),
        limb(32, -24, 56, 40, 12, 7).swings(32, -24, 18, 0.5),
        limb(-18, 84, -34, 90, 8).dark(),
        limb(18, 84, 34, 90, 8).dark(),
        curve("0 -96 24 -84 34 -40 44 20 34 76 0 88 -34 76 -44 20 -34 -40 -24 -84"),
        curve("0 -52 20 -24 28 24 20 66 0 76 -20 66 -28 24 -20 -24").light(),
        poly("-8 -70 8 -70 0 -52").dark(),
        oval(-11, -76, 4).light(),
        oval(11, -76, 4).light(),
    ),
    category(
        "fish",
        "animal",
        poly("-48 0 -100 -44 -84 0 -100 44").swings(-48, 0, 22),
        poly("-10 -34 20 -66 44 -30").dark(),
        poly("-10 34 14 62 26 32").dark(),
        curve("-62 0 -20 -36 40 -38 92 -6 92 8 40 40 -20 36"),
        oval(62, -10, 7).light(),
        oval(63, -10, 3).dark(),
        limb(36, -22, 36, 24, 2).far(),
        plural="fish",
    ),
    category(
        "whale",
        "animal",
        curve("-62 -6 -84 -52 -104 -58 -96 -30 -110 -16 -84 10").swings(-66, 0, 15),
        curve("-78 -6 -40 -20 20 -46 74 -40 98 -6 88 34 40 50 -20 40 -64 16"),
        curve("96 16 60 30 20 30 -8 20 14 44 52 50 86 36").light(),
        poly("10 40 -14 72 34 52").far().swings(16, 44, 20),
        oval(66, -2, 5).dark(),
    ),
    category(
        "octopus",
        "animal",
        *(
            limb(x, 10, 2.1 * x, 88 - abs(x) / 2, 10, 5).swings(x, 10, 16, i / 5)
            for i, x in enumerate((-40, -20, 0, 20, 40))
        ),
        curve("-44 14 -52 -40 -28 -84 0 -92 28 -84 52 -40 44 14 0 28"),
        oval(-18, -20, 9).light(),
        oval(18, -20, 9).light(),
        oval(-18, -20, 4).dark(),
        oval(18, -20, 4).dark(),
        plural="octopuses",
    ),
    category(
        "crab",
        "animal",
        _crab_legs(),
        *_pair(limb(38, -8, 70, -40, 8, 7).swings(38, -8, 14)),
        *_pair(curve("58 -44 76 -84 98 -72 82 -62 96 -48 82 -30").swings(38, -8, 14)),
        oval(0, 12, 56, 36),
        *_pair(limb(14, -20, 16, -36, 4, 6).dark()),
    ),
    category(
        "snake",
        "animal",
        tube("-100 40 -78 20 -60 0 -42 20 -28 44 -8 48 8 24 22 -4 42 -8 56 12 66 26", 5, 12),
        tube("66 26 84 14 88 -14 80 -32", 12, 11),
        oval(72, -40, 21, 13, 12),
        limb(54, -42, 36, -46, 2, 1).dark(),
        oval(70, -44, 3).dark(),
    ),
    category(
        "turtle",
        "animal",
        limb(-44, 40, -56, 72, 11, 9).swings(-44, 40, 18),
        limb(36, 40, 44, 72, 11, 9).swings(36, 40, 18, 0.5),
        poly("-68 40 -98 52 -66 54"),
        limb(58, 36, 84, 16, 10, 12),
        oval(88, 10, 17, 14),
        curve("-74 46 -62 -6 -20 -40 20 -40 60 -6 72 46 0 52"),
        poly("-20 -20 20 -20 34 10 0 30 -34 10").dark(),
        oval(94, 6, 3).dark(),
    ),
    category(
        "snail",
        "animal",
        curve("-92 74 -40 56 50 56 66 10 84 6 94 34 84 66 60 78 -60 80"),
        limb(78, 10, 70, -34, 3, 5).swings(78, 10, 10),
        limb(86, 10, 98, -30, 3, 5).swings(86, 10, 10, 0.4),
        oval(-10, 6, 58).dark(),
        oval(-8, 10, 40),
        oval(-4, 12, 24).dark(),
        oval(-2, 14, 10),
    ),
    category(
        "spider",
        "animal",
        _spider_legs(),
        oval(0, 30, 30, 36),
        oval(0, -20, 20, 18),
        oval(-7, -30, 4).light(),
        oval(7, -30, 4).light(),
    ),
    category(
        "butterfly",
        "animal",
        *_pair(curve("6 -8 40 -80 92 -84 96 -30 50 6").swings(4, 0, 14)),
        *_pair(curve("6 4 60 10 78 50 50 84 16 50").swings(4, 0, 14, 0.1).far()),
        *_pair(oval(66, -50, 14).light().swings(4, 0, 14)),
        *_pair(oval(46, 46, 10).dark().swings(4, 0, 14, 0.1)),
        limb(0, -40, 0, 50, 8, 5).dark(),
        *_pair(limb(2, -44, 18, -80, 2).dark()),
        plural="butterflies",
    ),
)
