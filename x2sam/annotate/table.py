"""A shard as a parquet table: a row for each frame with a result, or one with the reason why an input has none."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from x2sam.annotate.sources import Item
from x2sam.errors import MissingExtraError
from x2sam.masks import RLE
from x2sam.results.contents import segment_dict
from x2sam.results.result import Result
from x2sam.store import Store
from x2sam.types import FrameResult, Segment

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError:
    raise MissingExtraError("pyarrow", "annotate") from None

SEGMENT = pa.struct(
    [
        ("label", pa.string()),
        ("score", pa.float64()),
        ("object_id", pa.int64()),
        ("condition", pa.int32()),
        ("is_thing", pa.bool_()),
        ("box", pa.list_(pa.float64())),
        ("area", pa.int64()),
        ("counts", pa.string()),
    ]
)
"""One mask: ``counts`` is COCO's compressed run-length code of the frame's size; ``box`` is x0, y0, x1, y1."""

SCHEMA = pa.schema(
    [
        ("index", pa.int64()),
        ("input", pa.string()),
        ("name", pa.string()),
        ("kind", pa.string()),
        ("fps", pa.float64()),
        ("frame", pa.int64()),
        ("time", pa.float64()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("task", pa.string()),
        ("labels", pa.list_(pa.string())),
        ("text", pa.string()),
        ("warnings", pa.list_(pa.string())),
        ("segments", pa.list_(SEGMENT)),
        ("error", pa.string()),
    ]
)
"""``index`` numbers the inputs of the whole run; ``labels`` are what was asked for. An answer in words alone has no
``frame``."""

Row = dict[str, Any]


def rows_of(index: int, item: Item, result: Result) -> list[Row]:
    """The rows of one input; frames of a film's piece bear the numbers that they have in the film."""
    first = item["frames"][0] if "frames" in item else 0
    clip = result.clip
    about = {
        **_about(index, item),
        "kind": clip.kind,
        "fps": clip.fps,
        "task": result.task,
        "labels": list(result.prompt.labels),
        "text": result.text,
        "warnings": list(clip.warnings),
    }
    if not result.frames:
        return [{**about, "segments": []}]
    return [
        {
            **about,
            "frame": frame.index + first,
            "time": frame.time,
            "height": frame.height,
            "width": frame.width,
            "segments": [_segment(segment) for segment in frame.segments],
        }
        for frame in result.frames
    ]


def row_of_failure(index: int, item: Item, reason: str) -> Row:
    """The one row of an input that has no result."""
    return {**_about(index, item), "error": reason}


def _about(index: int, item: Item) -> Row:
    """Names of files need not be UTF-8; parquet's texts are."""
    return {
        "index": index,
        **{key: item[key].encode("utf-8", "backslashreplace").decode() for key in ("input", "name")},
    }


def _segment(segment: Segment) -> Row:
    return {**segment_dict(segment), "counts": segment.rle.counts.decode("ascii")}


def frame_of(row: Row) -> FrameResult:
    """A row's frame, as it was."""
    size = row["height"], row["width"]
    segments = tuple(
        Segment(
            RLE(*size, s["counts"].encode()),
            s["label"],
            s["score"],
            s["object_id"],
            s["condition"],
            row["frame"],
            s["is_thing"],
        )
        for s in row["segments"]
    )
    return FrameResult(row["frame"], row["time"], *size, segments)


def name_of(shard: int) -> str:
    """A shard's file; while it is there, the shard is done."""
    return f"shards/{shard:08d}.parquet"


def write_shard(store: Store, shard: int, rows: list[Row]) -> None:
    """Write a shard, whole; the same rows give the same bytes."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), buffer, compression="zstd")
    store.write(name_of(shard), buffer.getvalue())


def read_shard(store: Store, shard: int, columns: list[str] | None = None) -> Iterator[Row]:
    """The rows of a shard; a few are unpacked at a time."""
    file = pq.ParquetFile(io.BytesIO(store.read(name_of(shard))))
    for batch in file.iter_batches(256, columns=columns):
        yield from batch.to_pylist()


def done_shards(store: Store) -> list[int]:
    """Numbers of the shards that are there."""
    names = (name for name in store.names("shards") if name.endswith(".parquet") and not name.startswith("."))
    return [int(name.removesuffix(".parquet")) for name in names]
