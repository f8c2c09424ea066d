"""What a run says while it goes: a progress bar or plain lines, and ``log.jsonl`` with every number."""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class Journal:
    """Writes the log of a run; on all processes but the main one it does nothing.

    Args:
        folder: of the run.
        first_update: lines from here on are of an interrupted attempt and are dropped.
        active: whether this is the main process.
        every: updates between printed lines.
    """

    def __init__(self, folder: Path, first_update: int, active: bool, every: int) -> None:
        self.active, self.every = active, every
        self.path = folder / "log.jsonl"
        self._means: dict[str, float] = {}
        self._counts: dict[str, int] = defaultdict(int)
        self._started, self._first = time.monotonic(), first_update
        self._bar: Progress | None = None
        if not active:
            return
        kept = [line for line in self._lines() if json.loads(line)["update"] <= first_update]
        self.path.write_text("".join(f"{line}\n" for line in kept))
        if sys.stdout.isatty():
            columns = (BarColumn(), TextColumn("{task.percentage:.0f} %"), TimeRemainingColumn())
            self._bar = Progress(TextColumn("{task.description}"), *columns, console=Console())
            self._row = self._bar.add_task("training", total=1.0)
            self._bar.start()

    def update(self, number: int, task: str, progress: float, numbers: dict[str, float]) -> None:
        """One update is done; ``progress`` is the finished part of the run."""
        self.write({"update": number, "task": task, **numbers})
        if not self.active:
            return
        if number - self._first == EARLY and progress:
            left = (time.monotonic() - self._started) * (1 - progress) / progress * (number / EARLY)
            self.say(f"about {_minutes(left)} to go")
        self._counts[task] += 1
        share = max(0.1, 1 / self._counts[task])  # a mean over about the last ten
        self._means[task] = (1 - share) * self._means.get(task, 0.0) + share * numbers["loss"]
        losses = "  ".join(f"{name} {loss:.2f}" for name, loss in sorted(self._means.items()))
        if self._bar is not None:
            self._bar.update(self._row, completed=progress, description=losses)
        elif number % self.every == 0:
            seconds = time.monotonic() - self._started
            speed = (number - self._first) / seconds
            left = seconds * (1 - progress) * number / (max(progress, 1e-9) * (number - self._first))
            told = f"{speed:.2f} updates/s, {_minutes(left)} left"
            print(f"{number:6d}  {100 * progress:5.1f} %  {told}  {losses}", flush=True)

    def write(self, row: dict[str, Any]) -> None:
        """One line of the log."""
        if self.active:
            with self.path.open("a") as file:
                rounded = {k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()}
                file.write(json.dumps(rounded) + "\n")

    def say(self, text: str) -> None:
        """A line for people."""
        if self.active:
            print(text, flush=True)

    def close(self) -> None:
        """Stop the progress bar."""
        if self._bar is not None:
            self._bar.stop()

    def _lines(self) -> list[str]:
        """Whole lines only: the last one may have been cut off."""
        if not self.path.exists():
            return []
        text = self.path.read_text()
        return text[: text.rfind("\n") + 1].splitlines()


EARLY = 5
"""Updates after which the time of the whole run is guessed."""


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
