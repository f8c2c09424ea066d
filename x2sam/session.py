"""One opened medium: read once, asked as often as you like.

    session = x2sam.X2Sam.from_pretrained().open("clip.mp4")
    for frame in session.track("the rabbit"): ...

The language side reads a sample of the frames once and shares that reading between prompts; the mask side goes frame
by frame and keeps nothing but the bounded memory bank.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from x2sam.answer import AnswerOptions, answer_frame
from x2sam.errors import InputError
from x2sam.media import Clip, TimedFrame
from x2sam.model.frames import FrameFeatures
from x2sam.model.language import Prefix
from x2sam.model.mask_decoder import Guidance, Prediction
from x2sam.model.mask_memory import MemoryBank
from x2sam.model.modeling import X2SamModel
from x2sam.processing import Encoded, LanguageMedia, X2SamProcessor
from x2sam.prompts import Phrase, Turn, clean, may_announce, read_answer
from x2sam.requests import Request, make_request
from x2sam.result import Result
from x2sam.tasks import TASKS
from x2sam.tracking import RecentMasks, Tracker
from x2sam.types import Condition, Frame, FrameResult, Prompt, Region, Segment

Identity = Literal["x2sam", "released"]

MAX_NEW_TOKENS = 512
"""Length of an answer at most, unless said otherwise."""


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


class Session:
    """A medium, opened by `X2Sam.open`."""

    def __init__(self, model: X2SamModel, processor: X2SamProcessor, clip: Clip) -> None:
        self.model, self.processor, self.clip = model, processor, clip
        self._prefix: Prefix | None = None
        self._features: dict[int, FrameFeatures] = {}

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the medium."""
        return self.clip.size

    # --- for users ---------------------------------------------------------------------------------------------

    def segment(
        self,
        prompt: str | Sequence[str] | Prompt | None = None,
        regions: Any = None,
        task: str | None = None,
        **options: Any,
    ) -> Result:
        """Segment an image, or all of a clip. See `X2Sam.segment`."""
        return self.track(prompt, regions, task, **options).result

    def track(
        self,
        prompt: str | Sequence[str] | Prompt | None = None,
        regions: Any = None,
        task: str | None = None,
        identity: Identity = "x2sam",
        on_text: Callable[[str], None] | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
        keep: bool = True,
        **options: Any,
    ) -> Track:
        """Segment frame by frame, as the result is iterated. See `X2Sam.track`."""
        request = make_request(self.clip, prompt, regions, task)
        if request.task.is_chat:
            raise InputError(f"Got the task {request.task.name}", "a segmentation task", "For text use chat()")
        return Track(self, self.ask(request, max_new_tokens, on_text), answer_options(options), identity, keep)

    def chat(
        self,
        messages: str | Sequence[dict[str, str]],
        on_text: Callable[[str], None] | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
        **options: Any,
    ) -> Result:
        """Answer in words; if the answer grounds phrases, their masks come with it. See `X2Sam.chat`."""
        turns = chat_turns(messages)
        request = Request(
            TASKS["vid_chat" if self.clip.kind == "video" else "img_chat"], Prompt(text=turns[-1].question)
        )
        asked = self.ask(request, max_new_tokens, on_text, turns)
        if asked.guidance is None:
            return Result(request.task.name, asked.text, (), request.prompt, self.clip)
        return Track(self, asked, answer_options(options)).result

    # --- the language side -------------------------------------------------------------------------------------

    @torch.inference_mode()
    def ask(
        self,
        request: Request,
        max_new_tokens: int = MAX_NEW_TOKENS,
        on_text: Callable[[str], None] | None = None,
        turns: Sequence[Turn] | None = None,
    ) -> Asked:
        """Read a request; generating tasks answer in their own words, with ``on_text`` called for each new piece."""
        encoded = (
            self.processor.encode(request.task, request.prompt, self.media)
            if turns is None
            else self.processor.encode_turns(turns, request.prompt, self.media)
        )
        device = self.model.device
        generates = request.task.generates
        speaker = _Speaker(self.processor, on_text)
        with autocast(self.model):
            prefix = self._read_medium(encoded)
            understanding = self.model.understand(
                encoded.input_ids[None].to(device),
                region_masks=encoded.region_masks.to(device),
                region_frames=_rank(encoded.region_frames, device),
                region_features=self._marked_frames(encoded.region_frames),
                prefix=prefix,
                max_new_tokens=max_new_tokens if generates else 0,
                stop_ids=self.processor.stop_ids,
                on_token=speaker,
                conditions_in_answer=generates,
            )
        return speaker.asked(request, understanding.guidance)

    @property
    def seen(self) -> int:
        """Frames that the language side sees."""
        return len(self._sample)

    @cached_property
    def _sample(self) -> list[TimedFrame]:
        return self.clip.sample(self.processor.language_frames)

    @cached_property
    def media(self) -> LanguageMedia:
        """The sample of frames that the language side sees."""
        frames, times = [frame for _, _, frame in self._sample], [time for _, time, _ in self._sample]
        return self.processor.see(frames, self.clip.kind == "video", times)

    def _read_medium(self, encoded: Encoded) -> Prefix:
        if self._prefix is None:
            batch = self.processor.collate([encoded])
            names = ("pixel_values", "image_grid_thw", "pixel_values_videos", "video_grid_thw")
            device = self.model.device
            self._prefix = self.model.read_prefix(
                batch["input_ids"][:, : encoded.prefix_length].to(device),
                **{n: batch[n].to(device) for n in names if n in batch},
            )
        return self._prefix

    # --- the mask side -----------------------------------------------------------------------------------------

    def features(self, index: int, frame: Frame) -> FrameFeatures:
        """A frame, mask-encoded. An image's is kept, and so are those of frames that carry regions."""
        if index in self._features:
            return self._features[index]
        with autocast(self.model):
            features = self.model.encode(self.processor.frames([frame]).to(self.model.device))
            if self.clip.kind == "image":
                features = self._features[index] = self.model.prepare(features)
        return features

    def _marked_frames(self, indices: Sequence[int]) -> FrameFeatures | None:
        """The frames that carry regions, in ascending order, as one batch."""
        wanted = sorted(set(indices))
        if not wanted:
            return None
        found = [self.features(i, self.clip.frame_at(i)) for i in wanted]
        self._features = dict(zip(wanted, found, strict=True))
        return FrameFeatures.cat(found)


