"""The model and the processor that a run starts from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import PartialState
from safetensors.torch import load_file
from torch import nn
from transformers import AutoTokenizer

from x2sam.config import WEIGHTS, X2SamConfig, preset
from x2sam.errors import CheckpointError, InputError
from x2sam.model.language import Adapter
from x2sam.model.modeling import X2SamModel
from x2sam.predictor import find_weights
from x2sam.processing import X2SamProcessor
from x2sam.testing.tiny import tiny_processor
from x2sam.train.backbone import begin_knowing
from x2sam.train.checkpointing import write_folder
from x2sam.train.recipes import TrainConfig
from x2sam.train.stages import LoraSettings, prepare_stage

LANGUAGE_FRAMES = 4
"""Frames of a clip that nano's language model sees, each as large as the mask branch's: 25 tokens for two."""


def build(config: TrainConfig) -> tuple[X2SamModel, X2SamProcessor]:
    """What the recipe starts from, with the parameters of its stage set to train.

    Raises:
        InputError: settings that do not fit each other.
        CheckpointError: ``init`` holds no weights.
    """
    torch.manual_seed(config.seed)
    init = find_weights(config.init) if config.init else ""
    model_config = X2SamConfig.from_pretrained(init) if init else preset(config.preset)
    model_config.class_agnostic = config.stage == "agnostic"
    model_config.image_size = config.image_size or model_config.image_size
    model = X2SamModel(model_config)
    model.read_apart()
    if init:
        load_matching(model, Path(init))
        processor = X2SamProcessor.from_pretrained(init)
        processor.image_size = model_config.image_size
    else:
        processor = _remembered(Path(config.out) / "processor", lambda: new_processor(config, model_config))
        initialise(model)
        if config.preset == "nano":
            begin_knowing(model, processor)
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


def new_processor(config: TrainConfig, model: X2SamConfig) -> X2SamProcessor:
    """The processor of a preset that is trained from nothing."""
    if config.preset == "tiny":
        return tiny_processor(model)
    if config.preset != "nano":
        raise InputError(
            f"Got the preset {config.preset!r} without weights", "nano, or init=FOLDER with a model to start from"
        )
    tokenizer = AutoTokenizer.from_pretrained(WEIGHTS / "smollm2")
    side = model.image_size
    return X2SamProcessor.for_model(
        model,
        tokenizer,
        max_pixels=side * side,
        video_max_pixels=LANGUAGE_FRAMES * side * side,
        language_frames=LANGUAGE_FRAMES,
        spaced_markers=True,
    )


def _remembered(folder: Path, make: Callable[[], X2SamProcessor]) -> X2SamProcessor:
    """A continued run, and every process of a run, must read with the same tokens."""
    with PartialState().main_process_first():
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            write_folder(folder, make().save_pretrained)
    return X2SamProcessor.from_pretrained(folder)


def initialise(model: X2SamModel) -> None:
    """Start the decoders as DETR-like models are: Xavier weights, and queries that differ from each other.

    `transformers`' own start (everything at 0.02) leaves a narrow network's queries alike and its masks at zero for
    hundreds of updates. What the context adds to what phrases say by themselves enters as nothing.
    """
    for part in filter(None, (model.mask_decoder, model.memory_attention, model.memory_encoder)):
        for name, module in part.named_modules():
            if isinstance(module, nn.Linear) and not name.endswith("text_attention.o_proj"):
                nn.init.xavier_uniform_(module.weight)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight)
    for adapter in model.language.adapters.modules():
        if isinstance(adapter, Adapter):
            nn.init.kaiming_uniform_(adapter.down.weight, a=5**0.5)
    if model.language.lexical is not None:
        nn.init.xavier_uniform_(model.language.lexical.weight)
        for parameter in model.language.prompt_projector[-1].parameters():
            nn.init.zeros_(parameter)


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
