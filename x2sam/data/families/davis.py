"""DAVIS 2017: objects to be followed from their mask on the first frame that shows them."""

from __future__ import annotations

from pathlib import Path

from x2sam.data.base import Records, Split
from x2sam.data.families._folders import frame_names, read_list
from x2sam.data.families.youtube_vos import Video, records


def read(root: Path, split: Split, seed: int) -> Records:
    """Options: ``list``, names of videos; ``images`` and ``masks``, folders with ``<video>/<frame>``."""
    images, masks = root / split.options["images"], root / split.options["masks"]
    names = read_list(root / split.options["list"])
    return records(split, images, masks, [Video(name, tuple(frame_names(images / name))) for name in names])
