"""Which samples every update trains on: a pure function of the seed and the update's number.

Nothing is remembered, so a run can be continued anywhere. One update is one task on all processes (one source, one
modality); the tasks take turns in shuffled rounds, and each walks through its own samples without repeating one
before all have been seen.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from x2sam.train.recipes import TrainConfig, task_of
from x2sam.types import Sample

EPOCH = 10**7
"""Samples of an endless task that belong to one seed."""


class Source(Protocol):
    """Where samples come from."""

    def sample(self, task: str, index: int) -> Sample:
        """The same sample for the same arguments."""
        ...


@dataclass(frozen=True)
class MicroBatch:
    """Samples of one forward pass of one process."""

    update: int
    task: str
    indices: tuple[int, ...]


class Sampler:
    """The micro-batches of every update.

    Args:
        config: tasks, batch sizes, seed.
        processes: that train together.
        lengths: number of samples per task; a task without one has as many as are asked for.
    """

    def __init__(self, config: TrainConfig, processes: int = 1, lengths: dict[str, int] | None = None) -> None:
        self.config, self.processes, self.lengths = config, processes, lengths or {}
        self._round = [task for task, count in config.tasks.items() for _ in range(count)]

    def task(self, update: int) -> tuple[str, int]:
        """The task of an update, and how many updates it had before."""
        number, position = divmod(update, len(self._round))
        order = np.random.default_rng((self.config.seed, number)).permutation(len(self._round))
        tasks = [self._round[i] for i in order[: position + 1]]
        return tasks[-1], number * self.config.tasks[tasks[-1]] + tasks[:-1].count(tasks[-1])

    def micro_batches(self, update: int) -> list[MicroBatch]:
        """All micro-batches of an update; process r takes those at r, r + processes, ..."""
        name, earlier = self.task(update)
        media = task_of(name).media
        size, count = self.config.batch(media), self.config.accumulation(media) * self.processes
        start = earlier * size * count
        indices = [self._index(name, start + i) for i in range(size * count)]
        return [MicroBatch(update, name, tuple(indices[i * size : (i + 1) * size])) for i in range(count)]

    def _index(self, task: str, position: int) -> int:
        if task not in self.lengths:  # endless: another seed sees other samples
            return self.config.seed * EPOCH + position
        epoch, step = divmod(position, self.lengths[task])
        seed = (self.config.seed, zlib.crc32(task.encode()), epoch)
        return int(np.random.default_rng(seed).permutation(self.lengths[task])[step])
