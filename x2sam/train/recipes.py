"""Recipes: functions that return a typed `TrainConfig`, and ``key=value`` overrides on top of them."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from x2sam.errors import InputError
from x2sam.tasks import TASKS, get_task
from x2sam.train.stages import Stage


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a run. Saved as ``config.json`` beside its checkpoints."""

    out: str
    """Folder of the run: checkpoints, log, validation, the trained model. A run in it is continued."""
    preset: str = "nano"
    """Sizes of a new model; not used when ``init`` brings its own."""
    init: str = ""
    """``nano``, or a folder of weights to start from (`save_pretrained`): what has the same name and shape is taken,
    and the sizes are its own."""
    image_size: int = 0
    """Side of the mask branch's frames; 0 is what the preset or ``init`` says."""
    backbone: str = ""
    """``imagenet`` fills a nano mask encoder with ImageNet weights when there is no ``init``."""
    stage: Stage = "joint"
    """Which parameters train: `x2sam.train.stages`."""
    new_language: bool = False
    """Start the language model's layers and head anew, from embeddings that have learned what words look like."""
    trains: str = ""
    """Comma-separated beginnings of parameter names that train beyond the stage's."""
    frozen: str = ""
    """Comma-separated beginnings of parameter names that do not, whatever the stage says."""
    lora_rank: int = 0
    """Rank of the language model's adapters; 0 trains without."""
    lora_alpha: float = 0
    """0 means twice the rank."""

    # --- data --------------------------------------------------------------------------------------------------
    source: str = "world"
    """``world``, a folder of your own annotations, or ``module:Class``."""
    tasks: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TASKS, 1))
    """How often each task's turn comes, relative to the others."""
    image_batch: int = 4
    video_batch: int = 1
    """Samples of one forward pass of one process."""
    image_accumulation: int = 1
    video_accumulation: int = 4
    """Forward passes of one process for one update."""
    clip_length: int = 8
    """Frames of a clip that the mask branch sees; longer ones are cut."""
    world_size: int = 224
    """Height and width of generated frames."""
    absent: float = 0.15
    """Share of the generated phrases and questions that match nothing."""
    negatives: int = 10
    """Most conditions of a generated list that match nothing."""
    phrases: int = 0
    """Most phrases or questions about one generated picture; 0: as few as people ask."""
    workers: int = 1
    """Processes that prepare batches; 0 prepares them in the training process."""

    # --- optimisation ------------------------------------------------------------------------------------------
    updates: int = 1000
    max_minutes: float = 0
    """Training time after which the run ends, its schedule stretched to fit; 0 counts ``updates`` only."""
    lr: float = 1e-4
    slow_prefix: str = "mask_encoder."
    """Parameters whose names begin so (they were pretrained) learn at ``slow_scale`` times the rate."""
    slow_scale: float = 0.1
    weight_decay: float = 0.05
    decay_vectors: bool = True
    """Decay norms, biases and other vectors too, as the paper does."""
    beta2: float = 0.999
    warmup: float = 0.03
    """Part of the run."""
    clip_norm: float = 1.0
    precision: str = "auto"
    """``auto`` (bf16 where the device computes in it, else float32), ``no``, ``bf16`` or ``fp16``."""
    gradient_checkpointing: bool = False
    seed: int = 1024
    threads: int = 0
    """Of PyTorch in each process; 0 leaves its choice."""

    # --- watching ----------------------------------------------------------------------------------------------
    log_every: int = 10
    save_every: int = 200
    keep: int = 2
    """Resumable checkpoints that are kept."""
    validate_every: int = 500
    """0 validates at the end only."""
    validation_samples: int = 8
    """Per task."""
    tensorboard: bool = False

    def batch(self, media: str) -> int:
        """Samples of one forward pass."""
        return self.image_batch if media == "image" else self.video_batch

    def accumulation(self, media: str) -> int:
        """Forward passes of one process for one update."""
        return self.image_accumulation if media == "image" else self.video_accumulation

    def save(self, path: Path) -> None:
        """Write as json.

        Raises:
            InputError: ``path`` holds the settings of another run, which this one would continue wrongly.
        """
        mine = dataclasses.asdict(self)
        theirs = json.loads(path.read_text()) if path.exists() else mine
        changed = [key for key in mine if key not in MAY_CHANGE and mine[key] != theirs.get(key)]
        if changed:
            raise InputError(
                f"Got other settings ({', '.join(changed)}) than the run in {path.parent} was started with",
                "the same, to continue it",
                "Choose another folder with out=..., or delete that one",
            )
        path.write_text(json.dumps(mine, indent=2) + "\n")


