"""A user's own folder of annotations as training data: COCO json, YouTube-VIS json, or json lines of Samples.

Annotations lie in the folder, in ``annotations``, or in one folder for each part (``train``, ``valid``, ``test``).
Pictures lie beside them, in ``images``, in a folder called as the json, or as COCO has them (``train2017``). From
instances two tasks are made each: finding the categories, and finding the object that a drawn region shows.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np

from x2sam.data.base import Records, Split, drawn_for, part, read_json, record_error
from x2sam.data.check import Problem, check
from x2sam.data.families import coco_instance, sample_jsonl, ytvis
from x2sam.data.families.coco import slashed
from x2sam.errors import DataError, InputError, X2SamError
from x2sam.masks import RLE
from x2sam.regions import synthesize
from x2sam.tasks import get_task
from x2sam.types import Condition, Prompt, Region, RegionKind, Sample

VALIDATION = 10
"""Every tenth record is kept for validation, where there are so many."""
COUNTED = 2000
"""Samples whose names are counted for people, at most."""
NEGATIVES = 32
"""Categories that a training prompt names at most, besides those that are there."""
MARKED = 4
"""Objects of one sample that regions are drawn on, at most."""
PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val", "test": "test"}
"""What files and folders of annotations are called, and the part that they are."""
KINDS: tuple[RegionKind, ...] = get_args(RegionKind)


@dataclass(frozen=True)
class OwnData:
    """A folder's samples by task; a `Source` for training."""

    records: dict[str, Records]

    @property
    def lengths(self) -> dict[str, int]:
        """Number of samples per task."""
        return {task: len(records) for task, records in self.records.items()}

    def sample(self, task: str, index: int) -> Sample:
        """A sample of a task."""
        if task not in self.records:
            raise InputError(f"Got the task {task}", f"one that the data serve: {', '.join(self.records)}")
        return self.records[task][index % len(self.records[task])]


def open_own(folder: Path, part_of: str = "train", seed: int = 0) -> OwnData:
    """Read a folder.

    Args:
        folder: with ``*.json`` (COCO, YouTube-VIS) or ``*.jsonl`` files. The words ``val``, ``valid``, ``validation``,
            ``dev`` or ``test`` in the name of a file or of its folder say which part it is.
        part_of: ``train`` or ``val``. Where nothing is for validation, every tenth record is one; what is for testing
            is left out.
        seed: of drawn regions and negatives.

    Raises:
        DataError: nothing to read, or a wrong record; names file and record.
    """
    parts = annotation_files(folder)
    apart = bool(parts["val"])
    found: dict[str, list[Records]] = defaultdict(list)
    for file in parts["val"] if part_of == "val" and apart else parts["train"]:
        for task, records in _tasks(file, folder, seed).items():
            found[task].append(records if apart else _share(records, part_of))
    if not found:
        raise DataError(
            f"{folder}: no annotations", "*.json (COCO, YouTube-VIS) or *.jsonl files", "See docs/training.md"
        )
    return OwnData({task: _joined(records) for task, records in found.items()})


def summary(folder: Path) -> str:
    """What was found, for people: samples for training and for validation by task, and how often each name comes."""
    data, held_out = open_own(folder), open_own(folder, "val")
    lines = [
        f"{task}: {len(records)} to train on, {held_out.lengths.get(task, 0)} to validate"
        for task, records in data.records.items()
    ]
    counts: Counter[str] = Counter()
    named = next((records for task, records in data.records.items() if get_task(task).conditions != "regions"), None)
    for sample in (named[i] for i in range(min(len(named), COUNTED))) if named is not None else ():
        counts.update(sample.prompt.labels[track.condition] for track in sample.objects if sample.prompt.conditions)
    if counts:
        told = ", ".join(f"{name} {count}" for name, count in counts.most_common(12))
        more = f" and {len(counts) - 12} more names" if len(counts) > 12 else ""
        lines.append(f"objects: {told}{more}")
    return "; ".join(lines)


def annotation_files(folder: Path) -> dict[str, list[Path]]:
    """The files of annotations for each part: train, val and test."""
    places = [folder, folder / "annotations", *(p for p in sorted(folder.glob("*")) if p.name.lower() in PARTS)]
    found: dict[str, list[Path]] = {"train": [], "val": [], "test": []}
    for place in places:
        for file in sorted(place.iterdir()) if place.is_dir() else ():
            if file.suffix.lower() in (".json", ".jsonl"):
                found[_part_of(file, folder)].append(file)
    return found


def _part_of(file: Path, folder: Path) -> str:
    """Told by the words of the names below ``folder``, the file's own first."""
    for name in (
        file.stem,
        *(place.name for place in file.parents if place.is_relative_to(folder) and place != folder),
    ):
        for word in re.findall(r"[a-z]+", name.lower()):
            if word in PARTS:
                return PARTS[word]
    return "train"


