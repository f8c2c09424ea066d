"""What is to be annotated, one item after another, always in the same order.

A source is a file, a folder (read through to its end), a glob, a ``.txt`` with a medium a line, or a manifest:
``.jsonl`` or ``.parquet`` with a column ``input`` (``path``, ``file_name``, ``image``, ``video`` and ``url`` do as
well) and perhaps ``prompt`` (a text or a list of names) and ``task``. Paths in a list start from the list's own folder.
"""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Iterator, Sequence
from typing import Any

from x2sam.errors import InputError, MissingExtraError
from x2sam.media.opening import ENDINGS, FILMS
from x2sam.store import patiently, reach

COLUMNS = ("input", "path", "file_name", "image", "video", "url")
"""What the column of a manifest may be called that names the medium."""

Item = dict[str, Any]
"""``input``: path or address; ``name``: as it is called below its source; perhaps ``prompt`` and ``task``."""


def items(sources: Sequence[str]) -> Iterator[Item]:
    """Every medium of the sources.

    Raises:
        InputError: a source that is not there, or a manifest that cannot be read.
    """
    for source in sources:
        found = False
        for item in _of(source):
            found = True
            yield item
        if not found:
            raise InputError(f"Got {source!r}, where no media are", "pictures, videos, or a list of them")


def _of(source: str) -> Iterator[Item]:
    fs, root = reach(source)
    ending = posixpath.splitext(root)[1].lower()
    if ending in (".jsonl", ".parquet", ".txt"):
        yield from _listed(source, fs, root, ending)
    elif any(sign in root for sign in "*?[") and not os.path.lexists(source):
        for path in sorted(patiently(lambda: fs.glob(root), source)):
            if not fs.isdir(path):
                yield {
                    "input": fs.unstrip_protocol(path) if "://" in source else path,
                    "name": posixpath.basename(path),
                }
    elif patiently(lambda: fs.isdir(root), source):
        yield from _walk(source, fs, root)
    else:
        yield {"input": source, "name": posixpath.basename(root)}


def _walk(source: str, fs: Any, root: str) -> Iterator[Item]:
    """The media of a folder and of those in it; one folder's names are in memory at a time."""
    entries = patiently(lambda: fs.ls(root, detail=True), root)
    for entry in sorted(entries, key=lambda e: e["name"].rstrip("/")):
        path = entry["name"].rstrip("/")
        name = path[len(root.rstrip("/")) + 1 :]
        if name.startswith(".") or not name:
            continue
        if entry["type"] == "directory":
            below = f"{source.rstrip('/')}/{name}"
            yield from ({**item, "name": f"{name}/{item['name']}"} for item in _walk(below, fs, path))
        elif posixpath.splitext(name)[1].lower() in ENDINGS | FILMS:
            yield {"input": f"{source.rstrip('/')}/{name}", "name": name}


def _listed(source: str, fs: Any, root: str, ending: str) -> Iterator[Item]:
    folder = source.rpartition("/")[0]
    reader = {".jsonl": _lines, ".parquet": _parquet, ".txt": _texts}[ending]
    for number, row in enumerate(reader(fs, root)):
        column = next((c for c in COLUMNS if isinstance(row, dict) and isinstance(row.get(c), str)), None)
        if column is None:
            got = f"Got record {number} of {source}, which names no medium ({str(row)[:80]})"
            raise InputError(got, f"a text in one of: {', '.join(COLUMNS)}")
        path = row[column]
        here = "://" in path or os.path.isabs(path) or not folder
        own = {key: row[key] for key in ("prompt", "task") if row.get(key)}
        yield {"input": path if here else f"{folder}/{path}", "name": posixpath.basename(path) if here else path, **own}


def _texts(fs: Any, path: str) -> Iterator[Item]:
    with patiently(lambda: fs.open(path, "rt", encoding="utf-8", errors="surrogateescape"), path) as lines:
        yield from ({"input": line.rstrip("\r\n")} for line in lines if line.strip())


def _lines(fs: Any, path: str) -> Iterator[Any]:
    with patiently(lambda: fs.open(path, "rb"), path) as lines:
        for number, line in enumerate(lines, start=1):
            try:
                if line.strip():
                    yield json.loads(line)
            except ValueError as error:
                raise InputError(f"Got line {number} of {path}, which is not json ({error})", "an object") from None


def _parquet(fs: Any, path: str) -> Iterator[Any]:
    try:
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtraError("pyarrow", "annotate") from None
    with patiently(lambda: fs.open(path, "rb"), path) as file:
        table = pq.ParquetFile(file)
        columns = [name for name in table.schema_arrow.names if name in (*COLUMNS, "prompt", "task")]
        for batch in table.iter_batches(1024, columns=columns):
            yield from batch.to_pylist()
