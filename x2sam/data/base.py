"""What every data set shares: a split's row, lazy records, reading of files, and errors that name file and record.

A family is a function ``(root, split, seed) -> Records`` that turns one annotation format into neutral samples. Pixels
are read when they are asked for; what is drawn (prompts, negatives) comes from ``drawn_for(seed, index)``, so a record
is the same whenever and wherever it is read.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from x2sam.errors import DataError, InputError, MediaError
from x2sam.masks import RLE, union
from x2sam.media.pictures import open_picture, read_pixels, stored, to_frame, upright_size
from x2sam.types import Frame, Sample

T = TypeVar("T")


@dataclass(frozen=True)
class Split:
    """One row of the catalog."""

    name: str
    """For example ``img_refseg_refcoco_val``."""
    task: str
    """Row of the task table."""
    family: str
    """Key of ``catalog.FAMILIES``: who reads the files."""
    options: Mapping[str, Any]
    """What the family needs to know: relative paths, names of parts, kinds of prompts. Only data."""
    metrics: tuple[str, ...]
    count: int | None = None
    """Published number of samples, where known."""
    hidden: bool = False
    """The ground truth is on a server: evaluation writes a submission."""
    trivial: tuple[str, ...] = ()
    """Answers that need no model (rows of `evaluate.trivial`), scored beside the model's."""


class Records(Sequence[Sample]):
    """The samples of a split, made one at a time: ``len()`` and ``[i]`` cost no pixels."""

    def __init__(self, count: int, make: Callable[[int], Sample]) -> None:
        self._count, self._make = count, make

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Records: ...
    def __getitem__(self, index: int | slice) -> Sample | Records:
        if isinstance(index, slice):
            chosen = range(self._count)[index]
            return Records(len(chosen), lambda i: self._make(chosen[i]))
        if not -self._count <= index < self._count:
            raise IndexError(f"record {index} of {self._count}")
        return self._make(index % self._count)


class Packed(Sequence[Any]):
    """Records that are json values, kept as text in one block of memory; a record is parsed when it is indexed.

    A tenth of the memory of Python's own lists and numbers, and worker processes share it.
    """

    def __init__(self, records: Iterable[Any]) -> None:
        texts = [json.dumps(record, separators=(",", ":")).encode() for record in records]
        self._ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
        self._block = b"".join(texts)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: Any) -> Any:
        start = self._ends[index - 1] if index else 0
        return json.loads(self._block[start : self._ends[index]])


Family = Callable[[Path, Split, int], Records]
"""``(root, split, seed) -> samples``; the seed is for what is drawn per access."""


class PictureFiles(Sequence[Frame]):
    """Frames in picture files; one is read when it is indexed."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> Frame: ...
    @overload
    def __getitem__(self, index: slice) -> PictureFiles: ...
    def __getitem__(self, index: int | slice) -> Frame | PictureFiles:
        if isinstance(index, slice):
            return PictureFiles(self.paths[index])
        return _from_picture(self.paths[index], to_frame)


def lazy_frames(paths: Sequence[Path]) -> Sequence[Frame]:
    """Frames ``[H, W, 3]`` of picture files, read when they are indexed.

    Raises (when indexed):
        DataError: a file that is missing or no whole picture; names it.
    """
    return PictureFiles(paths)


def read_ids(path: Path) -> NDArray[np.int64]:
    """A map of ids ``[H, W]`` from a PNG: palette indices, grey values, or R + 256 G + 65536 B of colours.

    Raises:
        DataError: a file that is missing or no whole picture; names it.
    """
    pixels = _from_picture(path, lambda p: read_pixels(p, indices=True)[0])
    if pixels.ndim == 2:
        return pixels.astype(np.int64)
    return pixels[..., :3].astype(np.int64) @ np.array([1, 256, 65536])


def picture_size(path: Path) -> tuple[int, int]:
    """Height and width of a picture as it is shown, from the file's head.

    Raises:
        DataError: a file that is missing or no picture; names it.
    """

    return _head(path, upright_size)


def stored_size(path: Path) -> tuple[tuple[int, int], int]:
    """Height and width of a picture as it is stored, and EXIF's number of how it is turned, from the file's head.

    Raises:
        DataError: a file that is missing or no picture; names it.
    """
    return _head(path, stored)


def _head(path: Path, read: Callable[[Any], Any]) -> Any:
    def head(path: Path) -> Any:
        image = open_picture(path, path.name)
        if image is None:
            raise MediaError("it is not a picture", "JPEG, PNG, WebP or the like")
        with image:
            return read(image)

    return _from_picture(path, head)


def _from_picture(path: Path, read: Callable[[Path], Any]) -> Any:
    if not os.path.isfile(path):
        raise record_error(path, None, "the file is missing", "a picture", _MISSING)
    try:
        return read(path)
    except MediaError as error:
        raise record_error(path, None, error.got, error.expected, error.hint) from None


def read_json(path: Path, top: type = object) -> Any:
    """The content of a json file, whose outermost value is a ``top``.

    Raises:
        DataError: a file that is missing, not json, or of another top type.
    """
    value = parse_json(read_bytes(path), path)
    if not isinstance(value, top):
        raise record_error(path, None, f"a json {_kind(value)} at the top", f"a json {_kind(top())}")
    return value


def read_bytes(path: Path) -> bytes:
    """The bytes of a file; a DataError names it if it is missing or cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise record_error(path, None, "the file is missing", "an annotation file", _MISSING) from None
    except OSError as error:
        raise record_error(path, None, f"it cannot be read ({error.strerror})") from None


