"""One opened medium: read once, asked as often as you like.

    session = x2sam.X2Sam.from_pretrained().open("clip.mp4")
    for frame in session.track("the rabbit"): ...

The language side reads a sample of the frames once and shares that reading between prompts; the mask side goes frame
by frame and keeps nothing but the bounded memory bank.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from x2sam.config import X2SamConfig
from x2sam.decoding.answer import AnswerOptions
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
from x2sam.prompts import clean, may_announce, read_answer
from x2sam.requests import Request
from x2sam.results.result import Result
from x2sam.tasks import TASKS
from x2sam.tracking.prompt_state import Asked, Identity
from x2sam.tracking.track import Track
from x2sam.types import Condition, Frame, Prompt

MAX_NEW_TOKENS = 512
"""Length of an answer at most, unless said otherwise."""
ENCODED = 2
"""Encoded frames that a session keeps: the newest, and the one that the newest regions are drawn on."""


@dataclass
class _Reading:
    """What the language side has read of the medium, for the prompts that follow."""

    upto: int | None
    """The last frame of a stream that it saw; None for the sample of a clip."""
    media: LanguageMedia
    prefix: Prefix | None = None


class Session:
    """A medium, opened by `X2Sam.open`.

    Threads may share a model as they like, and a session for `segment` and `chat`, which take turns: the reading of the
    medium is the session's own. A track belongs to the thread that iterates it, and its session with it.
    """

    def __init__(self, model: X2SamModel, processor: X2SamProcessor, clip: Clip, history: int = 0) -> None:
        self.model, self.processor, self.clip = model, processor, clip
        self.history = max(history, processor.language_frames)
        """Frames of a stream that stay at hand, for the language side and for corrections."""
        if clip.stream is not None:
            clip.stream.remember(self.history)
        self._reading: _Reading | None = None
        self._features: dict[int, FrameFeatures] = {}
        self._turn = threading.RLock()

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
        with self._turn:
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
        refresh: int | None = None,
        **options: Any,
    ) -> Track:
        """Segment frame by frame, as the result is iterated, or as frames are pushed. See `X2Sam.track`."""
        track = Track(self, answer_options(options, self.model.config), identity, keep, refresh)
        track.follow(track.request(prompt, regions, task), max_new_tokens=max_new_tokens, on_text=on_text)
        return track

    def restore(self, path: str | os.PathLike[str]) -> Track:
        """Go on with a track that `Track.save` wrote, on the same medium opened again (or a stream that goes on)."""
        return Track.restore(path, self)

    def chat(
        self,
        messages: str | Sequence[dict[str, str]],
        on_text: Callable[[str], None] | None = None,
        max_new_tokens: int = MAX_NEW_TOKENS,
        **options: Any,
    ) -> Result:
        """Answer in words; if the answer grounds phrases, their masks come with it. See `X2Sam.chat`."""
        task = TASKS["vid_chat" if self.clip.kind == "video" else "img_chat"]
        request = Request(task, chat_prompt(messages))
        with self._turn:
            asked = self.ask(request, max_new_tokens, on_text)
            if asked.guidance is None:
                return Result(request.task.name, asked.text, (), request.prompt, self.clip)
            track = Track(self, answer_options(options, self.model.config))
            track.follow(request, asked=asked)
            return track.result

    # --- the language side -------------------------------------------------------------------------------------

    @torch.inference_mode()
    def ask(
        self,
        request: Request,
        max_new_tokens: int = MAX_NEW_TOKENS,
        on_text: Callable[[str], None] | None = None,
        upto: int | None = None,
        shown: Mapping[int, Frame] | None = None,
    ) -> Asked:
        """Read a request; generating tasks answer in their own words, with ``on_text`` called for each new piece.

        upto: read the newest frames up to this one; None: the sample of the whole medium.
        shown: frames that regions are drawn on, where the medium may not have them any more.
        """
        reading = self._read(upto)
        encoded = self.processor.encode(request.task, request.prompt, reading.media)
        device = self.model.device
        generates = request.task.generates
        speaker = _Speaker(self.processor, on_text)
        with autocast(self.model):
            if reading.prefix is None or (generates and not reading.prefix.whole):
                reading.prefix = self._prefix(encoded, generates)
            understanding = self.model.understand(
                encoded.input_ids[None].to(device),
                region_masks=encoded.region_masks.to(device),
                region_frames=_rank(encoded.region_frames, device),
                region_features=self._marked_frames(encoded.region_frames, shown or {}),
                prefix=reading.prefix,
                max_new_tokens=max_new_tokens if generates else 0,
                stop_ids=self.processor.stop_ids,
                on_token=speaker,
                conditions_in_answer=generates,
            )
        return speaker.asked(request, understanding.guidance)

    @property
    def seen(self) -> int:
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

    # --- the mask side -----------------------------------------------------------------------------------------

    def features(self, index: int, frame: Frame) -> FrameFeatures:
        """A frame, mask-encoded. The newest are kept, so that several prompts may look at one frame."""
        if index not in self._features:
            with autocast(self.model):
                self._features[index] = self.model.encode(self.processor.frames([frame]).to(self.model.device))
            while len(self._features) > ENCODED:
                del self._features[next(iter(self._features))]
        return self._features[index]

    def decode(
        self,
        index: int,
        frame: Frame,
        asked: Asked,
        bank: MemoryBank | None,
        carried: Sequence[Tensor | None] = (),
    ) -> tuple[Prediction, MemoryBank]:
        """The masks of a frame, and the memory for the next.

        carried: of each condition its mask as carried here from the frames before, ``[h, w]``, 0..1.
        """
        features = self.features(index, frame)
        alone = self.alone(asked.request)
        drawn = None
        if alone:
            regions = [condition.region for condition in asked.conditions]
            drawn = prompt_maps(regions, index, self.model.config.image_size, carried)[None].to(self.model.device)
        elif self.clip.kind == "image" and features.fpn and features.pixels is None:
            with autocast(self.model):  # other prompts will look at them, too
                self._features[index] = features = self.model.prepare(features)
        with autocast(self.model):
            video = self.clip.kind == "video"
            return self.model.segment(features, asked.guidance, bank, remember=video, alone=alone, drawn=drawn)

    def alone(self, request: Request) -> bool:
        """Whether the model draws one mask for each condition by itself, beside what is drawn and remembered."""
        return request.task.answer == "best" and bool(self.model.config.prompted_widths)

    @property
    def signature(self) -> Tensor:
        """A learned vector by which a saved state knows its model again."""
        return self.model.no_memory.detach().cpu()

    def _marked_frames(self, indices: Sequence[int], shown: Mapping[int, Frame]) -> FrameFeatures | None:
        """The frames that carry regions, in ascending order, as one batch."""
        found = [self.features(i, shown[i] if i in shown else self.clip.frame_at(i)) for i in sorted(set(indices))]
        return FrameFeatures.cat(found) if found else None


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


def chat_prompt(messages: str | Sequence[dict[str, str]]) -> Prompt:
    """A conversation so far, ``[{"role": "user", "content": ...}, ...]``; its last message waits for an answer."""
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    roles = [m.get("role") for m in messages]
    if not roles or roles != ["user", "assistant"] * (len(roles) // 2) + ["user"]:
        raise InputError(f"Got messages of the roles {roles}", "user and assistant in turn, a user's last")
    contents = [clean(str(m.get("content", ""))) for m in messages]
    if not all(contents[::2]):
        raise InputError("Got an empty message", "text")
    return Prompt(text=contents[-1], history=tuple(zip(contents[:-1:2], contents[1::2], strict=True)))


def answer_options(options: dict[str, Any], config: X2SamConfig) -> AnswerOptions:
    """Keyword arguments -> options, with the model's own defaults; an unknown one is named."""
    known = AnswerOptions.__dataclass_fields__
    for name in options:
        if name not in known:
            raise InputError(f"Got the option {name!r}", f"one of: {', '.join(known)}")
    calibrated = {
        "presence": config.presence_threshold,
        "arrival": config.arrival_threshold,
        "object_presence": config.object_threshold,
    }
    return AnswerOptions(**{**calibrated, **options})


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
