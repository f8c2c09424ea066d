"""The command line: ``x2sam photo.jpg "the rabbit"`` just works, and verbs for the rest.

One JSON line per input goes to stdout; messages and progress to stderr. A user's mistake is one line and exit code 2.
Heavy imports happen inside the commands, so that ``--help`` is instant.
"""

from __future__ import annotations

import inspect
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Optional, get_type_hints

import typer

from x2sam.annotate.cli import annotate
from x2sam.commands.bench import app as bench
from x2sam.commands.usage import (
    Boxes,
    Changes,
    Device,
    DType,
    Everything,
    Formats,
    Inputs,
    LeastArea,
    Like,
    MainForm,
    Masks,
    MaybeNumber,
    MaybeText,
    MaybeTexts,
    Model,
    MostObjects,
    Out,
    Points,
    Prompts,
    Quiet,
    Runtime,
    Same,
    Scribbles,
    TaskName,
    Threads,
    Unlike,
    Verbose,
    Within,
)
from x2sam.data.cli import app as data
from x2sam.errors import MissingExtraError, X2SamError
from x2sam.threads import use_threads

app = typer.Typer(
    name="x2sam",
    cls=MainForm,
    help="Any segmentation in images and videos: words, clicks, boxes, scribbles or masks in; text and masks out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from x2sam.version import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Any segmentation in images and videos: words, clicks, boxes, scribbles or masks in; text and masks out."""


@app.command()
def segment(
    inputs: Inputs,
    prompt: Prompts = None,
    point: Points = None,
    box: Boxes = None,
    scribble: Scribbles = None,
    mask: Masks = None,
    frame: Annotated[int, typer.Option(help="Frame of the video that the regions are on.")] = 0,
    like: Like = None,
    unlike: Unlike = None,
    same: Same = "kind",
    everything: Everything = False,
    max_objects: MostObjects = None,
    min_area: LeastArea = 0,
    within: Within = None,
    task: TaskName = None,
    out: Out = None,
    format: Formats = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write over results that are there already.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what each input would be taken for, and what would be written.")
    ] = False,
    threshold: Annotated[MaybeNumber, typer.Option(help="Score that a segment needs, 0 to 1.")] = None,
    mask_threshold: Annotated[float, typer.Option(help="Probability that a pixel needs, 0 to 1.")] = 0.5,
    form: Annotated[str, typer.Option(help="Of categories: panoptic, instance or semantic.")] = "panoptic",
    protocol: Annotated[str, typer.Option(help="public, or released: the release's own post-processing.")] = "public",
    identity: Annotated[str, typer.Option(help="x2sam, or released: how ids are kept over time.")] = "x2sam",
    kind: Annotated[MaybeText, typer.Option(help="Take the input as: image or video.")] = None,
    fps: Annotated[MaybeNumber, typer.Option(help="Frames a second of folders of frames.")] = None,
    every: Annotated[int, typer.Option(help="Decode every so many frames; in between masks are propagated.")] = 1,
    save_state: Annotated[MaybeText, typer.Option(help="Of one video: file to write the running state to.")] = None,
    resume: Annotated[MaybeText, typer.Option(help="Of one video: saved state to go on from; no prompt.")] = None,
    settings: Changes = None,
    runtime: Runtime = "torch",
    model: Model = "auto",
    device: Device = "auto",
    dtype: DType = "auto",
    threads: Threads = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Segment images and videos. The task is inferred from what is given."""
    use_threads(threads)
    from x2sam.commands import runner
    from x2sam.regions import parse_box
    from x2sam.speed import read_changes

    shapes = {"point": point, "box": box, "scribble": scribble, "mask": mask}
    runner.segment(
        inputs,
        prompt or [],
        {name: values for name, values in shapes.items() if values},
        runner.Settings(
            *(model, device, dtype, task, kind, fps, frame, identity, out, tuple(format or ()), overwrite),
            *(read_changes(settings) | ({"runtime": runtime} if runtime != "torch" else {}), quiet, verbose),
            *(save_state, resume),
            like=tuple(like or ()),
            unlike=tuple(unlike or ()),
            same=same,
            everything=everything,
        ),
        {
            **{"threshold": threshold, "mask_threshold": mask_threshold, "form": form, "protocol": protocol},
            **{"every": every, "max_objects": max_objects, "min_area": min_area},
            "within": parse_box(within) if within else None,
        },
        COMMANDS,
        dry_run,
    )


def track(**values: Any) -> None:
    """Segment videos, and animations as videos; of single images, films of one frame."""
    segment(**values, kind="video")


def _as_segment(command: Any) -> Any:
    """The same options as `segment`, without ``--kind``."""
    own, hints = inspect.signature(segment), get_type_hints(segment, include_extras=True)
    hints.pop("kind")
    kept = [p.replace(annotation=hints[name]) for name, p in own.parameters.items() if name in hints]
    command.__signature__, command.__annotations__ = own.replace(parameters=kept), hints
    return command


app.command("track")(_as_segment(track))


@app.command()
def chat(
    media: Annotated[str, typer.Argument(help="An image or a video.")],
    message: Annotated[MaybeText, typer.Argument(help="What to ask; left out, you talk line by line.")] = None,
    max_new_tokens: Annotated[int, typer.Option(help="Length of an answer at most.")] = 512,
    model: Model = "auto",
    device: Device = "auto",
    dtype: DType = "auto",
    threads: Threads = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Talk about an image or a video."""
    use_threads(threads)
    from x2sam.commands import runner

    runner.chat(media, message, max_new_tokens, runner.Settings(model, device, dtype, quiet=quiet, verbose=verbose))


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
    from x2sam.commands import runner

    runner.pull(source, base, config, out, dtype, lora_alpha)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="prompted_nano, talk_nano, joint_4b or finetune.")],
    overrides: Annotated[MaybeTexts, typer.Argument(help="key=value, for example: updates=100 lr=1e-4")] = None,
    data: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Folder of your annotations: COCO json, YouTube-VIS json, or json lines."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Train nothing; say what it would take, and of what.")
    ] = False,
    fit: Annotated[str, typer.Option(help="Memory to fit into, such as 12GB: chooses batches, rank and sizes.")] = "",
    guard: Annotated[
        MaybeNumber, typer.Option(help="Points out of 100 that what the model could do before may lose.")
    ] = None,
) -> None:
    """Train by a recipe. A run in the recipe's folder is continued."""
    from x2sam.commands import runner

    given = [*(overrides or []), *([f"guard={guard}"] if guard is not None else [])]
    runner.train(recipe, given, data, dry_run, fit)


