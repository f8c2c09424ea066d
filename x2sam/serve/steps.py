"""A plain function as steps: it runs from `pause` to `pause`, so that work which knows nothing of jobs takes turns."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

SKIP = object()
"""An item that is a step and no result."""

_here = threading.local()


class _Closed(BaseException):
    """Ends a function at its pause; no Exception, so that nothing on its way takes it for its own."""


def pause(item: Any = SKIP) -> None:
    """End the step here, if this runs within `stepwise`, and hand ``item`` out; return at the next step."""
    turns = getattr(_here, "turns", None)
    if turns is not None:
        turns.hand_out(item)


def stepwise(function: Callable[[], T]) -> Iterator[Any]:
    """A function as an iterator: it runs from `pause` to `pause`; the last item is what it returns.

    It has a thread of its own, which runs only while a step is taken: to others it is as if it ran in the worker's.
    """
    turns = _Turns(function)
    try:
        while turns.go_on():
            yield turns.item
        if turns.error is not None:
            raise turns.error
        yield turns.item
    finally:
        turns.close()


class _Turns:
    """Two threads of which one waits while the other runs."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.item: Any = SKIP
        self.error: BaseException | None = None
        self._function = function
        self._theirs, self._ours = threading.Semaphore(0), threading.Semaphore(0)
        self._closed = self._over = False
        self._thread = threading.Thread(target=self._run, name="x2sam-steps", daemon=True)

    def go_on(self) -> bool:
        """Run to the next pause; False at the end."""
        if self._thread.ident is None:
            self._thread.start()
        self._theirs.release()
        self._ours.acquire()
        return not self._over

    def close(self) -> None:
        self._closed = True
        while self._thread.ident is not None and not self._over:
            self.go_on()

    def hand_out(self, item: Any) -> None:
        self.item = item
        self._ours.release()
        self._theirs.acquire()
        if self._closed:
            raise _Closed

    def _run(self) -> None:
        self._theirs.acquire()
        _here.turns = self
        try:
            self.item = self._function()
        except _Closed:
            pass
        except BaseException as error:
            self.error = error
        finally:
            self._over = True
            self._ours.release()
