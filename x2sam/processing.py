"""X2SamProcessor: a task, a prompt and frames -> the tensors of both branches. The same in training and inference."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoProcessor, BatchFeature, PreTrainedTokenizerBase, ProcessorMixin

from x2sam import vision
from x2sam.config import X2SamConfig
from x2sam.errors import InputError
from x2sam.prompts import ADDED_TOKENS, PHRASE_START, REGION, conversation
from x2sam.tasks import Task
from x2sam.types import Frame, Prompt

IMAGE_PAD, VIDEO_PAD = "<|image_pad|>", "<|video_pad|>"
VISION_START, VISION_END = "<|vision_start|>", "<|vision_end|>"
TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"


AnyTokenizer = TypeVar("AnyTokenizer", bound=PreTrainedTokenizerBase)


@dataclass(frozen=True)
class LanguageMedia:
    """Frames as the language model sees them."""

    patches: Tensor
    """``[t*h*w, patch values]``."""
    grid: tuple[int, int, int]
    """(t, h, w) in patches."""
    is_video: bool
    times: tuple[float, ...] | None
    """Seconds of every frame; None where unknown."""


@dataclass
class Encoded:
    """One request or example, before it is batched."""

    input_ids: Tensor
    """``[L]``."""
    labels: Tensor
    """``[L]``, -100 where the text is given rather than spoken."""
    prefix_length: int
    """Tokens up to the end of the medium: what prompts on one medium share."""
    media: LanguageMedia
    region_masks: Tensor
    """``[R, image_size, image_size]`` bool."""
    region_frames: list[int] = field(default_factory=list)
    """Frame of the clip that each region was drawn on."""


class X2SamProcessor(ProcessorMixin):
    """Words, pictures and regions -> tensors.

    Args:
        tokenizer: the language model's, with ``<SEG>``, ``<p>`` and ``</p>`` added (`add_tokens`).
        patch_size, merge_size, temporal_patch_size: of the language model's vision encoder.
        min_pixels, max_pixels: limits of a picture for the language model (the release caps at 1,003,520).
        video_min_pixels, video_max_pixels: limits of frames x height x width for a clip.
        image_size: side of the mask branch's square frames.
        region_tokens: embeddings a region takes.
        language_frames: frames of a clip that the language model sees.
        spaced_markers: a phrase is written with a space before it, ``<p> the cat</p>``, so that its words have the
            tokens that they have amid a sentence.
        timestamps: ``index`` writes 1.0, 2.0 ... before the frames of a clip, as segmentation was trained in the
            release; ``seconds`` writes their time where it is known.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        patch_size: int = 16,
        merge_size: int = 2,
        temporal_patch_size: int = 2,
        min_pixels: int = 3136,
        max_pixels: int = 1_003_520,
        video_min_pixels: int = 4096,
        video_max_pixels: int = 25_165_824,
        image_size: int = 1024,
        region_tokens: int = 64,
        region_token_id: int = -400,
        language_frames: int = 8,
        timestamps: str = "index",
        spaced_markers: bool = False,
        chat_template: str | None = None,
    ) -> None:
        super().__init__(tokenizer, chat_template=chat_template)
        self.patch_size, self.merge_size, self.temporal_patch_size = patch_size, merge_size, temporal_patch_size
        self.min_pixels, self.max_pixels = min_pixels, max_pixels
        self.video_min_pixels, self.video_max_pixels = video_min_pixels, video_max_pixels
        self.image_size, self.region_tokens, self.region_token_id = image_size, region_tokens, region_token_id
        self.language_frames, self.spaced_markers = language_frames, spaced_markers
        if timestamps not in ("index", "seconds"):
            raise InputError(f"Got timestamps={timestamps!r}", "'index' or 'seconds'")
        self.timestamps = timestamps
        missing = [t for t in (*ADDED_TOKENS, IMAGE_PAD, VIDEO_PAD) if self._id(t) is None]
        if missing:
            raise InputError(
                f"Got a tokenizer without {', '.join(missing)}",
                "the language model's with the added tokens",
                "Call x2sam.processing.add_tokens(tokenizer) first",
            )

    @classmethod
    def for_model(cls, config: X2SamConfig, tokenizer: PreTrainedTokenizerBase, **settings: Any) -> X2SamProcessor:
        """The processor that fits a model's configuration."""
        eyes = config.vision_config
        return cls(
            tokenizer,
            patch_size=eyes.patch_size,
            merge_size=eyes.spatial_merge_size,
            temporal_patch_size=eyes.temporal_patch_size,
            image_size=config.image_size,
            region_tokens=config.region_tokens,
            region_token_id=config.region_token_id,
            **settings,
        )

    # --- pictures ----------------------------------------------------------------------------------------------

    def see(
        self, frames: Sequence[Frame], is_video: bool, times: Sequence[float | None] | None = None
    ) -> LanguageMedia:
        """Frames ``[H, W, 3]`` uint8 -> the language model's patches. A picture is one frame, shown twice."""
        if not len(frames):
            raise InputError("Got no frames", "at least one")
        height, width = frames[0].shape[:2]
        multiple = self.patch_size * self.merge_size
        if is_video:
            rounded = -(-len(frames) // self.temporal_patch_size) * self.temporal_patch_size
            limits = (self.video_min_pixels, self.video_max_pixels)
            size = vision.smart_size(height, width, multiple, *limits, frames=len(frames), rounded_frames=rounded)
        else:
            size = vision.smart_size(height, width, multiple, self.min_pixels, self.max_pixels)
        pixels = vision.normalise(vision.resize(frames, size, "bicubic"), (0.5,) * 3, (0.5,) * 3)
        cut, grid = vision.patches(pixels, self.patch_size, self.merge_size, self.temporal_patch_size)
        known = tuple(t for t in times if t is not None) if times is not None else ()
        return LanguageMedia(cut, grid, is_video, known if len(known) == len(frames) else None)

    def frames(self, frames: Sequence[Frame]) -> Tensor:
        """Frames ``[H, W, 3]`` uint8 -> the mask branch's ``[T, 3, S, S]``; the aspect ratio is not kept."""
        squares = vision.resize(frames, (self.image_size, self.image_size), "bilinear")
        return vision.normalise(squares, vision.IMAGENET_MEAN, vision.IMAGENET_STD)

    # --- words -------------------------------------------------------------------------------------------------

    def encode(
        self,
        task: Task,
        prompt: Prompt,
        media: LanguageMedia,
        answer: str | None = None,
        rng: np.random.Generator | None = None,
    ) -> Encoded:
        """One request (``rng`` None) or training example (wordings drawn from ``rng``).

        The medium is shown in the first turn.
        """
        slot, counts = self._slot(media)
        head = torch.cat(list(self._pieces(f"{TURN_START}user\n{slot}", counts)))
        ids, labels = [head], [torch.full_like(head, -100)]
        for number, turn in enumerate(conversation(task, prompt, answer, rng)):
            opening = "" if number == 0 else f"{TURN_START}user\n"
            question = f"{opening}{turn.question}{TURN_END}\n{TURN_START}assistant\n"
            for piece in self._pieces(question, iter(())):
                ids.append(piece)
                labels.append(torch.full_like(piece, -100))
            if turn.answer is not None:
                spoken = torch.cat(list(self._pieces(turn.answer + TURN_END, iter(()))))
                newline = torch.cat(list(self._pieces("\n", iter(()))))
                ids += [spoken, newline]
                labels += [spoken, torch.full_like(newline, -100)]
        regions = prompt.regions
        return Encoded(
            input_ids=torch.cat(ids),
            labels=torch.cat(labels),
            prefix_length=len(head),
            media=media,
            region_masks=vision.square_masks([r.mask for r in regions], self.image_size),
            region_frames=[r.frame for r in regions],
        )

    def _slot(self, media: LanguageMedia) -> tuple[str, Iterator[int]]:
        """The text that stands for a medium, with one pad for every run of picture tokens, and the runs' lengths."""
        t, h, w = media.grid
        tokens = h * w // self.merge_size**2
        if not media.is_video:
            return f"{VISION_START}{IMAGE_PAD}{VISION_END}", iter([tokens])
        step = self.temporal_patch_size
        stamps = [float(i + 1) for i in range(t)]
        if self.timestamps == "seconds" and media.times is not None:
            last = len(media.times) - 1
            stamps = [(media.times[i * step] + media.times[min(i * step + step - 1, last)]) / 2 for i in range(t)]
        block = "".join(f"<{stamp:.1f} seconds>{VISION_START}{VIDEO_PAD}{VISION_END}" for stamp in stamps)
        return block, iter([tokens] * t)

    def _pieces(self, text: str, counts: Iterator[int]) -> Iterator[Tensor]:
        """Token ids of ``text``; pads and regions become as many slots as they need."""
        if self.spaced_markers:
            text = re.sub(rf"{PHRASE_START}(?=[^<\s])", f"{PHRASE_START} ", text)
        for piece in re.split(f"({re.escape(IMAGE_PAD)}|{re.escape(VIDEO_PAD)}|{REGION})", text):
            if piece in (IMAGE_PAD, VIDEO_PAD):
                yield torch.full((next(counts),), self.tokenizer.convert_tokens_to_ids(piece), dtype=torch.long)
            elif piece == REGION:
                yield torch.full((self.region_tokens,), self.region_token_id, dtype=torch.long)
            elif piece:
                yield torch.tensor(self.tokenizer.encode(piece, add_special_tokens=False), dtype=torch.long)

    def _id(self, token: str) -> int | None:
        found = self.tokenizer.convert_tokens_to_ids(token)
        return None if found is None or found == self.tokenizer.unk_token_id else found

    def spelled(self, names: Iterable[str]) -> list[tuple[int, ...]]:
        """Names as the tokens that they have within a sentence, in small letters (`LanguageSide.meanings_of`)."""
        return [tuple(self.tokenizer.encode(f" {name.lower()}", add_special_tokens=False)) for name in names]

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Tokens that end an answer."""
        return tuple(i for i in (self._id(TURN_END), self._id("<|endoftext|>")) if i is not None)

    # --- batches -----------------------------------------------------------------------------------------------

    def collate(self, batch: Sequence[Encoded], clip_length: int = 1) -> BatchFeature:
        """Pad on the right and stack. What `X2SamModel.understand` and `forward` take.

        Args:
            batch: encoded requests.
            clip_length: frames per clip in the batch's ``frames``: a region on frame t of sample b has the index
                ``b * clip_length + t``.
        """
        pad = self.tokenizer.pad_token_id or 0
        ids = pad_sequence([e.input_ids for e in batch], batch_first=True, padding_value=pad)
        lengths = torch.tensor([len(e.input_ids) for e in batch])
        data: dict[str, Any] = {
            "input_ids": ids,
            "attention_mask": (torch.arange(ids.shape[1]) < lengths[:, None]).long(),
            "labels": pad_sequence([e.labels for e in batch], batch_first=True, padding_value=-100),
        }
        for video, pixels, grid in (
            (False, "pixel_values", "image_grid_thw"),
            (True, "pixel_values_videos", "video_grid_thw"),
        ):
            shown = [e.media for e in batch if e.media.is_video == video]
            if shown:
                data[pixels] = torch.cat([m.patches for m in shown])
                data[grid] = torch.tensor([m.grid for m in shown])
        if any(len(e.region_masks) for e in batch):
            data["region_masks"] = torch.cat([e.region_masks for e in batch])
            data["region_frames"] = torch.tensor(
                [b * clip_length + frame for b, e in enumerate(batch) for frame in e.region_frames]
            )
        return BatchFeature(data)

    def __call__(
        self,
        task: Task,
        prompt: Prompt,
        frames: Sequence[Frame],
        times: Sequence[float | None] | None = None,
        answer: str | None = None,
        rng: np.random.Generator | None = None,
    ) -> BatchFeature:
        """A batch of one with both branches' tensors (``frames`` ``[1, T, 3, S, S]`` for the mask branch)."""
        media = self.see(frames, task.media == "video", times)
        batch = self.collate([self.encode(task, prompt, media, answer, rng)], clip_length=len(frames))
        batch["frames"] = self.frames(frames)[None]
        return batch


def add_tokens(tokenizer: AnyTokenizer) -> AnyTokenizer:
    """Add ``<SEG>``, ``<p>`` and ``</p>`` to a language model's tokenizer, in the released order."""
    tokenizer.add_special_tokens({"additional_special_tokens": list(ADDED_TOKENS)}, replace_extra_special_tokens=False)
    return tokenizer


AutoProcessor.register(X2SamConfig, X2SamProcessor, exist_ok=True)
