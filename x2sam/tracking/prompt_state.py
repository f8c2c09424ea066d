"""A strand is one prompt's running state: what guides its masks, what it remembers, and whom it knows.

It takes frames one after the other, in either direction of time, and knows nothing of the medium they come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from x2sam.decoding.answer import AnswerOptions, answer_frame
from x2sam.masks import BoolMask
from x2sam.model.mask_decoder import Guidance, Prediction
from x2sam.model.mask_memory import MemoryBank
from x2sam.prompts import Phrase
from x2sam.requests import Request
from x2sam.tracking.association import Numbers, RecentMasks, Tracker
from x2sam.tracking.keyframes import Between
from x2sam.tracking.propagation import Propagation
from x2sam.types import Condition, Frame, FrameResult, Prompt, Region, Segment

if TYPE_CHECKING:
    from x2sam.tracking.session import Session

Identity = Literal["x2sam", "released"]


@dataclass(frozen=True)
class Asked:
    """A prompt after the language side has read it."""

    request: Request
    conditions: tuple[Condition, ...]
    """What masks are looked for: the prompt's, or the phrases of the answer."""
    guidance: Guidance | None
    """None where there is nothing to segment: no ``<SEG>``, or no condition."""
    text: str = ""
    """What was said, without markers; empty for templated answers."""
    phrases: tuple[Phrase, ...] = ()


