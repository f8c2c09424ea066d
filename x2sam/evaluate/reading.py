"""What judges read out of samples and answers: tubes, maps of ids and of classes, instances."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from x2sam.evaluate.answers import Answer
from x2sam.masks import RLE, union
from x2sam.metrics import Instance
from x2sam.types import Sample

IGNORE = 65_535
"""Class of pixels that nobody labelled."""
Tube = tuple[RLE | None, ...]
IdMaps = tuple[list[NDArray[np.int32]], dict[int, int]]
"""A map of segment ids for every frame (0 is void), and every id's category."""


@dataclass(frozen=True)
class Setting:
    """What all judges of a split need to know."""

    categories: Mapping[str, int]
    """Number of every label."""
    things: Mapping[int, bool]
    protocol: str = "public"


def predicted_tubes(sample: Sample, answer: Answer, view: str) -> dict[tuple[int, int], tuple[Tube, float]]:
    """The mask on every frame and the mean score of every (condition, object)."""
    found: dict[tuple[int, int], list[RLE | None]] = {}
    scores: dict[tuple[int, int], list[float]] = defaultdict(list)
    frames = answer.views[view].frames if view in answer.views else ()
    for t, segments in enumerate(frames):
        for s in segments:
            key = s.condition, s.object_id
            tube = found.setdefault(key, [None] * len(sample.frames))
            before = tube[t]
            tube[t] = s.rle if before is None else union([before, s.rle])
            scores[key].append(s.score)
    return {key: (tuple(tube), sum(scores[key]) / len(scores[key])) for key, tube in found.items()}


def together(tubes: Sequence[Tube], length: int) -> Tube:
    """One tube of several."""
    frames = [[tube[t] for tube in tubes] for t in range(length)]
    present = [[mask for mask in masks if mask is not None and mask.area] for masks in frames]
    return tuple(union(masks) if masks else None for masks in present)


def by_condition(sample: Sample, answer: Answer, view: str) -> Iterator[tuple[int, Tube, Tube]]:
    """For every condition of the prompt what was found and what is there, all objects together."""
    length = len(sample.frames)
    found = predicted_tubes(sample, answer, view)
    for c in range(len(sample.prompt.conditions)):
        ours = [tube for (condition, _), (tube, _) in found.items() if condition == c]
        theirs = [track.masks for track in sample.objects if track.condition == c]
        yield c, together(ours, length), together(theirs, length)


def instances_of(sample: Sample, answer: Answer, view: str, setting: Setting) -> tuple[list[Instance], list[Instance]]:
    """Things found and annotated, each with its mask on every frame."""
    number = [setting.categories[label] for label in answer.labels]
    found = predicted_tubes(sample, answer, view)
    ours = [Instance(tube, number[c], score) for (c, _), (tube, score) in found.items() if answer.things[c]]
    theirs = [
        Instance(track.masks, number[track.condition], crowd=track.is_crowd)
        for track in sample.objects
        if answer.things[track.condition]
    ]
    return ours, theirs


def stacked(tube: Tube) -> RLE | None:
    """A tube as one tall mask: its frames one below the other."""
    seen = [mask for mask in tube if mask is not None]
    if not seen:
        return None
    nothing = np.zeros((seen[0].height, seen[0].width), dtype=bool)
    return RLE.encode(np.concatenate([nothing if mask is None else mask.decode() for mask in tube]))


def size_of(sample: Sample) -> tuple[int, int]:
    height, width = sample.frames[0].shape[:2]
    return height, width


def id_maps(sample: Sample, tubes: Sequence[tuple[int, Tube]]) -> IdMaps:
    """Tubes with their categories as id maps; the later lies above."""
    maps = [np.zeros(size_of(sample), dtype=np.int32) for _ in sample.frames]
    for i, (_, tube) in enumerate(tubes):
        for t, mask in enumerate(tube):
            if mask is not None:
                maps[t][mask.decode()] = i + 1
    return maps, {i + 1: category for i, (category, _) in enumerate(tubes)}


def panoptic_maps(sample: Sample, answer: Answer, setting: Setting) -> tuple[IdMaps, IdMaps, list[int]]:
    number = [setting.categories[label] for label in answer.labels]
    found = predicted_tubes(sample, answer, "default")
    ours = id_maps(sample, [(number[c], tube) for (c, _), (tube, _) in found.items()])
    theirs = id_maps(sample, [(number[track.condition], track.masks) for track in sample.objects])
    for t, void in enumerate(sample.ignore or ()):
        if void is not None:
            theirs[0][t][void.decode()] = 0
    return ours, theirs, [i + 1 for i, track in enumerate(sample.objects) if track.is_crowd]


def semantic_maps(sample: Sample, answer: Answer, setting: Setting) -> Iterator[tuple[NDArray, NDArray]]:
    """Maps of classes: found, annotated."""
    number = np.array([IGNORE, *(setting.categories[label] for label in answer.labels)])
    size = size_of(sample)
    frames = answer.views["semantic"].frames if "semantic" in answer.views else ()
    for t in range(len(sample.frames)):
        ours, theirs = np.zeros(size, dtype=np.int32), np.zeros(size, dtype=np.int32)
        for segment in frames[t] if t < len(frames) else ():
            ours[segment.rle.decode()] = segment.condition + 1
        for track in sample.objects:
            mask = track.masks[t]
            if mask is not None:
                theirs[mask.decode()] = track.condition + 1
        void = sample.ignore[t] if sample.ignore is not None else None
        if void is not None:
            theirs[void.decode()] = 0
        yield number[ours], number[theirs]


def setting_of(answers: Iterator[Answer] | Sequence[Answer], protocol: str) -> Setting:
    """The categories of a split are those that its prompts name."""
    things: dict[str, bool] = {}
    for answer in answers:
        things.update(zip(answer.labels, answer.things, strict=True))
    numbers = {label: i for i, label in enumerate(sorted(things))}
    return Setting(numbers, {numbers[label]: thing for label, thing in things.items()}, protocol)
