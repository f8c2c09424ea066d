"""The command line: ``x2sam photo.jpg "the rabbit"`` just works, and verbs for the rest.

One JSON line per input goes to stdout; messages and progress to stderr. A user's mistake is one line and exit code 2.
Heavy imports happen inside the commands, so that ``--help`` is instant.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from x2sam.data.cli import app as data
from x2sam.errors import InputError, MissingExtraError, X2SamError

app = typer.Typer(
    name="x2sam",
    help="Any segmentation in images and videos: words, clicks, boxes, scribbles or masks in; text and masks out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Inputs = Annotated[
    list[str],
    typer.Argument(
        help="Images, videos, folders of frames, URLs or globs; then what to segment, each in quotes.",
        show_default=False,
    ),
]
Model = Annotated[str, typer.Option("--model", "-m", help="auto, nano, 4b, tiny, a folder, or a Hub name.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, mps ...")]
DType = Annotated[str, typer.Option(help="auto, float32, bfloat16, float16")]
# typer reads these annotations at run time, and Python 3.10 must be able to evaluate them.
MaybeText = Optional[str]  # noqa: UP045
MaybeNumber = Optional[float]  # noqa: UP045
MaybeTexts = Optional[list[str]]  # noqa: UP045
Runtime = Annotated[str, typer.Option(help="torch, or onnx: the same model on ONNX Runtime (docs/onnx.md).")]
Changes = Annotated[
    MaybeTexts,
    typer.Option("--set", help="key=number of the model: image_size=128, memory_levels=0, memory_size=0 ..."),
]


@app.command()
def segment(
    inputs: Inputs,
    prompt: Annotated[
        MaybeTexts, typer.Option("--prompt", "-p", help="What to segment; several times for several categories.")
    ] = None,
    point: Annotated[MaybeTexts, typer.Option(help="x,y of the object; x,y,- says: not this. Repeat for more.")] = None,
    box: Annotated[MaybeTexts, typer.Option(help="x0,y0,x1,y1 around an object. Repeat for more objects.")] = None,
    scribble: Annotated[MaybeTexts, typer.Option(help="Picture whose drawn pixels mark an object.")] = None,
    mask: Annotated[MaybeTexts, typer.Option(help="Picture (or DAVIS palette) with the object's mask.")] = None,
    frame: Annotated[int, typer.Option(help="Frame of the video that the regions are on.")] = 0,
    task: Annotated[MaybeText, typer.Option(help="A row of: x2sam tasks. Inferred if left out.")] = None,
    out: Annotated[
        MaybeText, typer.Option("--out", "-o", help="Folder (or file, for one input) for the results.")
    ] = None,
    format: Annotated[
        MaybeTexts, typer.Option("--format", "-f", help="overlay, coco, yolo, davis, panoptic, ...; repeat for more.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write over results that are there already.")] = False,
    threshold: Annotated[MaybeNumber, typer.Option(help="Score that a segment needs, 0 to 1.")] = None,
    mask_threshold: Annotated[float, typer.Option(help="Probability that a pixel needs, 0 to 1.")] = 0.5,
    form: Annotated[str, typer.Option(help="Of categories: panoptic, instance or semantic.")] = "panoptic",
    protocol: Annotated[str, typer.Option(help="public, or released: the release's own post-processing.")] = "public",
    identity: Annotated[str, typer.Option(help="x2sam, or released: how ids are kept over time.")] = "x2sam",
    kind: Annotated[MaybeText, typer.Option(help="Take the input as: image or video.")] = None,
    fps: Annotated[MaybeNumber, typer.Option(help="Frames a second of folders of frames.")] = None,
    every: Annotated[int, typer.Option(help="Decode every so many frames; in between masks are carried.")] = 1,
    settings: Changes = None,
    runtime: Runtime = "torch",
    model: Model = "auto",
    device: Device = "auto",
    dtype: DType = "auto",
) -> None:
    """Segment images and videos. The task is inferred from what is given."""
    from x2sam import runner

    shapes = {"point": point, "box": box, "scribble": scribble, "mask": mask}
    media, trailing = runner.split_inputs(inputs, asked=bool(prompt or any(shapes.values()) or task))
    runner.segment(
        media,
        [*trailing, *(prompt or [])],
        {name: values for name, values in shapes.items() if values},
        runner.Settings(
            *(model, device, dtype, task, kind, fps, frame, identity, out, tuple(format or ()), overwrite),
            _changes(settings) | ({"runtime": runtime} if runtime != "torch" else {}),
        ),
        {"threshold": threshold, "mask_threshold": mask_threshold, "form": form, "protocol": protocol, "every": every},
    )


@app.command()
def track(context: typer.Context) -> None:
    """Segment videos: `segment --kind video`, with the same options."""
    raise AssertionError(context)  # main() rewrites it


@app.command()
def chat(
    media: Annotated[str, typer.Argument(help="An image or a video.")],
    message: Annotated[MaybeText, typer.Argument(help="What to ask; left out, you talk line by line.")] = None,
    max_new_tokens: Annotated[int, typer.Option(help="Length of an answer at most.")] = 512,
    model: Model = "auto",
    device: Device = "auto",
    dtype: DType = "auto",
) -> None:
    """Talk about an image or a video."""
    from x2sam import runner

    runner.chat(media, message, max_new_tokens, runner.Settings(model, device, dtype))


@app.command()
def tasks(json: Annotated[bool, typer.Option("--json", help="As JSON lines.")] = False) -> None:
    """List the fourteen tasks and two chats."""
    import dataclasses
    import json as jsonlib

    from x2sam.tasks import TASKS

    if json:
        for row in TASKS.values():
            print(jsonlib.dumps(dataclasses.asdict(row)))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("task", "what", "takes", "paper")
    takes = {
        "categories": "category names",
        "expressions": "a phrase",
        "questions": "a question",
        "answer": "nothing: it describes",
        "regions": "points, boxes, scribbles or masks",
        "none": "a message",
    }
    for row in TASKS.values():
        table.add_row(row.name, row.title, f"{row.media} + {takes[row.conditions]}", row.paper)
    Console().print(table)


@app.command()
def pull(
    source: Annotated[str, typer.Argument(help="4b, a name on the Hub, or a released file or folder.")],
    base: Annotated[MaybeText, typer.Option(help="Base Qwen3-VL: folder or name on the Hub.")] = None,
    config: Annotated[MaybeText, typer.Option(help="Folder with a config.json, for other sizes than the 4B's.")] = None,
    out: Annotated[MaybeText, typer.Option("--out", "-o", help="Folder to write (default: in the cache).")] = None,
    dtype: Annotated[str, typer.Option(help="keep, float32, bfloat16 or float16")] = "keep",
    lora_alpha: Annotated[MaybeNumber, typer.Option(help="Alpha of the adapter; twice its rank if left out.")] = None,
) -> None:
    """Fetch and convert released weights, one shard at a time."""
    from x2sam import runner

    runner.pull(source, base, config, out, dtype, lora_alpha)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="prompted_nano, talk_nano, joint_4b or finetune.")],
    overrides: Annotated[MaybeTexts, typer.Argument(help="key=value, for example: updates=100 lr=1e-4")] = None,
    data: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Folder of your annotations: COCO json, YouTube-VIS json, or json lines."),
    ] = None,
) -> None:
    """Train by a recipe. A run in the recipe's folder is continued."""
    from x2sam import runner

    runner.train(recipe, overrides or [], data)


