"""``x2sam annotate``: plan, work through what is not done yet, look through it all, report."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from x2sam.annotate import engines, table
from x2sam.annotate.engines import Resources
from x2sam.annotate.finish import check_formats, finish
from x2sam.annotate.plan import Plan, Settings, make_plan
from x2sam.annotate.worker import Done
from x2sam.errors import InputError
from x2sam.store import Store

ROUNDS = 3
"""Times that shards are tried whose place did not answer."""

console = Console(stderr=True)


def annotate(
    dest: str,
    settings: Settings,
    resources: Resources,
    formats: tuple[str, ...] = ("parquet",),
    engine: str = "auto",
    price: float = 0,
) -> dict[str, Any]:
    """Run, or go on with, the annotation of ``settings.sources`` into ``dest``.

    Args:
        dest: a folder, or an address that fsspec knows.
        formats: of `finish.FORMATS`; the shards are there in any case.
        engine: ``ray``, ``one`` (this process) or ``auto``: Ray where it is asked for by ``workers`` or ``address``.
        price: of an hour of one worker, in any currency.

    Returns:
        The report, which is also in ``dest/report.json``. ``left`` counts shards that are not done, because their place
        did not answer; the same call goes on with them.

    Raises:
        X2SamError: settings that cannot be used, sources that are not there.
    """
    check_formats(formats)
    if engine not in ("auto", "ray", "one"):
        raise InputError(f"Got the engine {engine!r}", "auto, one or ray")
    began, store = time.perf_counter(), Store(dest)
    plan = make_plan(store, settings)
    ray = engine == "ray" or (engine == "auto" and bool(resources.workers or resources.address))
    run = engines.on_ray if ray else engines.alone
    worked, done, why = 0.0, 0, ""
    for _ in range(ROUNDS):
        todo = left(store, plan)
        if not todo:
            break
        for told in _bar(run(dest, plan, todo, resources), plan, todo):
            worked, done, why = worked + told.seconds, done + told.inputs, told.left or why
    report: dict[str, Any] = {"out": dest, "inputs": plan.inputs, "shards": plan.shards, "left": len(left(store, plan))}
    if report["left"]:
        return {**report, "why": why}
    counts = finish(store, plan, formats)
    report |= {name: value for name, value in vars(counts).items() if name != "reasons"}
    report["reasons"] = dict(counts.reasons.most_common())
    report["this_run"] = _speed(done, time.perf_counter() - began, worked, price)
    store.write("report.json", json.dumps(report, indent=2, ensure_ascii=False).encode())
    return report


def left(store: Store, plan: Plan) -> list[int]:
    """Numbers of the shards that are not done."""
    done = set(table.done_shards(store))
    return [shard for shard in range(plan.shards) if shard not in done]


def _speed(inputs: int, seconds: float, worked: float, price: float) -> dict[str, float]:
    told = {"inputs": inputs, "seconds": round(seconds, 2), "worker_seconds": round(worked, 2)}
    if inputs:
        told["inputs_per_second"] = round(inputs / seconds, 3)
        if price:
            told["cost_per_thousand"] = round(1000 * worked / 3600 * price / inputs, 4)
    return told


def _bar(done: Iterator[Done], plan: Plan, todo: Sequence[int]) -> Iterator[Done]:
    """The same, with a bar on stderr: shards, inputs that failed, and the time that is left."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("shards"))
    failed = 0
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as bar:
        row = bar.add_task("annotating", total=plan.shards, completed=plan.shards - len(todo))
        for told in done:
            failed += told.failures
            bar.update(row, advance=not told.left, description=f"annotating, {failed} failed" if failed else None)
            yield told


def run(*given: Any, **named: Any) -> None:
    """`annotate` for the command line: the report as a line on stdout; exit code 1 where something is left."""
    report = annotate(*given, **named)
    print(json.dumps(report, ensure_ascii=False))
    if report["left"]:
        console.print(f"x2sam: {report['left']} shards are left: {report['why']}", markup=False, soft_wrap=True)
        sys.exit(1)
