"""COCO instances: one json of images, categories and masks (COCO, ADE20K's instances, own data).

Options: json, images, categories, own (true for anybody's data: names and sizes are looked at more closely). As in
COCO's own evaluation, crowds are kept as crowds and images may have no object.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from x2sam.data.base import Packed, Records, Split, drawn_for, each, lazy_frames, part, read_json
from x2sam.data.families.coco import Image, Vocabulary, drawn, fitted, named, track, with_annotations
from x2sam.types import ObjectTrack, Sample


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
        picture = root / split.options["images"] / image.file_name

        def one(annotation: Any) -> tuple[int, ObjectTrack | None]:
            key = part(annotation, "category_id", int, file, named(annotation, image))
            at = vocabulary.position(key, file, named(annotation, image))
            return at, (drawn if own else track)(annotation, at, image, file)

        looked = [partial(fitted, (), image, picture, file)] if own else []  # told beside what else is wrong
        read_all: list[Any] = each([*(partial(one, annotation) for annotation in annotations), *looked])
        del read_all[len(annotations) :]
        positions = [at for at, _ in read_all]
        prompt, place = vocabulary.ask(positions, split.options.get("categories"), drawn_for(seed, index))
        tracks = tuple(replace(found, condition=place[at]) for at, found in read_all if found is not None)
        if own:
            tracks = fitted(tracks, image, picture, file)
        return Sample(str(image.key), split.task, lazy_frames([picture]), prompt, tracks)

    return Records(len(records), make)
