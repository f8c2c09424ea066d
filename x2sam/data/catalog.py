"""The catalog: every training and evaluation split is a row, and every annotation format has one reader.

    for sample in open_split("img_refseg_refcoco_val", Path("datas")): ...

Own data is named ``family:file``, for example ``coco_instance:marks.json`` or ``sample_jsonl:samples.jsonl``.
"""

from __future__ import annotations

import difflib
from importlib import import_module
from pathlib import Path

from x2sam.data.base import Family, Records, Split
from x2sam.data.catalog_image import IMAGE_SPLITS
from x2sam.data.catalog_photos import PHOTO_SPLITS
from x2sam.data.catalog_video import VIDEO_SPLITS
from x2sam.errors import InputError

FAMILIES: dict[str, str] = {
    "packed": "x2sam.data.pack:read",
} | {
    name: f"x2sam.data.families.{name}:read"
    for name in (
        "coco_panoptic",
        "coco_instance",
        "coco_semantic",
        "refcoco",
        "reasonseg",
        "grandf",
        "coco_interactive",
        "coco_vgd",
        "llava_chat",
        "sa1b",
        "sample_jsonl",
        "vipseg",
        "vspw",
        "ytvis",
        "ref_youtube_vos",
        "ref_davis",
        "revos",
        "reasonvos",
        "video_gcg",
        "youtube_vos",
        "davis",
        "vgd_video",
        "video_chat",
        "photos",
    )
}
"""Who reads what: ``module:function`` by name, imported when it is first used."""

SPLITS: dict[str, Split] = {split.name: split for split in (*IMAGE_SPLITS, *VIDEO_SPLITS, *PHOTO_SPLITS)}
"""Every row by name."""

OWN: dict[str, str] = {
    "coco_instance": "img_genseg",
    "coco_panoptic": "img_genseg",
    "ytvis": "vid_genseg",
    "sample_jsonl": "img_genseg",
}
"""Families that read own data from one file, and the task it is for (lines of ``sample_jsonl`` may say another)."""


def get_split(name: str) -> Split:
    """The row called ``name``, or one for the own data that it names; an unknown name gets the nearest known ones."""
    if name in SPLITS:
        return SPLITS[name]
    family, colon, file = name.partition(":")
    if colon and family == "packed":
        from x2sam.data.pack import split_of

        return split_of(name, file)
    if colon and family in OWN:
        return Split(name, OWN[family], family, {"json": file, "images": "."}, ())
    near = difflib.get_close_matches(name, SPLITS, n=3, cutoff=0.3)
    raise InputError(
        f"Got the split {name!r}, which does not exist",
        f"a name of: x2sam data list, or own data as family:file with one of {', '.join(OWN)}",
        f"Did you mean {' or '.join(near)}?" if near else "See: x2sam data list",
    )


def list_splits(task: str | None = None) -> list[Split]:
    """All rows, or those of one task."""
    return [split for split in SPLITS.values() if task in (None, split.task)]


def family_of(split: Split) -> Family:
    """The reader of a split."""
    module, _, function = FAMILIES[split.family].partition(":")
    return getattr(import_module(module), function)


def open_split(name: str | Split, root: Path, seed: int = 0) -> Records:
    """The samples of a split below the folder ``root``; the seed is for what is drawn per access.

    Raises:
        InputError: no such split.
        DataError: a file that is missing or wrong; names it.
    """
    split = get_split(name) if isinstance(name, str) else name
    return family_of(split)(Path(root), split, seed)
