"""The layout of a folder of photos, and which of them are for validation.

photos.jsonl    a photo a line: id, set, size [w, h], segments [{id, name, thing, crowd, inst, area}], phrases
                [{text, ids}], captions, void
photos/ID.jpg   the photo; photos/ID.png its segments' ids (0: unlabelled; what ``void`` lists: nobody knows)
clips.jsonl     the same of clips, with the number of ``frames``; clips/ID/00000.jpg and .png
sets.json       of every set the names that it labels everywhere (``exhaustive``): only these can be said to be absent

``inst`` is ``one`` or ``split`` for single objects, ``many`` or ``maybe`` for masks of a kind, null for stuff and
regions.

**Validation** is every photo and clip whose key hashes into one tenth (`is_validation`); all else is for training. The
key is the id without its set where several sets hold the same photo: COCO's number, VOC 2007's number, and one id for
the copies that a comparison of all pictures (differences of neighbouring cells of 16 x 16) found under several names.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from x2sam.data.base import Packed, parse_json, part, read_bytes, read_ids, read_json
from x2sam.data.photos.names import apart
from x2sam.masks import BoolMask
from x2sam.media.pictures import to_frame
from x2sam.types import Frame

IdMap = NDArray[np.uint16]
"""Segments' ids ``[H, W]``."""
SINGLE = ("one", "split")
"""``inst`` of segments that are one object."""
COCO = "coco-full"
"""The set whose list is all things of COCO."""
TENTH = 10
_KEYS = (
    (re.compile(r"^(coco|cocopan|cocostuff)-0*(\d+)$"), r"coco-\2"),
    (re.compile(r"^(voc07-|voc-2007_)(\d+)$"), r"voc07-\2"),
)
_COPIES = {
    **{f"horse-horse{b:03}": f"horse-horse{a:03}" for a, b in ((4, 146), (6, 18), (71, 219), (118, 171), (175, 205))},
    **{f"horse-horse{b:03}": f"horse-horse{a:03}" for a, b in ((180, 203), (240, 274), (246, 294), (263, 264))},
    "human-270": "human-102",
}


def key_of(identity: str) -> str:
    """What all ids of one photo have in common."""
    for pattern, key in _KEYS:
        identity = pattern.sub(key, identity)
    return _COPIES.get(identity, identity)


def is_validation(identity: str) -> bool:
    """Whether the photo or clip of this id is for validation: ``crc32`` of its key is a multiple of ten."""
    return zlib.crc32(key_of(identity).encode()) % TENTH == 0


@dataclass(frozen=True)
class Shape:
    """One segment of a photo or clip."""

    id: int
    """Its value in the id map."""
    name: str | None
    thing: bool
    crowd: bool
    inst: str | None
    area: int
    """Pixels, on the first frame that shows it; 0 where the line does not say."""

    @property
    def single(self) -> bool:
        """Whether it is one object."""
        return self.inst in SINGLE and not self.crowd


@dataclass(frozen=True)
class Photo:
    """One photo (a clip of one frame) or clip."""

    id: str
    set: str
    size: tuple[int, int]
    """Height and width."""
    shapes: tuple[Shape, ...]
    phrases: tuple[tuple[str, tuple[int, ...]], ...]
    """Text, and the ids of the segments that it means."""
    captions: tuple[str, ...]
    void: tuple[int, ...]
    pictures: tuple[Path, ...]
    """One a frame."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of what is there, the first segment's first."""
        return tuple(dict.fromkeys(s.name for s in self.shapes if s.name))

    def called(self, name: str) -> tuple[Shape, ...]:
        """All segments of a name."""
        return tuple(s for s in self.shapes if s.name == name)

    def frame(self, t: int = 0) -> Frame:
        """Pixels ``[H, W, 3]``."""
        return to_frame(self.pictures[t])

    def ids(self, t: int = 0) -> IdMap:
        """The id map ``[H, W]`` of a frame."""
        return read_ids(self.pictures[t].with_suffix(".png")).astype(np.uint16)


def mask_in(ids: IdMap, wanted: Iterable[int]) -> BoolMask:
    """``[H, W]``: the pixels of an id map that have one of the wanted ids."""
    table = np.zeros(int(ids.max()) + 1, dtype=bool)
    table[[i for i in wanted if i < len(table)]] = True
    return table[ids]


