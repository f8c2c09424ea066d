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