class Track:
    """Results of a clip, frame by frame, and the whole at the end.

    Iterating yields a `FrameResult` for every frame as it is done; `result` finishes what is left. With ``keep`` False
    a frame's result is forgotten once it is yielded, for streams without end.
    """

    def __init__(
        self, session: Session, asked: Asked, options: AnswerOptions, identity: Identity = "x2sam", keep: bool = True
    ) -> None:
        self.session, self.asked, self.options = session, asked, options
        self.tracker = new_tracker(asked, identity)
        # Phrases choose frame by frame in the release; single objects always stay on their masks.
        stays = asked.request.task.one_region or options.protocol == "public"
        self.recent = RecentMasks() if stays else None
        self.bank: MemoryBank | None = None
        self._frames = iter(session.clip)
        self._done: deque[FrameResult] = deque(maxlen=None if keep else 0)

    def __iter__(self) -> Iterator[FrameResult]:
        yield from tuple(self._done)
        while (frame := self._next()) is not None:
            yield frame

    @property
    def text(self) -> str:
        """What was said."""
        return self.asked.text

    @property
    def result(self) -> Result:
        """Everything; runs through the frames that nobody has asked for yet."""
        while self._next() is not None:
            pass
        return self.done

    @property
    def done(self) -> Result:
        """What is there so far."""
        request = self.asked.request
        return Result(request.task.name, self.asked.text, tuple(self._done), request.prompt, self.session.clip)

    def _next(self) -> FrameResult | None:
        item = next(self._frames, None)
        if item is None:
            return None
        frame = self.step(*item)
        self._done.append(frame)
        return frame

    @torch.inference_mode()
    def step(self, index: int, time: float | None, frame: Frame) -> FrameResult:
        """Find the masks of the next frame."""
        height, width = frame.shape[:2]
        guidance = self.asked.guidance
        if guidance is None:
            return FrameResult(index, time, height, width)
        session = self.session
        features = session.features(index, frame)
        with autocast(session.model):
            is_video = session.clip.kind == "video"
            prediction, self.bank = session.model.segment(features, guidance, self.bank, remember=is_video)
        return frame_result(
            self.asked, self.options, self.tracker, prediction, index, time, (height, width), recent=self.recent
        )


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
) -> FrameResult:
    """One frame's prediction -> its segments.

    ``row`` is the sample's place in the predicted batch; ``recent`` are the masks of the frames before, which keep an
    answer on its object.
    """
    conditions = asked.conditions
    logits = prediction.class_logits[row].float()
    # A batch pads its samples to the longest list of conditions.
    logits = torch.cat([logits[:, : len(conditions)], logits[:, -1:]], 1)
    marked: list[Region | None] = [c.region for c in conditions]
    candidates = answer_frame(
        asked.request.task,
        logits,
        prediction.mask_logits[row].float(),
        size,
        conditions,
        options,
        prompt_masks=[r.mask if r is not None and r.frame == index else None for r in marked],
        recent=recent.of(len(conditions)) if recent is not None else (),
    )
    if recent is not None:
        recent.add(candidates)
    ids = tracker.step(candidates, prediction.queries[row].float())
    labels = Prompt(conditions).labels
    segments = tuple(
        Segment(c.rle, labels[c.condition], c.score, i, c.condition, index, conditions[c.condition].is_thing)
        for c, i in zip(candidates, ids, strict=True)
    )
    return FrameResult(index, time, *size, segments)


