"""What COCO's json files share, whatever their annotations are: categories, images, annotations of an image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from x2sam.data.base import choose_categories, clean_name, mask_of, part, record_error
from x2sam.pictures import MAX_PIXELS
from x2sam.types import Condition, ObjectTrack, Prompt


@dataclass(frozen=True)
class Vocabulary:
    """The categories of a data set, in the order of their ids."""

    names: tuple[str, ...]
    things: tuple[bool, ...]
    positions: dict[int, int]
    """Where the category with an id stands."""

    @classmethod
    def of(cls, rows: Iterable[Any], file: Path) -> Vocabulary:
        """From COCO's ``categories``; a DataError names the row that is wrong."""
        found: dict[int, tuple[str, bool]] = {}
        for number, row in enumerate(rows):
            name = f"category {number}"
            key = part(row, "id", int, file, name)
            if key in found:
                raise record_error(file, name, f"the id {key} a second time", "every category once")
            found[key] = (clean_name(part(row, "name", str, file, name)), bool(row.get("isthing", 1)))
        ordered = dict(sorted(found.items()))
        names, things = zip(*ordered.values(), strict=True) if ordered else ((), ())
        return cls(names, things, {key: i for i, key in enumerate(ordered)})

    def position(self, category_id: Any, file: Path, name: int | str | None) -> int:
        """Where a category stands; a DataError if it is none of them."""
        if category_id not in self.positions:
            raise record_error(file, name, f"the category {category_id!r}", "an id of the file's categories")
        return self.positions[category_id]

    def ask(self, present: Iterable[int], most: int | None, rng: np.random.Generator) -> tuple[Prompt, dict[int, int]]:
        """The prompt for a sample where the categories at ``present`` are, and the condition of every position.

        most: as in `choose_categories`.
        """
        chosen = choose_categories(present, len(self.names), most, rng)
        conditions = tuple(Condition(self.names[i], is_thing=self.things[i]) for i in chosen)
        return Prompt(conditions), {position: i for i, position in enumerate(chosen)}


@dataclass(frozen=True)
class Image:
    """An entry of COCO's ``images``."""

    key: int | str
    file_name: str
    height: int
    width: int

    @classmethod
    def of(cls, row: Any, file: Path, name: int | str | None = None) -> Image:
        """A DataError names what is missing."""
        name = name if name is not None else f"image {row.get('id')}" if isinstance(row, dict) else str(row)[:80]
        key = part(row, "id", (int, str), file, name)
        url = row.get("coco_url")
        file_name = url.rsplit("/", 1)[-1] if isinstance(url, str) and "file_name" not in row else None
        height, width = (part(row, side, int, file, name) for side in ("height", "width"))
        if not (height > 0 and width > 0 and height * width <= MAX_PIXELS):
            raise record_error(file, name, f"a size of {width}x{height} pixels", f"1 to {MAX_PIXELS} pixels")
        return cls(key, file_name or part(row, "file_name", str, file, name), height, width)


def with_annotations(data: Any, file: Path) -> list[tuple[Any, list[Any]]]:
    """Every image's row with the rows of its annotations, in the order of image ids."""
    by_image: defaultdict[Any, list[Any]] = defaultdict(list)
    for number, row in enumerate(part(data, "annotations", list, file, None)):
        by_image[part(row, "image_id", (int, str), file, f"annotation {number}")].append(row)
    images: dict[Any, Any] = {}
    for number, row in enumerate(part(data, "images", list, file, None)):
        key = part(row, "id", (int, str), file, f"image {number}")
        if key in images:
            raise record_error(file, f"image {number}", f"the id {key!r} a second time", "every image once")
        images[key] = row
    if lost := by_image.keys() - images.keys():
        raise record_error(file, None, f"annotations of the image {min(lost, key=str)!r}", "an id of the file's images")
    return [(images[key], by_image[key]) for key in sorted(images, key=lambda k: (isinstance(k, str), k))]


def track(annotation: Any, condition: int, image: Image, file: Path) -> ObjectTrack | None:
    """The object of an instance annotation; None if it says no pixels."""
    name = named(annotation, image)
    mask = mask_of(part(annotation, "segmentation", (list, dict), file, name), image.height, image.width, file, name)
    if mask is None:
        return None
    key = part(annotation, "id", int, file, name)
    return ObjectTrack(key, condition, (mask,), bool(annotation.get("iscrowd", 0)))


def named(annotation: Any, image: Image) -> str:
    """How errors call an annotation."""
    key = annotation.get("id") if isinstance(annotation, dict) else None
    return f"annotation {key} of image {image.key}"


def empty_code(code: Any) -> bool:
    """Whether a run-length code, or null, has no pixels: it is all one run. Quicker than decoding."""
    if not isinstance(code, dict):
        return not code
    counts = code.get("counts")
    if isinstance(counts, str):
        return all((ord(letter) - 48) & 0x20 for letter in counts[:-1])
    return not isinstance(counts, list) or not any(counts[1::2])
