"""What trains in which stage, and the adapters of the language model (X2SAM, section 4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import nn

from x2sam.errors import InputError, MissingExtraError
from x2sam.model.modeling import X2SamModel

Stage = Literal["agnostic", "prompted", "names", "words", "talk", "joint", "all"]

_DECODERS = ("pixel_decoder.", "mask_decoder.", "class_head.")

STAGES: dict[str, tuple[str, ...]] = {
    "agnostic": _DECODERS,
    "prompted": ("prompted_head.", "recognition.", "region_sampler.", "language.lexical."),
    "names": ("pixel_decoder.", "mask_encoder.", "alignment.", "recognition.", "language.lexical."),
    "words": (
        *_DECODERS,
        "mask_encoder.",
        "memory_attention.",
        "memory_encoder.",
        "no_memory",
        "region_sampler.",
        "alignment.",
        "recognition.",
        "prompted_head.",
        "language.lexical.",
        "language.background.",
    ),
    "talk": (
        "language.prompt_projector.",
        "language.added.",
        "language.adapters.",
        "language.eyes.norm.",
        "language.eyes.merger.",
        "language.eyes.place.",
        "alignment.place.",
    ),
    "joint": (
        *_DECODERS,
        "mask_encoder.",
        "memory_attention.",
        "memory_encoder.",
        "no_memory",
        "region_sampler.",
        "recognition.",
        "prompted_head.",
        "language.prompt_projector.",
        "language.added.",
        "language.adapters.",
        "language.eyes.",
        "language.lexical.",
        "alignment.",
        "language.background.",
        "language.model.model.visual.merger.",
        "language.model.model.visual.deepstack_merger_list.",
        "language.model.model.language_model.embed_tokens.",
        "language.model.lm_head.",
    ),
    "all": ("",),
}
"""Per stage, how the names of the parameters that train begin; a tied head trains with the embeddings."""

_READS_TEXT = (".text_attention.", ".text_norm.", "mask_decoder.prompt.")
"""Parts of the mask decoder that nothing reaches while there is no text."""

_ADAPTED = r"language\.model\.model\.(language_model\.)?layers\..*_proj"


@dataclass(frozen=True)
class LoraSettings:
    """Low-rank adapters on every linear layer of the language model (arXiv 2106.09685); the defaults are released."""

    rank: int = 128
    alpha: float = 256
    dropout: float = 0.05


def prepare_stage(model: X2SamModel, stage: Stage, lora: LoraSettings | None = None) -> None:
    """Set which parameters of ``model`` train, in place.

    Args:
        model: built with ``class_agnostic=True`` for the stage "agnostic", without it for the others.
        stage: "agnostic" (masks without names: decoders only); "prompted" (the head that draws what is said, drawn or
            remembered, without queries and language model); "names" (what words look like, by what the mask
            features answer to them: neither language model nor decoder); "words" (names and masks without the language
            model: a condition is what its words say by themselves); "talk" (the language model: words, and conditions
            by what the mask features answer, without decoder); "joint" (all but the base language model and its vision
            blocks); "all" (a small model from scratch). The second to fourth are for models such as nano.
        lora: adapters to add to the language model; `merge_lora` folds them in afterwards.

    Raises:
        InputError: a stage that does not exist or does not fit the model's class head.
    """
    if stage not in STAGES:
        raise InputError(f"Got the stage {stage!r}", f"one of: {', '.join(STAGES)}")
    if stage == "agnostic" and model.mask_decoder is None:
        raise InputError("Got the stage 'agnostic' for a model without queries", "num_queries above 0")
    if (stage == "agnostic") != model.config.class_agnostic:
        raise InputError(
            f"Got the stage {stage!r} for a model with class_agnostic={model.config.class_agnostic}",
            "class_agnostic=True in the stage 'agnostic' and nowhere else",
            "Build the model with X2SamConfig(class_agnostic=...)",
        )
    model.without_language = stage in ("prompted", "names", "words")
    model.without_decoder = stage in ("names", "talk")
    if lora is not None:
        _add_lora(model, lora)
    for name, parameter in model.named_parameters():
        trains = name.startswith(STAGES[stage]) or ".lora_" in name
        parameter.requires_grad_(trains and not (stage == "agnostic" and any(part in name for part in _READS_TEXT)))


def merge_lora(model: nn.Module) -> None:
    """Fold every adapter into the weights it adapts and remove it, in place."""
    for name, layer in list(model.named_modules()):
        if hasattr(layer, "lora_A"):
            layer.merge(safe_merge=True)
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, layer.get_base_layer())


def _add_lora(model: X2SamModel, settings: LoraSettings) -> None:
    inject, make_config = _peft()
    config = make_config(
        r=settings.rank, lora_alpha=settings.alpha, lora_dropout=settings.dropout, target_modules=_ADAPTED
    )
    inject(config, model)


def _peft() -> tuple[Callable, Callable]:
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise MissingExtraError("peft", "train") from error
    return inject_adapter_in_model, LoraConfig
