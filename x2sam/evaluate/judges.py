"""From samples and answers to metrics: one small judge for each way of scoring, chosen by a split's row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from x2sam.benchmarks.vvgd import GroundingScore
from x2sam.data.photos.names import THINGS, said_in
from x2sam.errors import DataError
from x2sam.evaluate.answers import Answer
from x2sam.evaluate.reading import (
    IGNORE,
    Setting,
    by_condition,
    instances_of,
    panoptic_maps,
    predicted_tubes,
    semantic_maps,
    setting_of,
    size_of,
    stacked,
    together,
)
from x2sam.masks import iou_matrix
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
    Presence,
    ReferringIoU,
    RegionBoundary,
    SaidNames,
    SegmentationTrackingQuality,
    TrackAP,
    TrackIdentity,
    VideoConsistency,
    VideoPanopticQuality,
)
from x2sam.prompts import read_answer
from x2sam.tasks import get_task
from x2sam.types import FrameResult, Sample

__all__ = ["JUDGES", "Judge", "Setting", "judge", "setting_of"]
ANSWERS = 3
"""Of several answers to one region this many, the surest, may hold the one that was meant."""


@dataclass(frozen=True)
class Judge:
    """A row of `JUDGES`."""

    view: str
    """Which of `answers.VIEWS` it looks at."""
    make: Callable[[Setting], Sequence[Metric]]
    score: Callable[[Sequence[Metric], Sample, Answer, Setting], None]


def _pq(metrics: Sequence[Metric], sample: Sample, answer: Answer, setting: Setting) -> None:
    (ours, our_categories), (theirs, their_categories), crowd = panoptic_maps(sample, answer, setting)
    image = isinstance(metrics[0], PanopticQuality)
    maps = (ours[0], theirs[0]) if image else (ours, theirs)
    metrics[0].update(*maps, our_categories, their_categories, crowd)


def _miou(metrics: Sequence[Metric], sample: Sample, answer: Answer, setting: Setting) -> None:
    for ours, theirs in semantic_maps(sample, answer, setting):
        metrics[0].update(ours, theirs)


def _consistency(metrics: Sequence[Metric], sample: Sample, answer: Answer, setting: Setting) -> None:
    pairs = list(semantic_maps(sample, answer, setting))
    metrics[0].update([ours for ours, _ in pairs], [theirs for _, theirs in pairs])


def _referring(metrics: Sequence[Metric], sample: Sample, answer: Answer, setting: Setting) -> None:
    void = stacked(sample.ignore) if sample.ignore is not None else None
    for _, ours, theirs in by_condition(sample, answer, "default"):
        metrics[0].update(stacked(ours), stacked(theirs), void)


def _interactive(metrics: Sequence[Metric], sample: Sample, answer: Answer, setting: Setting) -> None:
    for c, ours, theirs in by_condition(sample, answer, "default"):
        region = sample.prompt.conditions[c].region
        metrics[0].update(region.kind if region is not None else "none", stacked(ours), stacked(theirs))


def _best_of(metrics: Sequence[Metric], sample: Sample, answer: Answer, setting: Setting) -> None:
    """The surest answer to every region (group: its kind), and the best of the surest three (``kind@3``)."""
    found = predicted_tubes(sample, answer, "nested")
    void = stacked(sample.ignore) if sample.ignore is not None else None
    for c, _, theirs in by_condition(sample, answer, "nested"):
        region, truth = sample.prompt.conditions[c].region, stacked(theirs)
        kind = region.kind if region is not None else "none"
        ranked = sorted((pair for key, pair in found.items() if key[0] == c), key=lambda pair: -pair[1])
        ours = [mask for tube, _ in ranked[:ANSWERS] if (mask := stacked(tube)) is not None]
        best = ours[int(iou_matrix(ours, [truth]).argmax())] if ours and truth is not None else None
        metrics[0].update(kind, ours[0] if ours else None, truth, void)
        metrics[0].update(f"{kind}@{ANSWERS}", best, truth, void)


def _named(view: str) -> Callable[[Sequence[Metric], Sample, Answer, Setting], None]:
    """Names and phrases by whether they are there."""

    def score(metrics: Sequence[Metric], sample: Sample, answer: Answer, setting: Setting) -> None:
        void = stacked(sample.ignore) if sample.ignore is not None else None
        for _, ours, theirs in by_condition(sample, answer, view):
            truth = stacked(theirs)
            metrics[0].update("present" if truth is not None else "absent", stacked(ours), truth, void)

    return score


def _presence(metrics: Sequence[Metric], sample: Sample, answer: Answer, setting: Setting) -> None:
    found = predicted_tubes(sample, answer, "scored")
    for c, _, theirs in by_condition(sample, answer, "scored"):
        scores = [score for key, (_, score) in found.items() if key[0] == c]
        metrics[0].update(max(scores, default=0.0), any(theirs))


def _said(metrics: Sequence[Metric], sample: Sample, answer: Answer, setting: Setting) -> None:
    """Against a sample's answer as `data.families.photos` writes it: names that are there, then people's captions."""
    names = frozenset().union(*THINGS)
    said = answer.views["default"].text if "default" in answer.views else ""
    text, phrases = read_answer(sample.answer or "")
    captions = said_in(text[phrases[-1].end :] if phrases else text, names)
    metrics[0].update(said_in(said, names), [phrase.text for phrase in phrases], frozenset().union(*captions))


def _jf(metrics: Sequence[Metric], sample: Sample, answer: Answer, setting: Setting) -> None:
    one_region = get_task(sample.task).one_region
    for c, ours, theirs in by_condition(sample, answer, "default"):
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
    ours, theirs = instances_of(sample, answer, "instance", setting)
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
    height, width = size_of(sample)
    metrics[0].update(sample, [FrameResult(t, None, height, width, found) for t, found in enumerate(frames)])


def _identity(metrics: Sequence[Metric], sample: Sample, answer: Answer, setting: Setting) -> None:
    things = [c for c, thing in enumerate(answer.things) if thing]
    found = predicted_tubes(sample, answer, "default").items()
    ours = {identity: tube for (c, identity), (tube, _) in found if c in things}
    truth = {track.object_id: track.masks for track in sample.objects if track.condition in things}
    frames = range(len(sample.frames))
    metrics[0].update(*([{i: m for i, x in group.items() if (m := x[t])} for t in frames] for group in (ours, truth)))


def _gcg(metrics: Sequence[Metric], sample: Sample, answer: Answer, setting: Setting) -> None:
    view = answer.views.get("default")
    length = len(sample.frames)
    found = predicted_tubes(sample, answer, "default")
    phrases = view.phrases if view is not None else ()
    ours = {c: together([tube for (of, _), (tube, _) in found.items() if of == c], length) for c, _ in found}
    scores = {c: max(score for (of, _), (_, score) in found.items() if of == c) for c in ours}
    spoken = [phrase.text for phrase in read_answer(sample.answer or "")[1]]
    theirs = [
        together([track.masks for track in sample.objects if track.condition == c], length) for c in range(len(spoken))
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
    "best_of": Judge("nested", lambda s: [Grouped(ReferringIoU)], _best_of),
    "names": Judge("default", lambda s: [Grouped(ReferringIoU)], _named("default")),
    "listed": Judge("listed", lambda s: [Grouped(ReferringIoU)], _named("listed")),
    "presence": Judge("scored", lambda s: [Presence()], _presence),
    "said": Judge("default", lambda s: [SaidNames()], _said),
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
