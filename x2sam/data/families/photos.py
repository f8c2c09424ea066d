"""A folder of photos and clips with masks, names and captions (`x2sam.data.photos`): its validation tenth.

The root is the folder itself. Options: ``form``, a row of `FORMS`; what else it needs:

marked      kind, objects: regions drawn on single objects (``inst`` one or split) of at least `LEAST` of the photo, at
            most ``objects`` of a photo, drawn by the seed; ``set``: on all segments of that set's photos instead
names       ``present`` and ``absent``, how many at most: phrases "the NAME"; the truth is all segments of the name
phrases     the phrases of the photo, ``present`` at most
list        all names of what is there and ``absent`` others; the whole photo by class
everything  set: all names of that set, every segment
captions    set: a description. The sample's answer has the names of what is there as phrases, the largest first, then
            the captions of people
clip        kind: what is drawn on the first frame with the object, and the object from there on
clip_phrases  the phrases of the clip

A name is absent only where its set labels it everywhere (``sets.json``), and it is no other word for what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from x2sam.data.base import Records, Split, drawn_for, lazy_frames
from x2sam.data.photos.drawing import EXACT
from x2sam.data.photos.folder import IdMap, Photo, PhotoFolder, Shape, mask_in
from x2sam.masks import RLE
from x2sam.types import Condition, ObjectTrack, Prompt, Sample

LEAST = 0.01
"""Part of the photo that an object or region to be marked covers."""


@dataclass(frozen=True)
class _Case:
    """One photo on its way to a sample."""

    folder: PhotoFolder
    photo: Photo
    split: Split
    rng: np.random.Generator
    ids: IdMap

    def option(self, name: str) -> Any:
        return self.split.options[name]

    def some(self, items: Sequence[Any], most: int) -> list[Any]:
        """At most so many of the items, drawn, in their own order."""
        return [items[i] for i in sorted(self.rng.permutation(len(items))[:most])]

    def track(self, number: int, condition: int, shapes: Sequence[int], crowd: bool = False) -> ObjectTrack:
        return ObjectTrack(number, condition, (RLE.encode(mask_in(self.ids, shapes)),), crowd)


Content = tuple[Prompt, tuple[ObjectTrack, ...], str | None]


def _marked(case: _Case) -> Content:
    chosen = case.some(_markable(case.photo, case.split), case.option("objects"))
    draw = EXACT[case.option("kind")]
    regions = [draw(case.ids == shape.id, case.rng) for shape in chosen]
    tracks = tuple(case.track(shape.id, i, [shape.id]) for i, shape in enumerate(chosen))
    return Prompt(tuple(Condition(region=region) for region in regions)), tracks, None


def _markable(photo: Photo, split: Split) -> list[Shape]:
    least = LEAST * photo.size[0] * photo.size[1]
    return [s for s in photo.shapes if s.area >= least and (s.single or "set" in split.options)]


def _names(case: _Case) -> Content:
    present = case.some(case.photo.names, case.option("present"))
    absent = case.some(case.folder.absent(case.photo), case.option("absent"))
    tracks = [case.track(i + 1, i, [s.id for s in case.photo.called(name)]) for i, name in enumerate(present)]
    return Prompt(tuple(Condition(f"the {name}") for name in (*present, *absent))), tuple(tracks), None


def _phrases(case: _Case) -> Content:
    chosen = case.some(case.photo.phrases, case.option("present"))
    tracks = [case.track(i + 1, i, ids) for i, (_, ids) in enumerate(chosen)]
    return Prompt(tuple(Condition(text) for text, _ in chosen)), tuple(tracks), None


def _list(case: _Case) -> Content:
    absent = case.some(case.folder.absent(case.photo), case.option("absent"))
    names = [str(name) for name in case.rng.permutation([*case.photo.names, *absent])]
    tracks = [
        case.track(i + 1, names.index(name), [s.id for s in case.photo.called(name)])
        for i, name in enumerate(case.photo.names)
    ]
    return Prompt(tuple(Condition(name, is_thing=False) for name in names)), tuple(tracks), None


def _everything(case: _Case) -> Content:
    names = sorted(case.folder.everywhere(case.photo) | set(case.photo.names))
    things = case.folder.things
    tracks = [case.track(s.id, names.index(s.name), [s.id], s.crowd) for s in case.photo.shapes if s.name]
    return Prompt(tuple(Condition(name, is_thing=name in things) for name in names)), tuple(tracks), None


def _captions(case: _Case) -> Content:
    shapes = {name: case.photo.called(name) for name in case.photo.names}
    names = sorted(shapes, key=lambda name: -sum(s.area for s in shapes[name]))
    tracks = [case.track(i + 1, i, [s.id for s in shapes[name]]) for i, name in enumerate(names)]
    text = " ".join([*(f"<p>{name}</p>" for name in names), *case.photo.captions])
    return Prompt(), tuple(tracks), text


def _clip(case: _Case) -> Content:
    draw = EXACT[case.option("kind")]
    conditions, tracks = [], []
    for i, (masks, shape) in enumerate(_tubes(case.photo)):
        first = next(t for t, mask in enumerate(masks) if mask is not None)
        mask = masks[first]
        assert mask is not None
        region = replace(draw(mask.decode(), case.rng), frame=first, object_id=shape.id)
        conditions.append(Condition(region=region))
        tracks.append(ObjectTrack(shape.id, i, masks))
    return Prompt(tuple(conditions)), tuple(tracks), None


def _clip_phrases(case: _Case) -> Content:
    tubes = {shape.id: masks for masks, shape in _tubes(case.photo)}
    said = [(text, ids[0]) for text, ids in case.photo.phrases if len(ids) == 1 and ids[0] in tubes]
    tracks = tuple(ObjectTrack(i + 1, i, tubes[identity]) for i, (_, identity) in enumerate(said))
    return Prompt(tuple(Condition(text) for text, _ in said)), tracks, None


def _tubes(photo: Photo) -> list[tuple[tuple[RLE | None, ...], Shape]]:
    """The masks of every object of a clip that is seen at all."""
    maps = [photo.ids(t) for t in range(len(photo.pictures))]
    tubes = [(tuple(RLE.encode(ids == s.id) if (ids == s.id).any() else None for ids in maps), s) for s in photo.shapes]
    return [(masks, shape) for masks, shape in tubes if any(masks)]


@dataclass(frozen=True)
class _Form:
    make: Callable[[_Case], Content]
    fits: Callable[[Photo, Split], bool]
    """Whether a photo has what is asked for, as far as its line says."""
    clips: bool = False


FORMS: dict[str, _Form] = {
    "marked": _Form(_marked, lambda photo, split: bool(_markable(photo, split))),
    "names": _Form(_names, lambda photo, _: bool(photo.names)),
    "phrases": _Form(_phrases, lambda photo, _: bool(photo.phrases)),
    "list": _Form(_list, lambda photo, _: bool(photo.names)),
    "everything": _Form(_everything, lambda photo, _: bool(photo.names)),
    "captions": _Form(_captions, lambda photo, _: bool(photo.captions and photo.names)),
    "clip": _Form(_clip, lambda photo, _: bool(photo.shapes), clips=True),
    "clip_phrases": _Form(_clip_phrases, lambda photo, _: bool(photo.phrases), clips=True),
}


def read(root: Path, split: Split, seed: int) -> Records:
    """A sample a photo or clip of the validation tenth that has what the form asks for."""
    folder, form = PhotoFolder(root, validation=True), FORMS[split.options["form"]]
    chosen = split.options.get("set")
    source = folder.clips if form.clips else folder.photos
    rows = [i for i, photo in enumerate(source) if chosen in (None, photo.set) and form.fits(photo, split)]

    def case(index: int) -> _Case:
        photo = source[rows[index]]
        return _Case(folder, photo, split, drawn_for(seed, index), photo.ids())

    def make(index: int) -> Sample:
        made = case(index)
        prompt, tracks, answer = form.make(made)
        void = None
        if made.photo.void and not form.clips:
            void = (RLE.encode(mask_in(made.ids, made.photo.void)),)
        frames = lazy_frames(made.photo.pictures)
        return Sample(made.photo.id, split.task, frames, prompt, tracks, answer, ignore=void)

    return Records(len(rows), make)
