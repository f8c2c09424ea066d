"""Outlines of tools, kitchen things, toys and instruments."""

from __future__ import annotations

from x2sam.data.world.shapes import category, curve, limb, oval, poly, rect, star, tube

TOOLS = (
    category(
        "hammer", "tool",  limb(0, -40, 0, 94, 9, 11),
        curve("-62 -70 -30 -78 44 -74 60 -84 60 -34 44 -44 -30 -44 -64 -48").dark(), turns=True,
    ),
    category(
        "saw", "tool", 
        poly("-100 6 40 -34 40 34 -96 20 -84 28 -72 20 -60 30 -48 22 -36 32 -24 24 -12 34 0 26 12 36 24 28"),
        curve("36 -42 84 -48 100 -8 92 40 48 44 36 20").dark(), oval(66, 0, 16, 18).hole(), turns=True,
    ),
    category(
        "axe", "tool",  limb(-6, 96, 6, -84, 8),
        curve("0 -76 40 -92 66 -88 78 -44 62 -6 40 -24 0 -34").dark(), turns=True,
    ),
    category(
        "scissors", "tool",  limb(12, 14, -40, -98, 9, 3).swings(0, -4, 9), limb(-12, 14, 40, -98, 9, 3).swings(0, -4, -9),
        oval(-34, 60, 30, 36, 25).dark(), oval(-34, 60, 17, 22, 25).hole(), oval(34, 60, 30, 36, -25).dark(),
        oval(34, 60, 17, 22, -25).hole(), limb(-14, 34, 10, 6, 8, 7), limb(14, 34, -10, 6, 8, 7), oval(0, -4, 5).light(),
        plural="scissors", turns=True,
    ),
    category(
        "key", "tool",  oval(-62, 0, 38), oval(-66, 0, 18).hole(), rect(-28, -10, 100, 10), rect(54, 6, 68, 38), rect(82, 6, 98, 32),
        turns=True,
    ),
    category(
        "broom", "tool",  limb(0, -98, 0, 30, 6), poly("-18 26 18 26 44 98 -44 98").dark(), rect(-20, 24, 20, 38).light(),
        turns=True,
    ),
    category(
        "bucket", "tool",  oval(0, -44, 56, 52).dark(), oval(0, -42, 48, 46).hole(),
        poly("-66 -40 66 -40 48 90 -48 90"), oval(0, -40, 66, 14).dark(),
    ),
    category(
        "umbrella", "tool",  *tube("0 -60 0 72 10 88 26 86 30 72", 4), 
        curve("-100 8 -86 -44 -44 -80 0 -90 44 -80 86 -44 100 8 66 -6 34 8 0 -6 -34 8 -66 -6"), limb(0, -86, 0, -100, 3).dark(),
    ),
    category(
        "clock", "tool",  limb(-34, 70, -46, 92, 7).dark(), limb(34, 70, 46, 92, 7).dark(), oval(-46, -66, 24).dark(), oval(46, -66, 24).dark(),
        oval(0, 4, 80), oval(0, 4, 64).light(), limb(0, 4, 0, -44, 4).dark(), limb(0, 4, 32, 18, 4).dark(), oval(0, 4, 6).dark(),
    ),
    category(
        "candle", "tool",  rect(-24, -30, 24, 74), limb(0, -30, 0, -44, 2).dark(),
        curve("0 -98 16 -66 10 -44 -10 -44 -16 -66").light().swings(0, -44, 10), curve("-56 72 56 72 40 92 -40 92").dark(),
    ),
    category(
        "book", "tool",  poly("0 -60 -96 -72 -96 56 0 72"), poly("0 -60 96 -72 96 56 0 72"), poly("-6 -56 -86 -64 -86 44 -6 58").light(),
        poly("6 -56 86 -64 86 44 6 58").light(), *(limb(s * 20, y, s * 72, y - 8, 2).dark() for s in (-1, 1) for y in (-30, -6, 18)),
    ),
    category(
        "envelope", "tool",  rect(-98, -62, 98, 62), poly("-98 -62 0 22 98 -62").light(), *tube("-98 -62 0 22 98 -62", 4),
    ),
    category(
        "anchor", "tool",  oval(0, -78, 22), oval(0, -78, 11).hole(), limb(0, -56, 0, 78, 9), limb(-44, -34, 44, -34, 8),
        *tube("-78 24 -60 62 0 86 60 62 78 24", 9), poly("-98 38 -84 -4 -52 32"), poly("98 38 84 -4 52 32"),
    ),
    category(
        "bell", "tool",  oval(0, -84, 12).dark(), curve("0 -84 34 -66 46 -10 58 32 88 58 -88 58 -58 32 -46 -10 -34 -66"),
        rect(-88, 50, 88, 62).dark(), oval(0, 74, 16).dark().swings(0, 40, 20),
    ),
)