@app.command()
def evaluate(
    splits: Annotated[list[str], typer.Argument(help="Splits of: x2sam data list; world, world/TASK, or photos.")],
    root: Annotated[Optional[Path], typer.Option(help="Folder of the data sets.")] = None,  # noqa: UP045
    all_tasks: Annotated[bool, typer.Option("--all-tasks", "--all", help="All splits of world, or photos.")] = False,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of answers and results; a run in it goes on.")
    ] = Path("evaluation"),
    protocol: Annotated[str, typer.Option(help="public, or released: as the released evaluation does.")] = "public",
    limit: Annotated[Optional[int], typer.Option(help="Only the first samples (of the world: how many).")] = None,  # noqa: UP045
    seed: Annotated[int, typer.Option(help="Of drawn prompts and negatives, and of the world.")] = 0,
    part: Annotated[str, typer.Option(help="Of the world: test or val.")] = "test",
    size: Annotated[int, typer.Option(help="Of the world: pixels a side.")] = 224,
    frames: Annotated[int, typer.Option(help="Of the world: frames of a clip.")] = 8,
    identity: Annotated[
        str, typer.Option(help="x2sam or released: how ids are kept; by default as the protocol.")
    ] = "",
    settings: Changes = None,
    model: Model = "auto",
    device: Device = "auto",
    dtype: DType = "auto",
) -> None:
    """Score a model on data sets; exit code 1 where a sample failed."""
    from x2sam.evaluate.command import exit_code, run
    from x2sam.predictor import X2Sam

    loaded = X2Sam.from_pretrained(model, device=device, dtype=dtype, **_changes(settings))
    scores = run(splits, root, loaded, out, protocol, limit, all_tasks, seed, part, size, frames, identity)  # type: ignore[arg-type]
    sys.exit(exit_code(scores))


