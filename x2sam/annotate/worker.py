"""What annotates: one model, asked for one shard after another. The engines differ only in how many there are."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeVar

import torch

from x2sam.annotate import table
from x2sam.annotate.opening import open_item
from x2sam.annotate.plan import Plan
from x2sam.annotate.sources import Item
from x2sam.annotate.table import Row
from x2sam.errors import X2SamError
from x2sam.media.opening import Clip
from x2sam.predictor import X2Sam
from x2sam.requests import Request, make_request
from x2sam.store import Store, UnreachableError

READERS = 4
"""Threads that fetch and unpack media while the model works."""

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True)
class Done:
    """What is told of a shard."""

    shard: int
    inputs: int = 0
    frames: int = 0
    segments: int = 0
    failures: int = 0
    seconds: float = 0.0
    left: str = ""
    """Why it is not done, if it is not: a place that did not answer."""


@dataclass
class Asked:
    """An input on its way: its medium and what is asked, or why there is none."""

    index: int
    item: Item
    clip: Clip | None = None
    request: Request | None = None
    error: str = ""


class Annotator:
    """One model at work.

    Args:
        dest: where the plan is, and where shards go.
        plan: of the run.
        device: ``auto``, ``cpu``, ``cuda`` ...
        threads: of PyTorch; 0 leaves its choice.
    """

    def __init__(self, dest: str, plan: Plan, device: str = "auto", threads: int = 0) -> None:
        if threads:
            torch.set_num_threads(threads)
        settings = plan.settings
        self.store, self.plan, self.settings = Store(dest), plan, settings
        self.model = X2Sam.from_pretrained(settings.model, device, settings.dtype, **settings.changes)
        if not settings.prompt:
            self.prompt: Any = None
        else:
            self.prompt = settings.prompt[0] if len(settings.prompt) == 1 else list(settings.prompt)

    def shard(self, number: int) -> Done:
        """Annotate a shard and put it in its place. It is all or nothing, and may be done twice: it is the same."""
        began = time.perf_counter()
        rows: list[Row] = []
        try:
            first, items = self.plan.read(self.store, number)
            with ThreadPoolExecutor(READERS) as pool:
                opened = _ahead(pool, self._open, enumerate(items, first), 2 * self.settings.batch)
                for batch in _batches(opened, self.settings.batch):
                    rows += self._rows(batch)
            table.write_shard(self.store, number, rows)
        except UnreachableError as error:
            return Done(number, left=str(error))
        return Done(
            number,
            len(items),
            sum("frame" in row for row in rows),
            sum(len(row.get("segments", ())) for row in rows),
            sum("error" in row for row in rows),
            time.perf_counter() - began,
        )

    # --- a shard ---------------------------------------------------------------------------------------------------

    def _open(self, numbered: tuple[int, Item]) -> Asked:
        index, item = numbered
        asked = Asked(index, item)
        try:
            asked.clip = open_item(item)
            asked.request = make_request(
                asked.clip, item.get("prompt", self.prompt), None, item.get("task", self.settings.task)
            )
        except UnreachableError:
            raise
        except Exception as error:  # whatever a bad file brings about, it is that file's
            asked.error = _reason(error)
        return asked

    def _rows(self, batch: list[Asked]) -> Iterator[Row]:
        for key, group in groupby(batch, _way):
            members = list(group)
            if key is None:
                yield from (table.row_of_failure(a.index, a.item, a.error) for a in members)
            elif key.startswith("image"):
                yield from self._pictures(members)
            else:
                for asked in members:
                    yield from self._guarded(asked, self._film)

    def _pictures(self, members: list[Asked]) -> Iterator[Row]:
        """Pictures in one pass; where that fails, one by one, so that the one at fault is known."""
        task = members[0].request.task.name  # type: ignore[union-attr]
        try:
            results = self.model.segment_batch(
                [a.clip for a in members],
                [a.request.prompt for a in members],  # type: ignore[union-attr]
                task,
                **self.settings.options,
            )
        except Exception:
            for asked in members:
                yield from self._guarded(asked, self._picture)
            return
        for asked, result in zip(members, results, strict=True):
            yield from table.rows_of(asked.index, asked.item, result)

    def _picture(self, asked: Asked) -> list[Row]:
        request: Any = asked.request
        result = self.model.segment_batch([asked.clip], [request.prompt], request.task.name, **self.settings.options)[0]
        return table.rows_of(asked.index, asked.item, result)

    def _film(self, asked: Asked) -> list[Row]:
        request: Any = asked.request
        options = {**self.settings.options, "every": self.settings.every}
        track = self.model.track(asked.clip, request.prompt, task=request.task.name, **options)
        return table.rows_of(asked.index, asked.item, track.finish())

    def _guarded(self, asked: Asked, work: Callable[[Asked], list[Row]]) -> list[Row]:
        try:
            return work(asked)
        except Exception as error:
            return [table.row_of_failure(asked.index, asked.item, _reason(error))]


def _way(asked: Asked) -> str | None:
    """Neighbours of one way share a pass."""
    if asked.error or asked.clip is None or asked.request is None:
        return None
    return f"{asked.clip.kind} {asked.request.task.name}"


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, X2SamError) else f"{type(error).__name__}: {error}"[:500]


def _ahead(pool: ThreadPoolExecutor, work: Callable[[A], B], tasks: Iterable[A], depth: int) -> Iterator[B]:
    """``work`` of every task in order, at most ``depth`` of them begun before their turn."""
    begun: deque[Future[B]] = deque()
    for task in tasks:
        begun.append(pool.submit(work, task))
        if len(begun) >= depth:
            yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()


def _batches(opened: Iterable[A], size: int) -> Iterator[list[A]]:
    batch: list[A] = []
    for one in opened:
        batch.append(one)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
