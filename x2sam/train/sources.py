"""Where training data come from, by name."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Literal

from x2sam.data.own import open_own
from x2sam.data.world import World
from x2sam.errors import InputError
from x2sam.train.sampler import Source


def open_source(
    name: str,
    split: Literal["train", "val"],
    side: int,
    frames: int,
    **asked: Any,
) -> Source:
    """The generated world (``world``), a folder of annotations (`open_own`), or ``module:Class`` built with the split.

    A source with a fixed number of samples says so in ``lengths``, a dict by task.

    Args:
        name: ``world``, a folder, or ``module:Class``.
        split: part of the data.
        side: height and width of the world's frames.
        frames: of the world's clips.
        asked: further arguments of the `World`.
    """
    if name == "world":
        return World(split, size=(side, side), frames=frames, **asked)
    if Path(name).is_dir():
        return open_own(Path(name), split)
    module, _, cls = name.partition(":")
    if not cls:
        raise InputError(f"Got the source {name!r}", "world, a folder, or module:Class")
    return getattr(importlib.import_module(module), cls)(split)
