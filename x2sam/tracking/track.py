"""What runs over the frames of a medium: a `Track`, and in it one `Strand` for each prompt that was given.

A strand is one prompt's running state (guidance, memory bank, tracker). A track walks the frames, lets its strands see
each of them and joins what they find. Adding, correcting and taking back an object is a matter of strands: a new one
begins, at any frame and in either direction, an old one no longer shows an object; the others are not touched.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import dropwhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from x2sam import regions as shapes
from x2sam.decoding.answer import AnswerOptions, Candidate
from x2sam.errors import InputError, MediaError
from x2sam.masks import RLE, BoolMask, union
from x2sam.media.streams import Arrival, warn
from x2sam.model.mask_decoder import Guidance
from x2sam.model.mask_memory import Memory, MemoryBank
from x2sam.prompts import Phrase
from x2sam.requests import Request, make_request, read_regions
from x2sam.results.result import Result
from x2sam.tasks import Task
from x2sam.tracking import saving as state
from x2sam.tracking.association import Numbers, Object, RecentMasks, Tracker
from x2sam.tracking.keyframes import Between
from x2sam.tracking.prompt_state import Asked, Identity, Strand, new_tracker
from x2sam.tracking.propagation import Propagation, Seen
from x2sam.types import Condition, Frame, FrameResult, Prompt, Region, Segment

if TYPE_CHECKING:
    from x2sam.tracking.session import Session


class Track:
    """Results of a medium, frame by frame, and the whole at the end.

    Iterating yields a `FrameResult` for every frame as it is done; `step` takes frames that the caller pushes; `result`
    finishes what is left. With ``keep`` False only the newest results are remembered, for streams without end.
    """

    def __init__(
        self,
        session: Session,
        options: AnswerOptions,
        identity: Identity = "x2sam",
        keep: bool = True,
        refresh: int | None = None,
    ) -> None:
        if refresh is not None and refresh < 1:
            raise InputError(f"Got refresh={refresh}", "a number of frames, or None to read the medium once")
        self.session, self.options, self.identity, self.keep, self.refresh = session, options, identity, keep, refresh
        self.prompt, self.text = Prompt(), ""
        self.strands: list[Strand] = []
        self.numbers = Numbers()
        self.position: int | None = None
        """Index of the last frame that came; None before the first."""
        self.warnings: list[str] = []
        """What was done about frames that were missing, repeated, broken or of another size; the newest hundred."""
        self._task = ""
        self._conditions: tuple[Condition, ...] = ()
        self._results: dict[int, FrameResult] = {}
        self._size: tuple[int, int] | None = None
        self._arrivals: Iterator[Arrival] | None = None
        if session.clip.stream is not None and session.clip.stream.pushed and session.clip.stream.newest is not None:
            index, time, frame = session.clip.stream.newest
            self.position = index  # the caller sees this frame now, and speaks of it
            self._results[index] = FrameResult(index, time, *self._measure(index, frame))

    # --- going on ---------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[FrameResult]:
        yield from self.done.frames
        while (frame := self._next()) is not None:
            yield frame

    def step(self, frame: Any, index: int | None = None, time: float | None = None) -> FrameResult:
        """Find the masks of a frame that the caller pushes.

        Args:
            frame: ``[H, W, 3]`` uint8, or anything else that is a picture. What is none (None, NaN, a wrong shape or
                type) gets a result without segments, and nothing is remembered of it.
            index: its number, where frames may be missing; without it frames are numbered on. One that has been there
                already gets the result that it had.
            time: its seconds since the first frame.

        Several tracks of one session may be given the same frame in turn; it is encoded once.
        """
        position = -1 if self.position is None else self.position
        if index is not None and index <= position:
            warn(self.warnings, f"frame {index} came again after frame {position} and was left out")
            return self._results.get(index, FrameResult(index, time, *(self._size or (0, 0))))
        stream = self.session.clip.stream
        if stream is None:
            raise InputError(f"Got a frame for {self.session.clip.name}, which has its own", "none", "Iterate instead")
        return self._advance(stream.push(frame, index, time, after=position))

    @property
    def result(self) -> Result:
        """Everything; runs through the frames that nobody has asked for yet."""
        stream = self.session.clip.stream
        while (stream is None or not stream.pushed) and self._next() is not None:
            pass
        return self.done

    @property
    def done(self) -> Result:
        """What is there so far; of a track that does not keep its results, no frames."""
        frames = tuple(self._results.values()) if self.keep else ()
        return Result(self._task, self.text, frames, self.prompt, self.session.clip)

    def _next(self) -> FrameResult | None:
        if self._arrivals is None:
            last = -1 if self.position is None else self.position
            self._arrivals = dropwhile(lambda arrival: arrival[0] <= last, self.session.clip.arrivals())
        arrival = next(self._arrivals, None)
        return None if arrival is None else self._advance(arrival)

    def _advance(self, arrival: Arrival) -> FrameResult:
        index, time, frame = arrival
        if self.position is not None and index > self.position + 1:
            warn(self.warnings, f"frames {self.position + 1} to {index - 1} did not come")
        self.position = index
        size = self._measure(index, frame)
        strands = [strand for strand in self.strands if strand.first <= index]
        found = () if isinstance(frame, MediaError) else self._look(strands, index, time, frame)
        self._results[index] = FrameResult(index, time, *size, found)
        if not self.keep and len(self._results) > self.session.history:
            del self._results[next(iter(self._results))]
        return self._results[index]

    def _measure(self, index: int, frame: Frame | MediaError) -> tuple[int, int]:
        """Height and width of a result; a frame that cannot be used has those of the frame before."""
        if isinstance(frame, MediaError):
            warn(self.warnings, f"frame {index} was left out: {frame}")
        else:
            size = frame.shape[0], frame.shape[1]
            if self._size not in (None, size):
                warn(self.warnings, f"frame {index} has another size, {size[1]}x{size[0]}, and so have its masks")
            self._size = size
        return self._size or (0, 0)

    @torch.inference_mode()
    def _look(self, strands: Sequence[Strand], index: int, time: float | None, frame: Frame) -> tuple[Segment, ...]:
        """What strands find on a frame, in the track's own terms."""
        found: list[Segment] = []
        labels = Prompt(self._conditions).labels
        for strand in strands:
            for segment in strand.step(self.session, index, time, frame, self.refresh):
                place = strand.numbers[segment.condition]
                thing = self._conditions[place].is_thing
                found.append(replace(segment, label=labels[place], condition=place, is_thing=thing))
        return tuple(found)

    # --- changing what is followed ----------------------------------------------------------------------------------

    def add(
        self,
        prompt: Any = None,
        regions: Any = None,
        task: str | None = None,
        frame: int | None = None,
        backward: bool = False,
        until: int = 0,
        **speaking: Any,
    ) -> tuple[FrameResult, ...]:
        """Follow more: another prompt, or objects that are pointed at, from any frame on.

        Args:
            prompt, regions, task: as in `Session.track`.
            frame: where the regions are drawn, and where following begins. None: of a clip, the frame that the regions
                name, or else the newest; of a stream the newest.
            backward: follow backward from there as well, down to frame ``until``.
            speaking: ``on_text``, ``max_new_tokens``.

        Returns:
            The results that changed: those of frames that were done already.
        """
        self._must_know()
        request = self.request(prompt, regions, task, frame)
        drawn = [region.frame for region in request.prompt.regions]
        start = min(drawn, default=self.position) if frame is None else frame
        return self.follow(request, start, backward=backward, until=until, **speaking)

    def request(
        self, prompt: Any = None, regions: Any = None, task: str | None = None, frame: int | None = None
    ) -> Request:
        """What is asked; regions on a stream that is pushed are drawn on its newest frame unless ``frame`` is given."""
        clip, stream = self.session.clip, self.session.clip.stream
        if regions is not None and stream is not None:
            if stream.unseen:
                raise InputError(
                    f"Got regions for {clip.name} without any frame so far", "a frame first", "Call step()"
                )
            frame = self.position if frame is None and stream.pushed else frame
        if regions is not None and frame is not None:
            regions = [replace(region, frame=frame) for region in read_regions(regions, clip.size)]
        request = make_request(clip, prompt, regions, task)
        if request.task.is_chat:
            raise InputError(f"Got the task {request.task.name}", "a segmentation task", "For text use chat()")
        return request

    def correct(
        self, object_id: int, regions: Any, frame: int | None = None, backward: bool = False, until: int = 0
    ) -> tuple[FrameResult, ...]:
        """Show an object again on a frame where it was lost or mistaken; it is followed anew from there.

        Args:
            object_id: it keeps this id. The other objects stay as they are, to the bit.
            regions: where it is: clicks, a box, a scribble, a mask, in the forms of `Session.track`; several are one
                region. ``{"points": [...], "negative": [...]}`` leaves pixels out; negative points alone cut the mask
                that it had on this frame: what lies nearer to them than to its centre goes.
            frame: where they are drawn; None: on the newest frame.
            backward: follow it backward from there as well, down to frame ``until``.

        Returns:
            The results that changed, in the order of time; `result` shows them from now on.
        """
        self._must_know()
        frame = self.position if frame is None else frame
        if frame is None or frame not in self._results:
            known = list(self._results)
            span = f"one of the frames {known[0]} to {known[-1]}" if known else "a frame that was tracked"
            raise InputError(f"Got frame {frame} to correct, which has no result", span, "Go on to it first")
        self.session.clip.frame_at(frame)  # says so where it is not at hand any more
        place = self._place(object_id)
        region = replace(self._pointed(object_id, regions, frame), frame=frame, object_id=object_id)
        request = make_request(self.session.clip, regions=[region])
        return self.follow(request, frame, (object_id, place), backward, until)

    def remove(self, object_id: int) -> None:
        """Follow an object no longer, from the next frame on; what was found of it stays."""
        self._must_know()
        self._place(object_id)
        self._hide(object_id)

    def follow(
        self,
        request: Request,
        start: int | None = None,
        instead: tuple[int, int] | None = None,
        backward: bool = False,
        until: int = 0,
        asked: Asked | None = None,
        **speaking: Any,
    ) -> tuple[FrameResult, ...]:
        """Begin a strand at frame ``start`` (None: the newest) and take it to where the track is.

        instead: the object (id and condition) that it follows from now on instead of another strand.
        """
        task, stream = request.task, self.session.clip.stream
        if task.generates and self.refresh:
            got = f"Got refresh={self.refresh} for {task.name}, which names its objects itself"
            raise InputError(got, "a prompt that stays the same", "Describe newer frames by a new track")
        start = self.position if start is None else start
        shown = {}
        if self.refresh:
            shown = {r.frame: self.session.clip.frame_at(r.frame) for r in request.prompt.regions}
        if request.nothing:
            asked = Asked(request, (), None)
        waits = stream is not None and stream.unseen and not task.generates  # for the first frame
        if asked is None and not waits:
            window = start if stream is not None else None  # of a stream the newest frames, of a clip a sample
            asked = self.session.ask(request, upto=window, shown=shown, **speaking)
        conditions = request.prompt.conditions if asked is None else asked.conditions
        given = [c.region.object_id for c in conditions if c.region is not None and c.region.object_id is not None]
        if instead is None:
            self.numbers.claim(given)
            numbers = tuple(range(len(self._conditions), len(self._conditions) + len(conditions)))
            self._conditions += conditions
            if self._task:
                self.prompt = replace(self.prompt, conditions=self._conditions)
            else:
                self._task, self.prompt, self.text = task.name, request.prompt, asked.text if asked else ""
        else:
            numbers = (instead[1],)
            self._hide(instead[0])
        tracker = new_tracker(conditions, self.identity, self.numbers)
        first = start or 0
        strand = Strand(request, self.options, tracker, numbers, asked, shown, first=first, read=first)
        self.strands.append(strand)
        gone = None if instead is None else instead[0]
        return () if start is None else self._catch_up(strand, start, gone, until if backward else start)

    def _catch_up(self, strand: Strand, start: int, gone: int | None, until: int) -> tuple[FrameResult, ...]:
        """Take a new strand from ``start`` to the newest frame, and its like from ``start`` back to ``until``.

        gone: the object whose segments its own replace.
        """
        changed: dict[int, FrameResult] = {}

        def walk(strand: Strand, indices: Sequence[int]) -> None:
            for index, frame in self.session.clip.walk(indices):
                old = self._results[index]
                kept = tuple(segment for segment in old.segments if segment.object_id != gone)
                found = self._look([strand], index, old.time, frame)
                changed[index] = self._results[index] = replace(old, segments=kept + found)

        walk(strand, [i for i in self._results if i == start])
        back = strand.fork()
        walk(strand, [i for i in self._results if i > start])
        earlier = [i for i in reversed(self._results) if until <= i < start]
        walk(back, earlier)
        if not changed.keys() >= set(earlier):
            warn(self.warnings, f"frames before {min(changed, default=start)} are not at hand and stay as they were")
        return tuple(changed[index] for index in sorted(changed))

    def _place(self, object_id: int) -> int:
        """The condition of an object that is followed, or that was."""
        for strand in reversed(self.strands):
            if (place := strand.follows(object_id)) is not None:
                return place
        for result in reversed(self._results.values()):
            for segment in result.segments:
                if segment.object_id == object_id:
                    return segment.condition
        known = sorted({s.object_id for result in self._results.values() for s in result.segments})
        raise InputError(f"Got the object id {object_id}", f"one of those found: {known}")

    def _pointed(self, object_id: int, regions: Any, frame: int) -> Region:
        """What the caller points at as one region."""
        size = self.session.clip.size
        if not (isinstance(regions, dict) and set(regions) == {"negative"}):
            given = read_regions(regions, size)
            if not given:
                raise InputError("Got no region", "a click, a box, a scribble or a mask")
            return given[0] if len(given) == 1 else Region(union([region.rle for region in given]))
        own = [s.rle for s in self._results[frame].segments if s.object_id == object_id]
        if not own:
            raise InputError(
                f"Got negative points alone for object {object_id}, which has no mask on frame {frame}",
                "a point, box, scribble or mask that shows where it is",
            )
        return _cut(own[0].decode(), regions["negative"])

    def _hide(self, object_id: int) -> None:
        for strand in self.strands:
            strand.hidden.add(object_id)
        self.strands = [strand for strand in self.strands if not strand.idle]

    def _must_know(self) -> None:
        if self.identity == "released":
            raise InputError("Got identity='released', whose ids do not last", "identity='x2sam' to change objects")

    # --- stopping and going on another day --------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the running state to one file. `Session.restore` goes on from it as if nothing had happened."""
        stream = self.session.clip.stream
        own = {name: value for name, value in vars(self).items() if name not in ("session", "_arrivals")}
        passed = stream.passed if stream is not None else []
        return state.save({"model": self.session.signature, "track": own, "passed": passed}, path)

    @classmethod
    def restore(cls, path: str | os.PathLike[str], session: Session) -> Track:
        """See `Session.restore`."""
        saved = state.load(path, CLASSES, session.model.device)
        if not isinstance(saved, dict) or not {"model", "track", "passed"} <= set(saved):
            raise InputError(f"Got {os.fspath(path)}, which is no saved state", "a file of Track.save")
        if not torch.equal(saved["model"], session.signature):
            raise InputError(f"Got {os.fspath(path)}, a state of another model", "the model that it was saved with")
        track = cls.__new__(cls)
        track.__dict__.update(saved["track"], session=session, _arrivals=None)
        for strand in track.strands:
            strand.tracker.numbers = track.numbers
        stream = session.clip.stream
        if stream is not None and track.position is not None and stream.newest is None:
            stream.resume([tuple(timed) for timed in saved["passed"]], track.position)
        return track


CLASSES = (
    *(Asked, Strand, Request, Task, AnswerOptions, Guidance, Phrase, Tracker, Object, Numbers, RecentMasks),
    *(Propagation, Seen, Between, Candidate, Memory, MemoryBank, RLE, Region, Condition, Prompt, Segment, FrameResult),
)
"""What a saved state is made of."""


def _cut(mask: BoolMask, negative: Sequence[Sequence[float]]) -> Region:
    """A mask without what lies nearer to one of the negative points than to its centre."""
    size = mask.shape[0], mask.shape[1]
    carved = mask & ~shapes.from_points(negative, size).mask
    y, x = np.nonzero(mask)
    rows, columns = np.indices(mask.shape)
    centre = (rows - y.mean()) ** 2 + (columns - x.mean()) ** 2
    for px, py in negative:
        carved &= (rows - py) ** 2 + (columns - px) ** 2 >= centre
    if not carved.any():
        raise InputError("Got negative points that leave nothing of the mask", "a point that shows the object")
    return Region(RLE.encode(carved))
