"""Captions whose phrases have masks: words of people that name what is labelled."""

from __future__ import annotations

import re
from collections.abc import Sequence

from x2sam.data.photos.drafts import Content, Draft
from x2sam.data.photos.folder import Photo
from x2sam.data.photos.names import THINGS, Mention, mentions
from x2sam.data.photos.talk import captions_of, sentence
from x2sam.types import Prompt


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# fmt: off
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
DETERMINERS = _words(
    "a an the this that these those his her its their my our your some several many few both each every another other "
    "one two three four five six seven eight nine ten"
)
"""Words that a phrase may begin with."""
NONE = _words("no without empty")
"""Words before what is not there."""
AFTER = _words(
    "in on with and is of next at that while are down near outside full over to up has as by behind through for into "
    "during under from being inside around off across together beside a along above out below between who which or "
    "but it he she they the his her its their was were have had against before after about upon like toward towards "
    "nearby atop aboard alone ready among where all underneath both not there sits stands rides holds looks walks "
    "flies drives rests lays lies eats runs plays jumps poses takes waits hangs goes gets travels follows passes sit "
    "stand lie lay eat graze grazes walk play rest look made can will does do sleeps stares watches pulls hits leans "
    "swims enjoys enjoy asleep open seen shown set driven laden beneath onto"
)
"""Words after a noun that is no part of a longer one: a bus in ..., but not a bus stop."""
NO_VERBS = _words("surfing boarding racing skiing")
"""Words that make a longer one of the noun before them, though they end as verbs do."""
COLOURS = _words("black white brown red blue green grey gray yellow orange pink purple tan golden silver")
FLEXIBLE = _words("orange")
"""Words that say more often what something is like than what it is, except in the plural."""
DEPICTED = re.compile(
    r"\b(statues?|sculptures?|paintings?|drawings?|drawn|posters?|murals?|reflections?|cartoons?|toys?|dolls?|figurines?"
    r"|fake|shaped|logos?|diorama|collage)\b", re.IGNORECASE,
)
"""Captions with these words speak of things that are none."""
# fmt: on
GROUP = re.compile(
    r"\b(?:(?:a|an|the)\s+(?:\w+\s+)?)?(?:group|couple|bunch|herd|flock|pair|crowd|number|row|line)\s+of\s+$"
)
"""``a large group of``, before what there are many of."""
PERSON = "person"
BACK = 4
"""An article is so many words before its noun at most."""
CLEARLY = 1.5
"""How much larger than the others the one is that a singular word means."""
EVERY = frozenset().union(*THINGS)

Span = tuple[int, int, Sequence[int]]
"""Where a phrase begins and ends, and the ids of the segments that it means."""


def groundable(photo: Photo) -> bool:
    """Whether a caption may name what is labelled; without captions, whether anything has a name."""
    there = set(photo.names)
    said = (m.names & there for c in photo.captions if not DEPICTED.search(c) for m in mentions(c, EVERY | there))
    return any(said) if photo.captions else bool(there)


def grounded(draft: Draft) -> Content | None:
    """A caption, every phrase that means known segments between ``<p>`` and ``</p>``; or a sentence of names."""
    if not draft.photo.captions:
        text, means = sentence(draft, "<p>{}</p>")
        return _content(draft, text, means) if means else None
    captions = captions_of(draft)
    for i in draft.rng.permutation(len(captions)):
        spans = spans_in(captions[i], draft)
        if spans:
            return _content(draft, _marked(captions[i], spans), [ids for _, _, ids in spans])
    return None


def _content(draft: Draft, text: str, means: Sequence[Sequence[int]]) -> Content:
    return Content(Prompt(), tuple(draft.track(i + 1, i, ids) for i, ids in enumerate(means)), text)


def _marked(text: str, spans: Sequence[Span]) -> str:
    for start, end, _ in reversed(spans):
        text = f"{text[:start]}<p>{text[start:end]}</p>{text[end:]}"
    return text


