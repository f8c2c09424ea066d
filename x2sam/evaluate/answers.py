"""A model's answers to the samples of a split, one JSON line each, so that a killed run loses nothing.

Every process answers its own samples (rank, rank + processes, ...) and appends to its own file; whatever any file
holds is not asked again, with however many processes the run goes on. Scores come from the files alone.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from x2sam.errors import InputError
from x2sam.masks import RLE
from x2sam.media.opening import open_media
from x2sam.predictor import X2Sam
from x2sam.results.result import Result
from x2sam.tasks import get_task
from x2sam.tracking.association import Identity
from x2sam.types import Sample, Segment

VIEWS: dict[str, dict[str, Any]] = {
    "default": {},
    "semantic": {"form": "semantic", "threshold": 0.0},
    "instance": {"form": "instance", "threshold": 0.0},
    "listed": {"form": "semantic"},
    "scored": {"threshold": 0.0},
    "nested": {"alternatives": 3},
}
"""Ways to ask for masks: as users get them, a class for every pixel, everything with its score, a class for every pixel
that has one, the answer to each condition however unsure it is, and up to three answers to a click."""


@dataclass(frozen=True)
class View:
    """One way's masks, frame by frame."""

    frames: tuple[tuple[Segment, ...], ...]
    phrases: tuple[str, ...] = ()
    """What the masks' conditions mean, where the answer named them."""
    text: str = ""


@dataclass(frozen=True)
class Answer:
    """Everything a model said about one sample."""

    index: int
    sample_id: str
    labels: tuple[str, ...]
    """The prompt's conditions, and whether each is a thing."""
    things: tuple[bool, ...]
    views: dict[str, View] = field(default_factory=dict)
    error: str = ""
    """Why there is none: its masks count as not found."""


def answer(
    model: X2Sam, sample: Sample, index: int, views: Sequence[str], protocol: str, identity: Identity
) -> dict[str, Any]:
    """Ask for every view; the record to be written."""
    conditions = sample.prompt.conditions
    record: dict[str, Any] = {
        "index": index,
        "id": sample.sample_id,
        "labels": sample.prompt.labels,
        "things": [c.is_thing for c in conditions],
        "views": {},
    }
    try:
        media = get_task(sample.task).media
        step = sample.times[1] - sample.times[0] if sample.times and len(sample.times) > 1 else 0
        clip = open_media(sample.frames, kind=media, fps=1 / step if step else None)
        session = model.open(clip)
        for view in views:
            options = {**VIEWS[view], "protocol": protocol}
            record["views"][view] = _packed(
                session.track(sample.prompt, task=sample.task, identity=identity, **options).finish()
            )
    except Exception as error:  # a sample that fails must not take the others with it; it is counted and reported
        record["views"], record["error"] = {}, f"{type(error).__name__}: {error}"
        record["trace"] = traceback.format_exc(limit=-3)
    return record


def _packed(result: Result) -> dict[str, Any]:
    segments = [
        [frame, s.object_id, s.condition, round(s.score, 6), s.label, s.is_thing, s.rle.to_coco()]
        for frame, found in enumerate(result.frames)
        for s in found.segments
    ]
    return {"frames": len(result.frames), "text": result.text, "segments": segments}


def read_answer(record: dict[str, Any]) -> Answer:
    """A written record."""
    views = {}
    for name, view in record["views"].items():
        frames: list[list[Segment]] = [[] for _ in range(view["frames"])]
        phrases: dict[int, str] = {}
        for frame, identity, condition, score, label, thing, code in view["segments"]:
            frames[frame].append(Segment(RLE.from_coco(code), label, score, identity, condition, frame, thing))
            phrases[condition] = label
        named = tuple(phrases.get(i, "") for i in range(max(phrases, default=-1) + 1))
        views[name] = View(tuple(map(tuple, frames)), named, view["text"])
    labels, things = tuple(record["labels"]), tuple(record["things"])
    return Answer(record["index"], record["id"], labels, things, views, record.get("error", ""))


class AnswerFiles:
    """The folder of a split's answers.

    Args:
        folder: of the split.
        rank: of this process.
    """

    def __init__(self, folder: Path, rank: int = 0) -> None:
        self.folder, self.rank = folder, rank
        folder.mkdir(parents=True, exist_ok=True)

    def belong_to(self, settings: dict[str, Any]) -> None:
        """Note whose answers these are.

        Raises:
            InputError: the folder holds answers that were made with other settings, such as by another model.
        """
        path = self.folder / "settings.json"
        mine = json.loads(json.dumps(settings))
        theirs = json.loads(path.read_text()) if path.exists() else mine
        changed = [key for key in mine if mine[key] != theirs.get(key)]
        if changed:
            raise InputError(
                f"Got other settings ({', '.join(changed)}) than the answers in {self.folder} were made with",
                "the same, to go on with them",
                "Choose another folder with --out, or delete that one",
            )
        if self.rank == 0:
            path.write_text(json.dumps(mine, indent=1) + "\n")

    def done(self) -> set[int]:
        """Indices that are answered; failed ones are asked again."""
        return {record["index"] for record in self._records() if not record.get("error")}

    def append(self, record: dict[str, Any]) -> None:
        """Keep one answer, at once."""
        path = self.folder / f"answers-{self.rank}.jsonl"
        with path.open("a+b") as file:
            if file.tell() and not _ends_a_line(file):  # a line that a kill cut short stays behind as one of its own
                file.write(b"\n")
            file.write(json.dumps(record).encode() + b"\n")

    def read(self, limit: int | None = None) -> Iterator[Answer]:
        """All answers in the order of their samples; of several to one sample the first that succeeded."""
        best: dict[int, tuple[Path, int, bool]] = {}
        for path, offset, record in self._lines():
            index, failed = record["index"], bool(record.get("error"))
            if (limit is None or index < limit) and (index not in best or (best[index][2] and not failed)):
                best[index] = path, offset, failed
        for index in sorted(best):
            path, offset, _ = best[index]
            with path.open("rb") as file:
                file.seek(offset)
                yield read_answer(json.loads(file.readline()))

    def _records(self) -> Iterator[dict[str, Any]]:
        return (record for _, _, record in self._lines())

    def _lines(self) -> Iterator[tuple[Path, int, dict[str, Any]]]:
        for path in sorted(self.folder.glob("answers-*.jsonl")):
            offset = 0
            with path.open("rb") as file:
                for line in file:
                    with suppress(ValueError):  # cut short by a kill
                        yield path, offset, json.loads(line)
                    offset += len(line)


def _ends_a_line(file: Any) -> bool:
    file.seek(-1, 2)
    return file.read(1) == b"\n"
