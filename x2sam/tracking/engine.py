"""The model and its processor on one medium: prompts are read, frames encoded, all prompts of a frame decoded at once.

The language side reads a sample of the frames once and shares that reading between prompts; the mask side goes frame
by frame. The engine keeps no state of any prompt.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from x2sam.errors import InputError
from x2sam.media.opening import Clip
from x2sam.media.streams import TimedFrame
from x2sam.model.frames import FrameFeatures
from x2sam.model.language import Prefix
from x2sam.model.mask_decoder import Guidance, Prediction
from x2sam.model.mask_memory import MemoryBank
from x2sam.model.modeling import X2SamModel
from x2sam.model.prompt_maps import prompt_maps
from x2sam.processing import Encoded, LanguageMedia, X2SamProcessor
from x2sam.prompts import Phrase, may_announce, read_answer
from x2sam.requests import Request
from x2sam.tracking.likeness import by_likeness
from x2sam.types import Condition, Frame, Shown, Usage

T = TypeVar("T")

MAX_NEW_TOKENS = 512
"""Length of an answer at most, unless said otherwise."""
NO_USAGE = Usage()
ENCODED = 2
"""Encoded frames that are kept: the newest, and the one that the newest regions are drawn on."""


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt after the language side has read it."""

    request: Request
    conditions: tuple[Condition, ...]
    """What masks are looked for: the prompt's, or the phrases of the answer."""
    guidance: Guidance | None
    """None where there is nothing to segment: no ``<SEG>``, or no condition."""
    text: str = ""
    """What was said, without markers; empty for templated answers."""
    phrases: tuple[Phrase, ...] = ()
    usage: Usage = NO_USAGE


