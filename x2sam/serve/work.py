"""What a person has made of an opened medium: objects, and their masks frame by frame, kept with the session.

The page owns the document while it is open, undo included, and sends what changed; this is the copy that a reload, or
another tab, begins from, and that exports are made of.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

from x2sam.errors import InputError
from x2sam.masks import RLE
from x2sam.media.opening import Clip
from x2sam.results.draw import Colour
from x2sam.results.result import Result
from x2sam.serve.limits import Limits
from x2sam.serve.schemas import Counts, MediaOut, Point, Share, Strict
from x2sam.serve.uploads import TooLarge, Upload
from x2sam.types import FrameResult, Prompt, Segment

ObjectId = Annotated[int, Field(ge=1, le=65_535)]
FrameIndex = Annotated[int, Field(ge=0, le=10**6)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=100)]
WHOLE = ("overlay", "sheet")
"""Formats that show every frame of a film, also those that nobody has looked at."""
CELL_BYTES = 100
"""What a cell takes beside its run lengths, about."""


class Conflict(InputError):  # noqa: N818
    """The work was changed elsewhere in the meantime."""


class Mark(Strict):
    """What was drawn to show an object: a click, two corners of a box, the points of a stroke."""

    tool: Literal["point", "negative", "box", "scribble"]
    points: Annotated[list[Point], Field(min_length=1, max_length=1000)]


class Cell(Strict):
    """An object on one frame."""

    counts: Counts | None = Field(default=None, description="COCO run lengths; null: it is not on this frame")
    score: Share = 1.0
    by: Literal["hand", "model"] = Field(default="model", description="hand: drawn, marked or corrected by a person")
    marks: Annotated[list[Mark], Field(max_length=200)] = []  # noqa: RUF012 - pydantic copies it
    base: Counts | None = Field(default=None, description="The mask before the marks")


class WorkObject(Strict):
    id: ObjectId
    name: Name = Field(description="What exports call its category")
    colour: str = Field(pattern="^#[0-9a-f]{6}$")
    shown: bool = Field(default=True, description="Whether pictures and exports have it")
    sure: Share = Field(default=0.0, description="A score below this one is weak")


class Said(Strict):
    who: Literal["you", "x2sam"]
    text: str = Field(max_length=20_000)
    objects: Annotated[list[ObjectId], Field(max_length=1000)] = []  # noqa: RUF012
    chat: bool = Field(default=False, description="Part of a conversation, not a search")


class CellChange(Strict):
    object: ObjectId
    frame: FrameIndex
    cell: Cell | None = Field(description="null: nothing is known of it there any more")


class WorkIn(Strict):
    """A change. Lists that are given replace those that were there; cells are set one by one."""

    revision: int = Field(ge=0, le=2**53, description="Of the work that was changed; another one is refused with 409")
    objects: Annotated[list[WorkObject], Field(max_length=2000)] | None = Field(
        default=None, description="All of them, the lowest first; those left out are deleted"
    )
    classes: Annotated[list[Name], Field(max_length=200)] | None = None
    talk: Annotated[list[Said], Field(max_length=400)] | None = None
    cells: Annotated[list[CellChange], Field(max_length=20_000)] = []  # noqa: RUF012


class WorkOut(BaseModel):
    """The whole of it."""

    revision: int
    media: MediaOut
    fps: float | None
    objects: list[WorkObject]
    classes: list[str]
    talk: list[Said]
    cells: list[CellChange]


class WorkSummary(BaseModel):
    id: str
    media: MediaOut
    objects: int
    marked: int = Field(description="Masks on all frames")


class Work:
    """The document of one medium."""

    def __init__(self, upload: Upload, limits: Limits) -> None:
        self.upload, self.limits = upload, limits
        self.revision = 0
        self.objects: list[WorkObject] = []
        self.classes: list[str] = []
        self.talk: list[Said] = []
        self.cells: dict[int, dict[int, Cell]] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.objects)

    def change(self, change: WorkIn) -> int:
        """Apply a change, wholly or not at all; returns the new revision.

        Raises:
            Conflict: it was made of another revision.
            InputError: a cell of no object, of no frame, or whose run lengths do not fit the medium.
            TooLarge: more than ``work_bytes``.
        """
        with self._lock:
            if change.revision != self.revision:
                raise Conflict(
                    f"Got a change of revision {change.revision}, which was changed since",
                    f"revision {self.revision}",
                    "Read the work again",
                )
            objects = self.objects if change.objects is None else change.objects
            ids = {each.id for each in objects}
            if len(ids) < len(objects):
                raise InputError("Got two objects with one id", "an id of its own for each")
            size = self._bytes
            for each in change.cells:
                self._check(each, ids)
                size += _bytes(each.cell) - _bytes(self.cells.get(each.object, {}).get(each.frame))
            if size > self.limits.work_bytes:
                most = f"at most {self.limits.work_bytes / 2**20:.0f} MB"
                raise TooLarge("Got more masks than are kept for one medium", most, "Export, and delete some objects")
            self.objects, self._bytes = objects, size
            self.classes = self.classes if change.classes is None else change.classes
            self.talk = self.talk if change.talk is None else change.talk
            for each in change.cells:
                row = self.cells.setdefault(each.object, {})
                row.pop(each.frame, None)
                if each.cell is not None:
                    row[each.frame] = each.cell
            for gone in self.cells.keys() - ids:
                self._bytes -= sum(map(_bytes, self.cells.pop(gone).values()))
            self.revision += 1
            return self.revision

    def document(self, media: MediaOut, fps: float | None) -> WorkOut:
        """Everything, for sending."""
        with self._lock:
            cells = [
                CellChange(object=id, frame=frame, cell=cell)
                for id, row in self.cells.items()
                for frame, cell in sorted(row.items())
            ]
            return WorkOut(
                revision=self.revision,
                media=media,
                fps=fps,
                objects=self.objects,
                classes=self.classes,
                talk=self.talk,
                cells=cells,
            )

    def result(self, clip: Clip, format: str) -> Result:
        """What is shown, as a result to be saved. Raises InputError where there is nothing."""
        with self._lock:
            shown = [each for each in self.objects if each.shown]
            rows = {each.id: dict(self.cells.get(each.id, {})) for each in shown}
        looked = sorted({frame for row in rows.values() for frame in row})
        if not any(cell.counts for row in rows.values() for cell in row.values()):
            raise InputError("Got nothing to export", "an object that is shown", "Find or draw one first")
        if clip.kind == "video" and format in WHOLE:
            looked = list(range(self.upload.length or 1))
        times, size = clip.times, self.upload.size
        frames = tuple(
            FrameResult(i, times[i] if times else None, *size, tuple(self._segments(shown, rows, i))) for i in looked
        )
        colours: dict[int, Colour] = {each.id: _colour(each.colour) for each in shown}
        return Result("", "", frames, Prompt(), clip, colours=colours)

    def _segments(self, shown: list[WorkObject], rows: dict[int, dict[int, Cell]], frame: int) -> Iterator[Segment]:
        names = list(dict.fromkeys(each.name for each in shown))
        for each in shown:
            cell = rows[each.id].get(frame)
            if cell is not None and cell.counts:
                rle = RLE(*self.upload.size, cell.counts.encode())
                if rle.area:
                    yield Segment(rle, each.name, cell.score, each.id, names.index(each.name), frame)

    def _check(self, change: CellChange, ids: set[int]) -> None:
        if change.object not in ids:
            raise InputError(f"Got a mask of object {change.object}", "an object that there is")
        if change.frame >= (self.upload.length or 1):
            raise InputError(f"Got a mask on frame {change.frame}", f"0 to {(self.upload.length or 1) - 1}")
        for counts in (change.cell.counts, change.cell.base) if change.cell is not None else ():
            if counts is not None:
                RLE.from_coco({"size": self.upload.size, "counts": counts})  # raises where it does not fit


def _bytes(cell: Cell | None) -> int:
    if cell is None:
        return 0
    points = sum(len(mark.points) for mark in cell.marks)
    return CELL_BYTES + len(cell.counts or "") + len(cell.base or "") + 16 * points


def _colour(text: str) -> Colour:
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)
