"""The verb ``x2sam annotate``; what it does is imported when it runs."""

from __future__ import annotations

from typing import Annotated, Any, Optional

import typer

# typer reads these annotations at run time, and Python 3.10 must be able to evaluate them.
MaybeText = Optional[str]  # noqa: UP045
MaybeTexts = Optional[list[str]]  # noqa: UP045
MaybeNumber = Optional[float]  # noqa: UP045


def annotate(
    sources: Annotated[
        list[str],
        typer.Argument(help="Pictures, films, folders, globs, .txt lists, .jsonl or .parquet manifests, addresses."),
    ],
    out: Annotated[str, typer.Option("--out", "-o", help="Folder or address (s3://...); a run in it goes on.")],
    prompt: Annotated[
        MaybeTexts, typer.Option("--prompt", "-p", help="What to segment; several times for several categories.")
    ] = None,
    format: Annotated[
        MaybeTexts, typer.Option("--format", "-f", help="parquet, coco, ytvis, labelstudio; repeat for more.")
    ] = None,
    task: Annotated[MaybeText, typer.Option(help="A row of: x2sam tasks. Inferred if left out.")] = None,
    batch: Annotated[int, typer.Option(help="Pictures that share a pass.")] = 8,
    shard: Annotated[int, typer.Option(help="Inputs of a shard: what is lost at most when a worker dies.")] = 64,
    every: Annotated[int, typer.Option(help="Of films decode every so many frames; in between masks are carried.")] = 1,
    split: Annotated[str, typer.Option(help="Cut films: every so many seconds, or at 'shots'.")] = "",
    threshold: Annotated[MaybeNumber, typer.Option(help="Score that a segment needs, 0 to 1.")] = None,
    form: Annotated[str, typer.Option(help="Of categories: panoptic, instance or semantic.")] = "panoptic",
    engine: Annotated[str, typer.Option(help="one, ray, or auto: ray where workers or an address are given.")] = "auto",
    workers: Annotated[int, typer.Option(help="Workers on Ray; 0: as many as there is room for.")] = 0,
    address: Annotated[str, typer.Option(help="Of a Ray cluster; empty: this machine.")] = "",
    cpus: Annotated[float, typer.Option(help="Cores of each worker.")] = 1,
    gpus: Annotated[float, typer.Option(help="GPUs of each worker; a half lets two share one.")] = 0,
    threads: Annotated[int, typer.Option(help="PyTorch's, of each worker; 0: as many as cores.")] = 0,
    price: Annotated[float, typer.Option(help="Of an hour of one worker, for the cost per thousand.")] = 0,
    settings: Annotated[MaybeTexts, typer.Option("--set", help="key=number of the model: image_size=128 ...")] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", help="auto, nano, 4b, tiny, a folder, or a Hub name.")
    ] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps ...")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16, float16")] = "auto",
) -> None:
    """Annotate any number of pictures and films: shards of masks that a killed run goes on with."""
    from x2sam.annotate.command import run
    from x2sam.annotate.engines import Resources
    from x2sam.annotate.plan import Settings, parse_split
    from x2sam.speed import read_changes

    options: dict[str, Any] = {"threshold": threshold, "form": form}
    what = Settings(
        *(
            tuple(sources),
            tuple(prompt or ()),
            task,
            model,
            dtype,
            read_changes(settings),
            options,
            batch,
            shard,
            every,
        ),
        parse_split(split),
    )
    where = Resources(device, threads, workers, cpus, gpus, address)
    run(out, what, where, tuple(format or ("parquet",)), engine, price)