def new_tracker(asked: Asked, identity: Identity = "x2sam") -> Tracker:
    """A tracker that keeps the ids the caller gave to regions."""
    given = {i: c.region.object_id for i, c in enumerate(asked.conditions) if c.region is not None}
    return Tracker(identity=identity, fixed_ids={i: n for i, n in given.items() if n is not None})


class _Speaker:
    """Collects spoken tokens, hands new text on piece by piece, and reads phrases from the whole."""

    def __init__(self, processor: X2SamProcessor, on_text: Callable[[str], None] | None) -> None:
        self.tokenizer, self.on_text = processor.tokenizer, on_text
        self.ids: list[int] = []
        self.said = ""

    def __call__(self, token: int) -> None:
        self.ids.append(token)
        text = self.tokenizer.decode(self.ids)
        # Half a character, and a sentence that may yet prove to announce masks only, wait for what follows.
        if self.on_text is not None and not text.endswith("\N{REPLACEMENT CHARACTER}") and not may_announce(text):
            self._hand_on(read_answer(text)[0])

    def _hand_on(self, text: str) -> None:
        if self.on_text is not None and text.startswith(self.said) and len(text) > len(self.said):
            self.on_text(text[len(self.said) :])
            self.said = text

    def asked(self, request: Request, guidance: Guidance) -> Asked:
        text, phrases = read_answer(self.tokenizer.decode(self.ids)) if self.ids else ("", [])
        self._hand_on(text)
        spoken = tuple(Condition(text=phrase.text) for phrase in phrases)
        conditions = spoken if request.task.generates else request.prompt.conditions
        count = min(len(conditions), int(guidance.num_conditions[0]))
        able = bool(guidance.has_seg[0]) and count > 0
        return Asked(request, conditions[:count], guidance if able else None, text, tuple(phrases))


def chat_turns(messages: str | Sequence[dict[str, str]]) -> list[Turn]:
    """A conversation so far, ``[{"role": "user", "content": ...}, ...]``, as turns; the last waits for its answer."""
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    roles = [m.get("role") for m in messages]
    if not roles or roles != ["user", "assistant"] * (len(roles) // 2) + ["user"]:
        raise InputError(f"Got messages of the roles {roles}", "user and assistant in turn, a user's last")
    contents = [clean(str(m.get("content", ""))) for m in messages]
    if not all(contents[::2]):
        raise InputError("Got an empty message", "text")
    return [
        Turn(question, contents[i * 2 + 1] if i * 2 + 1 < len(contents) else None)
        for i, question in enumerate(contents[::2])
    ]


def answer_options(options: dict[str, Any]) -> AnswerOptions:
    """Keyword arguments -> options; an unknown one is named."""
    known = AnswerOptions.__dataclass_fields__
    for name in options:
        if name not in known:
            raise InputError(f"Got the option {name!r}", f"one of: {', '.join(known)}")
    return AnswerOptions(**options)


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
