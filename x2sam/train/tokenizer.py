"""A small byte-level BPE tokenizer of our own: any text works, the words of the training data are short."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from x2sam.processing import IMAGE_PAD, TURN_END, TURN_START, VIDEO_PAD, VISION_END, VISION_START, add_tokens
from x2sam.prompts import ADDED_TOKENS, REGION, conversation
from x2sam.tasks import get_task
from x2sam.train.sampler import Source

SPECIAL = ("<|endoftext|>", TURN_START, TURN_END, VISION_START, VISION_END, IMAGE_PAD, VIDEO_PAD, *ADDED_TOKENS)
"""The first ids, in this order; `x2sam.config.nano` names them."""
_WORDS = r" ?[^\s\d\p{P}]+| ?\d| ?\p{P}|\s"


def train_tokenizer(texts: Iterable[str], size: int) -> PreTrainedTokenizerFast:
    """At most ``size`` tokens, learned from ``texts``; every digit stands alone."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=SPECIAL[0], eos_token=TURN_END)
    wrapped.add_special_tokens({"additional_special_tokens": list(SPECIAL[: -len(ADDED_TOKENS)])})
    return add_tokens(wrapped)


def texts_of(source: Source, tasks: Iterable[str], samples: int, seed: int = 0) -> Iterator[str]:
    """What is said in the first ``samples`` conversations of every task, in pieces without markers."""
    rng = np.random.default_rng(seed)
    for name in tasks:
        for index in range(samples):
            sample = source.sample(name, index)
            for turn in conversation(get_task(name), sample.prompt, sample.answer, rng):
                yield from _unmarked(f"{turn.question}\n{turn.answer or ''}")
    yield from (f"user\nassistant\n<{second}.0 seconds>" for second in range(1, 10))


def _unmarked(text: str) -> list[str]:
    for marker in (*ADDED_TOKENS, REGION):
        text = text.replace(marker, "\0")
    return [piece for piece in text.split("\0") if piece]
