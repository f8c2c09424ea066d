"""Questions that need to be thought about, what in a photo answers them: what things are for, what animals do."""

from __future__ import annotations

from dataclasses import dataclass

from x2sam.data.photos.drafts import Content, Draft
from x2sam.data.photos.folder import Photo
from x2sam.data.photos.names import THINGS, is_plural, listed, plural
from x2sam.types import Condition, Prompt

ANSWERED = 0.5
"""Share of samples that say a name besides the mask."""
EVERY = frozenset().union(*THINGS)


@dataclass(frozen=True)
class Use:
    """Something to be known about names."""

    wordings: tuple[str, ...]
    yes: frozenset[str]
    """All names that answer it."""
    maybe: frozenset[str]
    """Names about which people would argue; where one is in a photo, it is not asked."""


def _use(yes: str, *wordings: str, maybe: str = "") -> Use:
    return Use(wordings, *(frozenset(n.strip() for n in names.split(",") if n.strip()) for names in (yes, maybe)))


_SHOES = "shoes, boots, pumps, high heels, flat shoes, loafers, sandals, sneakers, wedges"
# fmt: off
USES = (
    # what things are for
    _use("chair, bench, couch", "What can people sit on?", "Where could one take a seat?", "What is made for sitting?",
         maybe="bed, toilet, suitcase, horse, elephant, bicycle, motorcycle, stairs, rock, furniture"),
    _use("couch", "Which piece of furniture seats several people softly?", "Where would you lie down to watch a film?",
         maybe="bed, bench"),
    _use("bed", "Where would one sleep at night?", "What do people lie in at night?", "What has a mattress?",
         maybe="couch"),
    _use("bicycle, motorcycle, horse", "What could you ride?", "What could carry a rider?",
         maybe="elephant, cow, zebra, skateboard, surfboard, giraffe, bus, train, boat, car, truck, airplane"),
    _use("bicycle", "What has pedals and two wheels?", "What moves without an engine when you pedal?"),
    _use("motorcycle", "What has two wheels and an engine?", "Which vehicle needs a helmet and petrol?"),
    _use("car, truck, bus, motorcycle", "What needs petrol and a road?", "What drives on roads by an engine?"),
    _use("bus, train, airplane", "What carries many passengers?", "What could you travel in with a ticket?",
         maybe="boat"),
    _use("airplane", "What takes people through the air?", "Which machine flies?", "What has wings and engines?",
         maybe="kite"),
    _use("train", "Which vehicle runs on rails?", "What stops at a railway station?"),
    _use("boat", "What floats on the water?", "What could take you over a lake?",
         maybe="surfboard, bird"),
    _use("umbrella", "What keeps the rain off?", "What keeps you dry when it rains?", "What do you open in the rain?"),
    _use("clock", "What tells the time?", "What shows how late it is?", "What has hands and numbers on its face?",
         maybe="watch, cell phone"),
    _use("tv", "What shows a film?", "On what could you watch the news?", "What has a large screen?",
         maybe="laptop, cell phone"),
    _use("laptop, keyboard", "What could you type a letter on?", "What has keys to type with?",
         maybe="cell phone, remote"),
    _use("mouse", "What moves the pointer on a screen?", "Which part of a computer is clicked?"),
    _use("cell phone", "With what could you call a friend?", "What rings when somebody calls?"),
    _use("remote", "What changes the channel?", "What switches the tv on from the couch?", maybe="cell phone"),
    _use("book", "What can one read?", "What has many pages?", "What would you find in a library?",
         maybe="paper, laptop, cell phone, tv, stop sign"),
    _use("knife, scissors", "What could one cut with?", "What has a sharp blade?", "What is too sharp for a child?",
         maybe="fork"),
    _use("fork, spoon, knife", "With what do people eat?", "What lies beside a plate?", "Which cutlery is there?"),
    _use("spoon", "With what would you eat soup?", "With what could you stir tea?"),
    _use("cup, wine glass, bottle", "What can one drink from?", "What holds a drink?",
         maybe="bowl, vase"),
    _use("bowl", "What would you eat soup out of?", "In what could you mix a salad?", maybe="cup"),
    _use("bottle", "What is closed with a cap or a cork?", "What is wine sold in?"),
    _use("vase", "In what do cut flowers stand?", "Where would you put a bunch of roses?",
         maybe="potted plant, bottle, cup, wine glass, flower"),
    _use("potted plant", "What has to be watered to grow?", "What grows in a pot?",
         maybe="tree, flower, grass, vase"),
    _use("dining table", "Where would a family eat dinner?", "What are plates and cups put on?",
         maybe="table, desk, counter"),
    _use("backpack, handbag, suitcase", "In what could one carry things?", "What would you pack for a journey?",
         maybe="bag, purse, wallet"),
    _use("suitcase", "What would you check in at the airport?", "What do you pack clothes in for a journey?",
         maybe="backpack, handbag"),
    _use("oven, microwave, toaster", "What makes food hot?", "With what could you warm up bread?"),
    _use("refrigerator", "What keeps milk cold?", "Where would you store fresh meat?"),
    _use("sink", "Where could you wash your hands?", "What has a tap above it?"),
    _use("toilet", "What is flushed with water?", "Which seat is found in a bathroom?"),
    _use("toothbrush", "With what do people clean their teeth?", "What is toothpaste put on?"),
    _use("hair drier", "What blows hot air?", "What dries wet hair?"),
    # food
    _use("banana, apple, orange", "Which fruit can one eat?", "What grows on trees and is sweet?", "What is fruit?",
         maybe="food"),
    _use("broccoli, carrot", "Which vegetables are there?", "What would a rabbit like to eat?",
         maybe="food, salad, apple, banana"),
    _use("cake, donut", "What is a sweet treat from a bakery?", "What is full of sugar?",
         maybe="food, banana, apple, orange"),
    _use("banana, apple, orange, broccoli, carrot, sandwich, hot dog, pizza, donut, cake",
         "What can one eat?", "What would you eat when you are hungry?", "What is food?", maybe="food, salad"),
    _use("pizza", "What is round, with cheese on top?", "Which food comes from Italy?", maybe="food"),
    # games, streets
    _use("sports ball, frisbee", "What could you throw to a friend?", "What flies through the air in a game?",
         maybe="baseball bat, kite, teddy bear"),
    _use("skis, snowboard", "What glides over snow?", "What do people strap to their feet in winter?"),
    _use("surfboard", "What do people stand on in the waves?", "What would you take along to ride a wave?"),
    _use("skateboard", "Which board has wheels?", "What does one do tricks with on a ramp?"),
    _use("tennis racket, baseball bat", "With what does one hit a ball?", "What does a player swing?"),
    _use("baseball glove", "With what does one catch a ball?", "What does a catcher wear on the hand?"),
    _use("kite", "What needs wind to fly?", "What flies on a string?"),
    _use("teddy bear", "Which soft toy would a child take to bed?", "What is stuffed and soft to hug?"),
    _use("traffic light, stop sign", "What tells drivers to stop?", "What should every driver watch for?"),
    _use("fire hydrant", "Where do firefighters get water?", "What would a fire hose be joined to?"),
    _use("parking meter", "Where do drivers pay to park?", "What takes coins on the street?"),
    # animals and people
    _use("dog", "Which animal barks?", "Which animal likes to fetch a stick?", "Which animal guards a house?"),
    _use("cat", "Which animal says meow?", "Which animal purrs?", "Which animal hunts mice?"),
    _use("dog, cat", "Which animals are pets?", "Which animal lives in people's homes?", "What has paws and whiskers?",
         maybe="bird, bear, teddy bear"),
    _use("sheep", "Which animal gives wool?", "What does a shepherd look after?", "Which animal is shorn in spring?"),
    _use("cow", "Which animal gives milk?", "Which animal says moo?", "What does cheese come from in the end?"),
    _use("horse", "Which animal could you saddle?", "Which animal neighs?", "What does a jockey sit on?"),
    _use("horse, cow, sheep", "Which animals live on a farm?", "Which animals eat grass?", "What lives in a stable?",
         maybe="dog, cat, bird, zebra, elephant, giraffe"),
    _use("bird", "Which animal has feathers?", "Which animal lays eggs?", "Which animal has a beak?"),
    _use("bear", "Which animal sleeps all winter?", "Which animal likes honey?", maybe="teddy bear"),
    _use("elephant", "Which animal has a trunk?", "Which is the heaviest animal on land?"),
    _use("giraffe", "Which animal has the longest neck?", "Which animal eats from high trees?"),
    _use("zebra", "Which animal has stripes?", "What looks like a striped horse?", maybe="cat"),
    _use("elephant, giraffe, zebra", "Which animals live in Africa?", "What could you see on a safari?",
         maybe="bird, bear"),
    _use("person", "Who can talk?", "Who could answer a question?", "Who wears clothes?", maybe="teddy bear, bird"),
    # clothes
    _use(_SHOES, "What is worn on the feet?", "What does one walk in?", "What has soles?",
         maybe="socks, stockings, tights, accessory"),
    _use("hat", "What is worn on the head?", "What keeps the head warm?", maybe="accessory, scarf, hoodie, sunglasses"),
    _use("sunglasses", "What keeps the sun out of the eyes?", "What has dark lenses?", maybe="glasses, accessory"),
    _use("scarf", "What keeps the neck warm?", "What goes around the neck?", maybe="accessory, tie, necklace, cape"),
    _use("tie", "What is knotted under a collar?", "What would a man wear around his neck at the office?",
         maybe="scarf, accessory, necklace"),
    _use("belt", "What holds trousers up?", "What goes around the waist and has a buckle?", maybe="accessory"),
    _use("bag, purse, wallet", "What could hold keys and money?", "What are things carried in?", maybe="accessory"),
    _use("watch", "What is worn on the wrist to see the time?", "What tells the time?", maybe="bracelet, accessory"),
    _use("bracelet, earrings, necklace, ring", "Which jewellery is worn?", "What might be made of gold or silver?",
         maybe="accessory, watch, belt"),
    _use("pants, jeans, shorts, leggings", "What has two legs but cannot walk?", "What covers the legs from the waist?",
         maybe="suit, romper, stockings, tights, bodysuit, skirt"),
    _use("skirt, dress", "What swings around the legs when one dances?", "What would a ballerina wear?",
         maybe="romper, cape, coat, suit"),
    _use("coat, jacket", "What is put on last in the cold?", "What would you hang up at the door?",
         maybe="blazer, cape, cardigan, suit, vest, hat, scarf, hoodie, sweater, jumper, sweatshirt"),
    _use("gloves", "What keeps the fingers warm?", "What is worn on the hands?", maybe="accessory, ring"),
    _use("glasses, sunglasses", "What sits on the nose?", "What do people look through?", maybe="accessory"),
)
# fmt: on


