"""Names of files: the user's own for showing and joining; made fit for any file system only where one is stored."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

_UNFIT = re.compile(r'[\\/:*?"<>|\x00-\x1f\x7f-\x9f\ud800-\udfff]+')
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)", re.IGNORECASE)
LONGEST = 180
"""Bytes of a stem, so that endings fit into the 255 of a name."""


def stem_of(name: str) -> str:
    """A file's name without its ending, as it can be stored anywhere: only what file systems refuse is replaced."""
    stem = Path(name).stem if Path(name).suffix else name
    fit = _UNFIT.sub("_", stem).strip(" .")
    fit = fit.encode()[:LONGEST].decode(errors="ignore").strip(" .") or "medium"
    return f"_{fit}" if _RESERVED.match(fit) else fit


def cache_folder() -> Path:
    """Where fetched and converted weights are kept; without a home, among the temporary files."""
    try:
        home = Path.home()
    except RuntimeError:  # no HOME, and a user that the system does not know
        home = Path(tempfile.gettempdir())
    return home / ".cache" / "x2sam"
