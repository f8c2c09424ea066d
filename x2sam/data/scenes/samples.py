"""The world: one `Sample` of any task from (split, seed, task, index, size), the same in every process."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from x2sam.data.scenes import asking, vocabulary
from x2sam.data.scenes.asking import Asked
from x2sam.data.scenes.catalog import STUFF
from x2sam.data.scenes.scene import Recipe, Scene, stage
from x2sam.tasks import Task, get_task
from x2sam.types import Sample

Split = Literal["train", "val", "test"]
_SPLITS = {"train": 0, "val": 1, "test": 2}
_RECIPES: dict[str, Recipe] = {
    "categories": Recipe(stuff=0.6, blobs=0.02),
    "expression": Recipe(stuff=0.4, twins=0.55, unnamed=0.08, blobs=0.0),
    "question": Recipe(stuff=0.4, twins=0.15, unnamed=0.15, blobs=0.0),
    "caption": Recipe(stuff=0.6, blobs=0.0),
    "regions": Recipe(stuff=0.3, unnamed=0.4, blobs=0.25, twins=0.5, cutouts=0.1),
    "chat": Recipe(stuff=0.5, unnamed=0.08, blobs=0.0),
}
"""The scenes that suit each way of asking (`Task.prompt`)."""
_ASK: dict[str, Callable[..., Asked | None]] = {
    "categories": asking.categories, "expression": asking.expressions, "question": asking.questions,
    "caption": asking.caption, "regions": asking.regions, "chat": asking.chat,
}  # fmt: skip


@dataclass(frozen=True)
class World:
    """A generator of annotated images and clips.

    Args:
        split: ``train`` never shows or names what is held back; ``val`` and ``test`` do in open-vocabulary tasks.
        size: height and width in pixels.
        frames: length of a clip.
        seed: another seed is another world.
        absent: probability that an expression or question matches nothing.
    """

    split: Split = "train"
    size: tuple[int, int] = (256, 256)
    frames: int = 8
    seed: int = 0
    absent: float = 0.15

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of things and stuff that training shows."""
        return (*(c.name for c in vocabulary.seen().categories), *STUFF)

    @property
    def held_out(self) -> tuple[str, ...]:
        """Categories, and ``attribute category`` combinations, that training never shows or names."""
        pairs = (f"{attribute} {name}" for name, attribute in sorted(vocabulary.held_pairs()))
        return (*sorted(vocabulary.held_categories()), *pairs)

    def sample(self, task_name: str, index: int) -> Sample:
        """Sample ``index`` of a task."""
        return self.sample_and_scene(task_name, index)[0]

    def sample_and_scene(self, task_name: str, index: int) -> tuple[Sample, Scene]:
        """The sample with the scene that it was made from."""
        task = get_task(task_name)
        key = (self.seed, _SPLITS[self.split], zlib.crc32(task.name.encode()), index, *self.size, self.frames)
        for attempt in range(50):  # some scenes leave nothing to ask
            rng = np.random.default_rng((*key, attempt))
            scene = self._scene(task, rng)
            asked = _ASK[task.prompt](scene, task, self._kinds(task), self.absent, rng) if scene.things else None
            if asked is not None:
                break
        else:
            raise AssertionError(f"no scene of {task.name} {index} suits")
        times = tuple(t / 6 for t in range(len(scene.frames))) if task.media == "video" else None
        name = f"world-{self.split}-{self.seed}-{task.name}-{index}"
        return Sample(name, task.name, scene.frames, asked.prompt, asked.objects, asked.answer, times), scene

    def _kinds(self, task: Task) -> vocabulary.Kinds:
        return vocabulary.unseen() if task.paper.endswith("OV") and self.split != "train" else vocabulary.seen()

    def _scene(self, task: Task, rng: np.random.Generator) -> Scene:
        recipe = replace(_RECIPES[task.prompt], frames=self.frames if task.media == "video" else 1)
        if task.paper.endswith("OV"):
            recipe = replace(recipe, unnamed=0.0, blobs=0.0, cutouts=0.0, twins=0.25)
        return stage(recipe, self.size, self._kinds(task), rng)
