"""How a loaded model runs: what it may leave out for speed. Off by default; docs/benchmarks.md says what each costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from x2sam.errors import InputError
from x2sam.model.eyes import STRIDE
from x2sam.model.modeling import X2SamModel
from x2sam.processing import X2SamProcessor


def set_image_size(model: X2SamModel, processor: X2SamProcessor, side: int) -> None:
    """Let the mask branch see frames of another size than it was trained on, in pixels."""
    if not isinstance(side, int) or side < STRIDE or side % STRIDE:
        hint = f"This model's own is {model.config.image_size}"
        raise InputError(f"Got image_size={side}", f"a multiple of {STRIDE}", hint)
    model.config.image_size = processor.image_size = side


def keep_memory_levels(model: X2SamModel, levels: int | Sequence[int]) -> None:
    """Let only some of the pixel decoder's levels remember; 0 is the coarsest."""
    levels = (levels,) if isinstance(levels, int) else tuple(levels)
    own = model.config.memory_levels
    if not levels or not set(levels) <= set(own):
        hint = "Pass memory_size=0 for no memory at all"
        raise InputError(f"Got memory_levels={levels}", f"some of this model's own, {tuple(own)}", hint)
    for level in set(own) - set(levels):
        del model.memory_encoder.feature_downsamplers[str(level)]
    model.config.memory_levels = tuple(sorted(levels))


def read_changes(settings: list[str] | None) -> dict[str, Any]:
    """``key=1`` and ``key=0,1`` as keyword arguments of `X2Sam.from_pretrained`."""
    changes: dict[str, Any] = {}
    for key, _, value in (text.partition("=") for text in settings or []):
        try:
            numbers = [int(number) for number in value.split(",")]
        except ValueError:
            raise InputError(f"Got --set {key}={value}", "a whole number, such as memory_size=0") from None
        changes[key] = numbers if "," in value else numbers[0]
    return changes
