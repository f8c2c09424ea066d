"""From samples and answers to metrics: one small judge for each way of scoring, chosen by a split's row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from x2sam.benchmarks.vvgd import GroundingScore
from x2sam.errors import DataError
from x2sam.evaluate.answers import Answer
from x2sam.masks import RLE, union
from x2sam.metrics import (
    CaptionScore,
    GroundedMasks,
    GroundedNouns,
    Grouped,
    Instance,
    MaskAP,
    MeanIoU,
    Metric,
    PanopticQuality,
    ReferringIoU,
    RegionBoundary,
    SegmentationTrackingQuality,
    TrackAP,
    TrackIdentity,
    VideoConsistency,
    VideoPanopticQuality,
)
from x2sam.prompts import read_answer
from x2sam.tasks import get_task
from x2sam.types import FrameResult, Sample

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


@dataclass(frozen=True)
class Judge:
    """A row of `JUDGES`."""

    view: str
    """Which of `answers.VIEWS` it looks at."""
    make: Callable[[Setting], Sequence[Metric]]
    score: Callable[[Sequence[Metric], Sample, Answer, Setting], None]


# --- reading ---------------------------------------------------------------------------------------------------------


def _predicted_tubes(sample: Sample, answer: Answer, view: str) -> dict[tuple[int, int], tuple[Tube, float]]:
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


def _together(tubes: Sequence[Tube], length: int) -> Tube:
    """One tube of several."""
    frames = [[tube[t] for tube in tubes] for t in range(length)]
    present = [[mask for mask in masks if mask is not None and mask.area] for masks in frames]
    return tuple(union(masks) if masks else None for masks in present)


def _by_condition(sample: Sample, answer: Answer, view: str) -> Iterator[tuple[int, Tube, Tube]]:
    """For every condition of the prompt what was found and what is there, all objects together."""
    length = len(sample.frames)
    found = _predicted_tubes(sample, answer, view)
    for c in range(len(sample.prompt.conditions)):
        ours = [tube for (condition, _), (tube, _) in found.items() if condition == c]
        theirs = [track.masks for track in sample.objects if track.condition == c]
        yield c, _together(ours, length), _together(theirs, length)


def _instances(sample: Sample, answer: Answer, view: str, setting: Setting) -> tuple[list[Instance], list[Instance]]:
    """Things found and annotated, each with its mask on every frame."""
    number = [setting.categories[label] for label in answer.labels]
    found = _predicted_tubes(sample, answer, view)
    ours = [Instance(tube, number[c], score) for (c, _), (tube, score) in found.items() if answer.things[c]]
    theirs = [
        Instance(track.masks, number[track.condition], crowd=track.is_crowd)
        for track in sample.objects
        if answer.things[track.condition]
    ]
    return ours, theirs


def _stacked(tube: Tube) -> RLE | None:
    """A tube as one tall mask: its frames one below the other."""
    seen = [mask for mask in tube if mask is not None]
    if not seen:
        return None
    nothing = np.zeros((seen[0].height, seen[0].width), dtype=bool)
    return RLE.encode(np.concatenate([nothing if mask is None else mask.decode() for mask in tube]))


def _size(sample: Sample) -> tuple[int, int]:
    height, width = sample.frames[0].shape[:2]
    return height, width


def _maps(sample: Sample, tubes: Sequence[tuple[int, Tube]]) -> IdMaps:
    """Tubes with their categories as id maps; the later lies above."""
    maps = [np.zeros(_size(sample), dtype=np.int32) for _ in sample.frames]
    for i, (_, tube) in enumerate(tubes):
        for t, mask in enumerate(tube):
            if mask is not None:
                maps[t][mask.decode()] = i + 1
    return maps, {i + 1: category for i, (category, _) in enumerate(tubes)}


def _panoptic(sample: Sample, answer: Answer, setting: Setting) -> tuple[IdMaps, IdMaps, list[int]]:
    number = [setting.categories[label] for label in answer.labels]
    found = _predicted_tubes(sample, answer, "default")
    ours = _maps(sample, [(number[c], tube) for (c, _), (tube, _) in found.items()])
    theirs = _maps(sample, [(number[track.condition], track.masks) for track in sample.objects])
    for t, void in enumerate(sample.ignore or ()):
        if void is not None:
            theirs[0][t][void.decode()] = 0
    return ours, theirs, [i + 1 for i, track in enumerate(sample.objects) if track.is_crowd]


def _semantic(sample: Sample, answer: Answer, setting: Setting) -> Iterator[tuple[NDArray, NDArray]]:
    """Maps of classes: found, annotated."""
    number = np.array([IGNORE, *(setting.categories[label] for label in answer.labels)])
    size = _size(sample)
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


# --- scoring ---------------------------------------------------------------------------------------------------------


def _pq(metrics: Sequence[Metric], sample: Sample, answer: Answer, setting: Setting) -> None:
    (ours, our_categories), (theirs, their_categories), crowd = _panoptic(sample, answer, setting)
    image = isinstance(metrics[0], PanopticQuality)
    maps = (ours[0], theirs[0]) if image else (ours, theirs)
    metrics[0].update(*maps, our_categories, their_categories, crowd)


def _miou(metrics: Sequence[Metric], sample: Sample, answer: Answer, setting: Setting) -> None:
    for ours, theirs in _semantic(sample, answer, setting):
        metrics[0].update(ours, theirs)


def _consistency(metrics: Sequence[Metric], sample: Sample, answer: Answer, setting: Setting) -> None:
    pairs = list(_semantic(sample, answer, setting))
    metrics[0].update([ours for ours, _ in pairs], [theirs for _, theirs in pairs])


def _referring(metrics: Sequence[Metric], sample: Sample, answer: Answer, setting: Setting) -> None:
    void = _stacked(sample.ignore) if sample.ignore is not None else None
    for _, ours, theirs in _by_condition(sample, answer, "default"):
        metrics[0].update(_stacked(ours), _stacked(theirs), void)


def _interactive(metrics: Sequence[Metric], sample: Sample, answer: Answer, setting: Setting) -> None:
    for c, ours, theirs in _by_condition(sample, answer, "default"):
        region = sample.prompt.conditions[c].region
        metrics[0].update(region.kind if region is not None else "none", _stacked(ours), _stacked(theirs))


def _jf(metrics: Sequence[Metric], sample: Sample, answer: Answer, setting: Setting) -> None:
    one_region = get_task(sample.task).one_region
    for c, ours, theirs in _by_condition(sample, answer, "default"):
        region = sample.prompt.conditions[c].region
        # An object is shown by its region, so that frame and those before it are no achievement.
        first = region.frame + 1 if one_region and region is not None and setting.protocol == "public" else 0
        void = sample.ignore[first:] if sample.ignore is not None else None
        metrics[0].update(ours[first:], theirs[first:], void)


def _captions(metrics: Sequence[Metric], sample: Sample, answer: Answer, setting: Setting) -> None:
    said = answer.views["default"].text if "default" in answer.views else ""
    metrics[0].update(answer.index, said, [read_answer(sample.answer or "")[0]])


def _ap(metrics: Sequence[Metric], sample: Sample, answer: Answer, setting: Setting) -> None:
    """Of tracks, or of every frame by itself."""
    ours, theirs = _instances(sample, answer, "instance", setting)
    if isinstance(metrics[0], TrackAP):
        metrics[0].update(answer.index, ours, theirs)
        return
    for t in range(len(sample.frames)):
        metrics[0].update((answer.index, t), *(_at(instances, t) for instances in (ours, theirs)))


def _at(instances: Sequence[Instance], t: int) -> list[Instance]:
    return [Instance((i.masks[t],), i.category, i.score, i.crowd) for i in instances if t < len(i.masks) and i.masks[t]]


def _vvgd(metrics: Sequence[Metric], sample: Sample, answer: Answer, setting: Setting) -> None:
    frames = answer.views["instance"].frames if "instance" in answer.views else ()
    if setting.protocol == "released":  # which may give two masks one id, and does not look at ids
        frames = tuple(tuple(replace(s, object_id=i) for i, s in enumerate(found)) for found in frames)
    height, width = _size(sample)
    metrics[0].update(sample, [FrameResult(t, None, height, width, found) for t, found in enumerate(frames)])


def _identity(metrics: Sequence[Metric], sample: Sample, answer: Answer, setting: Setting) -> None:
    things = [c for c, thing in enumerate(answer.things) if thing]
    found = _predicted_tubes(sample, answer, "default").items()
    ours = {identity: tube for (c, identity), (tube, _) in found if c in things}
    truth = {track.object_id: track.masks for track in sample.objects if track.condition in things}
    frames = range(len(sample.frames))
    metrics[0].update(*([{i: m for i, x in group.items() if (m := x[t])} for t in frames] for group in (ours, truth)))


def _gcg(metrics: Sequence[Metric], sample: Sample, answer: Answer, setting: Setting) -> None:
    view = answer.views.get("default")
    length = len(sample.frames)
    found = _predicted_tubes(sample, answer, "default")
    phrases = view.phrases if view is not None else ()
    ours = {c: _together([tube for (of, _), (tube, _) in found.items() if of == c], length) for c, _ in found}
    scores = {c: max(score for (of, _), (_, score) in found.items() if of == c) for c in ours}
    spoken = [phrase.text for phrase in read_answer(sample.answer or "")[1]]
    theirs = [
        _together([track.masks for track in sample.objects if track.condition == c], length) for c in range(len(spoken))
    ]
    metrics[0].update(
        answer.index, [Instance(tube, 1, scores[c]) for c, tube in ours.items()], [Instance(tube) for tube in theirs]
    )
    metrics[1].update([(phrases[c], tube) for c, tube in ours.items()], list(zip(spoken, theirs, strict=True)))


def _track_metric(setting: Setting) -> list[Metric]:
    return [MaskAP() if setting.protocol == "released" else TrackAP()]


JUDGES: dict[str, Judge] = {
    "pq": Judge("default", lambda s: [PanopticQuality(s.things)], _pq),
    "miou": Judge("semantic", lambda s: [MeanIoU(len(s.categories), IGNORE)], _miou),
    "mask_ap": Judge("instance", lambda s: [MaskAP()], _ap),
    "referring": Judge("default", lambda s: [ReferringIoU()], _referring),
    "interactive": Judge("default", lambda s: [Grouped(ReferringIoU)], _interactive),
    "gcg": Judge("default", lambda s: [GroundedMasks(), GroundedNouns()], _gcg),
    "captions": Judge("default", lambda s: [CaptionScore()], _captions),
    "vpq": Judge("default", lambda s: [VideoPanopticQuality(s.things)], _pq),
    "stq": Judge("default", lambda s: [SegmentationTrackingQuality(s.things)], _pq),
    "mvc": Judge("semantic", lambda s: [VideoConsistency()], _consistency),
    "track_ap": Judge("instance", _track_metric, _ap),
    "vvgd": Judge("instance", lambda s: [GroundingScore("released" if s.protocol == "released" else "track")], _vvgd),
    "jf": Judge("default", lambda s: [RegionBoundary("frames" if s.protocol == "released" else "objects")], _jf),
    "identity": Judge("default", lambda s: [TrackIdentity()], _identity),
}


def judge(name: str) -> Judge:
    """The row called ``name``."""
    if name not in JUDGES:
        raise DataError(f"Got the metric {name!r}", f"one of: {', '.join(JUDGES)}")
    return JUDGES[name]


def setting_of(answers: Iterator[Answer] | Sequence[Answer], protocol: str) -> Setting:
    """The categories of a split are those that its prompts name."""
    things: dict[str, bool] = {}
    for answer in answers:
        things.update(zip(answer.labels, answer.things, strict=True))
    numbers = {label: i for i, label in enumerate(sorted(things))}
    return Setting(numbers, {numbers[label]: thing for label, thing in things.items()}, protocol)