def check_own(folder: Path, pixels: bool = False) -> Iterator[Problem]:
    """Everything that is wrong in a folder, with file and record; ``pixels``: as in `check`."""
    for files in annotation_files(folder).values():
        for file in files:
            try:
                tasks = _tasks(file, folder, seed=0, marked=False)
            except X2SamError as error:
                yield Problem(None, str(error))
                continue
            for task, records in tasks.items():
                yield from check(records, Split(file.name, task, "", {}, ()), pixels, own=True)


def _tasks(file: Path, folder: Path, seed: int, marked: bool = True) -> dict[str, Records]:
    """The records of a file by task; ``marked``: also those that are made of others."""
    if file.suffix.lower() == ".jsonl":
        return _lines(file, seed)
    return _instances(file, folder, seed, marked)


def _instances(file: Path, folder: Path, seed: int, marked: bool) -> dict[str, Records]:
    """The tasks of a COCO or YouTube-VIS json."""
    content = read_json(file, dict)
    video = "videos" in content
    entries = part(content, "videos" if video else "images", list, file, None)
    if not entries:
        raise record_error(file, None, "no images", "at least one")
    first = part(entries[0], "file_names" if video else "file_name", list if video else str, file, "the first entry")
    place = _pictures(file, folder, part(first, 0, str, file, "the first entry") if video else first)
    options = {"json": file.name, "images": place, "categories": NEGATIVES, "own": True}
    family, media, other = (ytvis.read, "vid", "objseg") if video else (coco_instance.read, "img", "intseg")
    plain = family(file.parent, Split(file.stem, f"{media}_genseg", "", options, ()), seed)
    tasks = {f"{media}_genseg": plain}
    return {**tasks, f"{media}_{other}": _marked(plain, f"{media}_{other}", seed)} if marked else tasks


def _pictures(file: Path, folder: Path, first: str) -> str:
    """The folder that the file's names start from."""
    parts = [word for word in re.findall(r"[a-z]+\d*", file.stem.lower()) if word.rstrip("0123456789") in PARTS]
    places = [".", "images", "JPEGImages", "data", file.stem, *parts, *(f"images/{word}" for word in parts)]
    for base in dict.fromkeys((file.parent, folder)):
        for place in places:
            if os.path.isfile(base / place / slashed(first)):  # which takes names of any length
                return str((base / place).resolve())
    raise record_error(file, None, f"the picture {first} is missing", "in the folder, in images/, or in JPEGImages/")


def _lines(file: Path, seed: int) -> dict[str, Records]:
    """The tasks that the lines name."""
    rows: dict[str, list[int]] = defaultdict(list)
    with file.open("rb") as lines:
        for number, line in enumerate(text for text in lines if text.strip()):
            try:
                task = get_task(json.loads(line).get("task", "img_genseg")).name
            except (ValueError, AttributeError, TypeError, RecursionError):
                task = "img_genseg"  # whoever reads the record names the line
            rows[task].append(number)
    records = sample_jsonl.read(file.parent, Split(file.stem, "img_genseg", "", {"json": file.name}, ()), seed)
    return {task: _pick(records, numbers) for task, numbers in rows.items()}


def _marked(records: Records, task: str, seed: int) -> Records:
    """The same pictures, with regions drawn on their objects instead of names."""

    def make(index: int) -> Sample:
        for step in range(len(records)):  # a picture without an object gives its turn to the next
            sample = records[(index + step) % len(records)]
            objects = [
                track for track in sample.objects if not track.is_crowd and any(m and m.area for m in track.masks)
            ]
            if objects:
                rng = drawn_for(seed, index)
                chosen = [objects[i] for i in rng.permutation(len(objects))[:MARKED]]
                conditions = tuple(Condition(region=_drawn(track.masks, track.object_id, rng)) for track in chosen)
                tracks = tuple(replace(track, condition=i) for i, track in enumerate(chosen))
                return replace(sample, task=task, prompt=Prompt(conditions), objects=tracks)
        raise InputError("Got data without a single object", "at least one annotated mask")

    return Records(len(records), make)


def _drawn(masks: Sequence[RLE | None], object_id: int, rng: np.random.Generator) -> Region:
    frame, mask = next((t, mask) for t, mask in enumerate(masks) if mask is not None and mask.area)
    kind = KINDS[rng.integers(len(KINDS))]
    return Region(RLE.encode(synthesize(mask.decode(), kind, rng)), kind, frame, object_id)


def _share(records: Records, part_of: str) -> Records:
    """The records of one part."""
    if len(records) < VALIDATION:
        return records
    kept = [i for i in range(len(records)) if (i % VALIDATION == VALIDATION - 1) == (part_of == "val")]
    return _pick(records, kept)


def _pick(records: Records, numbers: Sequence[int]) -> Records:
    return Records(len(numbers), lambda i: records[numbers[i]])


def _joined(parts: list[Records]) -> Records:
    ends = np.cumsum([len(p) for p in parts])

    def make(index: int) -> Sample:
        place = int(np.searchsorted(ends, index, side="right"))
        return parts[place][index - int(ends[place - 1] if place else 0)]

    return Records(int(ends[-1]), make)


__all__ = ["OwnData", "annotation_files", "check_own", "open_own", "summary"]