MAY_CHANGE = (
    *("out", "updates", "max_minutes", "workers", "threads", "log_every", "save_every", "keep"),
    *("validate_every", "validation_samples", "tensorboard"),
)
"""Settings that a continued run may change."""

# The held-out vocabulary of the open-vocabulary tasks is for evaluation, so they do not train.
_ALL_TASKS = {
    "img_genseg": 3,
    "img_refseg": 3,
    "img_reaseg": 2,
    "img_gcgseg": 2,
    "img_intseg": 1,
    "img_vgdseg": 2,
    "img_chat": 1,
    "vid_genseg": 2,
    "vid_refseg": 2,
    "vid_reaseg": 1,
    "vid_gcgseg": 1,
    "vid_objseg": 2,
    "vid_vgdseg": 1,
    "vid_chat": 1,
}


# The finest blocks cost most of the backward pass and find edges and colours well enough already.
_FINE = ",".join(f"mask_encoder.backbone.{part}." for part in ("stem", "blocks.0", "blocks.1"))


_NANO: dict[str, Any] = {
    **{"world_size": 160, "clip_length": 3, "video_accumulation": 1, "frozen": _FINE, "threads": 1},
    **{"slow_prefix": "mask_encoder.backbone.", "decay_vectors": False, "beta2": 0.98},
    **{"updates": 100_000, "validation_samples": 0},
}
"""What the stages of nano share. Made for two processes of one thread; their length is told in minutes."""

_NANO_WORDS = {
    **{"img_genseg": 5, "img_ovseg": 2, "img_refseg": 1, "img_gcgseg": 1, "img_intseg": 4, "img_vgdseg": 3},
    **{"vid_genseg": 1, "vid_refseg": 1, "vid_objseg": 2, "vid_vgdseg": 1},
}
"""What can be learned from words and regions by themselves. In training nothing of ``ovseg`` is held back."""

_NANO_TALK = {"img_chat": 5, "img_gcgseg": 4, "img_reaseg": 6, "img_refseg": 6, "vid_chat": 1}
"""What is answered in words, or has to be thought of."""

_NANO_JOINT = {
    **{"img_genseg": 4, "img_ovseg": 1, "img_refseg": 4, "img_reaseg": 4, "img_gcgseg": 3, "img_intseg": 3},
    **{"img_vgdseg": 2, "img_chat": 2, "vid_genseg": 1, "vid_refseg": 1, "vid_reaseg": 1, "vid_gcgseg": 1},
    **{"vid_objseg": 1, "vid_vgdseg": 1, "vid_chat": 1},
}


