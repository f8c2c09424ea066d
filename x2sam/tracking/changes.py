"""What a change to a track brings about, result by result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

from x2sam.types import FrameResult


class Changes(Sequence[FrameResult]):
    """The results that a change to a track brings about, as they come.

    Iterating yields each when its frame was done: from the frame of the change on to the newest one, then backward from
    there. As a sequence they are all done and in the order of time. What nobody iterates over is done when the track is
    used again.
    """

    def __init__(self, steps: Iterator[FrameResult]) -> None:
        self._steps, self._done = steps, list[FrameResult]()

    def __iter__(self) -> Iterator[FrameResult]:
        place = 0
        while place < len(self._done) or self._advance():
            yield self._done[place]
            place += 1

    def finish(self) -> tuple[FrameResult, ...]:
        """All of them, in the order of time."""
        while self._advance():
            pass
        return tuple(sorted(self._done, key=lambda result: result.index))

    def close(self) -> None:
        """Do no more of them; what was done stays."""
        getattr(self._steps, "close", lambda: None)()

    def _advance(self) -> bool:
        result = next(self._steps, None)
        if result is not None:
            self._done.append(result)
        return result is not None

    def __len__(self) -> int:
        return len(self.finish())

    @overload
    def __getitem__(self, place: int) -> FrameResult: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[FrameResult, ...]: ...

    def __getitem__(self, place: int | slice) -> FrameResult | tuple[FrameResult, ...]:
        return self.finish()[place]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Changes):
            return self.finish() == other.finish()
        return self.finish() == other

    __hash__ = None  # type: ignore[assignment]
