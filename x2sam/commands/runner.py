"""What the commands do: open each input, run, write, report. Whatever can be judged first is (`inputs`)."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from x2sam.commands.inputs import (
    Settings,
    check_options,
    check_order,
    describe,
    elsewhere,
    problem_of,
    read_like,
    read_prompts,
    read_shapes,
    split_inputs,
)
from x2sam.errors import CheckpointError, DataError, InputError, X2SamError
from x2sam.examples import parse_example
from x2sam.media.opening import Clip, open_media
from x2sam.names import cache_folder
from x2sam.requests import guess
from x2sam.results.outputs import Outputs

if TYPE_CHECKING:
    from x2sam.predictor import X2Sam
    from x2sam.results.result import Result
    from x2sam.tracking.session import Session
    from x2sam.tracking.track import Track

RELEASED = {"4b": ("hao9610/X2SAM", "Qwen/Qwen3-VL-4B-Instruct")}
"""Names that `pull` knows: the release on the Hub, and the language model it sits on."""

TOLD = 20
"""Problems of own data that are told before training; a command tells all."""

console = Console(stderr=True)


def _say(text: str) -> None:
    """A line on stderr, be it ever so quiet; names of files may hold what cannot be printed."""
    text = text.encode("utf-8", "backslashreplace").decode()
    Console(stderr=True).print(f"x2sam: {text}", markup=False, highlight=False, soft_wrap=True)


def _note(text: str) -> None:
    """The same, where notes are wanted."""
    if not console.quiet:
        _say(text)


# --- segment -------------------------------------------------------------------------------------------------------


def segment(
    words: Sequence[str],
    prompts: Sequence[str],
    shapes: dict[str, list[str]],
    settings: Settings,
    options: dict[str, Any],
    commands: Sequence[str] = (),
    dry: bool = False,
) -> None:
    """Segment every input; one that fails is reported and leaves the others unharmed.

    words: of the command line: media, then what to segment. prompts: what is said to be segmented beside.
    commands: names of commands, one of which may have been meant. dry: say what each input would be taken for.
    """
    console.quiet = settings.quiet
    shown = bool(settings.like or settings.everything)
    asked = bool(prompts or any(shapes.values()) or settings.task or settings.resume or shown)
    media, trailing = split_inputs(words, asked)
    if (settings.resume or settings.save_state) and len(media) > 1:
        raise InputError(f"Got {len(media)} inputs with a saved state", "one video")
    check_order(words, media, () if asked else commands)
    check_options(shapes, settings, options)
    outputs = Outputs(settings.out, settings.formats, len(media), settings.overwrite, _note, dry)
    for word in trailing:
        if os.path.lexists(word):  # unlike Path.exists, this takes words of any length
            _note(f"{word!r} is taken for what to segment, though there is such a file; write ./{word} for the file")
    prompt = read_prompts([*trailing, *prompts], settings.task, any(shapes.values()))
    if isinstance(prompt, str) and settings.task is None and not shapes and (note := guess(prompt)):
        _note(f"{prompt!r}: {note}")
    if dry:
        _dry_run(media, prompt, shapes, settings, outputs)
        return
    problems = {source: problem_of(source, prompt, shapes, settings, len(media) == 1) for source in media}
    failed = sum(map(bool, problems.values()))
    report = _Report()
    predictor = report.load(settings) if failed < len(problems) else None
    if predictor is not None and settings.like:
        like: Any = read_like(settings.like) or settings.like[0]
        if isinstance(like, list):  # read once for all inputs
            like = predictor.examples(like, [parse_example(text) for text in settings.unlike])
        options = {**options, "like": like, "same": settings.same}
    with _progress() as progress:
        row = progress.add_task("inputs", total=len(media), unit="inputs") if len(media) > 1 else None
        for source in media:
            line: dict[str, Any] = {"input": source, "error": problems[source]}
            if predictor is not None and not problems[source]:
                ask = (prompt, shapes, settings, options, report, outputs, progress)
                line = _reported(lambda source=source, ask=ask: _segment_one(predictor, source, *ask), source, settings)
                failed += "error" in line
            elif problems[source]:
                _say(f"{source}: {problems[source]}")
            print(json.dumps(line, ensure_ascii=False), flush=True)
            if line.get("interrupted"):
                break
            if row is not None:
                progress.advance(row)
    if predictor is not None:
        report.end(predictor)
    if line.get("interrupted"):
        sys.exit(130)
    if failed:
        sys.exit(2)


def _reported(work: Any, source: str, settings: Settings) -> dict[str, Any]:
    """What came of an input; one bad input never ends a run of many."""
    try:
        return work()
    except (X2SamError, OSError, UnicodeError, MemoryError) as error:
        known = isinstance(error, X2SamError)
        text = str(error) if known else f"Got {source!r:.200}, which cannot be used ({error})"
        _say(f"{source}: {text}")
        if settings.verbose:
            traceback.print_exc()
        return {"input": source, "error": text}
    except KeyboardInterrupt:
        return {"input": source, "interrupted": True}


def _dry_run(
    media: Sequence[str], prompt: Any, shapes: dict[str, list[str]], settings: Settings, outputs: Outputs
) -> None:
    """A line per input: what it would be taken for, and where its results would be."""

    def told(source: str) -> dict[str, Any]:
        line = describe(source, prompt, shapes, settings)
        if elsewhere(source):
            return line
        plan = outputs.plan(open_media(source, kind=settings.kind, fps=settings.fps))  # type: ignore[arg-type]
        return {**line, "outputs": [str(path) for path, _ in plan]}

    failed = 0
    for source in media:
        line = _reported(lambda source=source: told(source), source, settings)
        failed += "error" in line
        print(json.dumps(line, ensure_ascii=False), flush=True)
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
    progress: Progress,
) -> dict[str, Any]:
    session = predictor.open(open_media(source, kind=settings.kind, fps=settings.fps))  # type: ignore[arg-type]
    plan = outputs.plan(session.clip)
    regions = read_shapes(shapes, settings.frame)
    interrupted = False
    if settings.everything and session.clip.kind == "image":
        result = session.segment(prompt, regions or None, settings.task, everything=True, **options)
        report.saw(session)
        report.frame()
    else:
        if settings.resume is not None:
            track = session.restore(settings.resume)
        else:
            about = {"identity": settings.identity, "everything": settings.everything, **options}
            track = session.track(prompt, regions or None, settings.task, **about)
        report.saw(session)
        interrupted = _run_through(track, session.clip, report, progress)
        if settings.save_state is not None:
            track.save(settings.save_state)
        result = track.done
    if settings.verbose:
        _say(f"{source}: taken for {session.clip.kind}, {result.task}, {prompt!r}")
    written = outputs.write(result, plan)
    for warning in session.clip.warnings:
        _note(f"{source}: {warning}")
    return {
        "input": source,
        "task": result.task,
        "text": result.text,
        "found": result.found,
        "frames": len(result.frames),
        "objects": _objects(result),
        **({"presence": {n: round(p, 4) for n, p in result.presence.items()}} if result.presence else {}),
        "outputs": [str(path) for path in written],
        **({"interrupted": True} if interrupted else {}),
    }


def _run_through(track: Track, clip: Clip, report: _Report, progress: Progress) -> bool:
    """Go through all frames with a bar; Ctrl-C keeps what is finished and says so."""
    row = progress.add_task(clip.name, total=clip.length, unit="frames") if clip.kind == "video" else None
    try:
        for _ in track:
            report.frame()
            if row is not None:
                progress.advance(row)
    except KeyboardInterrupt:
        _say(f"{clip.name}: interrupted; keeping the {len(track.done.frames)} finished frames")
        return True
    finally:
        if row is not None:
            progress.remove_task(row)
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


# --- chat, pull, train -------------------------------------------------------------------------------------------


def chat(media: str, message: str | None, max_new_tokens: int, settings: Settings) -> None:
    """One answer, or a conversation line by line. Text goes to stdout as it is spoken."""
    console.quiet = settings.quiet
    clip = open_media(media)  # a mistake is told before the model is loaded
    report = _Report()
    predictor = report.load(settings)
    session = predictor.open(clip)
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
    if os.path.exists(name):
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
        from x2sam.data.own import check_own, open_own, summary

        problems = 0
        for problem in check_own(data):
            problems += 1
            if problems <= TOLD:
                _say(problem.text)
        if problems:
            got = f"Got {problems} problem{'s' * (problems != 1)} in {data}, so nothing was trained"
            raise DataError(got, "none", f"All of them: x2sam data check {data}")
        _say(f"{data}: {summary(data)}")
        tasks = ",".join(open_own(data).records)
        overrides = [f"source={data}", f"tasks={tasks}", *overrides]
    config = resolve(recipe, overrides)  # a mistake is told before anything is read
    line: dict[str, Any] = {"outputs": [str(run(config))]}
    if told := _before_and_after(Path(config.out)):
        line |= told
    print(json.dumps(line))


def _before_and_after(folder: Path) -> dict[str, Any]:
    """The first and the last validation of a run, and the picture of the last; nothing where there were not two."""
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    found = [row for row in rows if "validation" in row]
    if len(found) < 2:
        return {}
    (first, last), numbers = (found[0], found[-1]), {}
    for task, after in last["validation"].items():
        before = first["validation"].get(task, {})
        numbers[task] = {name: [round(before[name], 3), round(after[name], 3)] for name in after if name in before}
        told = ", ".join(f"{name} {a:.2f} -> {b:.2f}" for name, (a, b) in numbers[task].items())
        _say(f"{task}: {told} (before -> after, on what was not trained on)")
    picture = folder / "validation" / f"{last['update']:06d}.png"
    return {"before_and_after": numbers, **({"picture": str(picture)} if picture.exists() else {})}


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
            from transformers.utils import logging

            from x2sam.predictor import RANDOM, X2Sam

            if not console.is_terminal or console.quiet:
                logging.disable_progress_bar()
            predictor = X2Sam.from_pretrained(settings.model, settings.device, settings.dtype, **settings.changes)
        self.loaded = time.perf_counter() - self.start
        if predictor.name == "tiny":
            _note(RANDOM)
        if settings.verbose:
            import torch

            _say(f"{predictor.name} on {predictor.model.device}, {torch.get_num_threads()} threads")
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
def _progress() -> Iterator[Progress]:
    """Bars on stderr with the time that is left; none where it is no terminal, or all shall be quiet."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress


@contextmanager
def _bar(name: str, total: int | None, unit: str) -> Iterator[Any]:
    """One bar; gives a function that moves it to (done, total), or on by one."""
    with _progress() as progress:
        row = progress.add_task(name, total=total, unit=unit)

        def advance(done: int | None = None, all_: int | None = None) -> None:
            if done is None:
                progress.advance(row)
            else:
                progress.update(row, completed=done, total=all_)

        yield advance
