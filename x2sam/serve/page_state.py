"""What one visitor of the page has before them: a medium, what is marked on it, and what was found in every frame.

No browser, no web framework: actions are plain functions that run as one job of the worker (`jobs.stepwise`), and what
is shown is read from the `Page` at any time, from any thread.
"""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from x2sam.candidates import rules_of
from x2sam.errors import InputError
from x2sam.live import Track
from x2sam.media import Clip
from x2sam.requests import make_request
from x2sam.result import Result
from x2sam.serve.jobs import Job, pause
from x2sam.serve.store import Opened
from x2sam.session import Session, answer_options
from x2sam.tasks import COUNTERPARTS, Task, get_task
from x2sam.types import Frame, FrameResult, Prompt, Segment

TOOLS = ("point", "negative", "box", "scribble")
Form = Literal["panoptic", "semantic", "instance"]
CATEGORY_FLOOR = 0.25
"""Least score that is kept of categories; below it are dozens of guesses for every pixel."""


@dataclass(frozen=True)
class Mark:
    """What the visitor drew: corners of a box, a click, or the points of a stroke, in pixels of the medium."""

    tool: str
    points: tuple[tuple[float, float], ...]
    frame: int = 0


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

    # --- actions: each runs as one job ------------------------------------------------------------------------------

    def find(self, text: str, task: str = "", form: Form = "panoptic", add: bool = False) -> None:
        """Look for what was said (nothing: describe the medium) in every frame, beginning anew unless ``add``."""
        if task and get_task(task).media != self.session.clip.kind:
            task = COUNTERPARTS[task]
        prompt = wording(text, task)
        self.talk.append(Said("you", text.strip() or "What is there?"))
        self.error, self.note = "", "Looking …"
        said: list[str] = []
        self.talk.append(Said("x2sam", ""))

        def speak(piece: str) -> None:
            said.append(piece)
            self.talk[-1] = Said("x2sam", "".join(said))
            pause()

        row = make_request(self.session.clip, prompt, None, task or None).task
        floor = CATEGORY_FLOOR if row.answer == "generic" else 0.0
        if add and self.track is not None:
            self._hold()
            self.track.options = replace(self.track.options, threshold=floor, form=form)
            self._change(self.track.add(prompt, task=task or None, on_text=speak))
            self._settle()
        else:
            self.forget()
            self.track = self.session.track(prompt, None, task or None, on_text=speak, form=form, threshold=floor)
            self._settle()
        self._follow(show=True)
        self.talk[-1] = self._answered("".join(said))

    def mark(self, mark: Mark, object_id: int | None = None) -> None:
        """A mark on a frame: a new object, or a correction of one that is there."""
        self.error, self.note, self.show = "", "Looking …", mark.frame
        if object_id is None:
            if mark.tool == "negative":
                raise InputError("Got a mark for what does not belong", "an object", "Choose one below the picture")
            object_id = 1 + max([*self.best(), *self.marks, *self.gone], default=0)
            self.marks[object_id] = [mark]
            self._begin(mark, object_id)
        else:
            if object_id not in self.best() and object_id not in self.marks:
                raise InputError(f"Got the object {object_id}", "one that is there", "Choose one below the picture")
            self.marks.setdefault(object_id, []).append(mark)
            if self.track is None:
                raise InputError("Got a correction of what an answer showed", "an object that was asked for")
            here = [m for m in self.marks[object_id] if m.frame == mark.frame]
            self._count(self.done - mark.frame)
            self._change(self.track.correct(object_id, regions_of(here), frame=mark.frame))
        self.selected = object_id
        self._follow(show=False)
        scores = [s.score for s in self.results[mark.frame].segments if s.object_id == object_id]
        self.least[object_id] = min([self.least.get(object_id, self.usual), *scores])
        self.note = self.summary()

    def chat(self, text: str) -> None:
        """Answer in words, knowing what was said before."""
        self.talk += [Said("you", text.strip()), Said("x2sam", "")]
        self.error, self.note = "", "Thinking …"
        said: list[str] = []

        def speak(piece: str) -> None:
            said.append(piece)
            self.talk[-1] = Said("x2sam", "".join(said))
            pause()

        messages = [*self.asked, {"role": "user", "content": text}]
        answer = self.session.chat(messages, on_text=speak)
        self.asked = [*messages, {"role": "assistant", "content": answer.text or "…"}]
        if answer.frames:
            self.forget()
            self.answer, self.results = answer, {f.index: f for f in answer.frames}
            self.task, self.usual = get_task(answer.task), 0.0
        self.talk[-1] = self._answered(answer.text) if answer.frames else Said("x2sam", answer.text or "…")
        self.note = ""

    def drop(self, object_id: int) -> None:
        """Take an object away."""
        self.gone.add(object_id)
        self.marks.pop(object_id, None)
        self.selected = None if self.selected == object_id else self.selected
        self.revision += 1
        if self.track is not None and object_id in {s.object_id for r in self.results.values() for s in r.segments}:
            self.track.remove(object_id)

    def go_on(self) -> None:
        """Look at the frames that were left when somebody cancelled."""
        self.error = ""
        self._follow(show=True)

    def _begin(self, mark: Mark, object_id: int) -> None:
        region = {**regions_of([mark])[0], "frame": mark.frame, "id": object_id, "name": f"object {object_id}"}
        if self.track is None:
            self.forget()
            self.marks[object_id] = [mark]
            self.track = self.session.track(regions=[region], threshold=0.0)
            self._settle()
            return
        self._hold()
        self._count(self.done)
        self._change(self.track.add(regions=[region], backward=True))
        self._settle()

    def _settle(self) -> None:
        """From which score the answers to what was asked last are shown."""
        assert self.track is not None
        self.task = self.track.strands[-1].request.task
        self.usual = rules_of(self.task, answer_options({}, self.session.model.config)).threshold

    def _hold(self) -> None:
        """Objects that are there keep what they are shown from, whatever is asked next."""
        self.least = {**dict.fromkeys(self.best(), self.usual), **self.least}

    def _change(self, changed: Iterable[FrameResult]) -> None:
        self.results.update({frame.index: frame for frame in changed})
        self.revision += 1

    def _follow(self, show: bool) -> None:
        """Go through the frames that are left; somebody may halt it after any of them."""
        assert self.track is not None
        self._count(self.length - self.done)
        self.following = True
        try:
            for frame in self.track:
                if frame.index not in self.results:
                    self._found(frame, show)
                    pause(frame.index)
                if self.halt:
                    break
        finally:
            self.following = False
        objects = self.objects()
        if self.selected is None and len(objects) == 1:
            self.selected = objects[0]
        self.note = self.summary()

    def _found(self, frame: FrameResult, show: bool) -> None:
        self.results[frame.index] = frame
        if show:
            self.show = frame.index
        if self.clock is not None:
            self.clock.tick()
            self.note = self.clock.note(self.done, self.length)

    def _count(self, steps: int) -> None:
        self.clock = Clock(max(1, steps))

    def summary(self) -> str:
        """One sentence about what was found."""
        found = [s for r in self.results.values() for s in r.segments if s.object_id not in self.gone]
        sure = {s.object_id for s in found if self.sure(s)}
        if self.done < self.length:
            return f"Stopped after {self.done} of {self.length} frames."
        if not sure and found:
            best = max(s.score for s in found)
            return f"Nothing sure was found. The best guess scores {best:.2f}: lower “Surer than” to see it."
        if not sure:
            return "Nothing of it was found."
        return f"{len(sure)} object{'s' * (len(sure) > 1)} found."

    def _answered(self, text: str) -> Said:
        """What is said of what was found: the model's words, or the names and scores of the objects."""
        first: dict[str, int] = {}
        score: dict[int, float] = {}
        for segment in (s for r in self.results.values() for s in r.segments):
            score[segment.object_id] = max(segment.score, score.get(segment.object_id, 0.0))
            if self.sure(segment):
                first.setdefault(segment.label, segment.object_id)
        if text:
            return Said("x2sam", text, tuple(first.items()))
        if not first:
            return Said("x2sam", self.summary())
        words = ", ".join(f"{label} ({score[i]:.2f})" for label, i in first.items())
        return Said("x2sam", words, tuple(first.items()))


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


