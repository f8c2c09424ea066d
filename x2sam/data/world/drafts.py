"""From a scene to the prompt, objects and answer of each kind of task."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from x2sam.data.world.captions import caption, chat
from x2sam.data.world.casting import Allowed, Look
from x2sam.data.world.facts import Facts
from x2sam.data.world.language import Noun, Phrase, mislead, refer
from x2sam.data.world.questions import Question, ask
from x2sam.data.world.scene import MIN_VISIBLE
from x2sam.data.world.vocabulary import COLOURS, STUFF, TEXTURES, held_back, is_thing
from x2sam.masks import RLE, BoolMask
from x2sam.regions import synthesize
from x2sam.types import Condition, ObjectTrack, Prompt, Region, RegionKind

FIRST_STUFF_ID = 200
"""Object ids of stuff start here; a thing's is 1 + its place from far to near."""
MIN_PROMPTED = 30
"""Pixels of a thing that a region may be drawn on."""
NEGATIVES = 10
MOST_QUESTIONS = 8
"""Of one conversation."""
KINDS: tuple[RegionKind, ...] = ("point", "box", "scribble", "mask")


@dataclass(frozen=True)
class Draft:
    """A scene on its way to a sample."""

    rng: np.random.Generator
    fate: np.random.Generator
    """Draws what must not depend on how many scenes were tried: how much is asked, and whether it is there."""
    facts: Facts
    names: tuple[str, ...]
    """Categories that may be named."""
    allowed: Allowed
    absent: float
    looks: tuple[Look, ...] = ()
    """What is held back and was put into the scene on purpose."""
    negatives: int = NEGATIVES
    """Most conditions of a list that match nothing."""
    phrases: int = 0
    """Most phrases or questions about one picture; 0: as few as people ask."""

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)


@dataclass(frozen=True)
class Content:
    """What a task adds to the frames."""

    prompt: Prompt
    objects: tuple[ObjectTrack, ...] = ()
    answer: str | None = None


Owner = tuple[int, int | str]
"""The condition's index, and the visible thing or kind of stuff that belongs to it."""


def tracks(facts: Facts, owners: Iterable[Owner]) -> tuple[ObjectTrack, ...]:
    """The masks of things and stuff on every frame."""
    owners = list(owners)
    if not owners:
        return ()
    masks = np.stack([_masks(facts, who) for _, who in owners])  # [N, T, H, W]
    seen = masks.sum(axis=(2, 3)) >= MIN_VISIBLE
    codes = iter(RLE.encode_many(masks[seen]) if seen.any() else [])
    out = []
    for (condition, who), row in zip(owners, seen, strict=True):
        track = tuple(next(codes) if flag else None for flag in row)
        identity = FIRST_STUFF_ID + STUFF.index(who) if isinstance(who, str) else 1 + int(facts.index[who])
        out.append(ObjectTrack(identity, condition, track))
    return tuple(t for t in out if any(t.masks))


def _masks(facts: Facts, who: int | str) -> BoolMask:
    """``[T, H, W]``."""
    if isinstance(who, int):
        return facts.scene.owners == facts.index[who] + 1
    assert facts.scene.stuff is not None
    return facts.scene.stuff == STUFF.index(who) + 1


# --- categories -------------------------------------------------------------------------------------------------------


def categories(draft: Draft) -> Content | None:
    """Every category of the scene and some that are not there; everything of each category."""
    facts, rng = draft.facts, draft.rng
    here = [*dict.fromkeys(c for c in facts.category if c), *facts.stuff()]
    others = [n for n in draft.names if n not in here and n not in facts.scene.depicted]
    extra = rng.permutation(len(others))[: rng.integers(1, draft.negatives + 1)]
    words = [*here, *(others[k] for k in extra)]
    order = rng.permutation(len(words))
    words = [words[k] for k in order]
    owners: list[Owner] = [(words.index(c), k) for k, c in enumerate(facts.category) if c]
    owners += [(words.index(name), name) for name in facts.stuff()]
    conditions = tuple(Condition(word, is_thing=is_thing(word)) for word in words)
    return Content(Prompt(conditions), tracks(facts, owners)) if here else None


