"""The verbs of ``x2sam bench``."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

app = typer.Typer(help="Speed and memory on this machine.", no_args_is_help=True)


@app.callback()
def _bench() -> None:
    """One measurement a command; a json line each."""


@app.command("segment")
def bench_segment(
    encoder: Annotated[str, typer.Option(help="hiera-tiny, hiera-large, nano or 4b.")] = "nano",
    size: Annotated[int, typer.Option(help="Pixels a side of the mask branch; 0: the encoder's own.")] = 0,
    queries: Annotated[int, typer.Option(help="0: the encoder's own.")] = 0,
    frames: Annotated[int, typer.Option(help="Frames to segment.")] = 16,
    memory: Annotated[int, typer.Option(help="Frames remembered; -1: the encoder's own.")] = -1,
    level: Annotated[
        Optional[list[int]],  # noqa: UP045
        typer.Option(help="Level that remembers, 0 (coarsest) to 2; repeat for more; by default the encoder's own."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16, float16")] = "float32",
) -> None:
    """Seconds, memory and arithmetic a frame of the mask side, with random weights."""
    import dataclasses
    import json

    from x2sam import bench as measuring

    found = measuring.bench_segment(encoder, size, queries, frames, memory, level or (), device, dtype)
    print(json.dumps(dataclasses.asdict(found)))


@app.command("objects")
def bench_objects(
    count: Annotated[
        Optional[list[int]],  # noqa: UP045
        typer.Option(help="Number of objects; repeat for more. By default 1, 4, 16, 64 and 128."),
    ] = None,
    frames: Annotated[int, typer.Option(help="Frames that are timed.")] = 8,
    size: Annotated[int, typer.Option(help="Pixels a side of the generated film.")] = 480,
    per_frame: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="Objects that are decoded on a frame; 0: all of them."),
    ] = None,
    processor_time: Annotated[bool, typer.Option(help="Time of the processor, where other work runs.")] = False,
    model: Annotated[str, typer.Option(help="As of the other commands.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps, ...")] = "auto",
) -> None:
    """Frames a second with objects that are clicked one after the other; a json line each."""
    import dataclasses
    import json
    import time

    from x2sam.benchmarks.objects import COUNTS, bench_objects
    from x2sam.predictor import X2Sam

    options = {} if per_frame is None else {"per_frame": per_frame or None}
    clock = time.process_time if processor_time else time.perf_counter
    loaded = X2Sam.from_pretrained(model, device=device)
    for row in bench_objects(loaded, count or COUNTS, frames, size, clock, **options):
        print(json.dumps(dataclasses.asdict(row)))
