"""Opened media by id: each belongs to one client, lives in a folder of its own, and goes when nobody uses it."""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakSet

import psutil

from x2sam.errors import InputError
from x2sam.predictor import X2Sam
from x2sam.results.result import Result
from x2sam.serve.desk import Desk
from x2sam.serve.jobs import SKIP, Busy, Job, Stopped, Worker
from x2sam.serve.limits import Limits
from x2sam.serve.uploads import Data, Upload, take
from x2sam.tracking.changes import Changes
from x2sam.tracking.session import Session
from x2sam.tracking.track import Track
from x2sam.types import FrameResult

T = TypeVar("T")


class Unknown(InputError):  # noqa: N818
    """An id that does not exist, has expired, or is another client's."""


class Opened:
    """One opened medium. What touches its session or its track goes through `change` or `follow`, never directly."""

    def __init__(self, id: str, client: str, upload: Upload, session: Session, worker: Worker) -> None:
        self.id, self.client, self.upload, self.session = id, client, upload, session
        self.track: Track | None = None
        """What prompts, frames and exports are about: the newest."""
        self.used = time.monotonic()
        self.limits = worker.limits
        self.desk: Desk
        self._worker = worker
        self._jobs: WeakSet[Job[Any]] = WeakSet()
        self._following: Job[FrameResult] | None = None

    @property
    def idle_seconds(self) -> float:
        """Seconds since it was last used; 0 while a job runs."""
        return 0.0 if any(not job.ended for job in self._jobs) else time.monotonic() - self.used

    def change(self, steps: Generator[Any, None, Any]) -> Job[Any]:
        """Run what asks, adds, corrects ...: nothing else touches this medium meanwhile.

        What the generator yields are the results of the job (but `SKIP`, which only ends a step); the last one is what
        it returns. Cancelled midway, what it has done stays done.
        """
        return self._submit(whole(steps), whole=True)

    def follow(self, track: Track) -> Job[FrameResult]:
        """The results of a track, frame by frame: those that are there, then the next ones. A new reader takes over."""
        if self._following is not None:
            self._following.cancel(Stopped("Got taken over by another reader of this session", "one at a time"))
        self._following = self._submit(itertools.islice(track, self.limits.frames))
        return self._following

    def run(self, steps: Iterator[T]) -> Job[T]:
        """The results of steps that touch neither the session nor its tracks; others have their turns meanwhile."""
        return self._submit(steps)

    @property
    def expired(self) -> bool:
        """Whether nobody has used it for so long that it may go."""
        return self.idle_seconds > (self.limits.work_seconds if len(self.desk.work) else self.limits.idle_seconds)

    def cancel(self) -> None:
        """End whatever runs on it."""
        for job in list(self._jobs):
            job.cancel()

    def _submit(self, steps: Iterator[T], whole: bool = False) -> Job[T]:
        job = self._worker.submit(self.client, self._used(steps), about=self.id, whole=whole)
        self._jobs.add(job)
        return job

    def _used(self, steps: Iterator[T]) -> Iterator[T]:
        try:
            for item in steps:
                self.used = time.monotonic()
                yield item
        finally:
            getattr(steps, "close", lambda: None)()
            self.used = time.monotonic()


