"""Checkpoints that exist completely or not at all, so that a run can be killed at any moment."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accelerate import Accelerator

STATE = "progress.json"


def write_folder(folder: Path, write: Callable[[Path], Any]) -> None:
    """Let ``write`` fill a folder that appears under its name only when it is complete, replacing an older one."""
    partial, old = (folder.with_name(f"{folder.name}.{suffix}") for suffix in ("partial", "old"))
    for leftover in (partial, old):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir(parents=True)
    write(partial)
    _flush(partial)
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


class Checkpoints:
    """The resumable states of a run: ``checkpoints/000200`` and so on, the newest few of them.

    Args:
        folder: of the run.
        accelerator: writes and reads weights, optimiser and random states, whatever way they are spread.
        keep: how many states to keep.
    """

    def __init__(self, folder: Path, accelerator: Accelerator, keep: int) -> None:
        self.folder, self.accelerator, self.keep = folder / "checkpoints", accelerator, max(1, keep)

    def save(self, update: int, progress: dict[str, Any]) -> None:
        """Save the state after ``update`` updates; to be called by all processes."""
        final = self.folder / f"{update:06d}"
        partial = self.folder / f"{update:06d}.partial"
        if self.accelerator.is_main_process:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        self.accelerator.wait_for_everyone()
        self.accelerator.save_state(str(partial))
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            (partial / STATE).write_text(json.dumps({"update": update, **progress}))
            _flush(partial)
            shutil.rmtree(final, ignore_errors=True)
            partial.rename(final)
            for old in self._complete()[: -self.keep]:
                shutil.rmtree(old)
        self.accelerator.wait_for_everyone()

    def resume(self) -> dict[str, Any]:
        """Load the newest complete state; returns its progress, empty when there is none."""
        complete = self._complete()
        if not complete:
            return {}
        self.accelerator.load_state(str(complete[-1]))
        return json.loads((complete[-1] / STATE).read_text())

    def _complete(self) -> list[Path]:
        return sorted(path.parent for path in self.folder.glob(f"*/{STATE}") if path.parent.suffix != ".partial")


def _flush(folder: Path) -> None:
    """Bring files to the disk before the folder gets its name."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