def useful(photo: Photo) -> bool:
    """Whether something is there that a question is about."""
    there = set(photo.names)
    return any(use.yes & there and not use.maybe & there for use in USES)


def reasoned(draft: Draft) -> Content | None:
    """One question or a few, some of which nothing answers; the mask of one is all that answers it."""
    rng, here = draft.rng, draft.names()
    there = set(draft.photo.names)
    asked = [use for use in USES if use.yes <= draft.sure and not use.maybe & there]
    found = [use for use in asked if use.yes & there and use.yes & there <= set(here)]
    absent = [use for use in asked if use.yes <= set(draft.others) and use.maybe & EVERY <= draft.sure]
    if not found:
        return None
    count = int(rng.integers(1, draft.asked + 1))
    missing = min(int(rng.binomial(count, draft.absent)), len(absent))
    chosen = [found[i] for i in rng.permutation(len(found))[: max(1, count - missing)]]
    chosen += [absent[i] for i in rng.permutation(len(absent))[:missing]]
    chosen = [chosen[i] for i in rng.permutation(len(chosen))]
    tracks, said = [], None
    for i, use in enumerate(chosen):
        names = sorted(use.yes & there)
        if names:
            tracks.append(draft.track(i + 1, i, [s.id for name in names for s in here[name]]))
        said = _said(draft, names)
    conditions = tuple(Condition(use.wordings[rng.integers(len(use.wordings))]) for use in chosen)
    return Content(Prompt(conditions), tuple(tracks), said if rng.random() < ANSWERED else None)


def _said(draft: Draft, names: list[str]) -> str | None:
    """Which names answer a question; None where none does."""
    several = {n for n in names if len(draft.names()[n]) > 1 or draft.names()[n][0].inst == "many"}
    words = [f"the {plural(name) if name in several else name}" for name in names]
    many = len(names) > 1 or several or any(map(is_plural, names))
    return f"{'They are' if many else 'It is'} {listed(words)}." if names else None
