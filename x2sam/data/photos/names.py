"""Words for what photos show: which mean much the same, which are easily mistaken, how captions say them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

# fmt: off
ALIKE: tuple[frozenset[str], ...] = tuple(frozenset(row.split(", ")) for row in (
    "blouse, shirt, t-shirt, top, vest, bodysuit, bra", "jumper, sweater, sweatshirt, hoodie, cardigan, top",
    "coat, jacket, blazer, cape, suit, cardigan", "pants, jeans, leggings, suit, shorts",
    "stockings, tights, leggings, socks", "dress, skirt, romper, bodysuit",
    "shoes, boots, pumps, high heels, flat shoes, loafers, sandals, sneakers, wedges",
    "bag, purse, handbag, wallet, backpack, suitcase", "glasses, sunglasses",
    "accessory, belt, bracelet, earrings, necklace, ring, watch, scarf, tie, gloves, hat",
    "table, dining table, desk, counter", "house, building, roof, wall", "sea, river, water",
    "grass, ground, dirt, playing field, sand, gravel, floor, road, pavement, platform, railroad, snow",
    "rug, carpet, floor, textile", "sky, clouds, fog", "rock, mountain, gravel, stairs", "tree, flower, potted plant",
    "cabinet, furniture, shelf, counter, table, desk, wall", "window, window blind, curtain, mirror, door",
    "clothes, textile, towel, blanket, banner, curtain, pillow", "plastic, metal, paper, cardboard", "fence, net, wall",
    "ceiling, roof, wall, light", "cup, wine glass, bowl", "food, salad, sandwich, pizza, hot dog, cake, donut, apple",
    "food, banana, orange, broccoli, carrot", "teddy bear, bear", "baseball bat, baseball glove", "car, truck, bus",
))
"""Names that people give to one and the same thing: none of a row is called absent where another is."""
THINGS: tuple[frozenset[str], ...] = tuple(frozenset(row.split(", ")) for row in (
    "bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe", "person, teddy bear",
    "bicycle, car, motorcycle, airplane, bus, train, truck, boat", "chair, couch, bed, dining table, bench, toilet",
    "bottle, wine glass, cup, fork, knife, spoon, bowl", "banana, apple, sandwich, orange, broccoli, carrot",
    "hot dog, pizza, donut, cake", "tv, laptop, mouse, remote, keyboard, cell phone, book, clock",
    "microwave, oven, toaster, sink, refrigerator", "frisbee, skis, snowboard, skateboard, surfboard",
    "sports ball, kite, baseball bat, baseball glove, tennis racket",
    "traffic light, fire hydrant, stop sign, parking meter",
    "backpack, umbrella, handbag, tie, suitcase", "vase, potted plant, scissors, hair drier, toothbrush",
))
"""The 80 things of COCO by kind."""
KINDS: tuple[frozenset[str], ...] = (*THINGS, *(frozenset(row.split(", ")) for row in (
    "blouse, dress, skirt, pants, coat, sweater, shorts", "hat, scarf, sunglasses, belt, bag, necklace, socks, gloves",
    "tree, grass, sky, mountain, sea, snow, sand", "wall, floor, ceiling, window, door, curtain",
)))
"""Kinds: a name is most easily mistaken for another of its row."""
SPOKEN: dict[str, str] = {
    "person": "man, woman, boy, girl, child, kid, lady, guy, baby, player, people, men, women, children, rider, skier, "
              "surfer, skateboarder, snowboarder, batter, pitcher, toddler, someone, couple, crowd, kids, boys, girls",
    "airplane": "plane, jet, aircraft, airliner", "motorcycle": "motorbike, bike, scooter, moped",
    "bicycle": "bike", "car": "suv, van, taxi, vehicle", "bus": "coach", "truck": "van, pickup, lorry",
    "boat": "ship, sailboat, canoe, kayak, ferry", "cat": "kitten, kitty", "dog": "puppy", "cow": "bull, calf, cattle",
    "horse": "pony", "sheep": "lamb, ram", "bird": "duck, pigeon, seagull, parrot, goose, owl", "bear": "cub",
    "couch": "sofa, loveseat", "tv": "television", "dining table": "table, desk", "potted plant": "plant, houseplant",
    "cell phone": "phone, cellphone, smartphone", "sports ball": "ball, soccer ball, baseball, tennis ball",
    "wine glass": "glass", "cup": "mug, glass", "donut": "doughnut", "hot dog": "hotdog", "laptop": "computer",
    "refrigerator": "fridge", "tennis racket": "racket, racquet", "baseball bat": "bat",
    "baseball glove": "mitt, glove",
    "skis": "ski", "handbag": "purse, bag", "suitcase": "luggage, bag", "backpack": "bag", "book": "books",
    "teddy bear": "stuffed animal, stuffed bear", "remote": "controller", "oven": "stove", "sandwich": "burger, sub",
    "fire hydrant": "hydrant", "stop sign": "sign", "traffic light": "stoplight, light", "knife": "knives",
    "keyboard": "keyboards", "hair drier": "hair dryer, blow dryer", "tie": "necktie", "toilet": "urinal",
}
"""Other words for a name, as captions have them."""
MANY = frozenset((
    "people", "men", "women", "children", "kids", "boys", "girls", "couple", "crowd", "cattle", "luggage", "books",
    "skis", "knives", "sheep",
))
"""Words for more than one thing that do not tell by their end."""
# fmt: on


def apart(name: str, others: Iterable[str]) -> bool:
    """Whether ``name`` is neither one of ``others`` nor another word for one of them."""
    others = set(others)
    return name not in others and not any(name in row and row & others for row in ALIKE)


def nearest(name: str) -> frozenset[str]:
    """Names of the same kind, which are most easily mistaken for it."""
    return frozenset().union(*(row for row in KINDS if name in row)) - {name}


def words_of(name: str) -> frozenset[str]:
    """A name and the words that captions have for it."""
    return frozenset({name, *SPOKEN.get(name, name).split(", ")})


@dataclass(frozen=True)
class Mention:
    """A word of a text that stands for a name."""

    start: int
    end: int
    """Its place in the text."""
    names: frozenset[str]
    """What it may stand for: a bike is a bicycle or a motorcycle."""
    many: bool
    """Whether it means more than one."""


def mentions(text: str, names: Iterable[str]) -> list[Mention]:
    """Every word of a text that stands for one of ``names``, in order.

    Singular or plural. A longer word hides a shorter one in it: a hot dog is no dog, a dining table no table.
    """
    pattern, meant = _spoken(frozenset(names))
    found = pattern.finditer(text.lower()) if meant else ()
    words = ((match, re.sub(r"[^a-z]+", " ", match[1])) for match in found)
    return [Mention(m.start(), m.end(), meant[word], bool(m[2]) or word in MANY) for m, word in words]


@lru_cache(maxsize=64)
def _spoken(names: frozenset[str]) -> tuple[re.Pattern[str], dict[str, frozenset[str]]]:
    """What finds the words for some names, the longest first, and the names that each word may stand for."""
    meant: dict[str, set[str]] = {}
    for name in names:
        for word in words_of(name):
            meant.setdefault(word.replace("-", " "), set()).add(name)
    longest = sorted(meant, key=lambda word: (-len(word), word))
    words = "|".join(word.replace(" ", "[^a-z]+") for word in longest)
    pattern = re.compile(rf"(?<![a-z])({words})(s|es)?(?![a-z])")
    return pattern, {word: frozenset(found) for word, found in meant.items()}


def said_in(text: str, names: Iterable[str]) -> list[frozenset[str]]:
    """What a text says of ``names``: for every mention, in order, the names that its word may stand for."""
    return [mention.names for mention in mentions(text, names)]


def listed(words: list[str]) -> str:
    """``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def counted(name: str, count: int) -> str:
    """``a dog``, ``two dogs``."""
    numbers = ("no", "a", "two", "three", "four", "five", "six")
    if count == 1:
        return name if is_plural(name) else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
    return f"{numbers[count] if count < len(numbers) else 'several'} {plural(name)}"


def is_plural(name: str) -> bool:
    """Whether a name says several by itself: skis, scissors."""
    return name.endswith("s") and name not in ("bus", "dress")


def plural(name: str) -> str:
    """More than one of them."""
    irregular = {"person": "people", "sheep": "sheep", "mouse": "mice", "knife": "knives", "skis": "skis"}
    if name in irregular:
        return irregular[name]
    if name.endswith(("s", "ch", "sh", "x")):
        return name + "es" if name in ("bus", "bench", "couch", "wine glass", "toothbrush", "dress") else name
    return name[:-1] + "ies" if name.endswith("y") and name[-2] not in "aeiou" else name + "s"
