"""How the command line is used: its main form, options that commands share, and completion. Imports nothing heavy."""

from __future__ import annotations

from typing import Annotated, Any, Optional

import typer
from typer.core import TyperGroup

DEFAULT = "segment"
"""The command that is meant where none is named."""

EXAMPLES = (
    'x2sam photo.jpg "the rabbit"',
    "x2sam clip.mp4 --box 10,10,90,80 --format davis",
    "x2sam 'photos/*.jpg' \"cat, dog, stuff: wall\" --out results",
)

# typer reads these annotations at run time, and Python 3.10 must be able to evaluate them.
MaybeText = Optional[str]  # noqa: UP045
MaybeCount = Optional[int]  # noqa: UP045
MaybeNumber = Optional[float]  # noqa: UP045
MaybeTexts = Optional[list[str]]  # noqa: UP045


class MainForm(TyperGroup):
    """A group whose first word may be a medium: then it is `segment`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """A first word that is no command and no option of the group's own is an input."""
        own = {name for parameter in self.get_params(ctx) for name in (*parameter.opts, *parameter.secondary_opts)}
        first = args[0] if args else ""
        if first and first not in self.commands and first.partition("=")[0] not in own:
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        """The main form first, with examples."""
        name = ctx.command_path
        formatter.write_usage(name, 'PHOTO_OR_FILM... ["WHAT TO SEGMENT"] [OPTIONS]')
        formatter.write_usage(name, "COMMAND [ARGUMENTS] [OPTIONS]", prefix="       ")
        formatter.write_paragraph()
        formatter.write("Examples:\n" + "".join(f"  {example}\n" for example in EXAMPLES))


def _complete_tasks(incomplete: str) -> list[tuple[str, str]]:
    from x2sam.tasks import TASKS

    return [(name, row.title) for name, row in TASKS.items() if name.startswith(incomplete)]


def _complete_formats(incomplete: str) -> list[tuple[str, str]]:
    from x2sam.results.export import FORMATS

    return [(name, row.description) for name, row in FORMATS.items() if name.startswith(incomplete)]


def _complete_models(incomplete: str) -> list[str]:
    return [name for name in ("auto", "nano", "4b", "tiny") if name.startswith(incomplete)]


Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="PHOTO_OR_FILM [WORDS]",
        help="Images, videos, folders of frames, URLs or globs; then what to segment, in quotes.",
        show_default=False,
    ),
]
Prompts = Annotated[
    MaybeTexts,
    typer.Option(
        "--prompt", "-p", help='What to segment: "a phrase", or "names, with, commas". Repeat for more names.'
    ),
]
Points = Annotated[MaybeTexts, typer.Option(help="x,y of the object; x,y,- says: not this. Repeat for more.")]
Boxes = Annotated[MaybeTexts, typer.Option(help="x0,y0,x1,y1 around an object. Repeat for more objects.")]
Scribbles = Annotated[MaybeTexts, typer.Option(help="Picture whose drawn pixels mark an object.")]
Masks = Annotated[MaybeTexts, typer.Option(help="Picture (or DAVIS palette) with the object's mask.")]
Like = Annotated[
    MaybeTexts,
    typer.Option(
        help="What to find, shown elsewhere: photo.jpg:box=10,10,90,80 (or point=, mask=, scribble=; also :frame=, "
        ":name=), or a saved set. Repeat for more examples."
    ),
]
Unlike = Annotated[MaybeTexts, typer.Option(help="What is not meant, in the same form.")]
Same = Annotated[str, typer.Option(help="Of examples: kind (all that are like it) or object (that very one).")]
Everything = Annotated[bool, typer.Option("--everything", help="Masks of all there is, without a prompt.")]
MostObjects = Annotated[MaybeCount, typer.Option("--max-objects", help="Most segments of each thing, the surest.")]
LeastArea = Annotated[int, typer.Option("--min-area", help="Pixels that a segment covers at least.")]
Within = Annotated[MaybeText, typer.Option(help="x0,y0,x1,y1: nothing outside of this box is answered.")]
TaskName = Annotated[
    MaybeText, typer.Option(help="A row of: x2sam tasks. Inferred if left out.", autocompletion=_complete_tasks)
]
Out = Annotated[MaybeText, typer.Option("--out", "-o", help="Folder (or file, for one input) for the results.")]
Formats = Annotated[
    MaybeTexts,
    typer.Option(
        "--format",
        "-f",
        help="overlay, coco, yolo, davis, panoptic, ...; repeat for more.",
        autocompletion=_complete_formats,
    ),
]
Model = Annotated[
    str,
    typer.Option(
        "--model", "-m", help="auto, nano, 4b, tiny, a folder, or a Hub name.", autocompletion=_complete_models
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, mps ...")]
DType = Annotated[str, typer.Option(help="auto, float32, bfloat16, float16")]
Threads = Annotated[MaybeCount, typer.Option(help="Threads to compute with; by default one for each core.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Only results and errors: no progress, notes or closing line.")
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Also say what was understood, and where errors come from.")
]
Runtime = Annotated[str, typer.Option(help="torch, or onnx: the same model on ONNX Runtime (docs/onnx.md).")]
Changes = Annotated[
    MaybeTexts,
    typer.Option("--set", help="key=number of the model: image_size=128, memory_levels=0, memory_size=0 ..."),
]
