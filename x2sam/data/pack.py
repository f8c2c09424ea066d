"""Data at rest: samples of any source in tar files, read from a folder or an object store, each by its place.

    DEST/pack.json                 tasks with their numbers of samples, for each part; the split that they are from
    DEST/index/PART.TASK.bin       shard, first byte and end of every sample: three numbers of 8 bytes
    DEST/shards/PART.TASK.00000.tar

In a tar a sample is ``KEY.json`` (a line of `sample_jsonl`, without paths) and ``KEY.00000.png`` and so on, its frames,
so tools for WebDataset read the tars as they are. Which sample an update trains on is a function of the seed and the
update's number (`x2sam.train.sampler`), and here a sample is a range of bytes, so a run that streams goes on in the
middle like any other, bit for bit, and nothing of the reader's state has to be kept.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, overload

import numpy as np
from PIL import Image

from x2sam.data.base import PictureFiles, Records, Split, record_error
from x2sam.data.families.sample_jsonl import Line, row_of
from x2sam.errors import DataError, InputError, MediaError
from x2sam.media.pictures import flatten, open_picture, upright_size
from x2sam.store import Store
from x2sam.types import Frame, Sample

HEAD = "pack.json"
ALL = "all"
"""The part of data that have only one."""


class TarFrames(Sequence[Frame]):
    """Frames in pieces of a tar, unpacked when they are indexed."""

    def __init__(self, blobs: Sequence[tuple[str, bytes]]) -> None:
        self.blobs = tuple(blobs)

    def __len__(self) -> int:
        return len(self.blobs)

    @overload
    def __getitem__(self, index: int) -> Frame: ...
    @overload
    def __getitem__(self, index: slice) -> TarFrames: ...
    def __getitem__(self, index: int | slice) -> Frame | TarFrames:
        if isinstance(index, slice):
            return TarFrames(self.blobs[index])
        name, content = self.blobs[index]
        with _picture(name, content) as image:
            return flatten(image, name)


def _picture(name: str, content: bytes) -> Any:
    try:
        image = open_picture(content, name)
    except MediaError as error:
        raise DataError(f"{name}: {error.got}", error.expected) from None
    if image is None:
        raise DataError(f"{name}: it is not a picture", "PNG, JPEG, WebP or the like")
    return image


class PackedData:
    """A pack as a source of samples: for training (`lengths`, `sample`) and, by task, as `Records`.

    Args:
        url: a folder, or an address that fsspec knows.
        part: ``train`` or ``val``; data with one part only have it for both.

    Raises:
        DataError: no pack there, or one without the part.
    """

    def __init__(self, url: str, part: str = "train") -> None:
        self.url = url
        try:
            self.head = json.loads(self._store.read(HEAD))
        except FileNotFoundError:
            raise DataError(f"{url}: no {HEAD}", "a folder or address that x2sam data pack wrote") from None
        parts = self.head["parts"]
        self.part = part if part in parts else ALL
        if self.part not in parts:
            raise DataError(f"{url}: no samples for {part!r}", f"one of: {', '.join(parts)}")
        self.lengths: dict[str, int] = parts[self.part]
        self._index: dict[str, Any] = {}
        self._mine = None

    _mine: tuple[int, Store] | None = None

    @property
    def _store(self) -> Store:
        """Connections do not live through a fork, so every process has its own."""
        if self._mine is None or self._mine[0] != os.getpid():
            self._mine = os.getpid(), Store(self.url)
        return self._mine[1]

    def sample(self, task: str, index: int) -> Sample:
        """A sample of a task; of the store, the bytes of this sample are read."""
        if task not in self.lengths:
            raise InputError(f"Got the task {task}", f"one that the pack holds: {', '.join(self.lengths)}")
        if task not in self._index:
            content = self._store.read(f"index/{self.part}.{task}.bin")
            self._index[task] = np.frombuffer(content, dtype="<i8").reshape(-1, 3)
        shard, start, stop = (int(v) for v in self._index[task][index % self.lengths[task]])
        name = _tar(self.part, task, shard)
        return _unpacked(self._store.read(name, start, stop), f"{self.url}/{name}")

    def records(self, task: str) -> Records:
        """The samples of one task."""
        return Records(self.lengths[task], lambda index: self.sample(task, index))


def is_pack(name: str) -> bool:
    """Whether a source's name is that of a pack: an address, or a folder that holds one."""
    return "://" in name or (Path(name) / HEAD).is_file()


def read(root: Path, split: Split, seed: int) -> Records:
    """The family ``packed``. Options: ``url`` (a path starts from the root), ``part``."""
    del seed  # what is drawn was drawn when it was packed
    url = split.options["url"]
    return PackedData(url if "://" in url else str(root / url), split.options.get("part", "val")).records(split.task)


