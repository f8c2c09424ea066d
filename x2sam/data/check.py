"""Looks through a data set and says precisely what is wrong in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from x2sam.data.base import PictureFiles, Records, Split, picture_size
from x2sam.errors import X2SamError
from x2sam.masks import RLE
from x2sam.tasks import get_task
from x2sam.types import Sample


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    record: int | None
    """Its number in the split; None for the split as a whole."""
    text: str
    """What and where: the file, and the record or line in it."""


def check(records: Records, split: Split, pixels: bool = False, own: bool = False) -> Iterator[Problem]:
    """Every problem of a split, as it is found: one record is in memory at a time.

    Looks at the number of records, at every annotation, at the size of every picture and mask, and at what objects
    refer to. ``pixels``: also unpack every picture, which finds those that are cut off, and takes long. ``own``: also
    name objects without a pixel, which published data have a few of.
    """
    if split.count is not None and len(records) != split.count:
        yield Problem(None, f"{split.name} has {len(records)} records; {split.count} are published")
    if not len(records):
        yield Problem(None, f"{split.name} has no records")
    for index in range(len(records)):
        try:
            sample = records[index]
            sizes = _sizes(sample, pixels)
        except X2SamError as error:
            yield from (Problem(index, str(each)) for each in (error, *getattr(error, "others", ())))
        else:
            told = (*_wrong(sample, sizes), *(_empty(sample) if own else ()))
            yield from (Problem(index, f"sample {sample.sample_id}: {text}") for text in told)


def _sizes(sample: Sample, pixels: bool) -> list[tuple[int, int]] | None:
    """Height and width of the frames; None where only unpacking a video would tell."""
    if pixels:
        return [frame.shape[:2] for frame in sample.frames]
    return [picture_size(path) for path in sample.frames.paths] if isinstance(sample.frames, PictureFiles) else None


def _wrong(sample: Sample, sizes: list[tuple[int, int]] | None) -> Iterator[str]:
    """What does not fit together in a sample whose files can be read."""
    length, task = len(sample.frames), get_task(sample.task)
    if not length:
        yield "no frames"
    named = (sample.answer or "").count("<p>") if task.conditions == "answer" else len(sample.prompt.conditions)
    if task.is_chat and not (sample.prompt.text and sample.answer):
        yield "a question or its answer is empty"
    elif not task.is_chat and task.conditions != "answer" and not named:
        yield "nothing is asked"
    if any(c.region is None and not (c.text or "").strip() for c in sample.prompt.conditions):
        yield "an expression or category without words"
    for track in sample.objects:
        if not 0 <= track.condition < named:
            yield f"object {track.object_id} belongs to condition {track.condition}, of {named}"
        yield from _misfits(track.masks, sizes, length, f"object {track.object_id}")
    for region in sample.prompt.regions:
        masks = [region.rle if t == region.frame else None for t in range(length)]
        yield from _misfits(masks, sizes, length, f"the {region.kind} on frame {region.frame}")
        if not region.rle.area:
            yield f"the {region.kind} on frame {region.frame} has no pixels"
    if sample.ignore is not None:
        yield from _misfits(sample.ignore, sizes, length, "what is left out")


def _empty(sample: Sample) -> Iterator[str]:
    """Objects that nobody can find; a wrong scale or offset of the annotations shows so."""
    for track in sample.objects:
        if not any(mask is not None and mask.area for mask in track.masks):
            yield f"object {track.object_id} has no pixel: it lies outside the picture, or is thinner than one"


def _misfits(
    masks: tuple[RLE | None, ...] | list[RLE | None], sizes: list[tuple[int, int]] | None, length: int, what: str
) -> Iterator[str]:
    if len(masks) != length:
        yield f"{what} has {len(masks)} masks for {length} frames"
    for t, (mask, size) in enumerate(zip(masks, sizes or (), strict=False)):
        if mask is not None and (mask.height, mask.width) != size:
            yield f"{what} is {mask.width}x{mask.height} on frame {t}, which is {size[1]}x{size[0]}"
