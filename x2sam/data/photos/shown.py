"""Pairs of photos: a thing to ask for in one, marked in another; and names that photos show often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from x2sam.data.photos.drawing import bounds
from x2sam.data.photos.folder import Photo, PhotoFolder, mask_in
from x2sam.masks import BoolMask

LEAST = 0.01
"""Part of a photo that a thing covers at least."""
OFTEN = 5
"""Segments of a name from which a photo folder shows it often."""


@dataclass(frozen=True)
class Pair:
    """A question about a photo, asked by another."""

    photo: Photo
    name: str
    source: Photo
    segment: int
    """Id of what shows it in the source."""
    there: bool

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Around what shows it."""
        return bounds(mask_in(self.source.ids(), [self.segment]))

    @property
    def truth(self) -> BoolMask:
        """``[H, W]``: all of the name in the photo."""
        return mask_in(self.photo.ids(), [s.id for s in self.photo.called(self.name)] if self.there else [])


def pairs(folder: PhotoFolder, count: int, seed: int = 0) -> Iterator[Pair]:
    """Of ``count`` photos one thing that is there and one that is surely not, each shown by another photo.

    Both cover `LEAST` of their photo at least; what shows a thing is one object.
    """
    rng = np.random.default_rng(seed)
    photos = [p for p in folder.photos[: 8 * count] if p.names and folder.everywhere(p)]
    shown: dict[str, list[tuple[Photo, int]]] = {}
    for photo in photos:
        for shape in photo.shapes:
            if shape.single and shape.name in folder.everywhere(photo) and shape.area >= LEAST * _area(photo):
                shown.setdefault(shape.name, []).append((photo, shape.id))
    for photo in photos[:count]:
        here = [n for n in photo.names if sum(s.area for s in photo.called(n)) >= LEAST * _area(photo)]
        here = [n for n in here if n in folder.everywhere(photo)]
        for names, there in ((here, True), (folder.absent(photo), False)):
            able = [n for n in names if any(p.id != photo.id for p, _ in shown.get(n, ()))]
            if able:
                name = able[rng.integers(len(able))]
                sources = [(p, i) for p, i in shown[name] if p.id != photo.id]
                yield Pair(photo, name, *sources[rng.integers(len(sources))], there)


def often_shown(folder: PhotoFolder) -> list[str]:
    """Names that have `OFTEN` segments or more that are not small."""
    counts: Counter[str] = Counter()
    for photo in folder.photos:
        counts.update({s.name for s in photo.shapes if s.name and s.area >= LEAST * _area(photo)})
    return sorted(name for name, count in counts.items() if count >= OFTEN)


def _area(photo: Photo) -> int:
    return photo.size[0] * photo.size[1]
