"""COCO-VGD: for a region that shows one object of a category, all objects of that category.

Options: json, images, prompt ("point", "scribble", "box" or "mask"; without it, drawn for every region, for training),
names (a COCO json whose categories name the regions, for people).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from x2sam.data.base import Packed, Records, Split, drawn_for, lazy_frames, mask_of, part, read_json, record_error
from x2sam.data.families.coco import Image, Vocabulary, empty_code, named, track
from x2sam.types import Condition, Prompt, Region, RegionKind, Sample

KINDS: tuple[RegionKind, ...] = get_args(RegionKind)


def read(root: Path, split: Split, seed: int) -> Records:
    """One sample per image that has a prompt: a region per category, in the order of their ids.

    An object without a prompt of the wanted kind leaves the sample, as in the benchmark. Which object of a category is
    pointed at is drawn from the seed.
    """
    options, file = split.options, root / split.options["json"]
    kinds = (options["prompt"],) if "prompt" in options else KINDS
    kept = []
    for number, row in enumerate(read_json(file, list)):
        image = Image.of(part(row, "image_info", dict, file, number), file, number)
        annotations = [a for a in part(row, "annotations", list, file, number) if kinds_of(a, kinds, image, file)]
        if annotations:
            kept.append((row["image_info"], annotations))
    records = Packed(kept)
    del kept
    names = names_in(root / options["names"]) if "names" in options else {}

    def make(index: int) -> Sample:
        info, annotations = records[index]
        image, rng = Image.of(info, file), drawn_for(seed, index)
        conditions, objects = [], []
        for place, category in enumerate(sorted({a["category_id"] for a in annotations})):
            same = [a for a in annotations if a["category_id"] == category]
            region = pointed(same[rng.integers(len(same))], kinds, image, file, rng)
            conditions.append(Condition(region=replace(region, name=names.get(category, f"category {category}"))))
            objects += [t for a in same if (t := track(a, place, image, file)) is not None]
        frames = lazy_frames([root / options["images"] / image.file_name])
        return Sample(str(image.key), split.task, frames, Prompt(tuple(conditions)), tuple(objects))

    return Records(len(records), make)


def kinds_of(annotation: Any, kinds: Sequence[RegionKind], image: Image, file: Path) -> list[RegionKind]:
    """Of ``kinds``, those that are drawn for an annotation."""
    name = named(annotation, image)
    for key in ("id", "category_id"):
        part(annotation, key, int, file, name)
    drawn = part(annotation, "visual_prompts", dict, file, name)
    return [kind for kind in kinds if not empty_code(drawn.get(f"{kind}_visual_prompt"))]


def pointed(annotation: Any, kinds: Sequence[RegionKind], image: Image, file: Path, rng: np.random.Generator) -> Region:
    """The region that shows an annotation, of one of ``kinds``."""
    possible = kinds_of(annotation, kinds, image, file)
    kind = possible[rng.integers(len(possible))]
    code = annotation["visual_prompts"][f"{kind}_visual_prompt"]
    mask = mask_of(code, image.height, image.width, file, named(annotation, image))
    if mask is None:
        raise record_error(file, named(annotation, image), f"no {kind}", "a region")
    return Region(mask, kind, object_id=annotation["id"])


def names_in(file: Path) -> dict[int, str]:
    vocabulary = Vocabulary.of(part(read_json(file, dict), "categories", list, file, None), file)
    return {key: vocabulary.names[position] for key, position in vocabulary.positions.items()}