def parse_json(text: bytes | str, path: Path, record: int | str | None = None) -> Any:
    """The value that ``text`` says; a DataError names the file, the record and the place that is wrong."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise record_error(
            path, record, f"text that is not json ({error})", hint="Is it cut off? Get it again"
        ) from None


def record_error(file: Path, record: int | str | None, got: str, expected: str = "", hint: str = "") -> DataError:
    """An error to raise for a wrong record: its text names the file and the record (number, id or ``line 7``)."""
    place = f"{file}" if record is None else f"{file}, {f'record {record}' if isinstance(record, int) else record}"
    return DataError(f"{place}: {got}", expected, hint)


def each(readings: Iterable[Callable[[], T]]) -> list[T]:
    """What all readings give; the DataError of the first that fails brings those of the others."""
    found, wrong = list[T](), list[DataError]()
    for reading in readings:
        try:
            found.append(reading())
        except DataError as error:
            wrong.append(error)
    if wrong:
        wrong[0].others = tuple(wrong[1:])
        raise wrong[0]
    return found


def part(record: Any, key: str | int, kind: type | tuple[type, ...], file: Path, name: int | str | None) -> Any:
    """``record[key]``, checked to be there and of ``kind``; a DataError names file, record and key otherwise."""
    try:
        value = record[key]
    except (KeyError, IndexError, TypeError):
        there = (
            f"it has {', '.join(map(str, record))[:200] or 'nothing'}" if isinstance(record, dict) else _kind(record)
        )
        raise record_error(file, name, f"{key!r} is missing ({there})") from None
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
        kinds = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
        raise record_error(file, name, f"{key!r} is {value!r:.80}", kinds)
    return value


def mask_of(code: Any, height: int, width: int, file: Path, name: int | str | None) -> RLE | None:
    """The mask ``[height, width]`` that an annotation says; None if it says no pixels (null, no usable polygon).

    code: COCO run lengths, compressed or not; polygons, flat or as pairs; a list of either, which means their union. A
        polygon of fewer than three corners is left out, as COCO's own readers do.

    Raises:
        DataError: another form, or a size that is not the picture's.
    """
    codes = code if isinstance(code, list) and not any(isinstance(v, (int, float)) for v in code) else [code]
    codes = [codes] if codes and all(_is_pair(c) for c in codes) else codes
    codes = [
        [v for pair in c for v in pair] if isinstance(c, list) and c and all(map(_is_pair, c)) else c for c in codes
    ]
    outlines = [c for c in codes if isinstance(c, list) and len(c) >= 6 and not len(c) % 2]
    if any(not isinstance(c, (dict, list, type(None))) for c in codes):
        raise record_error(file, name, f"the mask {code!r:.80}", "COCO run lengths or polygons")
    try:
        masks = [RLE.from_coco(c) for c in codes if isinstance(c, dict)]
        corners = np.array([float(v) for outline in outlines for v in outline])
        if not (np.abs(corners) <= 10 * max(height, width)).all():  # would take long, and memory, to draw
            raise InputError("corners far from the picture")
        masks += [RLE.from_polygons(outlines, height, width)] if outlines else []
    except (InputError, KeyError, TypeError, ValueError, OverflowError) as error:
        got = f"a mask that cannot be read ({error})"
        raise record_error(file, name, got, "COCO run lengths or polygons") from None
    for mask in masks:
        if (mask.height, mask.width) != (height, width):
            got = f"a mask of {mask.width}x{mask.height} pixels for a picture of {width}x{height}"
            raise record_error(file, name, got, "one size")
    return (masks[0] if len(masks) == 1 else union(masks)) if masks else None


def _is_pair(value: Any) -> bool:
    """A corner that some tools write as a list of its own."""
    return isinstance(value, list) and len(value) == 2 and all(isinstance(v, (int, float)) for v in value)


def _flat(code: Any) -> Any:
    return [v for pair in code for v in pair] if isinstance(code, list) and code and all(map(_is_pair, code)) else code


def clean_name(name: str) -> str:
    """A category's name as it is spoken: no brackets, dots or underscores, lower case; COCO's merged classes bare."""
    name = re.sub(r"\(.*?\)|\.|-(merged|stuff)\b", "", name.lower())
    return " ".join(name.replace("_", " ").replace("-", " ").split())


def drawn_for(seed: int, index: int) -> np.random.Generator:
    """The generator of one record."""
    return np.random.default_rng((seed, index))


def choose_categories(present: Iterable[int], total: int, most: int | None, rng: np.random.Generator) -> list[int]:
    """Which of ``total`` categories a sample asks for, as indices.

    All of them in order if ``most`` is None. Otherwise those that are present and a random number of others, at most
    ``most`` together (more only if more are present), shuffled; where none is present, at least one other is asked for.
    """
    if most is None:
        return list(range(total))
    positive = sorted(set(present))
    others = np.setdiff1d(np.arange(total), positive)
    spare = min(max(most - len(positive), 0), len(others))
    least = min(spare, 0 if positive else 1)
    negative = rng.choice(others, rng.integers(least, spare + 1), replace=False)
    return [int(i) for i in rng.permutation(np.concatenate([positive, negative]).astype(np.int64))]


def _kind(value: Any) -> str:
    kinds: dict[type, str] = {dict: "object", str: "text"}
    return kinds.get(type(value), type(value).__name__)


_MISSING = "Look at --root and at the data set's layout"
