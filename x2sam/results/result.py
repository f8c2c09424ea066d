"""What a request gives back, with ways to keep it and to pass it on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from x2sam.results import export, formats, notebook
from x2sam.results.contents import Contents

if TYPE_CHECKING:
    import supervision


@dataclass(frozen=True, repr=False)
class Result(Contents):
    """The answer to one prompt on one medium. Masks stay run-length coded until they are asked for."""

    def save(self, path: str | os.PathLike[str], format: str | None = None) -> Path:
        """Write one of `export.FORMATS`, told by the ending or by name; returns the file or folder (`export.save`)."""
        return export.save(self, os.fspath(path), format)

    def detections(self, frame: int = 0, compact: bool = False) -> supervision.Detections:
        """One frame's segments for the supervision library (the extra ``export``).

        compact: masks as its `CompactMask` (0.30 and newer), which stay run-length coded.
        """
        return formats.detections(self.frame(frame), formats.categories(self), compact)

    def _repr_html_(self) -> str | None:
        """What notebooks show: masks that name themselves, and a player of a film."""
        return notebook.page(self) if self.frames else None
