"""The wording of captions: METEOR and CIDEr through pycocoevalcap, and how alike two phrases are through BERT.

These follow the public protocol of grounded captions. pycocoevalcap (the extra ``eval``) brings the METEOR
program and its word lists along but runs them, and the tokenizer, with Java. The likeness of phrases takes
``bert-base-uncased`` from the Hub.
"""

from __future__ import annotations

import shutil
from collections.abc import Hashable, Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from x2sam.errors import DataError, MissingExtraError, X2SamError
from x2sam.metrics.base import Metric


class CaptionScore(Metric):
    """METEOR and CIDEr of one predicted caption per sample, against one or more references.

    CIDEr weighs words by how rare they are among all references, so it is computed at the end over all samples.
    Memory grows with the text.
    """

    state = ("captions",)

    def __init__(self) -> None:
        self.captions: dict[Hashable, tuple[str, tuple[str, ...]]] = {}

    def update(self, key: Hashable, predicted: str, references: Sequence[str]) -> None:
        """Count in one caption. ``key`` names the sample; keys must be sortable."""
        if key in self.captions:
            raise DataError(f"Got the sample {key!r} twice", "each sample scored once")
        if not references:
            raise DataError(f"Got no reference caption for the sample {key!r}", "at least one")
        self.captions[key] = predicted, tuple(references)

    def compute(self) -> dict[str, float]:
        """``METEOR`` (0 to 1) and ``CIDEr`` (0 to 10)."""
        names = ("METEOR", "CIDEr")
        if not self.captions:
            return dict.fromkeys(names, float("nan"))
        tokenizer, *scorers = _scorers()
        order = sorted(self.captions, key=lambda key: (str(type(key)), key))
        # The tokenizer takes a line for a caption, and every character that breaks one for a line's end.
        ours = {n: [{"caption": _line(self.captions[key][0])}] for n, key in enumerate(order)}
        theirs = {n: [{"caption": _line(text)} for text in self.captions[key][1]] for n, key in enumerate(order)}
        ours, theirs = tokenizer.tokenize(ours), tokenizer.tokenize(theirs)
        return {n: float(s.compute_score(theirs, ours)[0]) for n, s in zip(names, scorers, strict=True)}


def _line(text: str) -> str:
    """A caption without anything that any program takes for the end of a line."""
    return " ".join(text.split())


def _scorers() -> tuple[Any, Any, Any]:
    """Tokenizer, METEOR, CIDEr."""
    try:
        from pycocoevalcap.cider.cider import Cider
        from pycocoevalcap.meteor.meteor import Meteor
        from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer
    except ImportError as error:
        raise MissingExtraError("pycocoevalcap", "eval") from error
    if shutil.which("java") is None:
        raise X2SamError(
            "Found no program `java`",
            "a Java runtime, version 8 or newer, for METEOR and the caption tokenizer",
            "Install one, for example: apt install default-jre-headless",
        )
    return PTBTokenizer(), Meteor(), Cider()


class PhraseLikeness:
    """Cosine of the mean BERT states of two phrases, as the recall of grounded captions asks for."""

    def __init__(self, model: str = "bert-base-uncased") -> None:
        self.model = model

    @cached_property
    def _bert(self) -> tuple[Any, Any]:
        from transformers import AutoModel, AutoTokenizer

        return AutoTokenizer.from_pretrained(self.model), AutoModel.from_pretrained(self.model).eval()

    def __call__(self, ours: Sequence[str], theirs: Sequence[str]) -> NDArray[np.float64]:
        """Likeness ``[len(ours), len(theirs)]``, from -1 to 1."""
        if not ours or not theirs:
            return np.zeros((len(ours), len(theirs)))
        return np.stack([self._embed(text) for text in ours]) @ np.stack([self._embed(text) for text in theirs]).T

    @lru_cache(maxsize=4096)  # noqa: B019 - lives as long as the model
    def _embed(self, text: str) -> NDArray[np.float64]:
        """Unit vector ``[channels]``."""
        import torch

        tokenizer, bert = self._bert
        with torch.inference_mode():
            states = bert(**tokenizer(text, return_tensors="pt", max_length=512, truncation=True)).last_hidden_state
        vector = states[0].mean(0).double().numpy()
        return vector / np.linalg.norm(vector)
