"""The model and the processor that a run starts from."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from x2sam.config import preset
from x2sam.errors import CheckpointError, InputError
from x2sam.model.modeling import X2SamModel
from x2sam.processing import X2SamProcessor
from x2sam.tasks import TASKS
from x2sam.train.backbone import load_imagenet
from x2sam.train.recipes import TrainConfig
from x2sam.train.sampler import Source
from x2sam.train.stages import LoraSettings, prepare_stage
from x2sam.train.tokenizer import texts_of, train_tokenizer

NANO_LANGUAGE_SIDE = 192
"""Pixels a side that nano's language model sees of a frame: 36 tokens."""
TOKENIZER_SAMPLES = 400
"""Conversations per task that a new tokenizer learns from."""


def build(config: TrainConfig, source: Source) -> tuple[X2SamModel, X2SamProcessor]:
    """What the recipe starts from, with the parameters of its stage set to train.

    Raises:
        InputError: settings that do not fit each other.
        CheckpointError: ``init`` holds no weights.
    """
    torch.manual_seed(config.seed)
    agnostic = config.stage == "agnostic"
    if config.init:
        folder = Path(config.init)
        model_config = X2SamModel.config_class.from_pretrained(folder)
        model_config.class_agnostic = agnostic
        model = X2SamModel(model_config)
        load_matching(model, folder)
        processor = X2SamProcessor.from_pretrained(folder)
    else:
        model_config = preset(config.preset)
        model_config.class_agnostic = agnostic
        model = X2SamModel(model_config)
        processor = new_processor(config.preset, model_config, source)
        if config.backbone == "imagenet":
            load_imagenet(model.mask_encoder.backbone)
    lora = LoraSettings(config.lora_rank, config.lora_alpha or 2 * config.lora_rank) if config.lora_rank else None
    prepare_stage(model, config.stage, lora)
    for name, parameter in model.named_parameters():
        if name.startswith(_names(config.trains)):
            parameter.requires_grad_(True)
        if name.startswith(_names(config.frozen)):
            parameter.requires_grad_(False)
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model, processor


def new_processor(name: str, config: object, source: Source) -> X2SamProcessor:
    """The processor of a preset that is trained from nothing; nano's learns its tokens from ``source``."""
    if name == "tiny":
        from x2sam.testing.tiny import tiny_processor

        return tiny_processor(config)  # type: ignore[arg-type]
    if name != "nano":
        raise InputError(f"Got the preset {name!r} without weights", "nano, or init=FOLDER with a model to start from")
    size = config.language_config.text_config.vocab_size  # type: ignore[attr-defined]
    tokenizer = train_tokenizer(texts_of(source, TASKS, TOKENIZER_SAMPLES), size)
    side = NANO_LANGUAGE_SIDE
    return X2SamProcessor.for_model(
        config,  # type: ignore[arg-type]
        tokenizer,
        max_pixels=side * side,
        video_max_pixels=4 * side * side,
        language_frames=4,
    )


def load_matching(model: X2SamModel, folder: Path) -> list[str]:
    """Take what has the same name and shape from the weights in ``folder``; returns the names left as they were."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise CheckpointError(f"Got {folder} without weights", "a folder with model.safetensors", "Check init=")
    own = model.state_dict()
    taken: set[str] = set()
    for file in files:
        stored = {n: t for n, t in load_file(file).items() if n in own and own[n].shape == t.shape}
        model.load_state_dict(stored, strict=False)
        taken |= set(stored)
    model.tie_weights()
    return [name for name in own if name not in taken]


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)