@dataclass
class Strand:
    """One prompt's running state."""

    request: Request
    options: AnswerOptions
    tracker: Tracker
    numbers: tuple[int, ...]
    """The place of each of its conditions among the track's."""
    asked: Asked | None = None
    """None until there is a frame to read."""
    shown: dict[int, Frame] = field(default_factory=dict)
    """Frames that its regions are drawn on, where they will be read again."""
    bank: MemoryBank | None = None
    first: int = 0
    """Frame from which it follows."""
    read: int = 0
    """Frame at which the language side last read the prompt."""
    last: int | None = None
    """Frame that was last decoded."""
    hidden: set[int] = field(default_factory=set)
    """Objects that were taken back, or that another strand follows now."""
    recent: RecentMasks | None = field(default=None, init=False)
    carried: Propagation | None = field(default=None, init=False)
    between: Between | None = field(default=None, init=False)
    """Where frames are left to be carried over (`AnswerOptions.every`)."""

    def __post_init__(self) -> None:
        public, objects = self.options.protocol == "public", self.request.task.one_region
        # Phrases choose frame by frame in the release; single objects always stay on their masks.
        self.recent = RecentMasks() if objects or public else None
        self.carried = Propagation() if objects and public and self.request.task.media == "video" else None

    def step(
        self, session: Session, index: int, time: float | None, frame: Frame, refresh: int | None
    ) -> tuple[Segment, ...]:
        """Find its objects on the next frame."""
        if self.asked is None or (refresh and index // refresh > self.read // refresh):
            self.asked, self.read = session.ask(self.request, upto=index, shown=self.shown), index
        if self.asked.guidance is None:
            return ()
        size = frame.shape[0], frame.shape[1]
        followed = self.carried is not None or self.options.every > 1
        look = session.features(index, frame).look()[0] if followed else None
        if look is not None and self.between is not None and not self._is_key(index):
            segments = self._carry(self.between, look, index, size)
        else:
            elapsed = 1 if self.last is None else abs(index - self.last)
            self.last = index
            alone, here, hints = session.alone(self.request), None, None
            if self.carried is not None and look is not None:
                # A model that draws for itself is shown what is carried; else the answer is chosen by it.
                hints, here = (self.carried.may_be(look), None) if alone else (None, self.carried.carry(look))
            known = () if hints is None else [mask if bool((mask > 0).any()) else None for mask in hints]
            prediction, self.bank = session.decode(index, frame, self.asked, self.bank, known)
            segments = frame_result(
                *(self.asked, self.options, self.tracker, prediction, index, time, size),
                recent=self.recent,
                carried=self.carried,
                here=here,
                look=look,
                elapsed=elapsed,
            ).segments
            if look is not None and self.options.every > 1:
                self.between = Between.after(segments, look)
        return tuple(segment for segment in segments if segment.object_id not in self.hidden)

    def _is_key(self, index: int) -> bool:
        """Whether a frame is decoded, if ``every`` is more than 1; those that regions are drawn on are."""
        drawn = any(region.frame == index for region in self.request.prompt.regions)
        return drawn or self.last is None or abs(index - self.last) >= self.options.every

    def _carry(self, between: Between, look: Tensor, index: int, size: tuple[int, int]) -> tuple[Segment, ...]:
        """What was found on the last key frame, where it is now."""
        found = between.step(index, look, size, self.options.mask_threshold)
        if self.carried is not None and self.asked is not None:
            masks = {segment.condition: soft for segment, soft in found}
            count = len(self.asked.conditions)
            self.carried.remember(look, [masks.get(i) for i in range(count)], [False] * count)
        return tuple(segment for segment, _ in found)

    def fork(self) -> Strand:
        """Another that goes on from here, perhaps in the other direction; new ids come from the same numbers."""
        numbers = self.tracker.numbers
        tracker, recent, carried = deepcopy((self.tracker, self.recent, self.carried), {id(numbers): numbers})
        forked = replace(self, tracker=tracker, hidden=set(self.hidden))
        forked.recent, forked.carried = recent, carried
        return forked

    def follows(self, object_id: int) -> int | None:
        """The condition (as the track counts them) of an object that it follows and shows."""
        condition = None if object_id in self.hidden else self.tracker.condition_of(object_id)
        return None if condition is None else self.numbers[condition]

    @property
    def idle(self) -> bool:
        """All that it could show is hidden."""
        bound = self.tracker.bound
        return len(bound) == len(self.numbers) and self.hidden.issuperset(bound.values())


def frame_result(
    asked: Asked,
    options: AnswerOptions,
    tracker: Tracker,
    prediction: Prediction,
    index: int,
    time: float | None,
    size: tuple[int, int],
    row: int = 0,
    recent: RecentMasks | None = None,
    carried: Propagation | None = None,
    here: Tensor | None = None,
    look: Tensor | None = None,
    elapsed: int = 1,
) -> FrameResult:
    """One frame's prediction -> its segments.

    ``row`` is the sample's place in the predicted batch; ``recent`` are the masks of the frames before, which keep an
    answer on its object; ``carried`` takes them along by the frame's ``look``, and has brought them ``here``
    ``[C, h, w]``; ``elapsed`` are the frames since the last one.
    """
    conditions = asked.conditions
    logits = prediction.class_logits[row].float()
    # A batch pads its samples to the longest list of conditions.
    logits = torch.cat([logits[:, : len(conditions)], logits[:, -1:]], 1)
    prompt_masks = [_mask_on(c.region, index, size) for c in conditions]
    candidates = answer_frame(
        asked.request.task,
        logits,
        prediction.mask_logits[row].float(),
        size,
        conditions,
        options,
        prompt_masks=prompt_masks,
        recent=recent.of(len(conditions)) if recent is not None else (),
        seen=tracker.bound,
        carried=here,
    )
    if recent is not None:
        recent.add(candidates)
    if carried is not None and look is not None:
        masks = {c.condition: c.soft if c.soft is not None else torch.from_numpy(c.rle.decode()) for c in candidates}
        carried.remember(look, [masks.get(i) for i in range(len(conditions))], [m is not None for m in prompt_masks])
    ids = tracker.step(candidates, prediction.queries[row].float(), elapsed)
    labels = Prompt(conditions).labels
    segments = tuple(
        Segment(c.rle, labels[c.condition], c.score, i, c.condition, index, conditions[c.condition].is_thing)
        for c, i in zip(candidates, ids, strict=True)
    )
    return FrameResult(index, time, *size, segments)


def _mask_on(region: Region | None, index: int, size: tuple[int, int]) -> BoolMask | None:
    """The region's pixels, if it is drawn on this frame."""
    if region is None or region.frame != index or (region.rle.height, region.rle.width) != size:
        return None
    return region.mask


def new_tracker(
    conditions: Sequence[Condition], identity: Identity = "x2sam", numbers: Numbers | None = None
) -> Tracker:
    """A tracker that keeps the ids the caller gave to regions."""
    given = {i: c.region.object_id for i, c in enumerate(conditions) if c.region is not None}
    return Tracker(identity, fixed_ids={i: n for i, n in given.items() if n is not None}, numbers=numbers)
