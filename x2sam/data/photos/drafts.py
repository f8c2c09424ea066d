"""From a scene of a photo to the prompt, objects and answer of each kind of task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from x2sam.data.photos.augment import SIDES, Scene
from x2sam.data.photos.drawing import LOOSE
from x2sam.data.photos.folder import Photo, Shape
from x2sam.data.photos.names import counted, listed, nearest, plural
from x2sam.masks import RLE
from x2sam.types import Condition, ObjectTrack, Prompt

VISIBLE = 0.002
"""Part of the frame that something covers at least to be asked for."""
KEPT = 0.9
"""Part of every segment of a name that a cut must leave for "the left one" and "the larger one" to stay true."""
PARTS = ("bsds", "ccp")
"""Sets whose segments are regions or clothes: all of them can be marked, though none is an object by itself."""
CHANCES = {
    "image": {"box": 0.3, "point": 0.35, "scribble": 0.15, "mask": 0.2},
    "clip": {"mask": 0.5, "box": 0.25, "point": 0.25},
}
"""How often each kind of region is drawn."""
DESCRIBE = (
    "Describe the image.",
    "What is in the picture?",
    "What does the image show?",
    "Describe this photo in one sentence.",
    "Write a short caption for the image.",
    "What can you see here?",
)
SENTENCES = ("A photo of {}.", "You can see {} in the picture.", "The picture shows {}.", "{}.")
WEARING = ("A person wearing {}.", "The person in front wears {}.", "Someone in {}.")


@dataclass(frozen=True)
class Draft:
    """A scene on its way to a sample."""

    rng: np.random.Generator
    scene: Scene
    others: Sequence[str]
    """Names that are surely not in the photo."""
    sure: frozenset[str]
    """Names of which the photo's segments are all that there is."""
    absent: float
    negatives: int
    asked: int

    @property
    def photo(self) -> Photo:
        return self.scene.photo

    def seen(self, ids: Sequence[int]) -> bool:
        """Whether enough of some segments is on the first frame."""
        return self.scene.area(ids) >= VISIBLE * self.scene.maps[0].size

    def names(self) -> dict[str, tuple[Shape, ...]]:
        """The segments of every name of which all are known and enough is seen."""
        found = {name: self.photo.called(name) for name in self.photo.names if name in self.sure}
        return {name: shapes for name, shapes in found.items() if self.seen([s.id for s in shapes])}

    def missing(self, count: int) -> list[str]:
        """So many absent names: half of them easily mistaken for what is there, where there are such."""
        close = frozenset().union(*(nearest(name) for name in self.photo.names)) & set(self.others)
        hard = self.rng.permutation(sorted(close)).tolist()[: self.rng.binomial(count, 0.5)]
        rest = [str(n) for n in self.rng.permutation(list(self.others)) if n not in hard]
        return (hard + rest)[:count]

    def track(self, number: int, condition: int, ids: Sequence[int], crowd: bool = False) -> ObjectTrack:
        """Segments as one object, on every frame."""
        masks = (self.scene.mask(ids, t) for t in range(len(self.scene.maps)))
        return ObjectTrack(number, condition, tuple(RLE.encode(m) if m.any() else None for m in masks), crowd)


@dataclass(frozen=True)
class Content:
    """What a task adds to the frames."""

    prompt: Prompt
    objects: tuple[ObjectTrack, ...] = ()
    answer: str | None = None


def markable(photo: Photo) -> list[Shape]:
    """Segments that a region may be drawn on."""
    return [s for s in photo.shapes if s.single or (photo.set in PARTS and not s.crowd)]


