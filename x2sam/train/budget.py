"""What a run will take, before it is begun: memory by part, time, what trains. And what to change so that it fits.

A pass over one sample and one over two, as the run itself makes them, tell what a sample costs; every tensor that is
made meanwhile is counted, so the numbers hold for any device. Larger batches are on the line through the two.
"""

from __future__ import annotations

import dataclasses
import gc
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from x2sam.errors import InputError
from x2sam.model.eyes import STRIDE
from x2sam.model.modeling import X2SamModel
from x2sam.processing import X2SamProcessor
from x2sam.train.batches import Batch, Collator
from x2sam.train.build import build
from x2sam.train.recipes import TrainConfig, task_of
from x2sam.train.sampler import Sampler, Source
from x2sam.train.sources import open_source

PROBED = 2
"""Samples of the larger of the two passes."""


@dataclass(frozen=True)
class Budget:
    """Bytes and seconds of a run's training process; a process that prepares batches comes beside it."""

    program: int
    """Python and its libraries, before the model is there. On other devices than the CPU this is not on the device."""
    weights: int
    gradients: int
    optimiser: int
    activations: int
    """The most that is alive at once in a pass, besides the gradients; of the costliest task."""
    task: str
    """The costliest task."""
    trained: int
    """Parameters."""
    total: int
    """Parameters."""
    modules: dict[str, int]
    """Parameters that train, by the part of the model."""
    seconds: float
    """Of an update, on this machine as it is now."""

    @property
    def peak(self) -> int:
        """Of all parts together."""
        return self.program + self.weights + self.gradients + self.optimiser + self.activations


