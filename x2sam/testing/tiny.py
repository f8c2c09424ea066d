"""A tiny random model that runs the whole path without a download: for tests and for trying out."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from x2sam.config import X2SamConfig, tiny
from x2sam.model.modeling import X2SamModel
from x2sam.processing import (
    IMAGE_PAD,
    TURN_END,
    TURN_START,
    VIDEO_PAD,
    VISION_END,
    VISION_START,
    X2SamProcessor,
    add_tokens,
)


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, then the special tokens, with the ids that `x2sam.config.tiny` names."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", TURN_START, TURN_END, VISION_START, VISION_END, IMAGE_PAD, VIDEO_PAD]
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=special[0], eos_token=special[2])
    wrapped.add_special_tokens({"additional_special_tokens": special})
    return add_tokens(wrapped)


def tiny_processor(config: X2SamConfig | None = None) -> X2SamProcessor:
    """A processor with a byte tokenizer for `tiny_model`."""
    return X2SamProcessor.for_model(
        config or tiny(), byte_tokenizer(), max_pixels=64 * 64, video_max_pixels=8 * 64 * 64, language_frames=4
    )


def tiny_model(seed: int = 0, **changes: Any) -> X2SamModel:
    """A model with random weights; the same for the same seed. changes: fields of the configuration."""
    config = tiny()
    for name, value in changes.items():
        setattr(config, name, value)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return X2SamModel(config).eval()