def marked(draft: Draft) -> Content | None:
    """Objects and regions, each by something drawn on the first frame."""
    rng, clip = draft.rng, len(draft.scene.maps) > 1
    able = [s for s in markable(draft.photo) if draft.seen([s.id])]
    turns = -(-draft.asked // max(1, len(able)))  # a frame is looked at once, however often it is asked about
    chosen = [able[i] for _ in range(turns) for i in rng.permutation(len(able))][: draft.asked]
    chances = CHANCES["clip" if clip else "image"]
    kinds = rng.choice(list(chances), len(chosen), p=list(chances.values()))
    regions = [LOOSE[kind](draft.scene.mask([s.id]), rng) for kind, s in zip(kinds, chosen, strict=True)]
    tracks = tuple(draft.track(s.id, i, [s.id]) for i, s in enumerate(chosen))
    return Content(Prompt(tuple(Condition(region=region) for region in regions)), tracks) if chosen else None


def phrases(draft: Draft) -> Content | None:
    """Names and phrases, some of them of nothing that is there."""
    rng, pool = draft.rng, dict[str, Sequence[int]]()
    for name, shapes in draft.names().items():
        pool[_worded(name, shapes, rng)] = [s.id for s in shapes]
    for text, ids in draft.photo.phrases:
        if draft.seen(ids) and _still_true(draft, text, ids):
            pool.setdefault(draft.scene.turned(text), ids)
    count = int(rng.integers(1, draft.asked + 1))
    missing = draft.missing(int(rng.binomial(count, draft.absent))) if draft.others else []
    texts = [str(t) for t in rng.permutation(list(pool))[: max(1, count - len(missing))]]
    texts += [_worded(name, (), rng) for name in missing]
    texts = [str(t) for t in rng.permutation(texts)]
    tracks = tuple(draft.track(i + 1, i, pool[text]) for i, text in enumerate(texts) if text in pool)
    return Content(Prompt(tuple(Condition(text) for text in texts)), tracks) if pool else None


def _still_true(draft: Draft, text: str, ids: Sequence[int]) -> bool:
    """Whether a phrase means the same after the cut: one that compares needs all that it compares with."""
    compares = SIDES.search(text) or "larger" in text or "largest" in text
    names = {s.name for s in draft.photo.shapes if s.id in ids}
    rivals = [s.id for s in draft.photo.shapes if s.name in names]
    return not compares or all(draft.scene.kept([i]) >= KEPT for i in rivals)


def _worded(name: str, shapes: Sequence[Shape], rng: np.random.Generator) -> str:
    draw = rng.random()
    if draw < 0.15 and (len(shapes) > 1 or not shapes):
        return f"all {plural(name)}"
    return f"the {name}" if draw < 0.75 else name


def categories(draft: Draft) -> Content | None:
    """A list of what is there and some names that are not; things one by one where their masks are."""
    rng, here = draft.rng, draft.names()
    missing = draft.missing(int(rng.integers(0, draft.negatives + 1)))
    names = [str(name) for name in rng.permutation([*here, *missing])]
    apart = {name: all(s.single or s.crowd for s in here.get(name, ())) for name in names}
    tracks = []
    for i, name in enumerate(names):
        shapes = [s for s in here.get(name, ()) if draft.scene.area([s.id])]
        if apart[name]:
            tracks += [draft.track(s.id, i, [s.id], s.crowd) for s in shapes]
        else:
            tracks.append(draft.track(shapes[0].id, i, [s.id for s in shapes]))
    conditions = tuple(Condition(name, is_thing=apart[name]) for name in names)
    return Content(Prompt(conditions), tuple(tracks)) if here else None


def spoken(photo: Photo) -> bool:
    """Whether there is something to be said."""
    return bool(photo.captions or photo.names)


def talk(draft: Draft) -> Content | None:
    """A description: what a person wrote, or a sentence of the names of what is seen."""
    rng, scene = draft.rng, draft.scene
    captions = [c for c in draft.photo.captions if not (scene.flipped and SIDES.search(c))]
    answer = captions[rng.integers(len(captions))].strip() if captions else _sentence(draft)
    question = DESCRIBE[rng.integers(len(DESCRIBE))]
    return Content(Prompt(text=question), (), answer) if answer else None


def _sentence(draft: Draft) -> str:
    """Names with their numbers, the largest first; clothes as what a person wears."""
    found = draft.names()
    names = sorted(found, key=lambda name: -draft.scene.area([s.id for s in found[name]]))
    clothes = draft.photo.set == "ccp"
    bank = WEARING if clothes else SENTENCES
    if clothes:
        names = [name for name in names if found[name][0].thing]
    words = []
    for name in names[:5]:
        shapes = found[name]
        if not shapes[0].thing:
            words.append(name)
        elif clothes or all(s.single for s in shapes):
            words.append(counted(name, len(shapes)))
        else:  # nobody counted
            words.append(f"some {plural(name)}" if any(s.inst == "many" for s in shapes) else counted(name, 1))
    if not words:
        return ""
    text = bank[draft.rng.integers(len(bank))].format(listed(words))
    return text[0].upper() + text[1:]