@app.command()
def serve(
    host: Annotated[
        str, typer.Option(help="Address to serve at; others than this machine's need a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes any that is free.")] = 7860,
    token: Annotated[MaybeText, typer.Option(envvar="X2SAM_TOKEN", help="Secret that clients must show.")] = None,
    origin: Annotated[MaybeTexts, typer.Option(help="Web page whose scripts may ask, such as https://a.org.")] = None,
    limit: Annotated[MaybeTexts, typer.Option(help="name=number of the service's limits, such as frames=500.")] = None,
    model: Model = "auto",
    device: Device = "auto",
    dtype: DType = "auto",
) -> None:
    """Serve the page and the REST interface."""
    try:
        from x2sam.serve import command
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "fastapi", "serve") from None
    command.serve(model, device, dtype, host, port, token, origin or (), limit or ())


bench = typer.Typer(help="Speed and memory on this machine.", no_args_is_help=True)
app.add_typer(bench, name="bench")


@bench.callback()
def _bench() -> None:
    """One measurement a command; a json line each."""


@bench.command("segment")
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


exporting = typer.Typer(help="The network in other forms.", no_args_is_help=True)
app.add_typer(exporting, name="export")


@exporting.callback()
def _export() -> None:
    """One form a command."""


@exporting.command("onnx")
def export_onnx(
    out: Annotated[Path, typer.Option("--out", "-o", help="New folder for the graphs.")],
    model: Annotated[
        str, typer.Option("--model", "-m", help="nano, a folder, or a mask side with random weights: hiera-tiny ...")
    ] = "nano",
    size: Annotated[int, typer.Option(help="Of a mask side: pixels a side; 0: its own.")] = 0,
    queries: Annotated[int, typer.Option(help="Of a mask side: 0: its own.")] = 0,
) -> None:
    """Write the network as graphs for ONNX Runtime, each checked against PyTorch."""
    import json

    from x2sam import bench as measuring
    from x2sam.onnx.export import export
    from x2sam.predictor import X2Sam

    def say(text: str) -> None:
        print(f"x2sam: {text}", file=sys.stderr)

    if model in measuring.ENCODERS:
        export(measuring.random_model(measuring.configuration(model, size, queries)), out, None, say)
    else:
        loaded = X2Sam.from_pretrained(model, "cpu", "float32")
        export(loaded.model, out, loaded.processor, say)
    print(json.dumps({"outputs": [str(out)]}))


def _changes(settings: list[str] | None) -> dict[str, Any]:
    """``key=1`` and ``key=0,1`` as keyword arguments of `X2Sam.from_pretrained`."""
    changes: dict[str, Any] = {}
    for key, _, value in (text.partition("=") for text in settings or []):
        try:
            numbers = [int(number) for number in value.split(",")]
        except ValueError:
            raise InputError(f"Got --set {key}={value}", "a whole number, such as memory_size=0") from None
        changes[key] = numbers if "," in value else numbers[0]
    return changes


def main(arguments: list[str] | None = None) -> None:
    """Entry point. A first word that is no verb is an input of `segment`."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    verbs = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    verbs |= {group.name for group in app.registered_groups if group.name}
    if words and words[0] not in verbs and words[0] not in ("-h", "--help", "--version"):
        words.insert(0, "segment")
    if words and words[0] == "track" and not {"-h", "--help"} & set(words):
        words[:1] = ["segment", "--kind", "video"]
    if words == ["--version"]:
        from x2sam.version import __version__

        print(__version__)
        return
    for stream in (sys.stdout, sys.stderr):  # names of files need not be UTF-8; json escapes them the same way
        with suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        app(words, standalone_mode=True)
    except X2SamError as error:
        print(f"x2sam: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:  # a file or folder that cannot be read or made; a mistake like any other
        if error.filename is None:
            raise
        print(f"x2sam: Got {str(error.filename)!r}, which cannot be used ({error.strerror}).", file=sys.stderr)
        sys.exit(2)


app.add_typer(data, name="data")

if __name__ == "__main__":
    main()
