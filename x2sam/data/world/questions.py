"""Questions that need a step of thought before something can be segmented, and one-line explanations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from x2sam.data.world.facts import Facts, Truth
from x2sam.data.world.language import TRIES, Noun, Phrase, anchor_phrase, is_plural
from x2sam.data.world.vocabulary import GROUP_NOUNS


@dataclass(frozen=True)
class Use:
    """Something to be known about categories."""

    question: str
    because: str
    """Follows ``because``; ``it`` is the answer."""
    yes: frozenset[str]
    maybe: frozenset[str]
    """Categories about which people would argue; where one is in sight, the question is not asked."""


def _use(question: str, because: str, yes: str, maybe: str = "") -> Use:
    return Use(
        question, because, *(frozenset(n.strip() for n in names.split(",") if n.strip()) for names in (yes, maybe))
    )


USES = (
    _use("Which thing could you sit on?", "it is made for sitting", "chair, sofa",
         "bed, horse, camel, elephant, bicycle, table, bucket, drum"),
    _use("Where would you sleep at night?", "it is made for sleeping", "bed", "sofa, tent, house, castle"),
    _use("What would keep the rain off while you walk?", "it keeps you dry", "umbrella",
         "hat, tent, car, bus, house, leaf, mushroom"),
    _use("What could you cut something with?", "it has a sharp edge", "saw, axe, scissors, knife"),
    _use("What opens a lock?", "it unlocks doors", "key", "door, hammer, axe"),
    _use("What tells the time?", "it shows the hours", "clock", "bell"),
    _use("What could light up a dark room?", "it gives light", "lamp, candle", "lighthouse, cake, star"),
    _use("What could you read?", "it has pages to read", "book", "envelope, clock, flag"),
    _use("What would you put in the post?", "letters are sent in it", "envelope", "book"),
    _use("What could you drink from?", "it holds a drink", "cup, bottle", "teapot, bucket, vase, spoon, ice cream"),
    _use("In what would you make tea?", "tea is made in it", "teapot", "cup"),
    _use("What is a sweet fruit?", "it is a fruit", "apple, pear, banana, cherry", "cake, ice cream"),
    _use("Which vegetable grows in the soil?", "it is a root", "carrot", "mushroom, apple, pear, banana, cherry"),
    _use("What would melt in the sun?", "it is frozen", "snowman, ice cream", "candle, cake"),
    _use("Which animal can fly?", "it has wings and flies", "bird, butterfly", "duck, penguin"),
    _use("Which machine flies?", "it travels through the air", "airplane, helicopter, rocket, hot-air balloon",
         "kite, robot"),
    _use("Which animal lives only in the water?", "it lives under water", "fish, whale, octopus",
         "crab, duck, turtle, penguin"),
    _use("Which vehicle runs on rails?", "it runs on rails", "train"),
    _use("What has pedals?", "you ride it with pedals", "bicycle", "car, bus, truck, tractor"),
    _use("What sails on the sea?", "it floats and sails", "boat", "duck, anchor"),
    _use("What keeps a ship in its place?", "it holds a ship", "anchor", "boat"),
    _use("What would you wear on your head?", "it is worn on the head", "hat, crown", "glasses, bucket"),
    _use("What belongs on a foot?", "it is worn on a foot", "shoe"),
    _use("What helps people to see better?", "people see better with it", "glasses", "lamp, candle, lighthouse"),
    _use("What makes music?", "it is an instrument", "guitar, drum, trumpet", "bell, bird"),
    _use("What drives a nail into wood?", "it drives nails", "hammer", "axe"),
    _use("What sweeps the floor?", "it sweeps", "broom"),
    _use("What would help you climb to a roof?", "you can climb it", "ladder", "tree, palm tree, helicopter"),
    _use("Where could a family live?", "people live in it", "house", "castle, tent, lighthouse, windmill"),
    _use("Which animal barks?", "it barks", "dog"),
    _use("Which animal says meow?", "it meows", "cat"),
    _use("Which animal gives wool?", "it gives wool", "sheep", "rabbit, camel"),
    _use("Which animal has a trunk?", "it has a trunk", "elephant"),
    _use("Which animal has the longest neck?", "its neck is long", "giraffe"),
    _use("Which animal spins a web?", "it spins webs", "spider"),
    _use("Which animal carries its house on its back?", "it has a shell", "snail, turtle", "crab, camel"),
    _use("What lives in the desert?", "it needs little water", "camel, cactus", "snake, person, palm tree, spider"),
    _use("What turns in the wind?", "the wind moves it", "windmill", "kite, flag, boat"),
    _use("What has exactly three corners?", "it has three corners", "triangle",
         "pizza, tent, tree, pine tree, carrot, arrow"),
    _use("What is a sign of love?", "it stands for love", "heart", "flower, envelope, ring"),
    _use("What pulls a plough?", "it works on the field", "tractor", "horse, truck, camel, elephant"),
    _use("What would a king wear?", "kings wear it", "crown", "ring, hat, shirt, trousers, shoe"),
    _use("What smells nice in a garden?", "it smells nice", "flower",
         "tree, pine tree, leaf, apple, pear, mushroom, cactus, palm tree"),
    _use("In what do flowers stand?", "flowers stand in it", "vase", "bottle, bucket, cup, teapot"),
    _use("With what would you eat soup?", "soup is eaten with it", "spoon", "cup, fork"),
    _use("Who can talk?", "people talk", "person", "robot, bird, snowman"),
    _use("What would you eat at a birthday?", "it is a birthday treat", "cake", "ice cream, pizza, burger"),
    _use("What leads from one side of a river to the other?", "it crosses the river", "bridge", "boat"),
)  # fmt: skip


@dataclass(frozen=True)
class Question:
    """What is asked, whom it means, and why."""

    phrase: Phrase
    because: str

    def answer(self, facts: Facts) -> str | None:
        """One line that names whom it means and says why; None where it means nothing."""
        k = self.phrase.target
        if k is None:
            return None
        noun = Noun(facts.category[k] or "object", facts.colour[k])
        return f"It is the {noun.text}" + ("." if is_plural(noun.name) else f", because {self.because}.")


Form = Callable[[np.random.Generator, Facts], "Question | None"]


def _asks_use(rng: np.random.Generator, facts: Facts) -> Question:
    """A question about what something is for, mostly something in sight."""
    near = [u for u in USES if facts.among(u.yes).any()]
    pool = near if near and rng.random() < 0.5 else USES
    use = pool[rng.integers(len(pool))]
    return Question(Phrase(use.question, _answers(facts, use)), use.because)


def _second(rng: np.random.Generator, facts: Facts) -> Question | None:
    noun = _noun(rng)
    among = noun.truth(facts)
    first = facts.largest(among)
    if (among == 1).sum() < 2 or first.max() < 1:
        return None
    rest = np.where(first == 1, 0.0, among)
    second = facts.largest(rest) if rest.sum() > 1 else rest
    return Question(Phrase(f"Which is the second largest {noun.name}?", second), "only one of its kind is larger")


def _hidden_by(rng: np.random.Generator, facts: Facts) -> Question | None:
    anchor = anchor_phrase(rng, facts)
    if anchor is None or anchor.target is None:
        return None
    truth = facts.behind(anchor.target)
    return Question(
        Phrase(f"Which object is partly hidden by {anchor.text}?", truth), f"{anchor.text} is in front of it"
    )


def _same_colour(rng: np.random.Generator, facts: Facts) -> Question | None:
    anchor = _uncoloured_anchor(facts, rng)
    if anchor is None or anchor.target is None or facts.colour[anchor.target] is None:
        return None
    colour = str(facts.colour[anchor.target])
    truth = facts.coloured(colour)
    truth[anchor.target] = 0
    return Question(Phrase(f"Which object has the same colour as {anchor.text}?", truth), f"both are {colour}")


def _odd_one_out(rng: np.random.Generator, facts: Facts) -> Question | None:
    group = GROUP_NOUNS[rng.integers(len(GROUP_NOUNS))]
    truth = 1 - facts.named(group)
    if len(facts) < 3:
        return None
    article = "an" if group[0] in "aeiou" else "a"
    return Question(Phrase(f"Which object is not {article} {group}?", truth), f"all others are {group}s")


def _neighbour(rng: np.random.Generator, facts: Facts) -> Question | None:
    anchor = anchor_phrase(rng, facts)
    if anchor is None or anchor.target is None:
        return None
    truth = facts.nearest(np.ones(len(facts)), anchor.target)
    return Question(Phrase(f"Which object is the neighbour of {anchor.text}?", truth), "nothing else is as close")


def _event(rng: np.random.Generator, facts: Facts) -> Question:
    every = np.ones(len(facts))
    question, truth, because = (
        ("What would win a race here?", facts.fastest(every), "it moves the fastest"),
        ("Which object stays where it is?", facts.still(), "it does not move"),
        ("What was not there at the beginning?", facts.entering(), "it enters later"),
        ("What is gone at the end?", facts.leaving(), "it leaves the picture"),
        ("What goes away and comes back?", facts.returning(), "it leaves and returns"),
    )[rng.integers(5)]
    return Question(Phrase(question, truth), because)


IMAGE_FORMS: tuple[Form, ...] = (
    _asks_use,
    _asks_use,
    _asks_use,
    _second,
    _hidden_by,
    _same_colour,
    _odd_one_out,
    _neighbour,
)
VIDEO_FORMS: tuple[Form, ...] = (*IMAGE_FORMS, _event, _event, _event)


def ask(rng: np.random.Generator, facts: Facts, absent: bool) -> Question | None:
    """A question with exactly one answer among the things, or (``absent``) with none; None if none was found."""
    forms = VIDEO_FORMS if facts.frames > 1 else IMAGE_FORMS
    for _ in range(2 * TRIES):
        form = forms[rng.integers(len(forms))]
        question = form(rng, facts)
        if question is None:
            continue
        if question.phrase.is_absent if absent else question.phrase.target is not None:
            return question
    return None


def _answers(facts: Facts, use: Use) -> Truth:
    """Whom a question about use means."""
    if (use.yes | use.maybe) & facts.scene.depicted:
        return np.full(len(facts), 0.5)
    return np.maximum(facts.among(use.yes), 0.5 * facts.among(use.maybe))


def _noun(rng: np.random.Generator) -> Noun:
    names = (*GROUP_NOUNS, "object", "object")
    return Noun(names[rng.integers(len(names))])


def _uncoloured_anchor(facts: Facts, rng: np.random.Generator) -> Phrase | None:
    anchor = anchor_phrase(rng, facts)
    return anchor if anchor is not None and len(anchor.text.split()) == 2 else None
