"""Where training data come from, by name."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Literal

from x2sam.data.own import open_own
from x2sam.data.pack import PackedData, is_pack
from x2sam.data.photos import PhotoSource
from x2sam.data.world import World
from x2sam.errors import InputError
from x2sam.train.recipes import PHOTOS
from x2sam.train.sampler import Source
from x2sam.types import Sample

OF_PHOTOS = ("absent", "negatives")
"""Settings of the generated world that mean the same for photos."""


class Mixture:
    """Two sources as one: tasks that begin with ``photos/`` are made of photos, the others of the rest."""

    def __init__(self, rest: Source, photos: Source) -> None:
        self.rest, self.photos = rest, photos
        self.lengths: dict[str, int] = dict(getattr(rest, "lengths", None) or {})
        self.lengths |= {PHOTOS + task: n for task, n in (getattr(photos, "lengths", None) or {}).items()}

    def sample(self, task: str, index: int) -> Sample:
        """See `Source`."""
        if task.startswith(PHOTOS):
            return self.photos.sample(task.removeprefix(PHOTOS), index)
        return self.rest.sample(task, index)


def open_source(
    name: str,
    split: Literal["train", "val"],
    side: int,
    frames: int,
    photos: str = "",
    **asked: Any,
) -> Source:
    """The generated world (``world``), a folder of annotations (`open_own`), a pack, or ``module:Class`` built with the
    split.

    A source with a fixed number of samples says so in ``lengths``, a dict by task.

    Args:
        name: ``world``, a folder, a pack's folder or address, or ``module:Class``.
        split: part of the data.
        side: height and width of the world's frames.
        frames: of the world's clips.
        photos: a folder of photos (`x2sam.data.photos`) for the tasks that begin with ``photos/``.
        asked: further arguments of the `World`; what the photos can be asked for, too (`OF_PHOTOS`), goes to both.
    """
    if photos:
        told = {key: asked[key] for key in OF_PHOTOS if key in asked}
        return Mixture(open_source(name, split, side, frames, **asked), PhotoSource(photos, split, frames, **told))
    if name == "world":
        return World(split, size=(side, side), frames=frames, **asked)
    if is_pack(name):
        return PackedData(name, split)
    if Path(name).is_dir():
        return open_own(Path(name), split)
    module, _, cls = name.partition(":")
    if not cls:
        raise InputError(f"Got the source {name!r}", "world, a folder, a pack, or module:Class")
    return getattr(importlib.import_module(module), cls)(split)
