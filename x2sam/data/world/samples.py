"""`World`: a scene and words about it become the `Sample` of a task."""

from __future__ import annotations

import zlib

import numpy as np

from x2sam.data.world.casting import Look, Recipe, any_look, new_look
from x2sam.data.world.drafts import MAKERS, NEGATIVES, Draft, categories
from x2sam.data.world.facts import Facts
from x2sam.data.world.scene import build
from x2sam.data.world.vocabulary import HELD_OUT, STUFF, THINGS, held_back, is_thing
from x2sam.errors import InputError, X2SamError
from x2sam.tasks import Task, get_task
from x2sam.types import Sample

SPLITS = ("train", "val", "test")
ATTEMPTS = 100
"""Scenes tried until one suits the task."""

_TALK = Recipe(count=(1, 5), radius=(0.12, 0.34), photo=0.1, stuff=0.7, moves=0.35)
_WILD = Recipe(count=(2, 8), radius=(0.07, 0.42), nameless=0.55, photo=0.75, stuff=0.15, moves=0.7, wild=True)
RECIPES: dict[str, tuple[Recipe, ...]] = {
    "chat": (_TALK,),
    "genseg": (Recipe(photo=0.3, nameless=0.05),),
    "ovseg": (Recipe(count=(2, 6), radius=(0.12, 0.32), photo=0.0),),
    "refseg": (Recipe(photo=0.05, repeat=0.5, moves=0.35),),
    "reaseg": (Recipe(photo=0.1, repeat=0.2, moves=0.3),),
    "gcgseg": (_TALK,),
    "intseg": (_WILD, _WILD, Recipe(photo=0.4)),
    "objseg": (_WILD, _WILD, _WILD, Recipe(photo=0.4, moves=0.6)),
    "vgdseg": (Recipe(photo=0.5, repeat=0.6), Recipe(photo=0.5, repeat=0.6, wild=True, radius=(0.08, 0.36))),
}
"""Scenes that suit a task (its column ``scene``), drawn with equal chance."""


class World:
    """Generated samples without end, each a pure function of (split, seed, task, index, size, frames).

    Args:
        split: ``train``, ``val`` or ``test``. They share no sample, and only the open-vocabulary tasks of ``val`` and
            ``test`` show what is held back (see `vocabulary`): at every fourth index new categories, else new
            combinations; the sample's id says which.
        size: height and width of the frames in pixels.
        frames: frames of a clip.
        seed: another seed is another world.
        absent: share of the referring phrases and questions that match nothing.
        negatives: most conditions of a list that match nothing; the model must tell each thing from all of them.
        phrases: most referring phrases or questions about one picture; 0: as few as people ask. More of them teach a
            language model more for the same looking.
    """

    def __init__(
        self,
        split: str = "train",
        size: tuple[int, int] = (256, 256),
        frames: int = 8,
        seed: int = 0,
        absent: float = 0.15,
        negatives: int = NEGATIVES,
        phrases: int = 0,
    ) -> None:
        if split not in SPLITS:
            raise InputError(f"Got the split {split!r}", f"one of: {', '.join(SPLITS)}")
        if min(size) < 64 or frames < 2:
            raise InputError(f"Got frames of {size[1]}x{size[0]} pixels, {frames} to a clip", "64x64 and 2 at least")
        self.split, self.size, self.frames, self.seed = split, size, frames, seed
        self.absent, self.negatives, self.phrases = absent, negatives, phrases
        self.categories: tuple[str, ...] = tuple(n for n in (*THINGS, *STUFF) if n not in HELD_OUT)
        """Names of the things and the stuff that training shows; `is_thing` tells them apart."""
        self.held_out: tuple[str, ...] = HELD_OUT
        """Categories that only the open-vocabulary tasks of ``val`` and ``test`` show."""

    @staticmethod
    def is_thing(category: str) -> bool:
        """Whether a category has instances; the others are stuff."""
        return is_thing(category)

    def sample(self, task_name: str, index: int) -> Sample:
        """The sample of a task at an index: the same call gives the same bytes, in any process and order."""
        return self.explained(task_name, index)[0]

    def explained(self, task_name: str, index: int) -> tuple[Sample, Facts]:
        """The sample, and what is true about its scene."""
        task = get_task(task_name)
        open_vocabulary = task.open_vocabulary and self.split != "train"
        new = None if not open_vocabulary else "category" if index % 4 == 3 else "combination"
        frames = self.frames if task.media == "video" else 1
        words = (zlib.crc32(text.encode()) for text in (self.split, task_name))
        key = [self.seed, *words, index, *self.size, frames]
        for attempt in range(ATTEMPTS):
            rng, fate = np.random.default_rng([*key, attempt]), np.random.default_rng([*key, ATTEMPTS])
            draft = self._draft(rng, fate, task, frames, new)
            content = (categories if _by_name(rng, task, new) else MAKERS[task.scene])(draft)
            if content is None:
                continue
            parts = ("world", self.split, f"seed {self.seed}", task_name, *([f"new {new}"] if new else []), str(index))
            rate = rng.uniform(5, 15)
            times = tuple(t / rate for t in range(frames)) if task.media == "video" else None
            sample = Sample(
                sample_id="/".join(parts),
                task=task_name,
                frames=draft.facts.scene.frames,
                prompt=content.prompt,
                objects=content.objects,
                answer=content.answer,
                times=times,
            )
            return sample, draft.facts
        raise X2SamError(f"None of {ATTEMPTS} scenes suits {task_name} at index {index}")

    def _draft(
        self, rng: np.random.Generator, fate: np.random.Generator, task: Task, frames: int, new: str | None
    ) -> Draft:
        """A scene of the right kind."""
        recipes = RECIPES[task.scene]
        names, looks = self.categories, list[Look]()
        if new == "category":
            names = (*self.categories, *(n for n in self.held_out if n in STUFF))
            looks = [any_look(rng, self.held_out) for _ in range(rng.integers(1, 4))]
        elif new == "combination":
            looks = [new_look(rng, tuple(n for n in names if n in THINGS)) for _ in range(rng.integers(1, 4))]
        allowed = _in_training if new is None else _always
        scene = build(rng, recipes[rng.integers(len(recipes))], names, _in_training, frames, self.size, tuple(looks))
        words = (*self.categories, *self.held_out) if new == "category" else self.categories
        facts, shown = Facts(scene), tuple(looks)
        return Draft(rng, fate, facts, words, allowed, self.absent, shown, self.negatives, self.phrases)


def _by_name(rng: np.random.Generator, task: Task, new: str | None) -> bool:
    """Whether an open-vocabulary prompt lists plain categories rather than combinations."""
    return task.open_vocabulary and (new == "category" or (new is None and rng.random() < 0.3))


def _in_training(category: str, colour: str | None, texture: str | None) -> bool:
    return not held_back(category, colour, texture)


def _always(category: str, colour: str | None, texture: str | None) -> bool:
    return True
