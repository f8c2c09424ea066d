"""COCO instances: one json of images, categories and masks (COCO, ADE20K's instances, own data).

Options: json, images, categories, own (true for anybody's data: names and sizes are looked at more closely). As in
COCO's own evaluation, crowds are kept as crowds and images may have no object.
"""

from __future__ import annotations

from pathlib import Path

from x2sam.data.base import Packed, Records, Split, drawn_for, lazy_frames, part, read_json
from x2sam.data.families.coco import Image, Vocabulary, drawn, fitted, named, track, with_annotations
from x2sam.types import Sample


def read(root: Path, split: Split, seed: int) -> Records:
    """One sample per image; object ids are the annotations' ids."""
    file = root / split.options["json"]
    data = read_json(file, dict)
    own = split.options.get("own", False)
    vocabulary = (
        Vocabulary.of_own(data, file) if own else Vocabulary.of(part(data, "categories", list, file, None), file)
    )
    records = Packed(with_annotations(data, file))

    def make(index: int) -> Sample:
        row, annotations = records[index]
        image = Image.of(row, file)
        positions = [
            vocabulary.position(part(a, "category_id", int, file, named(a, image)), file, named(a, image))
            for a in annotations
        ]
        prompt, place = vocabulary.ask(positions, split.options.get("categories"), drawn_for(seed, index))
        read_one = drawn if own else track
        found = (read_one(a, place[at], image, file) for a, at in zip(annotations, positions, strict=True))
        tracks = tuple(t for t in found if t is not None)
        picture = root / split.options["images"] / image.file_name
        if own:
            tracks = fitted(tracks, image, picture, file)
        return Sample(str(image.key), split.task, lazy_frames([picture]), prompt, tracks)

    return Records(len(records), make)