@app.command()
def evaluate(
    splits: Annotated[
        list[str],
        typer.Argument(help="Splits of: x2sam data list; world, world/TASK, photos, or a folder of own data."),
    ],
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
    threads: Threads = None,
) -> None:
    """Score a model on data sets; exit code 1 where a sample failed."""
    use_threads(threads)
    from x2sam.evaluate.command import exit_code, run
    from x2sam.evaluate.splits import find_split, names_of
    from x2sam.predictor import X2Sam
    from x2sam.speed import read_changes

    for name in splits:  # before the model is loaded
        for row in names_of(name, all_tasks):
            find_split(row)
    loaded = X2Sam.from_pretrained(model, device=device, dtype=dtype, **read_changes(settings))
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
    label_studio: Annotated[
        MaybeText, typer.Option(help="Address of a Label Studio whose ML backend this is: http://localhost:8080.")
    ] = None,
    label_studio_key: Annotated[
        MaybeText, typer.Option(envvar="LABEL_STUDIO_API_KEY", help="Access token for its files.")
    ] = None,
    mcp: Annotated[bool, typer.Option("--mcp", help="Answer agents at /mcp, too.")] = False,
    model: Model = "auto",
    device: Device = "auto",
    dtype: DType = "auto",
    threads: Threads = None,
) -> None:
    """Serve the page and the REST interface."""
    use_threads(threads)
    try:
        from x2sam.serve import command
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "fastapi", "serve") from None
    from x2sam.integrations.extensions import chosen

    extensions = chosen(label_studio, label_studio_key, mcp)
    command.serve(model, device, dtype, host, port, token, origin or (), limit or (), extensions)


@app.command("mcp")
def mcp_server(
    limit: Annotated[MaybeTexts, typer.Option(help="name=number of the limits, such as frames=500.")] = None,
    model: Model = "auto",
    device: Device = "auto",
    dtype: DType = "auto",
) -> None:
    """Serve one agent over stdin and stdout (MCP)."""
    from x2sam.integrations import mcp
    from x2sam.serve.command import read_limits

    mcp.run_stdio(model, device, dtype, read_limits(limit or ()))


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


app.command()(annotate)
app.add_typer(bench, name="bench")
app.add_typer(data, name="data")


COMMANDS = (
    "segment",
    "track",
    "annotate",
    "chat",
    "tasks",
    "pull",
    "export",
    "train",
    "evaluate",
    "serve",
    "mcp",
    "bench",
    "data",
)
"""What may have been meant by a first word that is no file; a test keeps it true."""


def main(arguments: list[str] | None = None) -> None:
    """Entry point: every `X2SamError` is one line and exit code 2."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):  # names of files need not be UTF-8; json escapes them the same way
        with suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        app(words, prog_name="x2sam", standalone_mode=True)
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


if __name__ == "__main__":
    main()
