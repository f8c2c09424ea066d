"""From a scene of a photo to the prompt, objects and answer of each kind of task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from x2sam.data.photos.augment import SIDES, Scene
from x2sam.data.photos.drawing import LOOSE
from x2sam.data.photos.folder import Photo, Shape
from x2sam.data.photos.names import nearest, plural
from x2sam.masks import RLE
from x2sam.types import Condition, ObjectTrack, Prompt

VISIBLE = 0.002
"""Part of the frame that something covers at least to be asked for."""
CLEAR = 0.0005
"""Part of the frame that an object covers at least to be counted; where one covers less, none of its name are."""
KEPT = 0.9
"""Part of every segment of a name that a cut must leave for "the left one" and "the larger one" to stay true."""
PARTS = ("bsds", "ccp")
"""Sets whose segments are regions or clothes: all of them can be marked, though none is an object by itself."""
CHANCES = {
    "image": {"box": 0.3, "point": 0.35, "scribble": 0.15, "mask": 0.2},
    "clip": {"mask": 0.5, "box": 0.25, "point": 0.25},
}
"""How often each kind of region is drawn."""


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
    things: frozenset[str] = frozenset()
    """Names of what can be counted."""

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

    def count(self, shapes: Sequence[Shape]) -> int | None:
        """How many of some segments are to be seen; None where nobody counted, or where that can be argued about."""
        areas = [area for s in shapes if (area := self.scene.area([s.id]))]
        clear = all(area >= CLEAR * self.scene.maps[0].size for area in areas)
        return len(areas) if clear and all(s.single for s in shapes) else None

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