def _nano(out: str, image_batch: int = 4, **settings: Any) -> TrainConfig:
    return TrainConfig(out, **_NANO | {"image_batch": image_batch, "video_batch": image_batch // 2} | settings)


def agnostic_nano() -> TrainConfig:
    """Phase 1 of nano: find every object, without names."""
    return _nano(
        "runs/agnostic_nano",
        backbone="imagenet",
        image_size=160,
        stage="agnostic",
        trains="mask_encoder.",
        tasks={"img_genseg": 1},
        lr=1e-3,
        slow_scale=0.2,
        max_minutes=18,
    )


def names_nano() -> TrainConfig:
    """After phase 1 of nano: what each name looks like, told from all others. Neither masks nor the language model, so
    that recognition, which needs the most pictures, sees many."""
    return _nano(
        "runs/names_nano",
        init="runs/agnostic_nano/model",
        stage="names",
        tasks={"img_genseg": 4, "img_ovseg": 3},
        negatives=100,
        lr=1e-3,
        slow_scale=0.5,
        max_minutes=80,
        seed=3,
        image_batch=8,
    )


def words_nano() -> TrainConfig:
    """Between the phases of nano: what words and regions look like, without the language model, which takes half the
    time."""
    return _nano(
        "runs/words_nano",
        init="runs/names_nano/model",
        stage="words",
        tasks=_NANO_WORDS,
        negatives=40,
        lr=7e-4,
        slow_scale=0.2,
        max_minutes=50,
        seed=4,
    )


def talk_nano() -> TrainConfig:
    """Before phase 2 of nano: the language model learns to speak about pictures and to think of what is asked. No masks
    are decoded, so an update takes a fraction of the time, and many questions about one picture cost little."""
    return _nano(
        "runs/talk_nano",
        init="runs/words_nano/model",
        stage="talk",
        new_language=True,
        tasks=_NANO_TALK,
        absent=0.3,
        phrases=12,
        lr=1.2e-3,
        max_minutes=45,
        seed=6,
        image_batch=8,
    )


def joint_nano() -> TrainConfig:
    """Phase 2 of nano: every task together."""
    return _nano(
        "runs/joint_nano",
        init="runs/talk_nano/model",
        stage="all",
        tasks=_NANO_JOINT,
        absent=0.3,
        video_batch=1,
        clip_length=5,
        lr=7e-4,
        slow_scale=0.2,
        max_minutes=78,
        validation_samples=8,
        seed=5,
    )


def joint_4b() -> TrainConfig:
    """The paper's joint training (section 4), on whatever data ``source`` names."""
    return TrainConfig(
        out="runs/joint_4b",
        init="weights/4b",
        stage="joint",
        lora_rank=128,
        tasks=_ALL_TASKS,
        image_batch=4,
        video_batch=1,
        video_accumulation=4,
        clip_length=8,
        updates=20_000,
        gradient_checkpointing=True,
        save_every=2000,
        validate_every=2000,
        workers=4,
    )


def finetune() -> TrainConfig:
    """Adapt a trained model: adapters on the language model, everything around it in full."""
    return TrainConfig(
        out="runs/finetune",
        init="nano",
        stage="joint",
        lora_rank=16,
        tasks=_ALL_TASKS,
        video_batch=2,
        video_accumulation=2,
        clip_length=4,
        updates=1000,
    )


RECIPES: dict[str, Callable[[], TrainConfig]] = {
    recipe.__name__: recipe
    for recipe in (agnostic_nano, names_nano, words_nano, talk_nano, joint_nano, joint_4b, finetune)
}


def resolve(name: str, overrides: Sequence[str] = ()) -> TrainConfig:
    """The recipe ``name`` with ``key=value`` overrides.

    Values are json, or plain text; ``tasks`` also takes ``img_refseg:2,img_genseg``.

    Raises:
        InputError: no such recipe or key, or a value of another type.
    """
    if name not in RECIPES:
        raise InputError(f"Got the recipe {name!r}", f"one of: {', '.join(RECIPES)}")
    config, types = RECIPES[name](), get_type_hints(TrainConfig)
    changes: dict[str, Any] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or key not in types:
            near = difflib.get_close_matches(key, types, n=1)
            raise InputError(
                f"Got the override {override!r}",
                f"key=value with a key out of {', '.join(types)}",
                f"Did you mean {near[0]}={text or '...'}?" if near else "",
            )
        changes[key] = _parse(key, text, getattr(config, key))
    config = dataclasses.replace(config, **changes)
    for task in config.tasks:
        get_task(task)
    return config


def _parse(key: str, text: str, current: Any) -> Any:
    if isinstance(current, dict):
        pairs = [part.partition(":") for part in text.split(",")]
        return {task: int(count or 1) for task, _, count in pairs}
    if isinstance(current, str):
        return text
    try:
        value = json.loads(text.lower())
        if isinstance(value, bool) == isinstance(current, bool):
            return type(current)(value)
    except (ValueError, TypeError):
        pass
    raise InputError(f"Got {key}={text}", f"a value such as {json.dumps(current)}")
