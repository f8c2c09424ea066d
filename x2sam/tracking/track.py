"""What runs over the frames of a medium: a `Track`, and in it a `PromptState` for each prompt that was given.

A track walks the frames, lets its states go through each of them together and joins what they find. Adding, correcting
and taking back an object is a matter of states: a new one begins, at any frame and in either direction, an old one no
longer shows an object; the others are not touched. Whatever walks frames yields results as they come.
"""

from __future__ import annotations

import os
import warnings as python_warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from itertools import dropwhile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from x2sam import regions as shapes
from x2sam.decoding.answer import AnswerOptions
from x2sam.errors import InputError, MediaError
from x2sam.examples import Like, Same
from x2sam.masks import RLE, BoolMask, union
from x2sam.media.streams import Arrival, warn
from x2sam.requests import Request, make_request, read_regions
from x2sam.results.result import Result
from x2sam.tracking import saving
from x2sam.tracking.association import ASSOCIATIONS, Identity, associate
from x2sam.tracking.changes import Changes
from x2sam.tracking.engine import MAX_NEW_TOKENS, EncodedPrompt, Engine, listen
from x2sam.tracking.exemplars import conditions_of
from x2sam.tracking.frame_step import step
from x2sam.tracking.history import History
from x2sam.tracking.objects import ObjectManager
from x2sam.tracking.prompt_state import PromptState, Refresh
from x2sam.types import Frame, FrameResult, Prompt, Region, Segment, Usage


