"""When all shards are there: one look through them, which counts, finds what failed, and writes other formats.

Rows are read a few at a time and written as they come, so files of any size are made in bounded memory.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from x2sam.annotate.plan import Plan
from x2sam.annotate.table import Row, frame_of, read_shard
from x2sam.errors import InputError, X2SamError
from x2sam.masks import RLE
from x2sam.results import labelstudio
from x2sam.results.result import Result
from x2sam.store import Store
from x2sam.types import Condition, Prompt

FORMATS = ("parquet", "coco", "ytvis", "labelstudio")
"""What can be had: the shards as they are, and files made of them."""
REASONS = 20
"""Different reasons that a report names at most."""


@dataclass
class Counts:
    """What is in the shards."""

    inputs: int = 0
    frames: int = 0
    segments: int = 0
    empty: int = 0
    """Frames on which nothing was found."""
    failures: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


def finish(store: Store, plan: Plan, formats: tuple[str, ...]) -> Counts:
    """Look through all shards; write ``failures.jsonl`` and a file for each format.

    Raises:
        X2SamError: an input is missing or twice, which must not be.
    """
    counts, labels = Counts(), _Labels()

    def write(path: Path) -> None:
        with path.open("w", encoding="utf-8") as lines:
            for row in _rows(store, plan):
                _count(counts, row)
                labels.see(row)
                if row["error"] is not None:
                    told = {key: row[key] for key in ("index", "input", "error")}
                    lines.write(json.dumps(told, ensure_ascii=False) + "\n")

    store.sweep("shards")
    store.put("failures.jsonl", write)
    if counts.inputs != plan.inputs:
        raise X2SamError(f"Got {counts.inputs} inputs in the shards of {store.url}", f"the plan's {plan.inputs}")
    for name in formats:
        if name != "parquet":
            store.put(f"{name}.json", partial(_write, name, store, plan, labels))
    return counts


def _write(name: str, store: Store, plan: Plan, labels: Any, path: Any) -> None:
    _WRITERS[name](path, _rows(store, plan), labels)


def _rows(store: Store, plan: Plan) -> Iterator[Row]:
    """All rows, in the order of the inputs; checked to be so."""
    before = -1
    for shard in range(plan.shards):
        for row in read_shard(store, shard):
            if row["index"] not in (before, before + 1):
                raise X2SamError(f"Got input {row['index']} after {before} in shard {shard} of {store.url}", "the next")
            before = row["index"]
            yield row


def _count(counts: Counts, row: Row) -> None:
    if row["index"] == counts.inputs:
        counts.inputs += 1
    if row["error"] is not None:
        counts.failures += 1
        if row["error"] in counts.reasons or len(counts.reasons) < REASONS:
            counts.reasons[row["error"]] += 1
        return
    if row["frame"] is None:
        return
    counts.frames += 1
    counts.segments += len(row["segments"])
    counts.empty += not row["segments"]


class _Labels:
    """Every label and its number, from 1, in the order in which they come; and whether it is of things."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.things: dict[str, bool] = {}

    def see(self, row: Row) -> None:
        for label in [*(row["labels"] or ()), *(s["label"] for s in row["segments"] or ())]:
            self.numbers.setdefault(label, len(self.numbers) + 1)
        for segment in row["segments"] or ():
            self.things[segment["label"]] = segment["is_thing"]

    def rows(self) -> list[dict[str, Any]]:
        return [
            {"id": n, "name": label, "isthing": int(self.things.get(label, True))} for label, n in self.numbers.items()
        ]


# --- formats ----------------------------------------------------------------------------------------------------------


class _Lists:
    """A json object of lists that are written at the same time: each goes to a file of its own until the end."""

    def __init__(self, folder: str, stack: ExitStack, *names: str) -> None:
        self.paths = {name: Path(folder) / name for name in names}
        self._files = {n: stack.enter_context(p.open("w+", encoding="utf-8")) for n, p in self.paths.items()}
        self.counts = dict.fromkeys(names, 0)

    def add(self, name: str, value: Any) -> int:
        """Append to a list; the value's number, from 1."""
        file = self._files[name]
        file.write((",\n" if self.counts[name] else "") + json.dumps(value, ensure_ascii=False, allow_nan=False))
        self.counts[name] += 1
        return self.counts[name]

    def join(self, path: Path, **rest: Any) -> None:
        """Write the object; ``rest`` are its other values."""
        with path.open("w", encoding="utf-8") as out:
            out.write("{")
            for name, file in self._files.items():
                out.write(f'"{name}": [')
                file.seek(0)
                while text := file.read(1 << 20):
                    out.write(text)
                out.write("],\n")
            out.write(", ".join(f'"{key}": {json.dumps(value, ensure_ascii=False)}' for key, value in rest.items()))
            out.write("}")