# --- what comes from the browser --------------------------------------------------------------------------------------


def wording(text: str, task: str = "") -> str | list[str] | None:
    """What was typed as a prompt: nothing, a phrase, a question, or names between commas."""
    text = " ".join(text.split())
    if not text:
        return None
    categories = task and get_task(task).conditions == "categories"
    if categories or ("," in text and not task and not text.endswith("?")):
        return [name.strip() for name in text.split(",") if name.strip()]
    return text


def read_mark(data: Mapping[str, Any], size: tuple[int, int], length: int) -> tuple[Mark, int | None]:
    """A mark and the object it is meant for, as the browser sends them; all of it is checked."""
    tool, points, frame, chosen = (data.get(k) for k in ("tool", "points", "frame", "object"))
    if tool not in TOOLS or not isinstance(points, list) or not 1 <= len(points) <= 2000:
        raise InputError("Got a mark that cannot be read", f"one of {', '.join(TOOLS)} with its points")
    if not isinstance(frame, int) or not 0 <= frame < length:
        raise InputError(f"Got a mark on frame {frame!r}", f"0 to {length - 1}")
    if not isinstance(chosen, (int, type(None))):
        raise InputError("Got a mark for no object", "the number of one, or none")
    height, width = size
    try:
        pairs = [(float(x), float(y)) for x, y in points]
    except (TypeError, ValueError):
        raise InputError("Got a mark that cannot be read", "pairs of numbers") from None
    if not all(math.isfinite(v) for pair in pairs for v in pair):
        raise InputError("Got a mark that cannot be read", "finite numbers")
    inside = tuple((min(max(x, 0.0), float(width)), min(max(y, 0.0), float(height))) for x, y in pairs)
    return Mark(str(tool), inside, frame), chosen


def regions_of(marks: Iterable[Mark]) -> Any:
    """Marks of one object on one frame, as `Track.correct` takes them: a list of regions that are one together.

    A newest mark that says "not this" cuts the mask as it is; otherwise such marks are left out of the points.
    """
    marks = list(marks)
    negative = [mark.points[0] for mark in marks if mark.tool == "negative"]
    if marks[-1].tool == "negative":
        return {"negative": [marks[-1].points[0]]}
    positive = [mark.points[0] for mark in marks if mark.tool == "point"]
    regions: list[dict[str, Any]] = []
    if positive:
        regions.append({"points": positive, **({"negative": negative} if negative else {})})
    for mark in marks:
        if mark.tool == "box":
            (x0, y0), (x1, y1) = mark.points[0], mark.points[-1]
            regions.append({"box": (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))})
        elif mark.tool == "scribble":
            regions.append({"scribble": list(mark.points)})
    return regions