class Living(TorchDispatchMode):
    """Counts the bytes of the tensors that are made while it is on, and the most that were alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = self.peak = 0
        self._seen: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage(), given)
        return out

    def _count(self, storage: Any, given: set[int]) -> None:
        key = storage._cdata
        if key in given or key in self._seen:
            return
        size = storage.nbytes()
        self._seen[key] = weakref.ref(storage, lambda _: self._gone(key, size))
        self.alive += size
        self.peak = max(self.peak, self.alive)

    def _gone(self, key: int, size: int) -> None:
        if self._seen.pop(key, None) is not None:
            self.alive -= size


class Trial:
    """A run that is looked at, not made.

    Args:
        config: of the run.

    Raises:
        X2SamError: whatever would stop the run at its start.
    """

    def __init__(self, config: TrainConfig) -> None:
        gc.collect()
        self.program = psutil.Process().memory_info().rss
        if config.threads:
            torch.set_num_threads(config.threads)
        self.config = config
        self.model, self.processor = _built(config)
        asked: dict[str, Any] = {n: getattr(config, n) for n in ("absent", "negatives", "phrases")}
        shape = (config.world_size, config.clip_length)
        self.source: Source = open_source(config.source, "train", *shape, config.photos, **asked)
        reads = not self.model.without_language
        self.collator = Collator(self.model.config, self.processor, config.clip_length, reads=reads)
        self.lengths: dict[str, int] = getattr(self.source, "lengths", None) or {}
        self.reached: set[str] = set()
        """Names of the parameters that get gradients; the others that train (of films, say) take no memory for them."""
        self.costs = {task: self._cost(task) for task in config.tasks}

    def budget(self, config: TrainConfig | None = None) -> Budget:
        """What the run takes, or with other sizes of its batches."""
        config = config or self.config
        parameters = list(self.model.parameters())
        trained = [p for p in parameters if p.requires_grad]
        weights = sum(_bytes(t) for t in {id(t): t for t in (*parameters, *self.model.buffers())}.values())
        gradients = sum(_bytes(p) for name, p in self.model.named_parameters() if name in self.reached)
        passes = {task: self._pass(task, config) for task in self.costs}
        costliest = max(passes, key=lambda task: passes[task])
        count = sum(config.tasks.values())
        seconds = sum(self._seconds(task, config) * turns for task, turns in config.tasks.items()) / count
        modules: dict[str, int] = {}
        for name, p in self.model.named_parameters():
            if p.requires_grad:
                part = "adapters (LoRA)" if ".lora_" in name else name.partition(".")[0]
                modules[part] = modules.get(part, 0) + p.numel()
        return Budget(
            program=self.program,
            weights=weights,
            gradients=gradients,
            optimiser=2 * gradients,
            activations=max(0, int(passes[costliest]) - gradients),
            task=costliest,
            trained=sum(p.numel() for p in trained),
            total=sum(p.numel() for p in parameters),
            modules=modules,
            seconds=seconds,
        )

    def _pass(self, task: str, config: TrainConfig) -> float:
        """The most that is alive in a forward and a backward pass of a batch."""
        (few, small, _), (many, large, _) = self.costs[task]
        each = (large - small) / (many - few) if many > few else 0.0
        return large + each * (config.batch(task_of(task).media) - many)

    def _seconds(self, task: str, config: TrainConfig) -> float:
        (few, _, short), (many, _, long) = self.costs[task]
        media = task_of(task).media
        each = max((long - short) / (many - few), long / many / 2) if many > few else long
        return config.accumulation(media) * max(long + each * (config.batch(media) - many), short)

    def _cost(self, task: str) -> list[tuple[int, int, float]]:
        """Samples, bytes and seconds of the two passes. The samples are among the first that the run will see."""
        batch = self.config.batch(task_of(task).media)
        indices = (
            Sampler(dataclasses.replace(self.config, tasks={task: 1}), 1, self.lengths).micro_batches(0)[0].indices
        )
        sizes = (1, min(PROBED, batch)) if batch > 1 else (1, 1)
        self._measure(task, indices[:1])  # what is made once for all is made now
        return [(size, *self._measure(task, indices[:size])) for size in sizes]

    def _measure(self, task: str, indices: tuple[int, ...]) -> tuple[int, float]:
        samples = [self.source.sample(task, index) for index in indices]
        batch = self.collator(samples, [np.random.default_rng((self.config.seed, i)) for i in indices])
        self.model.train()
        started, living = time.perf_counter(), Living()
        with living:
            loss = torch.stack(list(_losses(self.model, batch))).sum()
            loss.backward()
        seconds = time.perf_counter() - started
        del loss
        self.reached |= {name for name, p in self.model.named_parameters() if p.grad is not None}
        self.model.zero_grad(set_to_none=True)
        inputs = sum(_bytes(t) for t in tree_leaves(batch.inputs) if isinstance(t, Tensor))
        return living.peak + inputs, seconds


def _built(config: TrainConfig) -> tuple[X2SamModel, X2SamProcessor]:
    """The run's model; what building it leaves in the run's folder is left elsewhere."""
    with TemporaryDirectory(prefix="x2sam-") as folder:
        return build(dataclasses.replace(config, out=folder))


def _losses(model: X2SamModel, batch: Batch) -> Iterator[Tensor]:
    out = model(**batch.inputs)
    if out.loss_language is not None:
        yield out.loss_language
    yield from (out.parts or {}).values()


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


# --- fitting ----------------------------------------------------------------------------------------------------------


def fit(config: TrainConfig, limit: int) -> tuple[TrainConfig, Budget]:
    """The first of ever smaller settings whose peak is at most ``limit`` bytes.

    First batches are halved, with as many more passes to an update, which changes nothing of what is learnt; then
    activations are made twice instead of kept; then adapters get a lower rank; then the pictures are made smaller.

    Raises:
        InputError: not even the smallest fits.
    """
    least = 0
    for change in _changes(config):
        smaller = dataclasses.replace(config, **change)
        trial = Trial(smaller)
        for batched in _halved(smaller):
            budget = trial.budget(batched)
            if budget.peak <= limit:
                return batched, budget
            least = min(least or budget.peak, budget.peak)
        del trial
    raise InputError(
        f"Got {size(limit)} to fit into",
        f"at least {size(least)}, which the smallest settings take",
        "Take a smaller model",
    )


def _changes(config: TrainConfig) -> Iterator[dict[str, Any]]:
    yield {}
    less: dict[str, Any] = {"gradient_checkpointing": True}
    yield less
    for rank in (8, 4):
        if config.lora_rank > rank:
            less = {**less, "lora_rank": rank}
            yield less
    side = config.image_size or _built(config)[0].config.image_size
    for share in (0.75, 0.5):
        yield {**less, "image_size": max(STRIDE, int(side * share) // STRIDE * STRIDE)}


def _halved(config: TrainConfig) -> Iterator[TrainConfig]:
    """The same number of samples to an update, in more and smaller passes."""
    yield config
    while config.image_batch > 1 or config.video_batch > 1:
        changes: dict[str, Any] = {}
        for media in ("image", "video"):
            batch, passes = getattr(config, f"{media}_batch"), getattr(config, f"{media}_accumulation")
            if batch > 1:
                half = batch // 2
                changes |= {f"{media}_batch": half, f"{media}_accumulation": -(-passes * batch // half)}
        config = dataclasses.replace(config, **changes)
        yield config


def parse_size(text: str) -> int:
    """Bytes of a text such as ``12GB`` or ``800MB`` (powers of 1024)."""
    units = {"KB": 10, "MB": 20, "GB": 30, "TB": 40}
    number, unit = text.strip().upper().replace("IB", "B")[:-2], text.strip().upper().replace("IB", "B")[-2:]
    try:
        return int(float(number) * 2 ** units[unit])
    except (KeyError, ValueError):
        raise InputError(f"Got the size {text!r}", "a number and KB, MB, GB or TB, such as 12GB") from None


def size(count: float) -> str:
    """Bytes for people."""
    return f"{count / 2**30:.2f} GB" if count >= 2**30 else f"{count / 2**20:.0f} MB"
