"""Files anywhere that fsspec reaches: a folder, ``memory://``, ``s3://``, ``gs://``, ``az://``, ``hf://``.

A file is written whole or not at all, and what fails for a moment (a cut connection, a 503) is tried again.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import fsspec
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from x2sam.errors import X2SamError

WAITS = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds before each further try."""
FINAL = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError, X2SamError)
"""What another try does not change."""

T = TypeVar("T")


class UnreachableError(X2SamError):
    """A place that did not answer for long; the work is left for later, never given up as bad."""


def patiently(action: Callable[[], T], what: str) -> T:
    """The outcome of ``action``, tried again while its place does not answer.

    Raises:
        UnreachableError: it never did.
        OSError: what trying again does not change, such as a file that is missing.
    """
    for wait in (*WAITS, None):
        try:
            return action()
        except FINAL:
            raise
        except Exception as error:  # each store has errors of its own
            if wait is None:
                got = f"Got no answer about {what} in {len(WAITS) + 1} tries ({type(error).__name__}: {error})"
                raise UnreachableError(got, "a place that answers", "Run the same command again") from error
            time.sleep(wait)
    raise AssertionError


class Store:
    """A folder somewhere.

    Args:
        url: a path, or an address that fsspec knows.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.fs, self.root = reach(url)

    def path(self, name: str) -> str:
        """The full path of a file below."""
        return f"{self.root.rstrip('/')}/{name}"

    def read(self, name: str, start: int | None = None, stop: int | None = None) -> bytes:
        """A file's bytes, or those from ``start`` to ``stop``."""
        return patiently(lambda: self.fs.cat_file(self.path(name), start=start, end=stop), name)

    def write(self, name: str, content: bytes) -> None:
        """Put a file in its place, whole."""
        if isinstance(self.fs, LocalFileSystem):
            self.put(name, lambda draft: draft.write_bytes(content))
        else:
            patiently(lambda: self.fs.pipe_file(self.path(name), content), name)

    def put(self, name: str, make: Callable[[Path], Any]) -> None:
        """Put a file that ``make`` writes to a path; it may be larger than memory."""
        target = self.path(name)
        local = isinstance(self.fs, LocalFileSystem)
        if local:
            Path(target).parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".x2sam-", dir=Path(target).parent if local else None) as folder:
            draft = Path(folder) / "draft"
            make(draft)
            if not local:
                patiently(lambda: self.fs.put_file(str(draft), target), name)
                return
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(draft, target)

    def sweep(self, folder: str) -> None:
        """Take away what was left by processes that were killed while they wrote into a folder."""
        if isinstance(self.fs, LocalFileSystem):
            for left in Path(self.path(folder)).glob(".x2sam-*"):
                shutil.rmtree(left, ignore_errors=True)

    def there(self, name: str) -> bool:
        """Whether there is such a file."""
        try:
            self.fs.invalidate_cache()
            patiently(lambda: self.fs.info(self.path(name)), name)
        except FileNotFoundError:
            return False
        return True

    def names(self, folder: str) -> Iterator[str]:
        """Names of the files in a folder, in order; none where there is no such folder."""
        try:
            self.fs.invalidate_cache()
            found = patiently(lambda: self.fs.ls(self.path(folder), detail=False), folder)
        except FileNotFoundError:
            return
        yield from sorted(path.rstrip("/").rpartition("/")[2] for path in found)


def reach(url: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it."""
    try:
        return url_to_fs(url)
    except ImportError as error:
        kind = url.partition("://")[0]
        raise X2SamError(
            f"Got an address of the kind {kind}://, for which a package is missing ({error})",
            "its package for fsspec, such as s3fs, gcsfs or adlfs",
        ) from None
    except ValueError as error:
        known = ", ".join(sorted(fsspec.available_protocols()))
        raise X2SamError(f"Got the address {url!r} ({error})", f"a path or one of: {known}") from None