KITCHEN = (
    category(
        "cup", "dish",  oval(56, 0, 40, 40), oval(56, 0, 24, 24).hole(), poly("-80 -66 56 -66 44 70 -68 70"),
        oval(-12, -66, 68, 12).dark(),
    ),
    category(
        "bottle", "dish",  curve("-14 -80 14 -80 16 -40 34 -14 36 40 34 94 -34 94 -36 40 -34 -14 -16 -40"), rect(-16, -98, 16, -78).dark(),
        rect(-35, 10, 35, 56).light(),
    ),
    category(
        "teapot", "dish",  oval(-66, 10, 34, 38).dark(), oval(-66, 10, 20, 24).hole(),
        curve("40 30 70 -6 84 -44 102 -48 92 0 62 50"), oval(0, 18, 64, 52), curve("-40 -26 0 -44 40 -26 0 -20").dark(), oval(0, -48, 10).dark(),
    ),
    category(
        "vase", "dish",  curve("-34 -96 34 -96 18 -60 50 -10 54 40 26 92 -26 92 -54 40 -50 -10 -18 -60"),
        rect(-22, -66, 22, -54).dark(), oval(0, 20, 20).light(),
    ),
    category("spoon", "dish",  limb(0, -20, 0, 98, 5, 8), oval(0, -60, 30, 42), oval(0, -58, 18, 28).far(), turns=True),
    category(
        "fork", "dish",  limb(0, -10, 0, 98, 6, 9), curve("-32 -46 32 -46 28 -14 0 4 -28 -14"),
        *(limb(x, -40, x, -96, 5, 3) for x in (-27, -9, 9, 27)), turns=True,
    ),
    category(
        "knife", "dish",  curve("-14 -98 10 -70 16 -20 14 26 -14 26"), limb(0, 30, 2, 92, 13, 15).dark(), oval(0, 48, 4).light(),
        oval(1, 74, 4).light(), plural="knives", turns=True,
    ),
)

TOYS = (
    category(
        "kite", "toy",  poly("0 -98 58 -34 0 60 -58 -34"), limb(0, -94, 0, 56, 2).dark(), limb(-54, -34, 54, -34, 2).dark(),
        *tube("0 60 16 76 2 88 20 100", 3), poly("8 66 26 72 22 86").dark(),
    ),
    category(
        "flag", "toy",  limb(-70, -98, -70, 98, 6).dark(), curve("-66 -90 -20 -100 30 -78 92 -88 88 -6 30 6 -20 -16 -66 -6").swings(-66, -48, 5),
    ),
    category(
        "robot", "toy",  limb(0, -70, 0, -90, 3).dark(), oval(0, -94, 7).dark(), limb(-22, 50, -24, 90, 10).dark(),
        limb(22, 50, 24, 90, 10).dark(), limb(-46, -12, -72, 30, 9).swings(-46, -12, 25), limb(46, -12, 72, 30, 9).swings(46, -12, 25, 0.5),
        rect(-32, -72, 32, -26), rect(-44, -20, 44, 54), oval(-13, -52, 8).light(), oval(13, -52, 8).light(), limb(-14, -36, 14, -36, 3).dark(),
        rect(-26, 0, 26, 30).light(),
    ),
    category(
        "snowman", "toy",  limb(-30, -14, -84, -40, 4, 3).dark(), limb(30, -14, 84, -40, 4, 3).dark(), oval(0, 56, 46, 42), oval(0, -8, 34, 32),
        oval(0, -56, 26), rect(-22, -98, 22, -76).dark(), rect(-34, -80, 34, -72).dark(), oval(-9, -60, 4).dark(), oval(9, -60, 4).dark(),
        poly("0 -52 26 -46 0 -44").dark(), oval(0, -14, 4).dark(), oval(0, 4, 4).dark(),
    ),
    category(
        "guitar", "instrument",  limb(0, 0, 0, -88, 7).dark(), rect(-11, -100, 11, -80).dark(),
        curve("0 -14 30 -20 36 6 26 24 46 50 40 84 0 94 -40 84 -46 50 -26 24 -36 6 -30 -20"), oval(0, 34, 15).dark(), limb(-16, 70, 16, 70, 3).dark(),
    ),
    category(
        "drum", "instrument",  poly("-74 -30 74 -30 68 64 -68 64"), oval(0, 64, 68, 18), oval(0, -30, 74, 22).light(),
        *tube("-74 -24 -48 60 -24 -8 0 78 24 -8 48 60 74 -24", 3), limb(10, -40, 72, -88, 4, 5).dark(), limb(-10, -40, -72, -88, 4, 5).dark(),
    ),
    category(
        "trumpet", "instrument",  rect(-96, -10, 30, 4), poly("26 -10 66 -22 100 -52 100 46 66 16 26 4"), limb(-98, -16, -98, 10, 5).dark(),
        *tube("-50 0 -62 24 -50 40 0 40 12 24 0 0", 6), *(limb(x, -36, x, 30, 6).dark() for x in (-40, -20, 0)),
    ),
)

SHAPES = (
    category("circle", "shape",  oval(0, 0, 100), turns=True),
    category("square", "shape",  rect(-90, -90, 90, 90)),
    category("triangle", "shape",  poly("0 -95 100 80 -100 80")),
    category("star", "shape",  star(5)),
    category("heart", "shape",  curve("0 -44 24 -84 70 -86 96 -46 80 10 40 56 0 94 -40 56 -80 10 -96 -46 -70 -86 -24 -84")),
    category("cross", "shape",  poly("-32 -98 32 -98 32 -32 98 -32 98 32 32 32 32 98 -32 98 -32 32 -98 32 -98 -32 -32 -32"), plural="crosses"),
    category("ring", "shape",  oval(0, 0, 100), oval(0, 0, 58).hole(), turns=True),
    category("crescent", "shape",  oval(0, 0, 96), oval(46, -12, 82).hole()),
    category("diamond", "shape",  poly("0 -100 62 0 0 100 -62 0")),
    category("hexagon", "shape",  star(3, 100, 100)),
    category("arrow", "shape",  poly("-96 -26 10 -26 10 -70 98 0 10 70 10 26 -96 26"), turns=True),
)
