"""What can be evaluated: rows of the catalog, also by group, and every task of the generated world."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from x2sam.benchmarks.vvgd import RELEASED
from x2sam.data.base import Records, Split
from x2sam.data.catalog import get_split, open_split
from x2sam.data.catalog_photos import PHOTO_SPLITS
from x2sam.data.own import open_own
from x2sam.data.world import World
from x2sam.errors import InputError
from x2sam.tasks import TASKS, get_task
from x2sam.types import Sample

WORLD = "world"
OWN = "own"
"""A folder of own data, as `x2sam.data.own` reads it."""
WORLD_SAMPLES = 100
"""Samples of each of the world's splits, unless said otherwise; there is no end of them."""
NEW = {"": (0, 1, 2, 3), "/combinations": (0, 1, 2), "/categories": (3,)}
"""The indices modulo 4 of the two kinds of held-back samples (see `World`); open-vocabulary tasks only."""

GROUPS: dict[str, tuple[str, ...]] = {
    WORLD: tuple(
        f"{WORLD}/{task.name}{kind}"
        for task in TASKS.values()
        if not task.is_chat
        for kind in (list(NEW)[1:] if task.open_vocabulary else [""])
    ),
    "photos": tuple(split.name for split in PHOTO_SPLITS),
}
"""Splits that one name stands for."""


def names_of(wanted: str, all_tasks: bool = False) -> list[str]:
    """The splits that a name on the command line stands for.

    ``world`` or ``photos`` with ``--all`` is all of them; a folder of own data is one for each task that it serves.
    """
    if Path(wanted).is_dir() and wanted not in GROUPS:
        return [f"{OWN}:{task}:{wanted}" for task in open_own(Path(wanted), "val").records if get_task(task).metrics]
    if wanted not in GROUPS:
        return [wanted]
    if not all_tasks:
        raise InputError(f"Got {wanted!r}", f"one split, such as {GROUPS[wanted][0]}", "Add --all for all of them")
    return list(GROUPS[wanted])


def find_split(name: str) -> Split:
    """The row called ``name``; ``vvgd:FILE:KIND`` is a benchmark file with prompts of one kind."""
    if name.startswith(f"{OWN}:"):
        _, task, folder = name.split(":", 2)
        place = Path(folder).resolve()
        return Split(f"{place.name}/{task}", task, OWN, {"folder": str(place)}, get_task(task).metrics)
    if name.startswith("vvgd:"):
        _, file, kind = f"{name}:box".split(":")[:3]
        options = {"json": file, "images": str(Path(file).parent), "prompt": kind, "released": RELEASED.options}
        return Split(name, "vid_vgdseg", "vgd_video", options, ("vvgd",))
    if not name.startswith(f"{WORLD}/"):
        row = get_split(name)
        return row if row.metrics or row.hidden else replace(row, metrics=get_task(row.task).metrics)
    called, slash, kind = name.removeprefix(f"{WORLD}/").partition("/")
    asked = get_task(called)
    if asked.is_chat or slash + kind not in (NEW if asked.open_vocabulary else {"": ()}):
        known = ", ".join(t.name for t in TASKS.values() if not t.is_chat)
        raise InputError(f"Got the split {name!r}", f"{WORLD}/TASK with one of: {known}")
    return Split(name, asked.name, WORLD, {"new": slash + kind}, asked.metrics)


def open_records(
    split: Split,
    root: Path | None,
    seed: int = 0,
    part: str = "test",
    size: int = 224,
    frames: int = 8,
    count: int | None = None,
    protocol: str = "public",
) -> Records:
    """The samples of a split.

    Args:
        split: from `find_split`.
        root: folder of the data sets; not needed for the world.
        seed: of what is drawn: prompts, negatives; of the world itself.
        protocol: ``public`` or ``released``.
        part, size, frames, count: of the world: ``test`` or ``val``, pixels a side, frames of a clip, samples.
    """
    if split.family == WORLD:
        world, places = World(part, (size, size), frames, seed), NEW[split.options["new"]]

        def make(index: int) -> Sample:
            turn, place = divmod(index, len(places))
            return world.sample(split.task, 4 * turn + places[place])

        return Records(WORLD_SAMPLES if count is None else count, make)
    if split.family == OWN:
        return open_own(Path(split.options["folder"]), "val", seed).records[split.task]
    if root is None and split.family != "packed":
        raise InputError(f"Got {split.name} without a folder", "the data sets' root", "Say --root DIR")
    # What the released evaluation cuts in another way, its rows say.
    own = split.options.get("released", {}) if protocol == "released" else {}
    return open_split(replace(split, options={**split.options, **own}), root or Path(), seed)