class Track:
    """Results of a medium, frame by frame, and the whole at the end.

    Iterating yields a `FrameResult` for every frame as it is done; `step` takes frames that the caller pushes; `finish`
    goes through what is left. With ``keep`` False only the newest results are remembered, for streams without end.
    """

    def __init__(
        self,
        engine: Engine,
        options: AnswerOptions,
        identity: Identity = "x2sam",
        keep: bool = True,
        refresh: Refresh = None,
        window: int = 8,
    ) -> None:
        if refresh is not None and refresh != "auto" and (not isinstance(refresh, int) or refresh < 1):
            raise InputError(f"Got refresh={refresh!r}", "a number of frames, 'auto', or None to read the medium once")
        if identity not in ASSOCIATIONS:
            raise InputError(f"Got identity={identity!r}", f"one of: {', '.join(ASSOCIATIONS)}")
        self.engine, self.options, self.identity, self.keep, self.refresh = engine, options, identity, keep, refresh
        self.window = window
        """Results that are remembered where they are not kept."""
        self.prompt, self.text, self.usage = Prompt(), "", Usage()
        self.states: list[PromptState] = []
        self.objects = ObjectManager()
        self.history = History()
        self.position: int | None = None
        """Index of the last frame that came; None before the first."""
        self.warnings: list[str] = []
        """What was done about frames that were missing, repeated, broken or of another size; the newest hundred."""
        self._task, self._prompts = "", 0
        self._results: dict[int, FrameResult] = {}
        self._size: tuple[int, int] | None = None
        self._arrivals: Iterator[Arrival] | None = None
        self._changes: list[Changes] = []
        stream = engine.clip.stream
        if stream is not None and stream.pushed and stream.newest is not None:
            index, time, frame = stream.newest
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
        stream = self.engine.clip.stream
        if stream is None:
            raise InputError(f"Got a frame for {self.engine.clip.name}, which has its own", "none", "Iterate instead")
        return self._advance(stream.push(frame, index, time, after=position))

    def finish(self) -> Result:
        """Everything, after going through the frames that nobody has asked for yet."""
        stream = self.engine.clip.stream
        while (stream is None or not stream.pushed) and self._next() is not None:
            pass
        return self.done

    @property
    def result(self) -> Result:
        """The old name of `finish`."""
        python_warnings.warn("Track.result is now Track.finish()", DeprecationWarning, stacklevel=2)
        return self.finish()

    @property
    def done(self) -> Result:
        """What is there so far; of a track that does not keep its results, no frames."""
        self._settle()
        frames = tuple(self._results.values()) if self.keep else ()
        return Result(self._task, self.text, frames, self.prompt, self.engine.clip, self.usage)

    def _settle(self) -> None:
        """Finish what was changed and not gone through."""
        while self._changes:
            self._changes[0].finish()
            self._changes.pop(0)

    def _next(self) -> FrameResult | None:
        if self._arrivals is None:
            last = -1 if self.position is None else self.position
            self._arrivals = dropwhile(lambda arrival: arrival[0] <= last, self.engine.clip.arrivals())
        arrival = next(self._arrivals, None)
        return None if arrival is None else self._advance(arrival)

    def _advance(self, arrival: Arrival) -> FrameResult:
        self._settle()
        index, time, frame = arrival
        if self.position is not None and index > self.position + 1:
            warn(self.warnings, f"frames {self.position + 1} to {index - 1} did not come")
        self.position = index
        size = self._measure(index, frame)
        states = [state for state in self.states if state.first <= index]
        found, presence = ((), {}) if isinstance(frame, MediaError) else self._step(states, index, frame)
        self._results[index] = FrameResult(index, time, *size, found, presence)
        if not self.keep and len(self._results) > self.window:
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
    def _step(
        self, states: Sequence[PromptState], index: int, frame: Frame
    ) -> tuple[tuple[Segment, ...], dict[int, float]]:
        """What states find on a frame, in the track's own terms: segments, and how sure they are of each condition."""
        labels = Prompt(self.objects.conditions).labels
        found: list[Segment] = []
        for state, segments in step(states, self.engine, self.history, self.objects, index, frame, self.refresh):
            for segment in segments:
                place = self.objects.place(state.number, segment.condition)
                thing = self.objects.conditions[place].is_thing
                found.append(replace(segment, label=labels[place], condition=place, is_thing=thing))
        sure = {self.objects.place(state.number, c): p for state in states for c, p in state.presence.items()}
        return tuple(found), sure

    # --- changing what is followed ----------------------------------------------------------------------------------

    def add(
        self,
        prompt: Any = None,
        regions: Any = None,
        task: str | None = None,
        *,
        on_text: Callable[[str], None] | None = None,
        **options: Any,
    ) -> Changes:
        """Follow more: another prompt, or objects that are pointed at, from any frame on.

        Args:
            prompt, regions, task: as in `Session.track`.
            on_text: called with every new piece of text as it is spoken.
            options: as in `adding`.

        Returns:
            The results that change, as they come: those of frames that were done already.
        """
        return listen(self.adding(prompt, regions, task, **options), on_text)

    def adding(
        self,
        prompt: Any = None,
        regions: Any = None,
        task: str | None = None,
        frame: int | None = None,
        backward: bool = False,
        until: int = 0,
        max_new_tokens: int = MAX_NEW_TOKENS,
        like: Like | None = None,
        unlike: Any = (),
        same: Same = "kind",
        **options: Any,
    ) -> Generator[str, None, Changes]:
        """As `add`, yielding pieces of text as they are spoken; what it returns is yet to be gone through.

        Args:
            prompt, regions, task, like, unlike, same: as in `Session.tracking`.
            frame: where the regions are drawn, and where following begins. None: of a clip, the frame that the regions
                name, or else the newest; of a stream the newest.
            backward: follow backward from there as well, down to frame ``until``.
            options: `AnswerOptions` of this prompt where they are not the track's.
        """
        self._must_know()
        request = self.request(prompt, regions, task, frame, like, unlike, same)
        drawn = [region.frame for region in request.prompt.regions]
        start = min(drawn, default=self.position) if frame is None else frame
        chosen = self.options.but(**options)
        steps = self.following(request, start, None, backward, until, options=chosen, max_new_tokens=max_new_tokens)
        return (yield from steps)

    def request(
        self,
        prompt: Any = None,
        regions: Any = None,
        task: str | None = None,
        frame: int | None = None,
        like: Like | None = None,
        unlike: Any = (),
        same: Same = "kind",
    ) -> Request:
        """What is asked; regions on a stream that is pushed are drawn on its newest frame unless ``frame`` is given."""
        clip, stream = self.engine.clip, self.engine.clip.stream
        if regions is not None and stream is not None:
            if stream.unseen:
                raise InputError(
                    f"Got regions for {clip.name} without any frame so far", "a frame first", "Call step()"
                )
            frame = self.position if frame is None and stream.pushed else frame
        if regions is not None and frame is not None:
            regions = [replace(region, frame=frame) for region in read_regions(regions, clip.size)]
        if like is None and unlike:
            raise InputError("Got what is not meant without what is", "like=[...] beside it")
        examples = () if like is None else conditions_of(self.engine, like, unlike, prompt)
        request = make_request(clip, None if examples else prompt, regions, task, examples, same)
        if request.task.is_chat:
            raise InputError(f"Got the task {request.task.name}", "a segmentation task", "For text use chat()")
        return request

    def correct(
        self, object_id: int, regions: Any, frame: int | None = None, backward: bool = False, until: int = 0
    ) -> Changes:
        """Show an object again on a frame where it was lost or mistaken; it is followed anew from there.

        Args:
            object_id: it keeps this id. The results that the other objects have stay as they are, to the bit.
            regions: where it is: clicks, a box, a scribble, a mask, in the forms of `Session.track`; several are one
                region. ``{"points": [...], "negative": [...]}`` leaves pixels out; negative points alone cut the mask
                that it had on this frame: what lies nearer to them than to its centre goes.
            frame: where they are drawn; None: on the newest frame.
            backward: follow it backward from there as well, down to frame ``until``.

        Returns:
            The results that change, as they come; `finish` and `done` show them from now on.
        """
        self._must_know()
        self._settle()
        frame = self.position if frame is None else frame
        if frame is None or frame not in self._results:
            known = list(self._results)
            span = f"one of the frames {known[0]} to {known[-1]}" if known else "a frame that was tracked"
            raise InputError(f"Got frame {frame} to correct, which has no result", span, "Go on to it first")
        self.engine.clip.frame_at(frame)  # says so where it is not at hand any more
        place = self._place(object_id)
        region = replace(self._pointed(object_id, regions, frame), frame=frame, object_id=object_id)
        request = make_request(self.engine.clip, regions=[region])
        return listen(self.following(request, frame, (object_id, place), backward, until))

    def remove(self, object_id: int) -> None:
        """Follow an object no longer, from the next frame on; what was found of it stays."""
        self._must_know()
        self._settle()
        self._place(object_id)
        self.objects.hide(object_id)
        self._drop_idle()

    def following(
        self,
        request: Request,
        start: int | None = None,
        instead: tuple[int, int] | None = None,
        backward: bool = False,
        until: int = 0,
        encoded: EncodedPrompt | None = None,
        options: AnswerOptions | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
    ) -> Generator[str, None, Changes]:
        """Begin a prompt at frame ``start`` (None: the newest); what it returns takes it to where the track is.

        instead: the object (id and condition) that it follows from now on instead of another prompt.
        encoded: what the language side made of the prompt, where it has read it already.
        """
        self._settle()
        if request.task.generates and self.refresh:
            got = f"Got refresh={self.refresh} for {request.task.name}, which names its objects itself"
            raise InputError(got, "a prompt that stays the same", "Describe newer frames by a new track")
        clip = self.engine.clip
        start = self.position if start is None else start
        shown: dict[int, Frame] = {}
        if self.refresh:
            shown = {region.frame: clip.frame_at(region.frame) for region in request.prompt.regions}
        if request.nothing:
            encoded = EncodedPrompt(request, (), None)
        waits = clip.stream is not None and clip.stream.unseen and not request.task.generates  # for the first frame
        if encoded is None and not waits:
            window = start if clip.stream is not None else None  # of a stream the newest frames, of a clip a sample
            encoded = yield from self.engine.read(request, max_new_tokens, window, shown)
        number = self._admit(request, encoded, instead)
        association = associate(self.identity, self.objects, number)
        chosen, first = self.options if options is None else options, start or 0
        state = PromptState(number, request, chosen, association, encoded, shown, first=first, read_at=first)
        self.states.append(state)
        gone = None if instead is None else instead[0]
        steps = iter(()) if start is None else self._catch_up(state, start, gone, until if backward else start)
        changes = Changes(steps)
        self._changes.append(changes)
        return changes

    def _admit(self, request: Request, encoded: EncodedPrompt | None, instead: tuple[int, int] | None) -> int:
        """Give a prompt its number, and its conditions or the object that it takes over their places."""
        number = self._prompts
        if instead is not None:
            self.objects.hand_over(instead[0], number, instead[1])
            self._drop_idle()
        else:
            self.objects.admit(number, request.prompt.conditions if encoded is None else encoded.conditions)
            if self._task:
                self.prompt = replace(self.prompt, conditions=self.objects.conditions)
            else:
                self._task, self.prompt = request.task.name, request.prompt
                self.text, self.usage = (encoded.text, encoded.usage) if encoded else ("", Usage())
        self._prompts += 1
        return number

    def _catch_up(self, state: PromptState, start: int, gone: int | None, until: int) -> Iterator[FrameResult]:
        """Take a new prompt from ``start`` to the newest frame, and its like from ``start`` back to ``until``.

        gone: the object whose segments its own replace.
        """

        def walk(state: PromptState, indices: Sequence[int]) -> Iterator[FrameResult]:
            for index, frame in self.engine.clip.walk(indices):
                old = self._results[index]
                kept = tuple(segment for segment in old.segments if segment.object_id != gone)
                found, sure = self._step([state], index, frame)
                self._results[index] = replace(old, segments=kept + found, presence={**old.presence, **sure})
                yield self._results[index]

        yield from walk(state, [i for i in self._results if i == start])
        back = state.fork(self.history)
        try:
            yield from walk(state, [i for i in self._results if i > start])
            earlier, oldest = [i for i in reversed(self._results) if until <= i < start], start
            for result in walk(back, earlier):
                oldest = result.index
                yield result
        finally:
            self.history.forget(back.key)
            self.history.forget(back.keyframe)
        if earlier and oldest > earlier[-1]:
            warn(self.warnings, f"frames before {oldest} are not at hand and stay as they were")

    def _place(self, object_id: int) -> int:
        """The condition of an object that is followed, or that was."""
        for state in reversed(self.states):
            condition = state.association.condition_of(object_id)
            if condition is not None and self.objects.shows(state.number, object_id):
                return self.objects.place(state.number, condition)
        for result in reversed(self._results.values()):
            for segment in result.segments:
                if segment.object_id == object_id:
                    return segment.condition
        known = sorted({s.object_id for result in self._results.values() for s in result.segments})
        raise InputError(f"Got the object id {object_id}", f"one of those found: {known}")

    def _pointed(self, object_id: int, regions: Any, frame: int) -> Region:
        """What the caller points at as one region."""
        size = self.engine.clip.size
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

    def _drop_idle(self) -> None:
        """Nothing runs for what is not shown."""
        for state in [state for state in self.states if self.objects.idle(state.number)]:
            self.states.remove(state)
            self.history.forget(state.key)
            self.history.forget(state.keyframe)

    def _must_know(self) -> None:
        if self.identity == "released":
            raise InputError("Got identity='released', whose ids do not last", "identity='x2sam' to change objects")

    # --- stopping and going on another day --------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the running state to one file. `Session.restore` goes on from it as if nothing had happened."""
        self._settle()
        stream = self.engine.clip.stream
        own = {name: getattr(self, name) for name in SAVED}
        passed = stream.passed if stream is not None else []
        return saving.write({**own, "trails": self.history.trails, "passed": passed}, path, self.engine.model)

    @classmethod
    def restore(cls, path: str | os.PathLike[str], engine: Engine) -> Track:
        """See `Session.restore`."""
        saved = saving.read(path, engine.model)
        saving.require(saved, (*SAVED, "trails", "passed"), path)
        track = cls(engine, saved["options"])
        track.__dict__.update({name: saved[name] for name in SAVED})
        track.history = History(saved["trails"])
        for state in track.states:
            state.association.objects = track.objects
        stream = engine.clip.stream
        if stream is not None and track.position is not None and stream.newest is None:
            stream.resume([tuple(timed) for timed in saved["passed"]], track.position)
        return track


SAVED = (
    *("options", "identity", "keep", "refresh", "window", "prompt", "text", "usage", "states", "objects", "position"),
    *("warnings", "_task", "_prompts", "_results", "_size"),
)
"""The parts of a track that are saved as they are."""


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