class PhotoFolder:
    """The photos and clips below a folder; lines are parsed when they are indexed.

    Args:
        root: the folder.
        validation: only the validation tenth (True), only the rest (False), or all (None).

    Raises:
        DataError: a file that is missing or wrong; names it and the line.
    """

    def __init__(self, root: Path, validation: bool | None) -> None:
        self.root = Path(root)
        self.photos: Sequence[Photo] = self._read("photos.jsonl", validation)
        self.clips: Sequence[Photo] = self._read("clips.jsonl", validation)

    def _read(self, name: str, validation: bool | None) -> Sequence[Photo]:
        file = self.root / name
        rows = [parse_json(line, file, f"line {n + 1}") for n, line in enumerate(read_bytes(file).splitlines()) if line]
        kept = [row for row in rows if validation in (None, is_validation(part(row, "id", str, file, None)))]
        kept.sort(key=lambda row: (zlib.crc32(row["id"][::-1].encode()), row["id"]))  # any first few are a fair share
        return _Photos(file, kept)

    @cached_property
    def _everywhere(self) -> dict[str, frozenset[str]]:
        """Of every set the names that it labels everywhere."""
        file = self.root / "sets.json"
        listed = {name: part(row, "exhaustive", object, file, name) for name, row in read_json(file, dict).items()}
        out = {}
        for name, names in listed.items():
            if isinstance(names, str):  # panoptic: all things of COCO, and what its photos show besides
                names = {*(listed.get(COCO) or ()), *(s.name for s in self._shapes(name) if s.name)}
            out[name] = frozenset(names or ())
        return out

    def _shapes(self, name: str | None = None) -> list[Shape]:
        """All segments of a set (or of all), of either part: what can be named does not hang on the part."""
        file = self.root / "photos.jsonl"
        rows = (json.loads(line) for line in read_bytes(file).splitlines() if line)
        return [shape for row in rows if name in (None, row["set"]) for shape in _shapes(row, file)]

    def everywhere(self, photo: Photo) -> frozenset[str]:
        """Names that the photo's set labels wherever they are."""
        return self._everywhere.get(photo.set, frozenset())

    @cached_property
    def things(self) -> frozenset[str]:
        """Names of things, which have instances: as any photo has them, and all that COCO calls so."""
        seen = {s.name for s in self._shapes() if s.name and s.thing}
        return frozenset(seen | self._everywhere.get(COCO, frozenset()))

    def absent(self, photo: Photo) -> list[str]:
        """Names that are surely not in the photo, in alphabetical order: labelled everywhere, seen nowhere, and not
        another word for what is there."""
        return sorted(name for name in self.everywhere(photo) if apart(name, photo.names))


class _Photos(Sequence[Any]):
    """Photos of parsed lines."""

    def __init__(self, file: Path, rows: list[Any]) -> None:
        self.file, self._rows = file, Packed(rows)
        self.ids = tuple(row["id"] for row in rows)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        if not -len(self) <= index < len(self):
            raise IndexError(f"photo {index} of {len(self)}")
        row, file = self._rows[index % len(self)], self.file
        name, folder = row["id"], file.with_suffix("")
        width, height = part(row, "size", list, file, name)
        frames = row.get("frames")
        pictures = [folder / f"{name}.jpg"]
        if frames is not None:
            pictures = [folder / name / f"{t:05}.jpg" for t in range(part(row, "frames", int, file, name))]
        phrases = [(part(p, "text", str, file, name), tuple(part(p, "ids", list, file, name))) for p in _all(row)]
        return Photo(
            id=name,
            set=part(row, "set", str, file, name),
            size=(height, width),
            shapes=tuple(_shapes(row, file)),
            phrases=tuple(phrases),
            captions=tuple(row.get("captions", ())),
            void=tuple(row.get("void", ())),
            pictures=tuple(pictures),
        )


def _all(row: Any) -> list[Any]:
    return row.get("phrases") or []


def _shapes(row: Any, file: Path) -> list[Shape]:
    out = []
    for segment in part(row, "segments", list, file, row["id"]):
        number = part(segment, "id", int, file, row["id"])
        thing, crowd = bool(segment.get("thing")), bool(segment.get("crowd"))
        out.append(Shape(number, segment.get("name"), thing, crowd, segment.get("inst"), segment.get("area", 0)))
    return out
