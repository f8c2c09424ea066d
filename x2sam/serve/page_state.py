"""What one visitor of the page has before them: a medium, what is marked on it, and what was found in every frame.

No browser, no web framework, no model: `page_actions` changes it, and `page_view` reads it, at any time, in any thread.
"""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from x2sam.errors import InputError
from x2sam.media.opening import Clip
from x2sam.results.result import Result
from x2sam.serve.jobs import Job
from x2sam.serve.page_marks import Mark
from x2sam.serve.store import Opened
from x2sam.tasks import Task
from x2sam.tracking.session import Session
from x2sam.tracking.track import Track
from x2sam.types import Frame, FrameResult, Prompt, Segment


@dataclass(frozen=True)
class Said:
    """One turn of the conversation. An answer may speak of what has a mask: its phrases and their objects."""

    who: str
    text: str
    phrases: tuple[tuple[str, int], ...] = ()


@dataclass
class Page:
    """One visitor's state. It goes when their browser tab does."""

    client: str
    key: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    """What the browser asks pictures and masks by; nobody else knows it."""
    opened: Opened | None = None
    viewer: Viewer | None = None
    job: Job[Any] | None = None
    track: Track | None = None
    answer: Result | None = None
    """Where masks come from a chat or there is no track: what `track` would say."""
    results: dict[int, FrameResult] = field(default_factory=dict)
    marks: dict[int, list[Mark]] = field(default_factory=dict)
    """By object."""
    names: dict[int, str] = field(default_factory=dict)
    """What objects are called here, where the visitor says so."""
    gone: set[int] = field(default_factory=set)
    selected: int | None = None
    talk: list[Said] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)
    """The chat so far, as the model gets it."""
    revision: int = 0
    """Goes up when results change that were there already."""
    show: int = 0
    """Frame that the last change is about."""
    least: dict[int, float] = field(default_factory=dict)
    """Score from which an object is shown unless the visitor says otherwise, by object: what its task was calibrated
    to, or what it had where it was marked by hand."""
    usual: float = 0.5
    """The same for the task that was asked last."""
    task: Task | None = None
    note: str = ""
    error: str = ""
    halt: bool = False
    """Whether the frame that is looked at now shall be the last."""
    following: bool = False
    """Whether a job goes through the frames, after any of which it may halt."""
    clock: Clock | None = None
    touched: float = field(default_factory=time.monotonic)

    @property
    def session(self) -> Session:
        if self.opened is None:
            raise InputError("Got nothing to look at", "a picture or a video", "Open one, or take an example")
        return self.opened.session

    @property
    def length(self) -> int:
        return 0 if self.opened is None else self.opened.upload.length or 1

    @property
    def done(self) -> int:
        """Frames from the first on that were looked at."""
        return max(self.results, default=-1) + 1

    def frame(self, index: int) -> FrameResult | None:
        """What is to be seen on a frame: without objects that were taken away, under the visitor's own names."""
        found = self.results.get(index)
        return None if found is None else self._named(found)

    def best(self) -> dict[int, tuple[str, float]]:
        """Every object that was found anywhere: its name, and the best of its scores."""
        found: dict[int, tuple[str, float]] = {}
        for segment in (s for r in list(self.results.values()) for s in r.segments):
            i = segment.object_id
            if i not in self.gone:
                name, score = found.get(i, (self.names.get(i, segment.label), 0.0))
                found[i] = name, max(score, segment.score)
        return dict(sorted(found.items()))

    def objects(self) -> list[int]:
        """Numbers of the objects that are surely there somewhere."""
        return [i for i, (_, score) in self.best().items() if score >= self.least.get(i, self.usual)]

    def sure(self, segment: Segment, threshold: float | None = None) -> bool:
        """Whether a mask is shown; ``threshold``: what the visitor set."""
        least = self.least.get(segment.object_id, self.usual) if threshold is None else threshold
        return segment.score >= least

    def result(self, threshold: float | None = None) -> Result:
        """What is seen, as a result to be saved."""
        if not self.results or self.viewer is None:
            raise InputError("Got nothing to download", "masks", "Say or mark what to find first")
        frames = []
        for index in sorted(self.results):
            named = self._named(self.results[index])
            frames.append(replace(named, segments=tuple(s for s in named.segments if self.sure(s, threshold))))
        done = self.track.done if self.track is not None else self.answer
        text, prompt = ("", Prompt()) if done is None else (done.text, done.prompt)
        return Result(self.task.name if self.task else "", text, tuple(frames), prompt, self.viewer.clip)

    def _named(self, found: FrameResult) -> FrameResult:
        segments = (s for s in found.segments if s.object_id not in self.gone)
        return replace(found, segments=tuple(replace(s, label=self.names.get(s.object_id, s.label)) for s in segments))

    # --- opening ----------------------------------------------------------------------------------------------------

    def take(self, opened: Opened, viewer: Viewer) -> None:
        """Look at another medium."""
        clean = Page(self.client)
        keep = {"client", "touched", "job"}
        self.__dict__.update({k: v for k, v in vars(clean).items() if k not in keep})
        self.opened, self.viewer = opened, viewer

    def lose(self, why: str) -> None:
        """The medium is gone."""
        self.opened = self.viewer = None
        self.forget()
        self.error = why

    def fail(self, why: str) -> None:
        """What was asked did not work."""
        self.error, self.note = why, ""
        if self.talk and self.talk[-1] == Said("x2sam", ""):
            self.talk.pop()

    def rename(self, object_id: int, name: str) -> None:
        """Call an object something else, here and in downloads."""
        if name := " ".join(name.split())[:60]:
            self.names[object_id] = name
            self.revision += 1

    def forget(self) -> None:
        """Masks, marks and names go; the medium and what was said stay."""
        self.track = self.answer = None
        self.results, self.marks, self.names, self.gone, self.least = {}, {}, {}, set(), {}
        self.selected, self.revision = None, self.revision + 1


class Viewer:
    """The pictures of a medium for the browser. It has the medium open by itself, so the model need not wait."""

    def __init__(self, clip: Clip) -> None:
        self.clip, self.lock = clip, threading.Lock()
        self._going: Iterator[tuple[int, float | None, Frame]] | None = None
        self._next = 0

    def frame(self, index: int) -> Frame:
        """One frame ``[H, W, 3]``; going on from the one before is cheap."""
        with self.lock:
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


class Clock:
    """How far a piece of work is, and how long it will yet take."""

    def __init__(self, steps: int, now: Callable[[], float] = time.monotonic) -> None:
        self.steps, self.taken, self._now = steps, 0, now
        self._begun = now()

    def tick(self) -> None:
        self.taken += 1

    @property
    def share(self) -> float:
        return min(1.0, self.taken / self.steps)

    def left(self) -> float:
        """Seconds, if it goes on as it went."""
        return (self._now() - self._begun) / max(1, self.taken) * max(0, self.steps - self.taken)

    def note(self, done: int, length: int) -> str:
        if length <= 1:
            return ""
        return f"Frame {done} of {length} · {duration(self.left())} left"


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    whole = math.ceil(seconds)
    return f"{whole} s" if whole < 100 else f"{math.ceil(seconds / 60)} min"