class Store:
    """Opened media of all clients."""

    def __init__(
        self, predictor: X2Sam, worker: Worker, limits: Limits | None = None, folder: Path | None = None
    ) -> None:
        self.predictor, self.worker = predictor, worker
        self.limits = limits or worker.limits
        self.folder = own_folder(folder)
        self._opened: dict[str, Opened] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._opened)

    def open(self, client: str, data: Data, name: str = "medium") -> Opened:
        """Open a medium for several prompts.

        Args:
            client: whose it is.
            data: its bytes, or a file (a path of ours, or open), which is copied.
            name: what it is called; shown, never opened.

        Raises:
            Busy: too many are open.
            TooLarge, Unsupported, MediaError: it cannot be used.
        """
        id = secrets.token_urlsafe(16)
        self.expire()
        with self._lock:  # the place is taken before the work is done
            self._check_room(client)
            self._opened[id] = _Coming(client)  # type: ignore[assignment]
        try:
            folder = self.folder / id
            folder.mkdir()
            upload = take(data, name, folder, self.limits)
            session = self.predictor.open(upload.open())
            opened = Opened(id, client, upload, session, self.worker)
            opened.desk = Desk(self.predictor, upload, self.limits)
        except BaseException:
            self._forget(id)
            raise
        with self._lock:
            self._opened[id] = opened
        return opened

    def get(self, client: str, id: str) -> Opened:
        """The medium with this id, if it is this client's. Raises Unknown."""
        with self._lock:
            opened = self._opened.get(id)
        if not isinstance(opened, Opened) or opened.client != client:
            raise Unknown(f"Got the session {id[:40]!r}, which is not open", "the id of an open one", "Open it again")
        opened.used = time.monotonic()
        return opened

    def of(self, client: str) -> list[Opened]:
        """All media of a client."""
        with self._lock:
            return [o for o in self._opened.values() if isinstance(o, Opened) and o.client == client]

    def close(self, id: str) -> None:
        """Cancel what runs on a medium, forget it, delete its files. An unknown id is closed already."""
        opened = self._opened.get(id)
        if isinstance(opened, Opened):
            opened.cancel()
        self._forget(id)

    def expire(self) -> None:
        """Close what was not used for long."""
        with self._lock:
            old = [o.id for o in self._opened.values() if o.expired]
        for id in old:
            self.close(id)

    def close_all(self) -> None:
        """Close everything and delete the folder."""
        for id in list(self._opened):
            self.close(id)
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def passing(self, data: Data, name: str = "medium") -> Iterator[Upload]:
        """A medium for one request: checked as in `open`, deleted at the end."""
        folder = self.folder / secrets.token_urlsafe(16)
        folder.mkdir()
        try:
            yield take(data, name, folder, self.limits)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _check_room(self, client: str) -> None:
        own = sum(o.client == client for o in self._opened.values())
        if own >= self.limits.sessions_per_client:
            raise Busy(f"Got a medium while {own} of yours are open", f"at most {self.limits.sessions_per_client}", 10)
        if len(self._opened) >= self.limits.sessions:
            raise Busy(f"Got a medium while {len(self._opened)} are open", f"at most {self.limits.sessions}", 10)

    def _forget(self, id: str) -> None:
        with self._lock:
            self._opened.pop(id, None)
        shutil.rmtree(self.folder / id, ignore_errors=True)


class _Coming:
    """Holds a place while a medium is taken in."""

    expired = False

    def __init__(self, client: str) -> None:
        self.client = client


def whole(steps: Generator[Any, None, Any]) -> Iterator[Any]:
    """What a generator yields, and at last what it returns; frames on the way are steps and no results."""
    try:
        while True:
            try:
                item = next(steps)
            except StopIteration as end:
                yield end.value
                return
            yield SKIP if isinstance(item, FrameResult) else item
    finally:
        steps.close()


def through(track: Track) -> Generator[FrameResult, None, Result]:
    """Go through the frames of a track that are left; returns the whole."""
    yield from track
    return track.done


def walked(changes: Changes) -> Generator[FrameResult, None, tuple[FrameResult, ...]]:
    """Go through the frames that a change is about. Cancelled midway, the others stay as they are."""
    try:
        yield from changes
    finally:
        changes.close()
    return changes.finish()


def own_folder(parent: Path | None = None) -> Path:
    """A new folder of this process, closed to other users; those of processes that were killed are deleted.

    Raises InputError where the place for them is another user's.
    """
    user = os.getuid() if hasattr(os, "getuid") else 0
    parent = parent or Path(tempfile.gettempdir()) / f"x2sam-serve-{user}"
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if hasattr(os, "getuid") and (parent.is_symlink() or parent.stat().st_uid != user):
        raise InputError(f"Got the folder {parent}, which is another user's", "one of yours", "Set TMPDIR")
    for left in parent.iterdir():
        pid = left.name.partition("-")[0]
        if pid.isdigit() and (int(pid) == os.getpid() or not psutil.pid_exists(int(pid))) and left.name not in _ours:
            shutil.rmtree(left, ignore_errors=True)
    folder = parent / f"{os.getpid()}-{secrets.token_hex(4)}"
    _ours.add(folder.name)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    return folder


_ours: set[str] = set()
"""Folders of this process that are in use."""