@dataclass(frozen=True)
class Query:
    """What is asked of a frame for one prompt."""

    prompt: EncodedPrompt
    bank: MemoryBank | None = None
    """What came back for the previous frame."""
    places: tuple[int, ...] | None = None
    """The conditions that are decoded; None: all. Only a model that draws each by itself can leave some out."""
    carried: Sequence[Tensor | None] = ()
    """Of each decoded condition its mask as propagated here from the frames before, ``[h, w]``, 0 to 1."""

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Those that are decoded."""
        every = self.prompt.conditions
        return every if self.places is None else tuple(every[place] for place in self.places)


Answer = tuple[Prediction, MemoryBank | None]
"""The masks of one prompt on a frame, and its memory for the next."""


@dataclass
class _Reading:
    """What the language side has read of the medium, for the prompts that follow."""

    upto: int | None
    """The last frame of a stream that it saw; None for the sample of a clip."""
    media: LanguageMedia
    prefix: Prefix | None = None


class Engine:
    """A model, a processor and the medium whose frames they see."""

    def __init__(self, model: X2SamModel, processor: X2SamProcessor, clip: Clip) -> None:
        self.model, self.processor, self.clip = model, processor, clip
        self._reading: _Reading | None = None
        self._features: dict[int, FrameFeatures] = {}

    # --- the language side -------------------------------------------------------------------------------------

    @torch.inference_mode()
    def read(
        self,
        request: Request,
        max_new_tokens: int = MAX_NEW_TOKENS,
        upto: int | None = None,
        drawn_on: Mapping[int, Frame] | None = None,
    ) -> Generator[str, None, EncodedPrompt]:
        """Read a request; of tasks that answer in their own words each new piece of text is yielded.

        upto: read the newest frames up to this one; None: the sample of the whole medium.
        drawn_on: frames that regions are drawn on, where the medium may not have them any more.
        """
        reading = self._read(upto)
        encoded = self.processor.encode(request.task, request.prompt, reading.media)
        device, generates = self.model.device, request.task.generates
        with autocast(self.model):
            if reading.prefix is None or (generates and not reading.prefix.whole):
                reading.prefix = self._prefix(encoded, generates)
            marked = self._marked_frames(encoded.region_frames, drawn_on or {})
        shown = [condition.example for condition in request.prompt.conditions]
        spoken_for = [one.embedding for one in shown if one is not None and one.embedding is not None]
        steps = self.model.understanding(
            encoded.input_ids[None].to(device),
            region_masks=encoded.region_masks.to(device),
            region_frames=_rank(encoded.region_frames, device),
            region_features=marked,
            region_embeddings=torch.stack(spoken_for).to(device) if spoken_for else None,
            prefix=reading.prefix,
            max_new_tokens=max_new_tokens if generates else 0,
            stop_ids=self.processor.stop_ids,
            conditions_in_answer=generates,
        )
        answer = _Speech(self.processor)
        while True:
            try:
                with autocast(self.model):
                    token = next(steps)
            except StopIteration as end:
                understanding = end.value
                break
            if piece := answer.add(token):
                yield piece
        text, phrases, rest = answer.end()
        if rest:
            yield rest
        read, said = encoded.input_ids.shape[-1], len(answer.ids)
        usage = Usage(read, said, cut=generates and said >= max_new_tokens)
        return _encoded(request, self._shown(understanding.guidance, shown), text, phrases, usage)

    def _shown(self, guidance: Guidance, shown: Sequence[Shown | None]) -> Guidance:
        """What is asked for by examples, without what it is not."""
        recognition = self.model.recognition
        if (
            guidance.looks is None
            or recognition is None
            or not any(one is not None and one.rivals is not None for one in shown)
        ):
            return guidance
        looks = guidance.looks.clone()
        for c, one in enumerate(shown):
            if one is not None and one.rivals is not None:
                looks[0, c] = recognition.unlike(looks[0, c], one.look.to(looks), one.rivals.to(looks))
        return replace(guidance, looks=looks)

    @property
    def frames_seen(self) -> int:
        """Frames that the language side sees."""
        return len(self._window(self._upto(None)))

    @cached_property
    def _sample(self) -> list[TimedFrame]:
        return self.clip.sample(self.processor.language_frames)

    def _upto(self, index: int | None) -> int | None:
        """Of a stream that is pushed nothing but the newest frames can be had."""
        stream = self.clip.stream
        return stream.newest[0] if index is None and stream is not None and stream.pushed and stream.newest else index

    def _window(self, upto: int | None) -> list[TimedFrame]:
        return self._sample if upto is None else self.clip.recent(upto, self.processor.language_frames)

    def _read(self, upto: int | None) -> _Reading:
        """The medium as the language side sees it; what was read last is not read again."""
        upto = self._upto(upto)
        if self._reading is None or self._reading.upto != upto:
            window = self._window(upto)
            if not window:
                raise InputError(f"Got {self.clip.name} without a frame to look at", "a frame first", "Call step()")
            frames, times = [frame for _, _, frame in window], [time for _, time, _ in window]
            self._reading = _Reading(upto, self.processor.see(frames, self.clip.kind == "video", times))
        return self._reading

    def _prefix(self, encoded: Encoded, whole: bool) -> Prefix:
        batch = self.processor.collate([encoded])
        names = ("pixel_values", "image_grid_thw", "pixel_values_videos", "video_grid_thw")
        device = self.model.device
        return self.model.read_prefix(
            batch["input_ids"][:, : encoded.prefix_length].to(device),
            whole,
            **{n: batch[n].to(device) for n in names if n in batch},
        )

    def _marked_frames(self, indices: Sequence[int], shown: Mapping[int, Frame]) -> FrameFeatures | None:
        """The frames that carry regions, in ascending order, as one batch."""
        found = [self.features(i, shown[i] if i in shown else self.clip.frame_at(i)) for i in sorted(set(indices))]
        return FrameFeatures.cat(found) if found else None

    # --- the mask side -----------------------------------------------------------------------------------------

    @torch.inference_mode()
    def features(self, index: int, frame: Frame) -> FrameFeatures:
        """A frame, mask-encoded. The newest are kept, so that all prompts look at one encoding."""
        if index not in self._features:
            with autocast(self.model):
                self._features[index] = self.model.encode(self.processor.frames([frame]).to(self.model.device))
            while len(self._features) > ENCODED:
                del self._features[next(iter(self._features))]
        return self._features[index]

    @torch.inference_mode()
    def decode(self, index: int, frame: Frame, queries: Sequence[Query]) -> list[Answer]:
        """The masks of all prompts of a frame, in one pass, and of each its memory for the next frame."""
        if not queries:
            return []
        features, found = self.features(index, frame), dict[int, Answer]()
        drawn = [i for i, query in enumerate(queries) if self.draws(query.prompt.request) or not self._has_queries]
        other = [i for i in range(len(queries)) if i not in drawn]
        with autocast(self.model):
            if drawn:
                found |= zip(drawn, self._by_drawing(index, features, [queries[i] for i in drawn]), strict=True)
            if other:
                found |= zip(other, self._by_queries(index, features, [queries[i] for i in other]), strict=True)
        return [found[i] for i in range(len(queries))]

    @property
    def _has_queries(self) -> bool:
        return self.model.mask_decoder is not None

    def _by_drawing(self, index: int, features: FrameFeatures, queries: Sequence[Query]) -> list[Answer]:
        """The prompted head: one pass for the conditions of all prompts."""
        prompts = []
        for query in queries:
            assert query.prompt.guidance is not None
            alone, device = self.draws(query.prompt.request) and not _sought(query), self.model.device
            drawn = None
            if alone:
                regions = [condition.region for condition in query.conditions]
                drawn = prompt_maps(regions, index, self.model.config.image_size, query.carried).to(device)
            places = None if query.places is None else torch.tensor(query.places, device=device)
            prompts.append((query.prompt.guidance, places, drawn, alone))
        found = self.model.draw(features, prompts)
        return [(self._likened(query, one, features), None) for query, one in zip(queries, found, strict=True)]

    def _likened(self, query: Query, prediction: Prediction, features: FrameFeatures) -> Prediction:
        """Of look-alikes the very object that was shown, where that is meant."""
        if not (query.prompt.request.task.one_region and _sought(query)):
            return prediction
        return by_likeness(prediction, features.descriptors[0], query.conditions)

    def _by_queries(self, index: int, features: FrameFeatures, queries: Sequence[Query]) -> list[Answer]:
        """The query decoder: prompts of equal shapes and equally old memories are one batch."""
        video, capacity = self.clip.kind == "video", self.model.config.memory_size
        if not video and features.pixels is None:  # later prompts will look at them, too
            self._features[index] = features = self.model.prepare(features)
        guides = [query.prompt.guidance for query in queries]
        banks = [query.bank or MemoryBank() for query in queries]
        groups: dict[Any, list[int]] = defaultdict(list)
        for i, (guide, bank) in enumerate(zip(guides, banks, strict=True)):
            assert guide is not None
            groups[guide.shape, bank.ages].append(i)
        found: dict[int, Answer] = {}
        for members in groups.values():
            guidance = Guidance.cat([guide for i in members if (guide := guides[i]) is not None])
            bank = MemoryBank.cat([banks[i] for i in members])
            shared = features.repeat(len(members))
            prediction, after = self.model.segment(shared, guidance, bank, remember=video)
            for row, i in enumerate(members):
                one = len(members) == 1
                answer, bank = (prediction, after) if one else (prediction.row(row), after.row(row, banks[i], capacity))
                found[i] = (self._likened(queries[i], answer, features), bank)
        return [found[i] for i in range(len(queries))]

    def draws(self, request: Request) -> bool:
        """Whether the model draws one mask for each condition by itself, beside what is drawn and remembered."""
        return request.task.answer == "best" and bool(self.model.config.prompted_widths)


def _sought(query: Query) -> bool:
    """Whether things are asked for by examples alone: it is not known yet where they are."""
    known = any(mask is not None for mask in query.carried)
    return not known and any(condition.example is not None for condition in query.conditions)


class _Speech:
    """Collects spoken tokens, hands out new text piece by piece, and reads phrases from the whole."""

    def __init__(self, processor: X2SamProcessor) -> None:
        self.tokenizer = processor.tokenizer
        self.ids: list[int] = []
        self.said = ""

    def add(self, token: int) -> str:
        self.ids.append(token)
        text = self.tokenizer.decode(self.ids)
        # Half a character, and a sentence that may yet prove to announce masks only, wait for what follows.
        if text.endswith("\N{REPLACEMENT CHARACTER}") or may_announce(text):
            return ""
        return self._new(read_answer(text)[0])

    def end(self) -> tuple[str, tuple[Phrase, ...], str]:
        """The whole text, its phrases, and what of the text was not handed out yet."""
        text, phrases = read_answer(self.tokenizer.decode(self.ids)) if self.ids else ("", [])
        return text, tuple(phrases), self._new(text)

    def _new(self, text: str) -> str:
        if not text.startswith(self.said) or len(text) == len(self.said):
            return ""
        piece, self.said = text[len(self.said) :], text
        return piece


def _encoded(
    request: Request, guidance: Guidance, text: str, phrases: tuple[Phrase, ...], usage: Usage
) -> EncodedPrompt:
    spoken = tuple(Condition(text=phrase.text) for phrase in phrases)
    conditions = spoken if request.task.generates else request.prompt.conditions
    count = min(len(conditions), int(guidance.num_conditions[0]))
    able = bool(guidance.has_seg[0]) and count > 0
    return EncodedPrompt(request, conditions[:count], guidance if able else None, text, phrases, usage)


def listen(steps: Generator[Any, None, T], on_text: Callable[[str], None] | None = None) -> T:
    """Go through a generator and return what it returns; ``on_text`` is called with every text that it yields."""
    while True:
        try:
            item = next(steps)
        except StopIteration as end:
            return end.value
        if on_text is not None and isinstance(item, str):
            on_text(item)


@contextmanager
def autocast(model: X2SamModel) -> Iterator[None]:
    """Half precision where the model has it; on CPU nothing changes."""
    dtype: Any = model.dtype
    enabled = model.device.type != "cpu" and dtype in (torch.float16, torch.bfloat16)
    with torch.autocast(model.device.type, dtype=dtype if enabled else torch.bfloat16, enabled=enabled):
        yield


def _rank(frames: Sequence[int], device: torch.device) -> Tensor:
    """Frame indices -> their place among the distinct ones, ascending."""
    places = {frame: i for i, frame in enumerate(sorted(set(frames)))}
    return torch.tensor([places[frame] for frame in frames], device=device)
