"""Chat benchmarks: lets lmms-eval (a maintained harness, MIT) ask our chat. It finds this file by our entry point.

    pip install lmms-eval
    python -m lmms_eval --model x2sam --model_args pretrained=4b --tasks mme,videomme

The harness brings prompts, data and scores; nothing of them is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from accelerate import PartialState

from x2sam.errors import InputError
from x2sam.predictor import X2Sam

try:
    from lmms_eval.api.model import lmms as _Base
except ImportError:  # the harness is not installed; it alone makes use of this class
    _Base = object

MAX_NEW_TOKENS = 512
BLANK = np.full((224, 224, 3), 127, dtype=np.uint8)
"""Shown where a question comes without a picture."""


class X2SamChat(_Base):
    """Our chat as lmms-eval's "simple" model.

    Args:
        pretrained: name, folder or Hub name of the model.
        device, dtype: as in `X2Sam.from_pretrained`.
        batch_size: accepted because the harness gives it; answers are spoken one by one.
    """

    is_simple = True

    def __init__(
        self, pretrained: str = "auto", device: str = "auto", dtype: str = "auto", batch_size: int | str = 1, **_: Any
    ) -> None:
        super().__init__()
        self.model = X2Sam.from_pretrained(pretrained, device=device or "auto", dtype=dtype)
        state = PartialState()
        self._rank, self._world_size = state.process_index, state.num_processes

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """The answer to every request, ended where the benchmark says so."""
        return [self._answer(*request.args) for request in requests]

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        """Not offered: benchmarks with several rounds bring protocols of their own."""
        raise InputError("Got a benchmark of several rounds", "one question to a picture or video")

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Not offered: the model is asked in words."""
        raise InputError("Got a benchmark that compares likelihoods", "one that reads generated answers")

    def _answer(self, context: str, settings: dict[str, Any], to_visual: Any, place: Any, task: str, split: str) -> str:
        visuals = list(to_visual(self.task_dict[task][split][place]) or [])
        length = int(settings.get("max_new_tokens") or MAX_NEW_TOKENS)
        text = self.model.chat(_medium(visuals), context.replace("<image>", "").strip(), max_new_tokens=length).text
        until = settings.get("until") or ()
        for end in [until] if isinstance(until, str) else until:
            text = text.split(end)[0] if end else text
        return text.strip()


def _medium(visuals: Sequence[Any]) -> Any:
    """One picture or video as it is; several pictures as the frames of a clip."""
    if not visuals:
        return BLANK
    return visuals[0] if len(visuals) == 1 else [np.asarray(v.convert("RGB")) for v in visuals]


def manifest() -> Any:
    """What the harness registers."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest("x2sam", simple_class_path=f"{__name__}.{X2SamChat.__name__}")
