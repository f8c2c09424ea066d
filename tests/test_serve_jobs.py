"""The queue: turns, bounds, cancelling, shared runs, functions taken step by step. No model is needed for that."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from x2sam.serve.jobs import Busy, Job, Stopped, Together, Worker
from x2sam.serve.limits import Limits
from x2sam.serve.store import whole
from x2sam.types import FrameResult


@pytest.fixture
def make() -> Iterator[Any]:
    workers: list[Worker] = []

    def made(**limits: Any) -> Worker:
        workers.append(Worker(Limits(**limits)))
        return workers[-1]

    yield made
    for worker in workers:
        worker.stop(0)


class Blocked:
    """A job that keeps the worker in its first step until it is let go, so that others queue behind it."""

    def __init__(self, worker: Worker) -> None:
        self._entered, self._go = threading.Event(), threading.Event()
        self.job: Job[Any] = worker.submit("blocker", self._steps())
        assert self._entered.wait(30)

    def _steps(self) -> Iterator[int]:
        self._entered.set()
        self._go.wait(30)
        yield 0

    def let_go(self) -> None:
        self._go.set()


def logged(log: list[str], name: str, count: int) -> Iterator[int]:
    for i in range(count):
        log.append(f"{name}{i}")
        yield i


def test_clients_take_turns_whatever_they_ask(make: Any) -> None:
    worker, log = make(unread=100), []
    blocked = Blocked(worker)
    jobs = [worker.submit("a", logged(log, "long", 4)), worker.submit("a", logged(log, "more", 2))]
    jobs.append(worker.submit("b", logged(log, "click", 1)))
    assert [job.place for job in jobs] == [1, 2, 3]
    blocked.let_go()
    assert [list(job) for job in jobs] == [[0, 1, 2, 3], [0, 1], [0]]
    assert log == ["long0", "click0", "more0", "long1", "more1", "long2", "long3"]


def test_a_slow_reader_holds_up_its_own_job_alone(make: Any) -> None:
    worker = make(unread=2)
    steps: list[str] = []
    slow, quick = worker.submit("a", logged(steps, "s", 50)), worker.submit("b", logged([], "q", 50))
    assert list(quick) == list(range(50))
    assert slow.steps == len(steps) == 2
    assert list(slow) == list(range(50))


def test_results_that_nobody_reads_are_given_up(make: Any) -> None:
    worker = make(unread=1, unread_seconds=0.0)
    job = worker.submit("a", logged([], "s", 50))
    while not job.ended:
        asyncio.run(asyncio.sleep(0.01))
    with pytest.raises(Stopped, match="nobody reads"):
        list(job)


def test_cancelling_closes_the_iterator_within_one_step(make: Any) -> None:
    worker, closed, taken = make(), threading.Event(), []

    def steps() -> Iterator[int]:
        try:
            for i in range(1000):
                taken.append(i)
                yield i
        finally:
            closed.set()

    with worker.submit("a", steps()) as job:
        assert next(iter(job)) == 0
        job.cancel()
        before = len(taken)
    assert closed.wait(30)
    assert len(taken) <= before + 1
    with pytest.raises(Stopped):
        list(job)


def test_errors_reach_the_reader_and_spare_the_worker(make: Any) -> None:
    def steps() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError

    worker, got = make(), []
    with pytest.raises(ZeroDivisionError):
        got.extend(worker.submit("a", steps()))
    assert worker.submit("a", iter("x")).result() == "x"


def test_async_reading(make: Any) -> None:
    worker = make(unread=2)

    async def read() -> list[Any]:
        jobs = [worker.submit(str(i), logged([], "s", 20)) for i in range(10)]
        return await asyncio.gather(*(collect(job) for job in jobs))

    async def collect(job: Job[int]) -> list[int]:
        return [item async for item in job]

    assert asyncio.run(read()) == [list(range(20))] * 10


@pytest.mark.parametrize("limits", [{"queue": 3}, {"jobs_per_client": 2}])
def test_a_full_queue_says_when_to_come_again(make: Any, limits: dict[str, int]) -> None:
    worker = make(**limits)
    blocked = Blocked(worker)
    jobs = [worker.submit("a", iter("x")) for _ in range(2)]
    with pytest.raises(Busy) as refused:
        worker.submit("a", iter("x"))
    assert refused.value.retry_after >= 1
    blocked.let_go()
    assert [job.result() for job in jobs] == ["x", "x"]
    assert worker.submit("a", iter("x")).result() == "x"


def test_what_waits_with_one_key_is_run_together_and_one_that_fails_harms_no_other(make: Any) -> None:
    worker, runs = make(batch=4), []

    def run(items: list[int]) -> list[float]:
        runs.append(sorted(items))
        return [12 / item for item in items]

    def steps(key: str, item: int) -> Iterator[Any]:
        yield (yield Together(key, item, run))

    blocked = Blocked(worker)
    jobs = {i: worker.submit(f"client {i}", steps("same", i)) for i in (1, 2, 0, 3)}
    other = worker.submit("other", steps("other", 6))
    blocked.let_go()
    assert other.result() == 2
    assert [jobs[i].result() for i in (1, 2, 3)] == [12, 6, 4]
    with pytest.raises(ZeroDivisionError):
        jobs[0].result()
    assert runs[0] == [0, 1, 2, 3]
    assert [6] in runs


def test_the_steps_of_a_change_are_its_texts_and_at_last_what_it_returns(make: Any) -> None:
    worker, log = make(unread=100), []

    def talk() -> Any:
        for word in ("one", "two"):
            log.append(word)
            yield word
        yield FrameResult(0, None, 1, 1)  # a step and no result
        return "end"

    blocked = Blocked(worker)
    job, other = worker.submit("a", whole(talk())), worker.submit("b", logged(log, "other", 2))
    blocked.let_go()
    assert list(job) == ["one", "two", "end"]
    assert list(other) == [0, 1]
    assert log == ["one", "other0", "two", "other1"]


def test_a_change_that_is_cancelled_ends_at_its_step_and_cleans_up(make: Any) -> None:
    worker, ended = make(), threading.Event()

    def work() -> Any:
        try:
            while True:
                yield "more"
        finally:
            ended.set()

    with worker.submit("a", whole(work())) as job:
        next(iter(job))
    assert ended.wait(30)


def test_a_change_as_a_whole_keeps_others_from_the_same_thing(make: Any) -> None:
    worker, log = make(unread=100), []
    blocked = Blocked(worker)
    change = worker.submit("a", logged(log, "change", 3), about="film", whole=True)
    reader = worker.submit("b", logged(log, "read", 2), about="film")
    other = worker.submit("c", logged(log, "other", 2), about="photo")
    blocked.let_go()
    assert [len(list(job)) for job in (change, reader, other)] == [3, 2, 2]
    assert log == ["change0", "other0", "change1", "other1", "change2", "read0", "read1"]


def test_stopping_lets_finish_what_can_and_refuses_the_rest(make: Any) -> None:
    worker = make(unread=2)
    quick, held = worker.submit("a", iter("x")), worker.submit("b", iter("xyz"))
    worker.stop(0.2)
    assert quick.result() == "x"
    with pytest.raises(Stopped, match="shuts down"):
        list(held)
    with pytest.raises(Stopped, match="stops"):
        worker.submit("a", iter("x"))
    assert not worker.alive
