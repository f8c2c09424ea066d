"""Which tokens of a large vocabulary English needs most: embeddings are a third of a small language model's bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from x2sam.errors import MissingExtraError

SIZE = 33_408
"""Tokens kept: nano's language folder stays under 88 MB (one takes 612 bytes, and about 27 of ``tokenizer.json``)."""
NAMES = Path(__file__).with_name("imagenet_names.txt")
"""What photos are labelled with: these are split as before, as are `COMMON`."""
COMMON = [
    "person",
    "bicycle",
    "car",
    "motorcycle",
    "airplane",
    "bus",
    "train",
    "truck",
    "boat",
    "traffic light",
    "fire hydrant",
    "stop sign",
    "parking meter",
    "bench",
    "bird",
    "cat",
    "dog",
    "horse",
    "sheep",
    "cow",
    "elephant",
    "bear",
    "zebra",
    "giraffe",
    "backpack",
    "umbrella",
    "handbag",
    "tie",
    "suitcase",
    "frisbee",
    "ski",
    "snowboard",
    "sports ball",
    "kite",
    "baseball bat",
    "baseball glove",
    "skateboard",
    "surfboard",
    "tennis racket",
    "bottle",
    "wine glass",
    "cup",
    "fork",
    "knife",
    "spoon",
    "bowl",
    "banana",
    "apple",
    "sandwich",
    "orange",
    "broccoli",
    "carrot",
    "hot dog",
    "pizza",
    "donut",
    "cake",
    "chair",
    "couch",
    "potted plant",
    "bed",
    "dining table",
    "toilet",
    "tv",
    "laptop",
    "mouse",
    "remote",
    "keyboard",
    "cell phone",
    "microwave",
    "oven",
    "toaster",
    "sink",
    "refrigerator",
    "book",
    "clock",
    "vase",
    "scissors",
    "teddy bear",
    "hair drier",
    "toothbrush",
]
"""The 80 things of COCO."""

WRITTEN: tuple[tuple[str, bool, float], ...] = (
    (" {}", False, 0.85),
    ("{}", False, 0.07),
    (" {}", True, 0.06),
    ("{}", True, 0.01),
)
"""How an English word is written (after a space, with a capital) and how often, roughly: amid a sentence, first in a
phrase, as a name, first in a sentence."""
CAPITALS = 0.001
"""How often it is written in capitals, amid a sentence."""
FREQUENT = 20_000
"""Ids follow the frequency in the tokenizer's own training: names and abbreviations among these first stay."""

_NAME = re.compile(r" ?([A-Z][a-z]+|[A-Z]+)")
_WORD = re.compile(r"[a-z]+('[a-z]+)?")
_ASCII_MARKS = re.compile(r"[^A-Za-z0-9]{2,3}", re.ASCII)
_OTHER_MARKS = re.compile(r" ?[\u00a0-\u00ff\u2010-\u203a\u20ac\u2122]")


def names(file: Path = NAMES) -> list[str]:
    """The ImageNet names in the order of the classes; lines that start with ``#`` are none."""
    return [line.strip() for line in file.read_text("utf-8").splitlines() if line.strip() and line[0] != "#"]


def kept_tokens(
    published: dict[str, Any], special: Sequence[str], said: Sequence[str] = (), size: int = SIZE
) -> list[int]:
    """About ``size`` ids of a byte-level BPE vocabulary, in their order: those that English needs most.

    Always kept are the tokens ``special``, single bytes, runs of at most three ASCII marks or blanks, typographic
    marks and Latin letters, capitalised words among the most frequent tokens, and what ``said`` and `NAMES` need.
    Tokens are then added in the order of how often English words need them (frequencies: package ``wordfreq`` 3.1.1).
    With a token its parts stay. So text whose tokens stay is split as before: the same merges happen in the same
    order.

    Args:
        published: the dict of a ``tokenizer.json``.
        special: reserved tokens to keep.
        said: what is said in every conversation.
        size: when to stop; a token or two more where the last one brings its parts.

    Raises:
        MissingExtraError: ``wordfreq`` is not installed.
    """
    vocab, merges = published["model"]["vocab"], published["model"]["merges"]
    parts = {vocab[a + b]: (vocab[a], vocab[b]) for a, b in (m.split(" ") for m in merges)}
    kept = {vocab[token] for token in special} | {i for token, i in vocab.items() if len(token) == 1}

    def keep(token: int) -> None:
        if token not in kept:
            kept.add(token)
            for part in parts.get(token, ()):
                keep(part)

    for i, text in _texts(vocab).items():
        marks = _ASCII_MARKS.fullmatch(text) or _OTHER_MARKS.fullmatch(text)
        if marks or (i < FREQUENT and _NAME.fullmatch(text)):
            keep(i)
    tokenizer = Tokenizer.from_str(json.dumps(published))
    things = [*COMMON, *names()]
    shown = [w for n in things for w in (n.lower(), f" {n.lower()}", f" {n.lower()}s", f" {n.title()}")]
    for read in tokenizer.encode_batch([*shown, *said], add_special_tokens=False):
        for i in read.ids:
            keep(i)
    for i in np.argsort(-_use(tokenizer), kind="stable"):
        if len(kept) >= size:
            break
        keep(int(i))
    return sorted(kept)


def _texts(vocab: dict[str, int]) -> dict[int, str]:
    """What tokens stand for, where they are whole characters."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]  # other bytes are written as U+0100 and on
    byte = {chr(b): b for b in printable}
    byte |= {chr(256 + n): b for n, b in enumerate(sorted(set(range(256)) - set(printable)))}
    texts = {}
    for token, i in vocab.items():
        try:
            texts[i] = bytes(byte[c] for c in token).decode()
        except (KeyError, UnicodeDecodeError):  # part of a character
            continue
    return texts


def _use(tokenizer: Tokenizer) -> NDArray[np.float64]:
    """How often English words need each token, ``[V]``."""
    try:
        from wordfreq import get_frequency_dict
    except ImportError as error:
        raise MissingExtraError("wordfreq", "pack") from error
    often = {word: f for word, f in get_frequency_dict("en", "large").items() if _WORD.fullmatch(word)}
    weight = np.fromiter(often.values(), np.float64)
    used = np.zeros(tokenizer.get_vocab_size())

    def count(words: list[str], share: float) -> None:
        ids = [read.ids for read in tokenizer.encode_batch(words, add_special_tokens=False)]
        each = np.repeat(weight * share, [len(i) for i in ids])
        used[:] += np.bincount(np.concatenate(ids), each, len(used))

    for form, capital, share in WRITTEN:
        count([form.format(word.capitalize() if capital else word) for word in often], share)
    count([f" {word.upper()}" for word in often], CAPITALS)
    return used
