"""``x2sam evaluate``: splits by name, a table in the end, exit code 1 where samples failed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState
from rich.console import Console

from x2sam.evaluate import report
from x2sam.evaluate.answers import AnswerFiles
from x2sam.evaluate.run import Score, evaluate, progress_bar
from x2sam.evaluate.splits import OWN, WORLD, find_split, names_of, open_records
from x2sam.evaluate.submit import submit
from x2sam.predictor import X2Sam
from x2sam.tracking.association import Identity


def run(
    names: Sequence[str],
    root: Path | None,
    model: X2Sam,
    out: Path,
    protocol: str = "public",
    limit: int | None = None,
    all_tasks: bool = False,
    seed: int = 0,
    part: str = "test",
    size: int = 224,
    frames: int = 8,
    identity: Identity | None = None,
) -> list[Score]:
    """Evaluate every split and write ``results.json`` and ``results.md`` into ``out``.

    Answers are kept in ``out/SPLIT``; a run that was killed goes on with them. The other arguments are those of
    `evaluate` and `open_records`.
    """
    splits = [find_split(name) for wanted in names for name in names_of(wanted, all_tasks)]
    main = PartialState().is_main_process
    console, scores = Console(stderr=True), []
    bar, move = progress_bar()
    with bar:
        for split in splits:
            records = open_records(split, root, seed, part, size, frames, limit, protocol)
            folder = out / split.name.replace("/", "-")
            move(split.name, 0, len(records))
            data: dict[str, Any] = {"seed": seed}
            if split.family == OWN:
                data |= dict(split.options)
            if split.family == WORLD:
                data |= {"part": part, "size": size, "frames": frames}
            score = evaluate(model, split, records, folder, protocol, limit, move, identity, data)
            scores.append(score)
            if split.hidden and main and root is not None:
                bar.console.print(submit(split, records, AnswerFiles(folder).read(limit), root, folder))
            if main:
                report.write(scores, out, model.label, protocol)
                line = "  ".join(f"{n} {v:.1f}" for n, v in report.headline(score).items())
                bar.console.print(f"{split.name}: {line}")
    if main:
        console.print(report.table(scores))
        for score in scores:
            for sample, error in list(score.errors.items())[:5]:
                console.print(f"failed: {sample}: {error}", style="red", markup=False)
    return scores


def exit_code(scores: Sequence[Score]) -> int:
    """1 where a sample failed."""
    return int(any(score.errors for score in scores))