def spans_in(caption: str, draft: Draft) -> list[Span]:
    """The phrases of a caption that mean segments, in order; of every name the first."""
    if DEPICTED.search(caption):
        return []
    here = draft.names()
    heads = [m for m in mentions(caption, EVERY | draft.sure) if is_head(caption, m)]
    spans, done = list[Span](), set[str]()
    for head in heads:
        names = head.names & set(draft.photo.names)
        if len(names) != 1 or not head.names <= draft.sure | (EVERY - set(draft.photo.names)):
            continue
        (name,) = names
        start = begin(caption, head, heads)
        mixed = head.many and any(name in m.names and not m.many for m in heads)
        if name not in here or name in done or mixed or start is None:
            continue
        ids = _meant(draft, name, head, caption[start : head.start].lower().split())
        if ids and draft.seen(ids):
            done.add(name)
            spans.append((start, head.end, ids))
    return spans


def is_head(text: str, mention: Mention) -> bool:
    """Whether a mention is a noun by itself: not the first part of a longer one, no verb, no colour."""
    before, word = text[: mention.start].lower(), text[mention.start : mention.end].lower()
    after = re.match(r"\s*(['’]|-?[a-z]+)?", text[mention.end :].lower())
    follows = (after[1] if after else None) or ""
    previous = re.search(r"([a-z]+)\s+$", before)
    if follows in ("'", "’") or word in FLEXIBLE:
        return False
    if PERSON in mention.names:
        group = follows == "of" and word in ("couple", "crowd")
        return not group and not (follows and mentions(follows, EVERY))
    verb = previous is not None and (
        previous[1] in ("who", "that", "he", "she", "they", "to") or bool(mentions(previous[1], (PERSON,)))
    )
    moves = follows.endswith(("ing", "ed")) and follows not in NO_VERBS
    return not verb and (not follows or follows in AFTER or moves)


def begin(text: str, head: Mention, heads: Sequence[Mention]) -> int | None:
    """Where the phrase of a noun begins: at its article, number or possessive a few words before it, with the words
    between, or else at the noun; None where it says that there is none."""
    lower = text[: head.start].lower()
    words = list(re.finditer(r"\S+", lower))
    room, first = BACK, len(words)
    for i in range(len(words) - 1, -1, -1):
        word, before = words[i][0], words[i - 1][0] if i else ""
        if word in DETERMINERS:
            first = i
        joins = word == "and" and i + 1 < len(words) and {before, words[i + 1][0]} <= COLOURS
        room -= not joins
        another = any(m.start <= words[i].start() < m.end for m in heads)
        verb = word.endswith("ing") and before not in DETERMINERS
        plain = re.fullmatch("[a-z-]+", word) and word not in AFTER and not another and not verb
        if first == i or room < 0 or not (joins or plain):
            break
    while 0 < first < len(words) and words[first - 1][0] in DETERMINERS:
        first -= 1  # the two, several other
    if first and words[first - 1][0] in NONE:
        return None
    start = words[first].start() if first < len(words) else head.start
    group = GROUP.search(lower[:start])
    return group.start() if group else start


def _meant(draft: Draft, name: str, head: Mention, words: Sequence[str]) -> Sequence[int]:
    """Ids of the segments that a noun means after its words: all or, in the singular, the one that is clearly largest;
    none where that cannot be told."""
    shapes = draft.photo.called(name)
    group = "of" in words
    number = next((NUMBERS.index(word) for word in words if word in NUMBERS and not group), None)
    one = number == 1 or (words[:1] in (["a"], ["an"]) and not group)  # also a sheep
    if group or (head.many and not one):
        counted = len(shapes) if all(s.single for s in shapes) else None
        wrong = counted is not None and (counted < 2 if number is None else counted != number)
        return () if wrong else [s.id for s in shapes]
    areas = sorted(((draft.scene.whole.get(s.id, 0), s) for s in shapes if not s.crowd), key=lambda pair: -pair[0])
    if not areas or areas[0][1].inst == "many" or (len(areas) > 1 and areas[0][0] < CLEARLY * areas[1][0]):
        return ()
    return [areas[0][1].id]
