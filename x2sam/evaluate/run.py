"""Answer every sample of a split once, then score all answers: in one process or many, in one go or several."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from accelerate import PartialState
from accelerate.utils import gather_object

from x2sam.data.base import Records, Split
from x2sam.errors import InputError, X2SamError
from x2sam.evaluate.answers import Answer, AnswerFiles, answer
from x2sam.evaluate.judges import Setting, judge, setting_of
from x2sam.evaluate.trivial import TrivialAnswers, available
from x2sam.metrics import Metric
from x2sam.predictor import X2Sam
from x2sam.tasks import get_task
from x2sam.tracking.association import Identity
from x2sam.types import Sample


@dataclass(frozen=True)
class Score:
    """What came of one split."""

    split: Split
    samples: int
    numbers: dict[str, float]
    """Metric values from 0 to 1 (counts as they are)."""
    errors: dict[str, str] = field(default_factory=dict)
    """Samples that failed, and why; their masks count as not found."""
    seconds: float = 0.0
    """Of this process, for answering."""
    trivial: dict[str, dict[str, float]] = field(default_factory=dict)
    """The same numbers of answers that need no model, by their names."""


Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much is done, and of how much."""


def evaluate(
    model: X2Sam,
    split: Split,
    records: Records,
    folder: Path,
    protocol: str = "public",
    limit: int | None = None,
    on_progress: Progress | None = None,
    identity: Identity | None = None,
    data: dict[str, Any] | None = None,
) -> Score:
    """Score a model on a split.

    Args:
        model: to be asked.
        split: its row; says which metrics.
        records: its samples.
        folder: where the answers are kept; those that are there already are not asked again. Answers of another
            model, protocol or data are refused.
        protocol: ``public``, or ``released``: masks, identities and metrics as the released evaluation has them.
        limit: only the first samples.
        identity: how ids are kept over time, ``x2sam`` or ``released``; left out, as the protocol does.
        data: what decides the samples beside the split's name (seed, sizes); a run with others is not mixed in.

    Returns:
        The same numbers, to the last digit, in every process and with any number of processes.
    """
    if protocol not in ("public", "released"):
        raise InputError(f"Got the protocol {protocol!r}", "public or released")
    if get_task(split.task).is_chat:
        raise InputError(
            f"Got {split.name}, a chat", "a segmentation task", "For chat benchmarks see docs/evaluation.md (lmms-eval)"
        )
    state = PartialState()
    count = len(records) if limit is None else min(limit, len(records))
    linked: Identity = identity or ("released" if protocol == "released" else "x2sam")
    views = sorted({judge(name).view for name in split.metrics})
    tell = on_progress if on_progress is not None and state.is_main_process else _silent
    files = AnswerFiles(folder, state.process_index)
    made = {"split": split.name, "model": model.label, "memory": model.config.memory_size, "protocol": protocol}
    files.belong_to({**made, "identity": linked, "data": data or {}})
    done = files.done()
    state.wait_for_everyone()
    mine = [i for i in range(state.process_index, count, state.num_processes) if i not in done]
    started = time.monotonic()
    for place, index in enumerate(mine):
        tell("answering", place, len(mine))
        files.append(_answered(model, split, records, index, views, protocol, linked))
    seconds = time.monotonic() - started
    state.wait_for_everyone()
    setting = setting_of(files.read(count), protocol)
    numbers, errors = score(split, records, files, count, setting, state, tell)
    beside = {}
    for name in available(split.trivial):
        simple = TrivialAnswers(name, files.read, lambda answered: _truth(records, answered))
        beside[name] = score(split, records, simple, count, setting, state, tell)[0]
    return Score(split, count, numbers, errors, seconds, beside)


def _answered(
    model: X2Sam, split: Split, records: Records, index: int, views: list[str], protocol: str, identity: Identity
) -> dict[str, Any]:
    try:
        sample = records[index]
    except Exception as error:  # a damaged record is reported like a sample that fails
        unread = {"index": index, "id": f"{split.name} {index}", "labels": [], "things": [], "views": {}}
        return {**unread, "error": f"{type(error).__name__}: {error}"}
    return answer(model, sample, index, views, protocol, identity)


class Answers(Protocol):
    """Where answers are read from."""

    def read(self, limit: int | None = None) -> Iterator[Answer]:
        """All answers in the order of their samples."""
        ...


def score(
    split: Split,
    records: Records,
    files: Answers,
    count: int,
    setting: Setting,
    state: PartialState,
    tell: Progress,
) -> tuple[dict[str, float], dict[str, str]]:
    """Metrics of all answers: every process counts a share, then the shares are merged in order."""
    metrics = _metrics(split, setting)
    errors: dict[str, str] = {}
    for place, answered in enumerate(files.read(count)):
        if answered.error:
            errors[answered.sample_id] = answered.error
        if place % state.num_processes != state.process_index:
            continue
        tell("scoring", place, count)
        sample = _truth(records, answered)
        if sample is None:
            continue
        for name, group in metrics.items():
            judge(name).score(group, sample, answered, setting)
    merged, *others = gather_object([metrics])
    for other in others:
        for name, group in merged.items():
            for ours, theirs in zip(group, other[name], strict=True):
                ours.merge(theirs)
    numbers: dict[str, float] = {}
    for name, group in merged.items():
        try:
            for metric in group:
                numbers.update({key: value for key, value in metric.compute().items() if key not in numbers})
        except X2SamError as error:  # such as captions without Java; the other numbers stand
            errors[f"the metric {name}"] = str(error)
    return numbers, errors


def _metrics(split: Split, setting: Setting) -> dict[str, list[Metric]]:
    return {name: list(judge(name).make(setting)) for name in split.metrics}


def _truth(records: Records, answered: Answer) -> Sample | None:
    try:
        return records[answered.index]
    except Exception:
        if answered.error:  # it could not be read when it was to be answered either
            return None
        raise


def _silent(doing: str, done: int, total: int) -> None:
    pass


def progress_bar() -> tuple[Any, Progress]:
    """A bar for the terminal with the time that is left, and what moves it."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), transient=True
    )
    row = bar.add_task("")

    def move(doing: str, done: int, total: int) -> None:
        bar.update(row, description=doing, completed=done, total=total)

    return bar, move