def combinations(draft: Draft) -> Content | None:
    """Conditions such as ``striped red boat``: some that are there, some that differ in one word, stuff.

    Where the scene was made to show held-back looks, only those are asked for.
    """
    facts, rng = draft.facts, draft.rng
    nouns: dict[str, tuple[Noun, list[int]]] = {}
    taken: set[int] = set()
    for k, category in enumerate(facts.category):
        noun = _combination(draft, k)
        if category is None or k in taken or noun is None:
            continue
        truth = noun.truth(facts)
        members = np.flatnonzero(truth == 1).tolist()
        if (truth == 0.5).any() or taken & set(members):
            continue
        taken |= set(members)
        nouns[noun.text] = noun, members
    if not nouns:
        return None
    positives = [noun for noun, _ in nouns.values()]
    tries = rng.integers(1, max(9, draft.negatives // 2))
    negatives = {n.text for _ in range(tries) if (n := _other(draft, positives)) is not None}
    stuff = list(facts.stuff())
    words = [*nouns, *sorted(negatives - set(nouns)), *stuff]
    words = [words[k] for k in rng.permutation(len(words))]
    owners: list[Owner] = [(words.index(text), k) for text, (_, members) in nouns.items() for k in members]
    owners += [(words.index(name), name) for name in stuff]
    return Content(Prompt(tuple(Condition(w, is_thing=w not in stuff) for w in words)), tracks(facts, owners))


def _combination(draft: Draft, k: int) -> Noun | None:
    """A noun with adjectives for a thing; in a scene of held-back looks only for those, naming what is held back."""
    category, colour, texture = (x[k] for x in (draft.facts.category, draft.facts.colour, draft.facts.texture))
    if category is None or colour is None:
        return None
    patterned = texture != "plain"
    with_colour = not patterned or draft.chance(0.75)
    with_texture = patterned and (not with_colour or draft.chance(0.5))
    if draft.looks:
        held_colour, held_texture = held_back(category, colour), held_back(category, None, texture)
        if not (held_colour or held_texture):
            return None
        with_colour, with_texture = with_colour or held_colour, with_texture or held_texture
    return Noun(category, colour if with_colour else None, texture if with_texture else None)


def _other(draft: Draft, positives: list[Noun]) -> Noun | None:
    """A noun with adjectives that means nothing here; mostly a true one with one word changed."""
    rng, facts = draft.rng, draft.facts
    noun = positives[rng.integers(len(positives))]
    draw = rng.random()
    things = [n for n in draft.names if is_thing(n)]
    if draw < 0.4:
        noun = Noun(noun.name, list(COLOURS)[rng.integers(len(COLOURS))], noun.texture)
    elif draw < 0.55:
        noun = Noun(noun.name, noun.colour, TEXTURES[rng.integers(1, len(TEXTURES))])
    else:
        noun = Noun(things[rng.integers(len(things))], noun.colour, noun.texture)
    fits = draft.allowed(noun.name, noun.colour, noun.texture) and noun.name not in facts.scene.depicted
    return noun if fits and not noun.truth(facts).any() else None


# --- expressions and questions ----------------------------------------------------------------------------------------


def expressions(draft: Draft) -> Content | None:
    """Referring phrases (one to four, where no more are wanted), each for another thing or for nothing."""
    facts, rng = draft.facts, draft.rng
    phrases: dict[str, Phrase] = {}
    targets = rng.permutation(len(facts)).tolist() * (2 if draft.phrases else 1)
    for _ in range(min(_asking(draft, 4), len(targets))):
        phrase = None
        if draft.fate.random() < draft.absent:
            phrase = mislead(rng, facts, tuple(n for n in draft.names if is_thing(n)), draft.allowed)
        else:
            while targets and phrase is None:
                phrase = refer(rng, facts, targets.pop())
        if phrase is None:
            break
        phrases[phrase.text] = phrase
    return _asked(draft, list(phrases.values())) if phrases else None


def questions(draft: Draft) -> Content | None:
    """Questions, each with an answer or with none; half of the time the last answer is explained.

    One or two, each with another answer, where no more are wanted.
    """
    facts, found, taken = draft.facts, dict[str, Question](), set[int | None]()
    for _ in range(_asking(draft, 2)):
        question = ask(draft.rng, facts, bool(draft.fate.random() < draft.absent))
        if question is None or (not draft.phrases and question.phrase.target in taken - {None}):
            break
        taken.add(question.phrase.target)
        found[question.phrase.text] = question
    if not found:
        return None
    last = list(found.values())[-1]
    answer = last.answer(facts) if last.phrase.target is not None and draft.chance(0.5) else None
    return _asked(draft, [q.phrase for q in found.values()], answer)


def _asked(draft: Draft, phrases: list[Phrase], answer: str | None = None) -> Content:
    owners = [(i, p.target) for i, p in enumerate(phrases) if p.target is not None]
    return Content(Prompt(tuple(Condition(p.text) for p in phrases)), tracks(draft.facts, owners), answer)


def _asking(draft: Draft, usual: int) -> int:
    """How much is asked about one picture."""
    return int(draft.fate.integers(1, draft.phrases + 1)) if draft.phrases else _few(draft.fate, usual)


def _few(rng: np.random.Generator, most: int = 4) -> int:
    return min(most, int(rng.geometric(0.5)))


# --- regions ----------------------------------------------------------------------------------------------------------


def _region(
    draft: Draft, who: int | str, frame: int, kind: RegionKind, exact: bool = False, keep: bool = False
) -> Region:
    mask = _masks(draft.facts, who)[frame]
    drawn = mask if exact else synthesize(mask, kind, draft.rng)
    identity = 1 + int(draft.facts.index[who]) if keep and isinstance(who, int) else None
    return Region(RLE.encode(drawn), kind, frame, identity)


def single_objects(draft: Draft) -> Content | None:
    """One to four things, each by a region of its own: on a clip mostly its exact mask where it is first seen."""
    facts, rng = draft.facts, draft.rng
    video = facts.frames > 1
    first = facts.seen.argmax(axis=0)  # [N]
    clear = facts.visible[first, np.arange(len(facts))] >= MIN_PROMPTED
    ready = np.flatnonzero(clear & (first == 0))
    if not len(ready) or draft.chance(0.15):
        ready = np.flatnonzero(clear)
    if not len(ready):
        return None
    chosen = rng.permutation(ready)[: _few(rng)].tolist()
    conditions = []
    for k in chosen:
        exact = video and draft.chance(0.75)
        kind = "mask" if exact else KINDS[rng.integers(4)]
        conditions.append(Condition(region=_region(draft, k, int(first[k]), kind, exact, keep=video)))
    return Content(Prompt(tuple(conditions)), tracks(facts, enumerate(chosen)))


def whole_categories(draft: Draft) -> Content | None:
    """One to four categories, each by a region on one of its instances; every instance of each."""
    facts, rng = draft.facts, draft.rng
    frame = int(rng.integers(facts.frames)) if draft.chance(0.15) else 0
    clear = facts.visible[frame] >= MIN_PROMPTED
    names = list(dict.fromkeys(c for k, c in enumerate(facts.category) if c and clear[k]))
    names += [name for name, count in facts.stuff().items() if count[frame] >= 10 * MIN_PROMPTED and draft.chance(0.3)]
    if not names:
        return None
    chosen = [names[k] for k in rng.permutation(len(names))[: _few(rng)]]
    conditions, owners = [], list[Owner]()
    for i, name in enumerate(chosen):
        if is_thing(name):
            members = [k for k, c in enumerate(facts.category) if c == name]
            able = [k for k in members if clear[k]]
            shown: int | str = able[rng.integers(len(able))]
            owners += [(i, k) for k in members]
        else:
            shown = name
            owners.append((i, name))
        region = _region(draft, shown, frame, KINDS[rng.integers(4)])
        conditions.append(Condition(region=region, is_thing=is_thing(name)))
    return Content(Prompt(tuple(conditions)), tracks(facts, owners))


# --- speech -----------------------------------------------------------------------------------------------------------


def grounded_caption(draft: Draft) -> Content | None:
    """A caption whose phrases have masks."""
    text, spans = caption(draft.rng, draft.facts)
    owners: list[Owner] = [(i, k) for i, span in enumerate(spans) for k in span.members]
    owners += [(i, span.stuff) for i, span in enumerate(spans) if span.stuff]
    return Content(Prompt(), tracks(draft.facts, owners), text) if spans else None


def conversation(draft: Draft) -> Content:
    """Questions and their answers: one, or several about the same scene."""
    pairs: dict[str, str] = {}
    for _ in range(int(draft.fate.integers(1, MOST_QUESTIONS + 1))):
        question, answer = chat(draft.rng, draft.facts)
        pairs.setdefault(question, answer)
    *history, (question, answer) = pairs.items()
    return Content(Prompt(text=question, history=tuple(history)), (), answer)


MAKERS: dict[str, Callable[[Draft], Content | None]] = {
    "chat": conversation,
    "genseg": categories,
    "ovseg": combinations,
    "refseg": expressions,
    "reaseg": questions,
    "gcgseg": grounded_caption,
    "intseg": single_objects,
    "objseg": single_objects,
    "vgdseg": whole_categories,
}
"""By the task's name without its medium: the table of tasks does not part generic from open-vocabulary segmentation."""
