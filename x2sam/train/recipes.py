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
from x2sam.tasks import TASKS, Task, get_task
from x2sam.train.stages import Stage

PHOTOS = "photos/"
"""Beginning of the names of tasks whose samples are made of photos: ``photos/img_refseg``."""


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
    stage: Stage = "joint"
    """Which parameters train: `x2sam.train.stages`."""
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
    photos: str = ""
    """A folder of photos (`x2sam.data.photos`), for the tasks whose names begin with ``photos/``."""
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
    validate_first: bool = False
    """Also before the first update, to compare with."""
    tensorboard: bool = False

    # --- what it costs -----------------------------------------------------------------------------------------
    guard_samples: int = 0
    """Samples per task, own, of the world and of photos, that are scored before and after (`x2sam.train.guard`)."""
    guard_photos: str = ""
    """A folder of photos for the guard set."""
    guard: float = -1
    """Points out of 100 that a guard set may lose; a model that lost more is not written. Below 0 it is only told."""

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
    *("validate_every", "validation_samples", "validate_first", "tensorboard"),
    *("guard_samples", "guard_photos", "guard"),
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


_NANO: dict[str, Any] = {
    "photos": "photos",
    "world_size": 224,
    "clip_length": 3,
    "video_accumulation": 1,
    "frozen": "mask_encoder.backbone.,recognition.",
    "decay_vectors": False,
    "beta2": 0.98,
    "updates": 1_000_000,
    "validation_samples": 0,
    "threads": 1,
}
"""What the stages of nano share: the backbone, and what names look like to it (`x2sam.train.names`), stay as they are.
Made for one core; their length is told in minutes."""


def prompted_nano() -> TrainConfig:
    """After `x2sam.train.names`: nano's head learns to draw what is clicked, boxed, carried over or named."""
    return TrainConfig(
        out="runs/prompted_nano",
        **_NANO,
        init="runs/names_nano/model",
        stage="prompted",
        tasks={"photos/img_intseg": 3, "photos/img_refseg": 4, "photos/img_genseg": 1, "photos/vid_objseg": 4},
        absent=0.4,
        image_batch=6,
        video_batch=2,
        lr=1e-3,
        max_minutes=60,
    )


def talk_nano() -> TrainConfig:
    """Nano learns to speak of what it sees: picture tokens and adapters; nothing of the masks."""
    return TrainConfig(
        out="runs/talk_nano",
        **_NANO | {"slow_prefix": "language.eyes.", "slow_scale": 2.5},
        init="runs/prompted_nano/model",
        stage="talk",
        tasks={"photos/img_chat": 3, "photos/img_gcgseg": 2},
        image_batch=8,
        lr=4e-4,
        max_minutes=45,
        seed=6,
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
        validate_first=True,
        guard_samples=8,
    )


RECIPES: dict[str, Callable[[], TrainConfig]] = {
    recipe.__name__: recipe for recipe in (prompted_nano, talk_nano, joint_4b, finetune)
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
        if task.startswith(PHOTOS) and not config.photos:
            raise InputError(f"Got the task {task} without photos", "a folder of them", "Say photos=FOLDER")
        task_of(task)
    return config


def task_of(name: str) -> Task:
    """The row of the task table behind a name in `TrainConfig.tasks`."""
    return get_task(name.removeprefix(PHOTOS))


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
