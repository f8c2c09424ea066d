"""What the commands do: open each input, run, write, report. Kept apart from `cli.py`, which must import in no time."""

from __future__ import annotations

import glob
import json
import os
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from x2sam.errors import CheckpointError, DataError, InputError, X2SamError
from x2sam.media.opening import ENDINGS, FILMS, Clip, open_media
from x2sam.names import cache_folder
from x2sam.predictor import RANDOM, X2Sam
from x2sam.regions import parse_box, parse_points
from x2sam.requests import guess
from x2sam.results.outputs import Outputs
from x2sam.results.result import Result
from x2sam.tracking.session import Session, Track

RELEASED = {"4b": ("hao9610/X2SAM", "Qwen/Qwen3-VL-4B-Instruct")}
"""Names that `pull` knows: the release on the Hub, and the language model it sits on."""

TOLD = 20
"""Problems of own data that are told before training; a command tells all."""

console = Console(stderr=True)


@dataclass(frozen=True)
class Settings:
    """What holds for all inputs of a run."""

    model: str = "auto"
    device: str = "auto"
    dtype: str = "auto"
    task: str | None = None
    kind: str | None = None
    fps: float | None = None
    frame: int = 0
    identity: Any = "x2sam"
    out: str | None = None
    formats: tuple[str, ...] = ()
    overwrite: bool = False
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of `X2Sam.from_pretrained`."""


# --- segment -------------------------------------------------------------------------------------------------------


def split_inputs(words: Sequence[str], asked: bool = False) -> tuple[list[str], list[str]]:
    """Media, and the words after the last of them, which say what to segment. Globs are expanded.

    The first word is a medium. If nothing else says what to segment (``asked``), the last one is not, unless it can be
    nothing else: a word may be called as a file or folder that happens to lie there.
    """
    protected = len(words) - 1 if len(words) > 1 and not asked else len(words)
    media_at = [i for i, w in enumerate(words) if _names_media(w) or (i < protected and _may_be_medium(w, words[:i]))]
    last = max(media_at, default=0)
    media: list[str] = []
    for word in words[: last + 1]:
        found = [] if os.path.lexists(word) else _globbed(word)
        media += found or [word]
    trailing = list(words[last + 1 :])
    for word in trailing:
        if os.path.lexists(word):
            _say(f"{word!r} is taken for what to segment, though there is such a file; write ./{word} for the file")
    return media, trailing


def _names_media(word: str) -> bool:
    """It is a URL, a path or the name of a medium, or a glob of such: not words."""
    separated = "/" in word or os.sep in word
    ending = Path(word).suffix.lower() in ENDINGS | FILMS
    return "://" in word or (ending and " " not in word) or ((separated or ending) and _there(word))


def _may_be_medium(word: str, before: Sequence[str]) -> bool:
    """There is such a file or folder, or it is the number of a camera after such numbers."""
    return _there(word) or (word.isdigit() and all(w.isdigit() for w in before))


def _there(word: str) -> bool:
    return os.path.lexists(word) or bool(_globbed(word))


def _globbed(word: str) -> list[str]:
    return sorted(glob.glob(word, recursive=True)) if glob.has_magic(word) else []


def _say(text: str) -> None:
    """A line on stderr; names of files may hold what cannot be printed."""
    text = text.encode("utf-8", "backslashreplace").decode()
    console.print(f"x2sam: {text}", markup=False, highlight=False, soft_wrap=True)


def segment(
    media: Sequence[str],
    prompts: Sequence[str],
    shapes: dict[str, list[str]],
    settings: Settings,
    options: dict[str, Any],
) -> None:
    """Segment every input; one that fails is reported and leaves the others unharmed."""
    report = _Report()
    outputs = Outputs(settings.out, settings.formats, len(media), settings.overwrite, _say)
    predictor = report.load(settings)
    prompt = prompts[0] if len(prompts) == 1 else list(prompts) or None
    if isinstance(prompt, str) and settings.task is None and not shapes and (note := guess(prompt)):
        _say(f"{prompt!r}: {note}")
    failed = 0
    for source in media:
        try:
            line = _segment_one(predictor, source, prompt, shapes, settings, options, report, outputs)
        except (X2SamError, OSError, UnicodeError, MemoryError) as error:  # one bad input never ends a run of many
            failed += 1
            text = (
                str(error) if isinstance(error, X2SamError) else f"Got {source!r:.200}, which cannot be used ({error})"
            )
            line = {"input": source, "error": text}
            _say(f"{source}: {text}")
        except KeyboardInterrupt:
            report.end(predictor)
            sys.exit(130)
        print(json.dumps(line, ensure_ascii=False), flush=True)
        if line.get("interrupted"):
            report.end(predictor)
            sys.exit(130)
    report.end(predictor)
    if failed:
        sys.exit(2)


def _segment_one(
    predictor: X2Sam,
    source: str,
    prompt: Any,
    shapes: dict[str, list[str]],
    settings: Settings,
    options: dict[str, Any],
    report: _Report,
    outputs: Outputs,
) -> dict[str, Any]:
    session = predictor.open(open_media(source, kind=settings.kind, fps=settings.fps))  # type: ignore[arg-type]
    plan = outputs.plan(session.clip)
    regions = read_shapes(shapes, session.size, settings.frame)
    track = session.track(prompt, regions or None, settings.task, identity=settings.identity, **options)
    report.saw(session)
    interrupted = _run_through(track, session.clip, report)
    result = track.done
    written = outputs.write(result, plan)
    for warning in session.clip.warnings:
        _say(f"{source}: {warning}")
    return {
        "input": source,
        "task": result.task,
        "text": result.text,
        "found": result.found,
        "frames": len(result.frames),
        "objects": _objects(result),
        "outputs": [str(path) for path in written],
        **({"interrupted": True} if interrupted else {}),
    }


def _run_through(track: Track, clip: Clip, report: _Report) -> bool:
    """Go through all frames with a bar; Ctrl-C keeps what is finished and says so."""
    try:
        with _bar(f"{clip.name}", clip.length) as advance:
            for _ in track:
                report.frame()
                advance()
    except KeyboardInterrupt:
        console.print(f"x2sam: {clip.name}: interrupted; keeping the {len(track.done.frames)} finished frames")
        return True
    return False


def _objects(result: Result) -> list[dict[str, Any]]:
    rows = []
    for object_id, segments in result.objects.items():
        best = max(segments, key=lambda s: s.score)
        row = {"id": object_id, "label": best.label, "score": round(best.score, 4)}
        if result.clip.kind == "image":
            row |= {"box": [round(v, 1) for v in best.box], "area": best.area}
        else:
            row |= {"frames": len(segments), "first": segments[0].frame, "last": segments[-1].frame}
        rows.append(row)
    return rows


def read_shapes(shapes: dict[str, list[str]], size: tuple[int, int], frame: int) -> list[dict[str, Any]]:
    """Options of the command line -> regions: all points are one object; every box, scribble and mask is its own."""
    regions: list[dict[str, Any]] = []
    if shapes.get("point"):
        positive, negative = parse_points(shapes["point"])
        regions.append({"points": positive, "negative": negative, "frame": frame})
    regions += [{"box": parse_box(text), "frame": frame} for text in shapes.get("box", ())]
    for kind in ("scribble", "mask"):
        regions += [{kind: path, "frame": frame} for path in shapes.get(kind, ())]
    return regions


# --- chat, pull, train -------------------------------------------------------------------------------------------


def chat(media: str, message: str | None, max_new_tokens: int, settings: Settings) -> None:
    """One answer, or a conversation line by line. Text goes to stdout as it is spoken."""
    report = _Report()
    predictor = report.load(settings)
    session = predictor.open(open_media(media))
    report.saw(session)
    messages: list[dict[str, str]] = []
    while True:
        said = message if message is not None else _ask_user()
        if said is None:
            break
        messages.append({"role": "user", "content": said})
        result = session.chat(
            messages, on_text=lambda piece: print(piece, end="", flush=True), max_new_tokens=max_new_tokens
        )
        print(flush=True)
        messages.append({"role": "assistant", "content": result.text})
        if message is not None:
            break
    report.end(predictor)


def _ask_user() -> str | None:
    if sys.stdin.isatty():
        console.print("> ", end="")
    line = sys.stdin.readline()
    return line.strip() or None


def pull(
    source: str, base: str | None, config: str | None, out: str | None, dtype: str, lora_alpha: float | None
) -> None:
    """Convert released weights to a folder that `from_pretrained` reads, with the processor beside them."""
    import torch
    from transformers import AutoTokenizer

    from x2sam.checkpoints import convert_released
    from x2sam.config import X2SamConfig
    from x2sam.processing import X2SamProcessor, add_tokens

    weights, base_folder = locate(source, base)
    target = Path(out) if out is not None else cache_folder() / Path(source).name
    if (target / "config.json").exists():
        raise InputError(
            f"Got the folder {target}, which holds a model already", "a new folder", "Choose another --out"
        )
    kind = None if dtype == "keep" else getattr(torch, dtype, None)
    if dtype != "keep" and not isinstance(kind, torch.dtype):
        raise InputError(f"Got the dtype {dtype!r}", "keep, float32, bfloat16 or float16")
    with _bar("converting", None, unit="tensors") as advance:
        convert_released(
            weights,
            target,
            base_folder,
            config=X2SamConfig.from_pretrained(config) if config is not None else None,
            lora_alpha=lora_alpha,
            dtype=kind,
            progress=advance,
        )
    if base_folder is not None:
        tokenizer = add_tokens(AutoTokenizer.from_pretrained(base_folder))
        X2SamProcessor.for_model(X2SamConfig.from_pretrained(target), tokenizer).save_pretrained(target)
    print(json.dumps({"input": source, "outputs": [str(target)]}))


def locate(source: str, base: str | None) -> tuple[Path, Path | None]:
    """Files of a release and of its base, fetched from the Hub where they are not local."""
    if source in RELEASED:
        source, base = RELEASED[source][0], base or RELEASED[source][1]
    return _fetch(source), (_fetch(base) if base is not None else None)


def _fetch(name: str) -> Path:
    if Path(name).exists():
        return Path(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=["*.safetensors", "*.bin", "*.json", "*.txt", "*.jinja"]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"Got {name!r}, which is neither a file here nor reachable on the Hub ({type(error).__name__})",
            "a file, a folder or a Hub name",
            "Download it elsewhere and give its path",
        ) from error


def train(
    recipe: str, overrides: Sequence[str], data: Path | None = None, dry_run: bool = False, fit: str = ""
) -> None:
    """Train, and say where the model is. Own data bring their tasks, unless ``tasks=`` says which.

    dry_run: say what it would take instead (`x2sam.train.plan`). fit: memory that the settings are made to fit into.
    """
    if dry_run or fit:
        from x2sam.train.plan import plan

        planned = plan(recipe, overrides, data, fit, _say)
        if dry_run:
            print(json.dumps(planned.told))
            return
        overrides = [*overrides, *planned.overrides]
    from x2sam.train.loop import train as run
    from x2sam.train.recipes import resolve

    if data is not None:
        from x2sam.data.own import check_own, open_own

        problems = 0
        for problem in check_own(data):
            problems += 1
            if problems <= TOLD:
                _say(problem.text)
        if problems:
            got = f"Got {problems} problem{'s' * (problems != 1)} in {data}, so nothing was trained"
            raise DataError(got, "none", f"All of them: x2sam data check {data}")
        tasks = ",".join(open_own(data).records)
        overrides = [f"source={data}", f"tasks={tasks}", *overrides]
    print(json.dumps({"outputs": [str(run(resolve(recipe, overrides)))]}))


# --- telling -------------------------------------------------------------------------------------------------------


class _Report:
    """The line that ends a run: where it ran, on how many frames, how long, how much memory."""

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.loaded = 0.0
        self.first: float | None = None
        self.language_frames = self.mask_frames = 0

    def load(self, settings: Settings) -> X2Sam:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # said below, for both ways to come by it
            predictor = X2Sam.from_pretrained(settings.model, settings.device, settings.dtype, **settings.changes)
        self.loaded = time.perf_counter() - self.start
        if predictor.name == "tiny":
            console.print(f"x2sam: {RANDOM}", highlight=False, soft_wrap=True)
        return predictor

    def saw(self, session: Session) -> None:
        self.language_frames += session.seen

    def frame(self) -> None:
        self.mask_frames += 1
        if self.first is None:
            self.first = time.perf_counter() - self.start - self.loaded

    def end(self, predictor: X2Sam) -> None:
        total = time.perf_counter() - self.start
        dtype = str(predictor.model.dtype).removeprefix("torch.")
        first = f"{self.first:.2f}" if self.first is not None else "-"
        console.print(
            f"{predictor.model.device}, {dtype}; frames: {self.language_frames} language, {self.mask_frames} masks; "
            f"seconds: {self.loaded:.2f} load, {first} first mask, {total:.2f} total; peak memory {_peak_memory()}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _peak_memory() -> str:
    import torch

    try:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    except ImportError:  # Windows
        import psutil

        peak = psutil.Process().memory_info().peak_wset
    text = f"{peak / 1024**2:.0f} MB"
    if torch.cuda.is_available():
        text += f" + {torch.cuda.max_memory_allocated() / 1024**2:.0f} MB on the device"
    return text


@contextmanager
def _bar(name: str, total: int | None, unit: str = "frames") -> Iterator[Any]:
    """A progress bar on stderr; gives a function that moves it on by one, or to (done, total)."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        row = progress.add_task(name, total=total)

        def advance(done: int | None = None, all_: int | None = None) -> None:
            if done is None:
                progress.advance(row)
            else:
                progress.update(row, completed=done, total=all_)

        yield advance