def _coco(path: Path, rows: Iterator[Row], labels: _Labels) -> None:
    """COCO json; every frame of a film is an image, in a folder called as the film."""
    with TemporaryDirectory() as folder, ExitStack() as stack:
        lists = _Lists(folder, stack, "images", "annotations")
        for row in rows:
            if row["frame"] is None:
                continue
            name = row["name"] if row["kind"] == "image" else _frame_name(row)
            about = {"file_name": name, "height": row["height"], "width": row["width"], "frame": row["frame"]}
            image = lists.add("images", {"id": lists.counts["images"] + 1, **about})
            for s in row["segments"]:
                x0, y0, x1, y1 = s["box"]
                annotation = {
                    "id": lists.counts["annotations"] + 1,
                    "image_id": image,
                    "category_id": labels.numbers[s["label"]],
                    "segmentation": {"size": [row["height"], row["width"]], "counts": s["counts"]},
                    "area": s["area"],
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "iscrowd": 0,
                    "score": s["score"],
                    "track_id": s["object_id"],
                }
                lists.add("annotations", annotation)
        lists.join(path, categories=labels.rows())


def _frame_name(row: Row) -> str:
    return f"{PurePosixPath(row['name']).with_suffix('')}/{row['frame']:05d}.jpg"


def _ytvis(path: Path, rows: Iterator[Row], labels: _Labels) -> None:
    """YouTube-VIS json of the films; the pieces of one are one video again, the objects of each their own."""
    with TemporaryDirectory() as folder, ExitStack() as stack:
        lists = _Lists(folder, stack, "videos", "annotations")
        for _, frames in _films(rows):
            first, size = frames[0], {"height": frames[0]["height"], "width": frames[0]["width"]}
            names = [_frame_name(row) for row in frames]
            about = {"id": lists.counts["videos"] + 1, **size, "length": len(frames), "file_names": names}
            video = lists.add("videos", about)
            tracks: dict[tuple[int, int], dict[int, Any]] = {}
            for place, row in enumerate(frames):
                for s in row["segments"]:
                    tracks.setdefault((row["index"], s["object_id"]), {})[place] = s
            for (_, object_id), seen in tracks.items():
                lists.add("annotations", _track(lists, video, object_id, seen, len(frames), first, labels))
        lists.join(path, categories=labels.rows())


def _track(
    lists: _Lists, video: int, object_id: int, seen: dict[int, Any], length: int, first: Row, labels: _Labels
) -> Row:
    size = first["height"], first["width"]
    track = [seen.get(place) for place in range(length)]
    boxes = [s and [s["box"][0], s["box"][1], s["box"][2] - s["box"][0], s["box"][3] - s["box"][1]] for s in track]
    return {
        "id": lists.counts["annotations"] + 1,
        "track_id": object_id,
        "video_id": video,
        "category_id": labels.numbers[next(iter(seen.values()))["label"]],
        "segmentations": [s and RLE(*size, s["counts"].encode()).to_coco(packed=False) for s in track],
        "bboxes": boxes,
        "areas": [s and s["area"] for s in track],
        "iscrowd": 0,
        "height": size[0],
        "width": size[1],
        "length": length,
        "score": sum(s["score"] for s in seen.values()) / len(seen),
    }


def _films(rows: Iterator[Row]) -> Iterator[tuple[str, list[Row]]]:
    """The frames of each film."""
    for (name, kind), frames in groupby(rows, lambda row: (row["input"], row["kind"])):
        if kind == "video" and (seen := [row for row in frames if row["frame"] is not None]):
            yield name, seen


def _label_studio(path: Path, rows: Iterator[Row], labels: _Labels) -> None:
    """Label Studio's tasks, a picture or a film each."""
    del labels
    with path.open("w", encoding="utf-8") as out:
        out.write("[")
        count = 0
        for _, group in groupby(rows, lambda row: row["index"]):
            frames = list(group)
            if frames[0]["frame"] is not None:
                out.write((",\n" if count else "") + json.dumps(labelstudio.task(_result(frames)), ensure_ascii=False))
                count += 1
        out.write("]")


def _result(frames: list[Row]) -> Result:
    """Rows of one input as the result that they were, without its medium."""
    first = frames[0]
    clip: Any = SimpleNamespace(
        kind=first["kind"], name=first["name"], fps=first["fps"], length=frames[-1]["frame"] + 1, warnings=[]
    )
    prompt = Prompt(tuple(Condition(text) for text in first["labels"]))
    return Result(first["task"], first["text"], tuple(frame_of(row) for row in frames), prompt, clip)


_WRITERS: dict[str, Callable[[Path, Iterator[Row], _Labels], None]] = {
    "coco": _coco,
    "ytvis": _ytvis,
    "labelstudio": _label_studio,
}


def check_formats(formats: tuple[str, ...]) -> None:
    """Raise InputError for a format that there is not."""
    for name in formats:
        if name not in FORMATS:
            raise InputError(f"Got the format {name[:40]!r}", f"one of: {', '.join(FORMATS)}")
