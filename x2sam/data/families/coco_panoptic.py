"""COCO panoptic: a json of segments and a PNG of their ids for every image (COCO, ADE20K).

Options: json, images, masks (folder of the PNGs; by default the json's name without its ending), categories.
"""

from __future__ import annotations

from pathlib import Path

from x2sam.data.base import Packed, Records, Split, drawn_for, lazy_frames, part, read_ids, read_json, record_error
from x2sam.data.families.coco import Image, Vocabulary, with_annotations
from x2sam.masks import RLE
from x2sam.types import ObjectTrack, Sample


def read(root: Path, split: Split, seed: int) -> Records:
    """One sample per image; object ids are the file's segment ids. What no segment covers is void."""
    options = split.options
    file = root / options["json"]
    masks = root / options.get("masks", file.with_suffix(""))
    data = read_json(file, dict)
    vocabulary = Vocabulary.of(part(data, "categories", list, file, None), file)
    rows = with_annotations(data, file)
    for image, own in rows:
        if len(own) != 1:
            got = f"{len(own)} annotations"
            raise record_error(file, f"image {image['id']}", got, "one, with the segments of the image")
    records = Packed((image, own[0]) for image, own in rows)

    def make(index: int) -> Sample:
        row, annotation = records[index]
        image = Image.of(row, file)
        name = f"image {image.key}"
        png = masks / part(annotation, "file_name", str, file, name)
        ids = read_ids(png)  # [H, W]
        if ids.shape != (image.height, image.width):
            got = f"{ids.shape[1]}x{ids.shape[0]} pixels"
            raise record_error(png, None, got, f"{image.width}x{image.height}, as {file.name} says")
        found, void = [], RLE.encode(ids == 0)
        for segment in part(annotation, "segments_info", list, file, name):
            key = part(segment, "id", int, file, name)
            position = vocabulary.position(part(segment, "category_id", int, file, name), file, name)
            here = ids == key
            if not here.any():
                raise record_error(
                    png, None, f"no pixel of the segment {key}", f"the segments of {name} in {file.name}"
                )
            found.append((key, position, RLE.encode(here), bool(segment.get("iscrowd", 0))))
            ids[here] = 0
        if ids.any():
            raise record_error(file, name, f"no segment {ids.max()}, which {png.name} has", "every id of the PNG but 0")
        prompt, place = vocabulary.ask((f[1] for f in found), options.get("categories"), drawn_for(seed, index))
        objects = tuple(ObjectTrack(key, place[at], (mask,), crowd) for key, at, mask, crowd in found)
        frames = lazy_frames([root / options["images"] / image.file_name])
        return Sample(str(image.key), split.task, frames, prompt, objects, ignore=(void,))

    return Records(len(records), make)
