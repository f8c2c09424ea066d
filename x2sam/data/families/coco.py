"""What COCO's json files share, whatever their annotations are: categories, images, annotations of an image."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from x2sam.data.base import choose_categories, clean_name, mask_of, part, record_error, stored_size
from x2sam.masks import RLE
from x2sam.media.pictures import MAX_PIXELS, turn
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

    @classmethod
    def of_own(cls, data: Any, file: Path) -> Vocabulary:
        """From anybody's ``categories``: every name has words, and no name is there twice.

        Categories whose names become one are one; where only what stands in brackets tells them apart, that stays.
        Categories without annotations that others belong to are left out: exports have such roots.
        """
        rows = part(data, "categories", list, file, None)
        plain = cls.of(rows, file)
        annotated = [a.get("category_id") for a in part(data, "annotations", list, file, None) if isinstance(a, dict)]
        used = {key for key in annotated if isinstance(key, int)}
        above = {str(row.get("supercategory")) for row in rows if row["id"] in used}
        kept = [row for row in rows if row["id"] in used or row["name"] not in above]
        short = {row["id"]: plain.names[plain.positions[row["id"]]] for row in kept}
        count = Counter(short.values())
        spoken = {}
        for row in sorted(kept, key=lambda row: row["id"]):
            name = short[row["id"]]
            spoken[row["id"]] = name = name if name and count[name] == 1 else bare_name(row["name"])
            if not name:
                raise record_error(
                    file, f"category {row['id']}", f"the name {row['name']!r}", "a name with words in it"
                )
        names = tuple(dict.fromkeys(spoken.values()))
        things = {name: plain.things[plain.positions[key]] for key, name in reversed(spoken.items())}
        return cls(names, tuple(things[n] for n in names), {key: names.index(n) for key, n in spoken.items()})

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
        return cls(key, slashed(file_name or part(row, "file_name", str, file, name)), height, width)


def slashed(name: str) -> str:
    """A relative path with the separators of every system but Windows, whose annotation tools write others."""
    return name.replace("\\", "/")


def bare_name(name: str) -> str:
    """A category's name with the words that stand in brackets, but without brackets, dots and underscores."""
    return " ".join(re.sub(r"[^\w']+|_", " ", name.lower()).split())


def fitted(objects: Sequence[ObjectTrack], image: Image, picture: Path, file: Path) -> tuple[ObjectTrack, ...]:
    """Objects whose masks lie on the picture as it is shown.

    Some tools annotate pictures as they are stored, whatever their EXIF says; the size that they note tells which.

    Raises:
        DataError: a size that is neither, or that leaves open which of the two is meant.
    """
    (height, width), turned = stored_size(picture)
    shown = (width, height) if turned >= 5 else (height, width)
    noted = (image.height, image.width)
    name = f"image {image.key}"
    if noted not in (shown, (height, width)):
        got = f"{image.width}x{image.height} pixels, but {image.file_name} has {shown[1]}x{shown[0]}"
        raise record_error(file, name, got, "the size of the picture", "Scale the pictures or the annotations")
    if turned == 1 or (noted == shown and shown != (height, width)):
        return tuple(objects)
    if shown == (height, width) and objects:
        got = f"{image.file_name}, which its EXIF turns ({turned}), and annotations that fit it turned or not"
        raise record_error(file, name, got, "upright pictures", "Save the pictures upright, without EXIF")
    masks = [tuple(m and RLE.encode(turn(m.decode(), turned)) for m in track.masks) for track in objects]
    return tuple(replace(track, masks=own) for track, own in zip(objects, masks, strict=True))


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


def drawn(annotation: Any, condition: int, image: Image, file: Path) -> ObjectTrack:
    """As `track`, of anybody's annotations: a DataError names one that says no pixels, such as a box without a mask."""
    name = named(annotation, image)
    code = part(annotation, "segmentation", (list, dict), file, name)
    for outline in code if isinstance(code, list) else ():
        if isinstance(outline, list) and len(outline) % 2 and all(isinstance(v, (int, float)) for v in outline):
            raise record_error(file, name, f"a polygon of {len(outline)} numbers", "pairs of x and y")
    found = track(annotation, condition, image, file)
    if found is None:
        raise record_error(file, name, f"the mask {code!r:.80}", "a polygon or run lengths; a box is no mask")
    return found


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
