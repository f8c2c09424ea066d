"""Files and folders that are whole or not there: written under another name, then renamed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """A draft beside ``path`` (a file or a folder) that takes its place if all goes well, and vanishes if not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".x2sam-", dir=path.parent) as folder:
        draft = Path(folder) / path.name
        yield draft
        if not draft.is_dir():
            os.replace(draft, path)
            return
        path.mkdir(exist_ok=True)
        for file in sorted(f for f in draft.rglob("*") if f.is_file()):
            target = path / file.relative_to(draft)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, target)
