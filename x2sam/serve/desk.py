"""What a person who works on an opened medium asks of the model: this mark on this frame, this phrase, follow these.

Nothing here remembers what was found; that is the page's, and `work.Work`'s. A `Desk` is used in the worker's thread,
but for `picture`, which reads the medium by itself.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

from x2sam import requests as asking
from x2sam.decoding.candidates import rules_of
from x2sam.errors import InputError
from x2sam.masks import RLE
from x2sam.media.opening import Clip
from x2sam.predictor import X2Sam
from x2sam.serve.limits import Limits
from x2sam.serve.uploads import Upload
from x2sam.serve.work import Mark, Work
from x2sam.tasks import COUNTERPARTS, TASKS, Task, get_task
from x2sam.tracking.session import Session, answer_options
from x2sam.tracking.track import Track
from x2sam.types import Frame, FrameResult, Segment

STILLS = 3
"""Frames that stay read, so that a second click on one of them is quick."""
CATEGORY_FLOOR = 0.25
"""Least score that is kept of a list of names; below it are dozens of guesses for every pixel."""
LARGEST = 4096
"""Longer side of a picture that is sent, at most."""
Keys = dict[int, list[tuple[int, RLE]]]
"""Masks that are followed: by frame, the ids of objects and where they are."""


@dataclass
class Desk:
    """One medium, and the model at hand."""

    predictor: X2Sam
    upload: Upload
    limits: Limits

    def __post_init__(self) -> None:
        self.work = Work(self.upload, self.limits)
        self._stills: dict[int, Session] = {}
        self._film: Session | None = None
        self._viewer: _Viewer | None = None
        self._lock = threading.Lock()

    # --- looking ----------------------------------------------------------------------------------------------------

    def picture(self, frame: int, side: int) -> bytes:
        """A frame as JPEG, its longer side ``side`` pixels at most."""
        with self._lock:
            self._viewer = self._viewer or _Viewer(self.upload.open())
            pixels = self._viewer.frame(frame)
        picture, buffer = Image.fromarray(pixels), BytesIO()
        picture.thumbnail((side, side))
        picture.save(buffer, "JPEG", quality=90)
        return buffer.getvalue()

    # --- asking -----------------------------------------------------------------------------------------------------

    def mark(self, frame: int, marks: Sequence[Mark], base: RLE | None) -> Segment | None:
        """The object that the marks of one frame show together; ``base``: its mask before them.

        The newest box or scribble shows it anew, and points after it add to that mask or take away from it.
        """
        session = self._still(frame)
        begun = max((i for i, mark in enumerate(marks) if mark.tool in ("box", "scribble")), default=None)
        found: Segment | None = None
        if begun is not None:
            found = _one(session.track(regions=[_shape(marks[begun])], threshold=0.0))
            base = found.rle if found is not None else None
        points = marks[0 if begun is None else begun + 1 :]
        more = [mark.points[0] for mark in points if mark.tool == "point"]
        less = [mark.points[0] for mark in points if mark.tool == "negative"]
        if not more and not less:
            return found
        if base is not None and base.area:
            more = [_inmost(base, less), *more]
        if not more:
            raise InputError("Got marks of what does not belong alone", "a mark on the object first")
        region = {"points": more, **({"negative": less} if less else {})}
        return _one(session.track(regions=[region], threshold=0.0))

    def ask(self, prompt: Any, task: Task, frame: int | None, options: dict[str, Any]) -> Iterator[str | FrameResult]:
        """What words find, on every frame or on one, with the text as it is spoken. ``task``: see `task_of`."""
        session = self._film_session() if frame is None else self._still(frame)
        if session.clip.kind != task.media:
            task = get_task(COUNTERPARTS[task.name])
        floor = CATEGORY_FLOOR if task.answer == "generic" else 0.0
        track = yield from session.tracking(prompt, task=task.name, threshold=floor, **options)
        for found in track:
            yield found if frame is None else _moved(found, frame)

    def task_of(self, prompt: Any, task: str | None) -> Task:
        """The task that words are asked by; mistakes are found before anything is queued."""
        if task and get_task(task).media != self.upload.kind:
            task = COUNTERPARTS[task]
        return asking.make_request(self.upload, prompt, None, task).task  # type: ignore[arg-type]

    def sure(self, task: Task) -> float:
        """Score from which an answer counts as found: what the model was calibrated to."""
        return rules_of(task, answer_options({}, self.predictor.config)).threshold

    def follow(self, keys: Keys, first: int, last: int) -> Iterator[tuple[FrameResult, list[int]]]:
        """Objects from the frames on which somebody has shown them: forward from each, backward from the first.

        Yields a frame, and which objects were looked for on it. A frame on which an object is shown is left to whoever
        has shown it.
        """
        yield from self._walk(keys, range(min(keys, default=0), last + 1))
        starts: Keys = {}
        seen: set[int] = set()
        for frame in sorted(keys):
            starts[frame] = [(id, rle) for id, rle in keys[frame] if id not in seen]
            seen |= {id for id, _ in keys[frame]}
        yield from self._walk(starts, range(max((f for f, row in starts.items() if row), default=0), first - 1, -1))

    def _walk(self, keys: Keys, frames: range) -> Iterator[tuple[FrameResult, list[int]]]:
        """One pass in one direction. A stream takes frames in any order, so that backward is forward."""
        if len(frames) < 2:
            return
        session, running = self.predictor.live(), dict[int, Track]()
        clip = self.upload.open()
        times = clip.times
        for step, (index, pixels) in enumerate(clip.walk(frames)):
            assert session.clip.stream is not None
            session.clip.stream.push(pixels, step)
            shown = dict(keys.get(index, []))
            for id in shown:
                running.pop(id, None)
            found: list[Segment] = []
            for track in dict.fromkeys(running.values()):
                found += [s for s in track.step(pixels, step).segments if running.get(s.object_id) is track]
            looked = list(running)
            if shown:
                track = session.track(regions=[{"mask": rle, "id": id} for id, rle in shown.items()])
                running.update(dict.fromkeys(shown, track))
            if looked:
                height, width = pixels.shape[:2]
                yield FrameResult(index, times[index] if times else None, height, width, tuple(found)), looked

    # --- what stays open --------------------------------------------------------------------------------------------

    def _film_session(self) -> Session:
        if self.upload.kind == "image":
            return self._still(0)
        self._film = self._film or self.predictor.open(self.upload.open())
        return self._film

    def _still(self, frame: int) -> Session:
        """A session of one frame alone; the newest few stay."""
        session = self._stills.pop(frame, None)
        if session is None:
            clip = self.upload.open()
            session = self.predictor.open(clip if clip.kind == "image" else clip.frame_at(frame), kind="image")
        self._stills[frame] = session
        while len(self._stills) > STILLS:
            del self._stills[next(iter(self._stills))]
        return session


class _Viewer:
    """The pictures of a medium for the browser, which mostly asks for the next one."""

    def __init__(self, clip: Clip) -> None:
        self.clip = clip
        self._going: Iterator[tuple[int, float | None, Frame]] | None = None
        self._next = 0

    def frame(self, index: int) -> Frame:
        """One frame ``[H, W, 3]``; going on from the one before is cheap."""
        if self._going is None or index != self._next:
            if index != 0:
                return self.clip.frame_at(index)
            self._going, self._next = iter(self.clip), 0
        found = next(self._going, None)
        if found is None or found[0] != index:
            self._going = None
            return self.clip.frame_at(index)
        self._next = index + 1
        return found[2]


def pointing(kind: str) -> Task:
    """The task of marks."""
    return next(task for task in TASKS.values() if task.one_region and task.media == kind)


def _shape(mark: Mark) -> dict[str, Any]:
    """A box or a scribble as a region."""
    if mark.tool == "scribble":
        return {"scribble": mark.points}
    (x0, y0), (x1, y1) = mark.points[0], mark.points[-1]
    return {"box": (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))}


def _inmost(mask: RLE, less: Sequence[Sequence[float]]) -> list[float]:
    """The pixel of a mask that is farthest from its edge and from what does not belong to it, as x and y."""
    inside = np.pad(mask.decode(), 1)
    for x, y in less:
        inside[min(int(y) + 1, mask.height), min(int(x) + 1, mask.width)] = False
    depth = ndimage.distance_transform_edt(inside)[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return [float(column) + 0.5, float(row) + 0.5]


def _one(track: Track) -> Segment | None:
    """The best of what a picture's track finds."""
    return max((s for frame in track for s in frame.segments), key=lambda s: s.score, default=None)


def _moved(found: FrameResult, frame: int) -> FrameResult:
    return FrameResult(frame, found.time, found.height, found.width, found.segments)