def split_of(name: str, url: str) -> Split:
    """The row for ``packed:URL`` or, where a pack holds several tasks, ``packed:URL#TASK``."""
    url, _, task = url.partition("#")
    data = PackedData(url, "val")
    if not task and len(data.lengths) > 1:
        raise InputError(f"Got {name!r}, which holds several tasks", f"one: {name}#{next(iter(data.lengths))}")
    task = task or next(iter(data.lengths))
    if task not in data.lengths:
        raise InputError(f"Got the task {task}", f"one that the pack holds: {', '.join(data.lengths)}")
    # A path is made absolute here, so that it does not depend on the root of other data.
    place = url if "://" in url else str(Path(url).resolve())
    return Split(name, task, "packed", {"url": place}, tuple(data.head["metrics"]))


# --- writing ----------------------------------------------------------------------------------------------------------

Progress = Callable[[str, int, int], None]


def pack(
    parts: Mapping[str, Mapping[str, Sequence[Sample]]],
    dest: str,
    shard: int = 256,
    metrics: Sequence[str] = (),
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Write samples of every part and task; returns what ``pack.json`` says, which is written last.

    Args:
        parts: ``train``, ``val`` or ``all``, each with its samples by task.
        dest: a folder, or an address that fsspec knows; nothing but shards of this pack should be there.
        shard: samples of a tar.
        metrics: of the split that the samples are from.

    Raises:
        DataError: a sample that cannot be read, or that the format would not give back as it is.
    """
    if shard < 1:
        raise InputError(f"Got shards of {shard} samples", "at least 1")
    store = Store(dest)
    head: dict[str, Any] = {"version": 1, "parts": {}, "metrics": list(metrics)}
    for part, tasks in parts.items():
        for task, samples in tasks.items():
            places: list[tuple[int, int, int]] = []
            for number, start in enumerate(range(0, len(samples), shard)):
                chosen = range(start, min(start + shard, len(samples)))
                fill = partial(_fill, places, samples, chosen, number)
                store.put(_tar(part, task, number), fill)
                if on_progress is not None:
                    on_progress(f"{part} {task}", chosen.stop, len(samples))
            store.write(f"index/{part}.{task}.bin", np.array(places, dtype="<i8").tobytes())
            head["parts"].setdefault(part, {})[task] = len(samples)
    store.write(HEAD, json.dumps(head, indent=2).encode())
    return head


def _tar(part: str, task: str, shard: int) -> str:
    return f"shards/{part}.{task}.{shard:05d}.tar"


def _fill(places: list[tuple[int, int, int]], samples: Sequence[Sample], chosen: range, shard: int, path: Path) -> None:
    """Write a tar; adds the places of its samples."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for index in chosen:
            start, key, sample = tar.offset, f"{index:08d}", samples[index]
            blobs = _frames(sample, key)
            row = row_of(sample, [name for name, _ in blobs])
            text = json.dumps(row).encode()
            _check(sample, _Member(text, key, blobs).sample(), path)
            for name, content in ((f"{key}.json", text), *blobs):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            places.append((shard, start, tar.offset))


def _frames(sample: Sample, key: str) -> list[tuple[str, bytes]]:
    """Files of frames: pictures as they are stored, others as PNG."""
    if isinstance(sample.frames, PictureFiles):
        read = ((path.suffix.lower() or ".png", path.read_bytes()) for path in sample.frames.paths)
    else:
        read = ((".png", _png(frame)) for frame in sample.frames)
    return [(f"{key}.{t:05d}{ending}", content) for t, (ending, content) in enumerate(read)]


def _png(frame: Frame) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(frame)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _check(sample: Sample, again: Sample, path: Path) -> None:
    """What is packed must come back the same."""
    for name in ("task", "prompt", "objects", "answer", "times", "ignore"):
        if getattr(sample, name) != getattr(again, name) and (getattr(sample, name) or getattr(again, name)):
            raise record_error(path, sample.sample_id, f"a sample whose {name} a pack would not give back as it is")


class _Member(Line):
    """A sample's line in a tar, and its frames."""

    def __init__(self, text: bytes, place: str, blobs: list[tuple[str, bytes]]) -> None:
        self.file, self.name, self.blobs = Path(place), None, blobs
        self.row = json.loads(text)
        self.paths = [Path(name) for name, _ in blobs]
        self.task = self.row["task"]
        with _picture(*blobs[0]) as image:
            self.size = upright_size(image)

    def frames(self) -> Sequence[Frame]:
        return TarFrames(self.blobs)


def _unpacked(content: bytes, place: str) -> Sample:
    """The sample in a piece of a tar."""
    text, blobs = b"", []
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            for info in tar:
                member = tar.extractfile(info).read()  # type: ignore[union-attr]
                if info.name.endswith(".json"):
                    text = member
                else:
                    blobs.append((info.name, member))
    except tarfile.TarError as error:
        raise DataError(f"{place}: a sample that cannot be read ({error})", "the tar as it was packed") from None
    return _Member(text, place, blobs).sample()
