"""RefCOCO, RefCOCO+, RefCOCOg and gRefCOCO: expressions for objects of COCO.

Options: refs (the pickle ``refs(unc).p``, or gRefCOCO's ``grefs(unc).json``), instances (COCO json), images, part
("train", "val", ...), phrases (for training: this many objects of an image in one sample, each by one of its
expressions; without it, every expression is a sample, as the benchmarks count).
"""

from __future__ import annotations

import pickle
from collections import defaultdict
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from x2sam.data.base import Packed, Records, Split, lazy_frames, part, read_bytes, read_json, record_error
from x2sam.data.families.coco import Image, track
from x2sam.types import Condition, Prompt, Sample

Ask = tuple[str, list[int]]
"""An expression, and the annotations that it means; none, where nothing in the picture is meant."""


class PlainUnpickler(pickle.Unpickler):
    """Reads containers, numbers and text; refuses whatever would import or run something."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it wants to load {module}.{name}")


def read_pickle(path: Path) -> Any:
    """The value in a pickle of plain containers; a DataError if it holds more, or is damaged."""
    try:
        return PlainUnpickler(BytesIO(read_bytes(path)), encoding="utf-8", errors="replace").load()
    except MemoryError:
        raise
    except Exception as error:  # damaged pickles raise nearly anything
        got, hint = f"a pickle that is not read ({error})", "Get the file from its authors again"
        raise record_error(path, None, got, "lists, dicts, numbers and text alone", hint) from None


def read(root: Path, split: Split, seed: int) -> Records:
    """One sample per expression, or per group of them; object ids are COCO's annotation ids."""
    options, file = split.options, root / split.options["instances"]
    groups = _groups(root / options["refs"], options["part"], options.get("phrases"))
    data = read_json(file, dict)
    images = _chosen(data, "images", {key for key, _ in groups}, file)
    annotations = _chosen(data, "annotations", {key for _, asks in groups for _, keys in asks for key in keys}, file)
    del data

    def make(index: int) -> Sample:
        key, asks = groups[index]
        image = Image.of(images(key), file)
        conditions = tuple(dict.fromkeys(text for text, _ in asks))
        tracks = (track(annotations(k), conditions.index(text), image, file) for text, keys in asks for k in keys)
        frames = lazy_frames([root / options["images"] / image.file_name])
        prompt = Prompt(tuple(Condition(text) for text in conditions))
        return Sample(f"{key}/{index}", split.task, frames, prompt, tuple(t for t in tracks if t is not None))

    return Records(len(groups), make)


def _groups(file: Path, wanted: str, phrases: int | None) -> Packed:
    """What the samples ask: an image's id with its asks, images in the order of the file."""
    refs = read_json(file) if file.suffix == ".json" else read_pickle(file)
    if not isinstance(refs, list):
        raise record_error(file, None, f"{refs!r:.80}", "a list of refs")
    by_image: defaultdict[int, list[tuple[list[str], list[int]]]] = defaultdict(list)
    for number, ref in enumerate(refs):
        if part(ref, "split", str, file, number) == wanted:
            by_image[part(ref, "image_id", int, file, number)].append(_ref(ref, file, number))
    if not by_image:
        raise record_error(file, None, f"no ref of the part {wanted!r}", "another file or part")
    return Packed(
        (image, asks)
        for image, means in by_image.items()
        for asks in (
            _rounds(means, phrases) if phrases else [[(text, keys)] for texts, keys in means for text in texts]
        )
    )


def _ref(ref: Any, file: Path, number: int) -> tuple[list[str], list[int]]:
    """The expressions of a ref, and the annotations it means. An annotation below 1 says: nothing is meant."""
    texts = [part(s, "sent", str, file, number).strip() for s in part(ref, "sentences", list, file, number)]
    keys = part(ref, "ann_id", (int, list), file, number)
    listed = keys if isinstance(keys, list) else [keys]
    return texts, [key for i in range(len(listed)) if (key := part(listed, i, int, file, number)) > 0]


def _rounds(means: list[tuple[list[str], list[int]]], phrases: int) -> Iterator[list[Ask]]:
    """Groups of at most ``phrases`` refs, each once with every expression: a ref with fewer repeats its own."""
    means = [m for m in means if m[0]]
    for start in range(0, len(means), phrases):
        group = means[start : start + phrases]
        for turn in range(max(len(texts) for texts, _ in group)):
            yield [(texts[turn % len(texts)], keys) for texts, keys in group]


def _chosen(data: Any, what: str, keys: set[int], file: Path) -> Callable[[int], Any]:
    """A function that gives the row with an id; of all rows, those with ``keys`` are kept."""
    one = what.removesuffix("s")
    listed = enumerate(part(data, what, list, file, None))
    rows = {key: row for n, row in listed if (key := part(row, "id", int, file, f"{one} {n}")) in keys}
    if lost := keys - rows.keys():
        raise record_error(file, None, f"no {one} {min(lost)}", "all that the refs mean")
    place, kept = {key: i for i, key in enumerate(rows)}, Packed(rows.values())
    return lambda key: kept[place[key]]
