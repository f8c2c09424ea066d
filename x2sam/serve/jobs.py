"""Work in turn: a job is an iterator, and the worker takes one step of every client's job after the other.

Whatever touches a model, a session or a track is a step, so it runs in the worker's thread, one at a time. A long video
does not keep a click waiting, a slow reader holds up its own job alone, and a job that is cancelled ends at its step.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from x2sam.errors import X2SamError
from x2sam.serve.limits import Limits

T = TypeVar("T")

SKIP = object()
"""An item that is a step and no result."""


class Busy(X2SamError):  # noqa: N818
    """There is no room; ``retry_after`` seconds are a fair guess of when there will be."""

    def __init__(self, got: str, expected: str, retry_after: float = 1.0) -> None:
        self.retry_after = max(1, round(retry_after))
        super().__init__(got, expected, f"Try again in {self.retry_after} seconds")


class Stopped(X2SamError):  # noqa: N818
    """The work was given up: it was cancelled, nobody read it, or the service stops."""


@dataclass(frozen=True)
class Together:
    """What a job (a generator) yields to share work with others: all that wait with one key are run at once.

    ``run`` takes the items and returns a result for each of them, which each generator gets sent.
    """

    key: Hashable
    item: Any
    run: Callable[[list[Any]], Sequence[Any]]


class Job(Generic[T]):
    """Iterate over its results, synchronously or asynchronously; leaving a ``with`` block cancels it."""

    def __init__(self, worker: Worker, client: str, steps: Iterator[T], about: Hashable, whole: bool) -> None:
        self.client, self.about, self.whole = client, about, whole
        self.started = self.ended = False
        self.steps = 0
        """Steps that were taken."""
        self._worker, self._iterator, self._number = worker, steps, next(worker._numbers)
        self._results: deque[T] = deque()
        self._waits: Together | None = None
        self._error: BaseException | None = None
        self._cancelled: X2SamError | None = None
        self._reader: tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | None = None
        self._read_at = time.monotonic()

    @property
    def place(self) -> int:
        """How many jobs came before it and have not ended; 0 from its first step on."""
        with self._worker._changed:
            if self.started or self.ended:
                return 0
            return sum(job._number < self._number for job in self._worker._jobs())

    def cancel(self, reason: X2SamError | None = None) -> None:
        """End it: no step is begun any more. Whoever still iterates gets ``reason`` (or Stopped)."""
        with self._worker._changed:
            if not self.ended and self._cancelled is None:
                self._cancelled = reason or Stopped("Got cancelled", hint="Ask again")
                self._results.clear()
                self._wake()

    def result(self) -> T:
        """The last of its results, when it has ended."""
        *_, last = self
        return last

    async def last(self) -> T:
        """The same, asynchronously."""
        found = [item async for item in self]
        return found[-1]

    # --- reading ------------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[T]:
        while True:
            with self._worker._changed:
                self._worker._changed.wait_for(self._readable)
                if not self._results:
                    break
                item = self._take()
            yield item
        self._finish()

    async def __aiter__(self) -> Any:
        while True:
            with self._worker._changed:
                item, there = (self._take(), True) if self._results else (None, False)
                waiting = None
                if not there and not self._readable():
                    loop = asyncio.get_running_loop()
                    waiting = loop.create_future()
                    self._reader = loop, waiting
            if there:
                yield item
            elif waiting is not None:
                await waiting
            else:
                break
        self._finish()

    def __enter__(self) -> Job[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()

    def _readable(self) -> bool:
        return bool(self._results) or self.ended or self._cancelled is not None

    def _take(self) -> T:
        self._read_at = time.monotonic()
        self._worker._changed.notify_all()
        return self._results.popleft()

    def _finish(self) -> None:
        error = self._error or self._cancelled
        if error is not None:
            raise error

    def _wake(self) -> None:
        self._worker._changed.notify_all()
        if self._reader is not None and self._readable():
            (loop, waiting), self._reader = self._reader, None
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(_resolve, waiting)


def _resolve(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


class Worker:
    """One thread that takes the steps of all jobs: client after client, and of a client's jobs one after the other."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.step_seconds = 0.1
        """Running mean of how long a step takes."""
        self.done = 0
        """Jobs that have ended."""
        self.batches: dict[int, int] = {}
        """How often so many items shared a run."""
        self._clients: OrderedDict[str, deque[Job[Any]]] = OrderedDict()
        self._whole: dict[Hashable, Job[Any]] = {}
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="x2sam-worker", daemon=True)
        self._thread.start()

    @property
    def queue(self) -> int:
        """Jobs that wait or run."""
        with self._changed:
            return len(self._jobs())

    @property
    def alive(self) -> bool:
        """Whether it takes jobs."""
        return self._thread.is_alive() and not self._stopping

    def submit(self, client: str, steps: Iterator[T], about: Hashable = None, whole: bool = False) -> Job[T]:
        """Queue a job.

        Args:
            client: for whom; clients take turns.
            steps: what to do; each item is a result. A generator may yield `Together`.
            about: what it works on. ``whole``: from its first step to its last no other job about the same has a turn.

        Raises:
            Busy: the queue, or this client's share of it, is full.
            Stopped: the service stops.
        """
        with self._changed:
            if not self.alive:
                raise Stopped("Got a request while the service stops", "a running service", "Try again in a moment")
            waiting, own = len(self._jobs()), len(self._clients.get(client, ()))
            for count, most, whose in (
                (waiting, self.limits.queue, "others are"),
                (own, self.limits.jobs_per_client, "of yours are"),
            ):
                if count >= most:
                    wait = waiting * self.step_seconds
                    raise Busy(f"Got a request while {count} {whose} waiting", f"at most {most}", wait)
            job = Job(self, client, steps, about, whole)
            self._clients.setdefault(client, deque()).append(job)
            self._changed.notify_all()
            return job

    def stop(self, finish_seconds: float | None = None) -> None:
        """Take no more jobs, let those there are finish within so long, and end the others with Stopped."""
        wait = self.limits.finish_seconds if finish_seconds is None else finish_seconds
        with self._changed:
            self._stopping = True
            self._changed.wait_for(lambda: not self._clients, timeout=wait)
            for job in self._jobs():
                job.cancel(Stopped("Got stopped: the service shuts down", hint="Ask again when it is back"))
            self._changed.notify_all()
        self._thread.join(timeout=max(wait, 5.0))

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _jobs(self) -> list[Job[Any]]:
        return [job for jobs in self._clients.values() for job in jobs]

    def _work(self) -> None:
        while True:
            with self._changed:
                jobs = self._next()
                while not jobs:
                    if self._stopping and not self._clients:
                        return
                    self._changed.wait(timeout=1.0)
                    jobs = self._next()
            begun = time.monotonic()
            self._step(jobs)
            self.step_seconds += 0.1 * (time.monotonic() - begun - self.step_seconds)

    def _next(self) -> list[Job[Any]]:
        """The jobs that have the next turn: one, or all that wait to share a run with it."""
        for job in self._jobs():
            if job._cancelled is not None:
                return [job]
            unread = time.monotonic() - job._read_at > self.limits.unread_seconds
            if unread and len(job._results) >= self.limits.unread:
                job.cancel(Stopped("Got results that nobody reads", "a reader", "Ask again"))
                return [job]
        for client, jobs in self._clients.items():
            for job in jobs:
                if self._able(job):
                    self._clients.move_to_end(client)
                    jobs.remove(job)
                    jobs.append(job)
                    return self._sharing(job)
        return []

    def _able(self, job: Job[Any]) -> bool:
        return len(job._results) < self.limits.unread and self._whole.get(job.about, job) is job

    def _sharing(self, job: Job[Any]) -> list[Job[Any]]:
        if job._waits is None:
            return [job]
        same = [j for j in self._jobs() if j is not job and j._waits and j._waits.key == job._waits.key]
        return [job, *(j for j in same if self._able(j))][: self.limits.batch]

    def _step(self, jobs: list[Job[Any]]) -> None:
        for job in jobs:
            job.started = True
            if job.whole and job.about is not None:
                self._whole[job.about] = job
        answers: list[Any] = [None] * len(jobs)
        if jobs[0]._waits is not None and jobs[0]._cancelled is None:
            answers = self._run_together([job._waits for job in jobs if job._waits])
        for job, answer in zip(jobs, answers, strict=True):
            self._advance(job, answer)

    def _run_together(self, asked: list[Together]) -> list[Any]:
        """A result, or an error, for each item. If a run with several fails, each is run alone: one was to blame."""
        self.batches[len(asked)] = self.batches.get(len(asked), 0) + 1
        try:
            return list(asked[0].run([each.item for each in asked]))
        except Exception as error:
            return [error] if len(asked) == 1 else [self._run_together([each])[0] for each in asked]

    def _advance(self, job: Job[Any], answer: Any) -> None:
        """One step of one job, with what it waited for."""
        iterator: Any = job._iterator
        ended, error, items = False, None, []
        try:
            if job._cancelled is not None:
                ended = True
                getattr(iterator, "close", lambda: None)()
            else:
                job.steps += 1
                if job._waits is None:
                    item = next(iterator)
                else:
                    job._waits = None
                    item = iterator.throw(answer) if isinstance(answer, Exception) else iterator.send(answer)
                if isinstance(item, Together):
                    job._waits = item
                elif item is not SKIP:
                    items.append(item)
        except StopIteration:
            ended = True
        except BaseException as raised:
            ended, error = True, raised
        with self._changed:
            job._results.extend(items if job._cancelled is None else ())
            if ended:
                self._end(job, error)
            job._wake()

    def _end(self, job: Job[Any], error: BaseException | None) -> None:
        job.ended, job._error = True, error if job._cancelled is None else None
        self.done += 1
        if self._whole.get(job.about) is job:
            del self._whole[job.about]
        self._clients[job.client].remove(job)
        if not self._clients[job.client]:
            del self._clients[job.client]
