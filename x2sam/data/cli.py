"""The verbs of ``x2sam data``: what there is, whether it is right, and what it looks like."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from x2sam.errors import DataError, InputError

if TYPE_CHECKING:
    from x2sam.data.base import Records
    from x2sam.types import Sample

app = typer.Typer(help="Training and evaluation data.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="A split of: x2sam data list, own data as family:file, or their folder.")]
Root = Annotated[Path, typer.Option(help="Folder that the paths of the data set start from.")]
# typer reads these annotations at run time, and Python 3.10 must be able to evaluate them.
MaybeText = Optional[str]  # noqa: UP045
MaybeNumber = Optional[int]  # noqa: UP045


@app.command("list")
def show(
    task: Annotated[MaybeText, typer.Option(help="Only the splits of this task.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON lines.")] = False,
) -> None:
    """List the splits that can be read."""
    import dataclasses

    from rich.console import Console
    from rich.table import Table

    from x2sam.data.catalog import list_splits
    from x2sam.tasks import get_task

    splits = list_splits(get_task(task).name if task else None)
    if as_json:
        for split in splits:
            print(json.dumps(dataclasses.asdict(split)))
        return
    table = Table("split", "task", "format", "scored by", "samples")
    for split in splits:
        metrics = ", ".join(split.metrics) + (" (on a server)" if split.hidden else "")
        table.add_row(split.name, split.task, split.family, metrics, str(split.count or ""))
    Console(width=None if Console().is_terminal else 160).print(table)


@app.command()
def check(
    split: Name,
    root: Root = Path(),
    pixels: Annotated[bool, typer.Option("--pixels", help="Also unpack every picture.")] = False,
    seed: Annotated[int, typer.Option(help="Of drawn prompts and negatives.")] = 0,
) -> None:
    """Say precisely what is wrong in a data set: one JSON line per problem, as it is found."""
    from x2sam.data.catalog import get_split, open_split
    from x2sam.data.check import check as problems_of
    from x2sam.data.own import check_own, open_own

    if Path(split).is_dir():
        found, records = check_own(Path(split), pixels), None
    else:
        row = get_split(split)
        records = open_split(row, root, seed)
        found = problems_of(records, row, pixels)
    count = 0
    for problem in found:
        count += 1
        print(json.dumps({"split": split, "record": problem.record, "problem": problem.text}), flush=True)
    if count:
        where = split if records is None else f"{len(records)} records of {split}"
        raise DataError(f"Got {count} problem{'s' * (count != 1)} in {where}", "none")
    total = len(records) if records is not None else sum(open_own(Path(split)).lengths.values())
    print(json.dumps({"split": split, "records": total, "problems": 0}))


@app.command()
def preview(
    split: Annotated[
        str, typer.Argument(help="world, a split of: x2sam data list, own data as family:file, or their folder.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Picture to write.")] = Path("preview.png"),
    root: Root = Path(),
    count: Annotated[int, typer.Option(help="Samples (of the world: of every task).")] = 2,
    seed: Annotated[int, typer.Option()] = 0,
    part: Annotated[str, typer.Option(help="Of the world: train, val or test.")] = "train",
) -> None:
    """A contact sheet of samples, with what is asked and what is to be found, to look at."""
    from x2sam.data.world import World
    from x2sam.data.world.preview import contact_sheet
    from x2sam.tasks import TASKS

    if count < 1:
        raise InputError(f"Got {count} samples to show", "at least 1")
    if Path(split).is_dir():
        from x2sam.data.own import open_own

        own = open_own(Path(split), "val" if part == "val" else "train", seed)
        sheet = contact_sheet(own, list(own.records), min(count, *own.lengths.values()))  # type: ignore[arg-type]
    elif split == "world":
        sheet = contact_sheet(World(split=part, seed=seed), list(TASKS), count)
    else:
        from x2sam.data.catalog import get_split, open_split

        row = get_split(split)
        shown = _Spread(open_split(row, root, seed), count)
        sheet = contact_sheet(shown, [row.task], min(count, len(shown.records)))  # type: ignore[arg-type]
    sheet.save(out)
    print(json.dumps({"outputs": [str(out)]}))


@app.command()
def pack(
    source: Annotated[str, typer.Argument(help="world, a split of: x2sam data list, or a folder of own data.")],
    out: Annotated[str, typer.Option("--out", "-o", help="Folder or address (s3://...) of the pack.")],
    root: Root = Path(),
    task: Annotated[Optional[list[str]], typer.Option(help="Of the world; repeat for more.")] = None,  # noqa: UP045
    count: Annotated[int, typer.Option(help="Of the world: samples of every task and part.")] = 1000,
    shard: Annotated[int, typer.Option(help="Samples of a tar.")] = 256,
    seed: Annotated[int, typer.Option(help="Of drawn prompts and negatives, and of the world.")] = 0,
) -> None:
    """Pack samples into tar shards that training and evaluation stream: source=PACK, packed:PACK."""
    from x2sam.data.base import Records
    from x2sam.data.catalog import get_split, open_split
    from x2sam.data.own import open_own
    from x2sam.data.pack import pack as write
    from x2sam.data.world import World
    from x2sam.tasks import get_task

    metrics: tuple[str, ...] = ()
    if source == "world":
        tasks = [get_task(name).name for name in task or ["img_genseg"]]
        worlds = {part: World(part, seed=seed) for part in ("train", "val")}
        parts = {
            part: {name: Records(count, partial(world.sample, name)) for name in tasks}
            for part, world in worlds.items()
        }
    elif Path(source).is_dir():
        data = {part: open_own(Path(source), part, seed).records for part in ("train", "val")}
        parts = data
    else:
        row = get_split(source)
        parts, metrics = {"all": {row.task: open_split(row, root, seed)}}, row.metrics
    head = write(parts, out, shard, metrics)
    print(json.dumps({"outputs": [out], **head}))


class _Spread:
    """A few samples from all over a split, in the place of a world."""

    def __init__(self, records: Records, count: int) -> None:
        self.records, self._step = records, max(len(records) // count, 1)

    def sample(self, task: str, index: int) -> Sample:
        return self.records[index * self._step]
