"""The model and the processor that a run starts from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import PartialState
from safetensors.torch import load_file
from torch import nn

from x2sam.config import X2SamConfig, preset
from x2sam.errors import CheckpointError, InputError
from x2sam.model.modeling import X2SamModel
from x2sam.predictor import find_weights
from x2sam.processing import X2SamProcessor
from x2sam.tasks import TASKS
from x2sam.testing.tiny import tiny_processor
from x2sam.train.backbone import load_imagenet
from x2sam.train.checkpointing import write_folder
from x2sam.train.recipes import TrainConfig
from x2sam.train.sampler import Source
from x2sam.train.stages import LoraSettings, prepare_stage
from x2sam.train.tokenizer import texts_of, train_tokenizer

NANO_LANGUAGE_SIDE = 160
"""Pixels a side that nano's language model sees of a frame: 100 tokens."""
TOKENIZER_SAMPLES = 80
"""Conversations per task that a new tokenizer learns from."""


def build(config: TrainConfig, source: Source) -> tuple[X2SamModel, X2SamProcessor]:
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
    if init:
        load_matching(model, Path(init))
        processor = X2SamProcessor.from_pretrained(init)
        processor.image_size = model_config.image_size
    else:
        processor = _remembered(Path(config.out) / "processor", lambda: new_processor(config, model_config, source))
        initialise(model)
        if config.backbone == "imagenet":
            load_imagenet(model.mask_encoder.backbone)
    lora = LoraSettings(config.lora_rank, config.lora_alpha or 2 * config.lora_rank) if config.lora_rank else None
    prepare_stage(model, config.stage, lora)
    for name, parameter in model.named_parameters():
        if name.startswith(_names(config.trains)):
            parameter.requires_grad_(True)
        if name.startswith(_names(config.frozen)):
            parameter.requires_grad_(False)
    if config.new_language:
        initialise_language(model)
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model, processor


def new_processor(config: TrainConfig, model: X2SamConfig, source: Source) -> X2SamProcessor:
    """The processor of a preset that is trained from nothing; nano's learns its tokens from ``source``."""
    if config.preset == "tiny":
        return tiny_processor(model)
    if config.preset != "nano":
        raise InputError(
            f"Got the preset {config.preset!r} without weights", "nano, or init=FOLDER with a model to start from"
        )
    texts = texts_of(source, (t for t in TASKS if TASKS[t].media == "image"), TOKENIZER_SAMPLES)
    side = NANO_LANGUAGE_SIDE
    return X2SamProcessor.for_model(
        model,
        train_tokenizer(texts, model.language_config.text_config.vocab_size),
        max_pixels=side * side,
        video_max_pixels=4 * side * side,
        language_frames=4,
    )


def _remembered(folder: Path, make: Callable[[], X2SamProcessor]) -> X2SamProcessor:
    """A continued run, and every process of a run, must read with the same tokens."""
    with PartialState().main_process_first():
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            write_folder(folder, make().save_pretrained)
    return X2SamProcessor.from_pretrained(folder)


def initialise(model: X2SamModel) -> None:
    """Start the decoders as DETR-like models are: Xavier weights, and queries and words that differ from each other.

    `transformers`' own start (everything at 0.02) leaves a narrow network's queries alike and its masks at zero for
    hundreds of updates, and lets the context drown the words: all categories get one and the same condition, and
    nothing pulls them apart. Beside embeddings of 1 the layers of the language model must start at the inverse root of
    their width: at 0.02 they add next to nothing, and after hours it still says what usually follows the last word.
    """
    nn.init.normal_(model.language.qwen.model.language_model.embed_tokens.weight)
    initialise_language(model)
    for part in (model.mask_decoder, model.memory_attention, model.memory_encoder):
        for name, module in part.named_modules():
            if isinstance(module, nn.Linear) and not name.endswith("text_attention.o_proj"):
                nn.init.xavier_uniform_(module.weight)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight)


def initialise_language(model: X2SamModel) -> None:
    """Start the language model's layers and its head anew; the embeddings stay.

    A head of its own starts as the embeddings, turned: one linear map, learned from all words together, is then enough
    to speak what was read (on a picture, too), and no word begins by repeating itself, as with a tied head.
    """
    text = model.language.qwen.model.language_model
    for name, module in text.layers.named_modules():
        if isinstance(module, nn.Linear):
            onto_residual = name.endswith(("o_proj", "down_proj"))
            depth = 2 * len(text.layers) if onto_residual else 1
            nn.init.normal_(module.weight, std=(module.in_features * depth) ** -0.5)
    nn.init.ones_(text.norm.weight)
    width = text.config.hidden_size
    if model.config.tie_word_embeddings:  # the head meets embeddings of 1
        nn.init.constant_(text.norm.weight, width**-0.5)
    else:
        turn = nn.init.orthogonal_(torch.empty(width, width))
        with torch.no_grad():
            model.language.qwen.lm_head.weight.copy_(text.embed_tokens.weight @ turn / width**0.5)
    if model.language.lexical is not None:  # what the context adds to the words enters as nothing
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
