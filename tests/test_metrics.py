"""Every metric against the numbers of its public implementation, and against what must hold for any metric."""

from __future__ import annotations

import copy
import json
import math
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import metric_cases as cases
import numpy as np
import pytest

from x2sam import metrics
from x2sam.masks import RLE
from x2sam.metrics import Metric

REFERENCE = json.loads((Path(__file__).parent / "data" / "metrics_reference.json").read_text())


def mask(array: np.ndarray) -> RLE | None:
    return RLE.encode(array) if array.any() else None


def feed_panoptic(metric: Metric, key: int, case: cases.PanopticCase) -> None:
    image = isinstance(metric, metrics.PanopticQuality)
    maps = (case.predicted[0], case.truth[0]) if image else (iter(case.predicted), iter(case.truth))
    metric.update(*maps, case.predicted_categories, case.truth_categories, case.crowd)


def feed_frames(metric: Metric, key: int, video: tuple[np.ndarray, np.ndarray]) -> None:
    for predicted, truth in zip(*video, strict=True):
        metric.update(predicted, truth)


def feed_caption(metric: Metric, key: int, caption: tuple[int, tuple[str, list[str]]]) -> None:
    metric.update(caption[0], *caption[1])


Feed = Callable[[Metric, int, Any], None]
Row = tuple[Callable[[], Metric], Feed, dict[str, list[Any]]]

keyed: Feed = lambda metric, key, sample: metric.update(key, *sample)  # noqa: E731
plain: Feed = lambda metric, key, sample: metric.update(*sample)  # noqa: E731
by_frame: Feed = lambda metric, key, video: metric.update(*zip(*video, strict=True))  # noqa: E731
tubes: Feed = lambda metric, key, pair: metric.update(*map(cases.rles, pair))  # noqa: E731
masks: Feed = lambda metric, key, pair: metric.update(*map(mask, pair))  # noqa: E731


def grounded(metric: Metric, key: int, sample: tuple[Any, Any, np.ndarray]) -> None:
    metric.update(key, *sample)


ROWS: dict[str, Row] = {
    "PanopticQuality": (lambda: metrics.PanopticQuality(cases.THINGS), feed_panoptic, cases.panoptic_cases(1)),
    "VideoPanopticQuality": (
        lambda: metrics.VideoPanopticQuality(cases.THINGS),
        feed_panoptic,
        cases.panoptic_cases(7),
    ),
    "SegmentationTrackingQuality": (
        lambda: metrics.SegmentationTrackingQuality(cases.THINGS),
        feed_panoptic,
        cases.panoptic_cases(7),
    ),
    "MeanIoU": (lambda: metrics.MeanIoU(cases.CLASSES), feed_frames, cases.semantic_cases()),
    "VideoConsistency": (metrics.VideoConsistency, plain, cases.semantic_cases()),
    "MaskAP": (metrics.MaskAP, keyed, cases.instance_cases(1)),
    "TrackAP": (metrics.TrackAP, keyed, cases.instance_cases(4)),
    "RegionBoundary": (metrics.RegionBoundary, tubes, cases.mask_cases()),
    "ReferringIoU": (metrics.ReferringIoU, masks, cases.referring_cases()),
    "ReferringIoU, as LISA": (metrics.ReferringIoU, masks, cases.referring_cases()),
    "TrackIdentity": (metrics.TrackIdentity, by_frame, cases.identity_cases()),
    "GroundedMasks": (metrics.GroundedMasks, grounded, cases.grounded_cases(1)),
    "GroundedMasks, video": (metrics.GroundedMasks, grounded, cases.grounded_cases(3)),
    "CaptionScore": (metrics.CaptionScore, feed_caption, {"captions": list(cases.caption_cases().items())}),
}


def measured(row: Row, samples: list[Any], numbers: list[int]) -> Metric:
    """The metric after the samples of these numbers."""
    make, feed, _ = row
    metric = make()
    for number in numbers:
        feed(metric, number, samples[number])
    return metric


@pytest.mark.parametrize(("name", "case"), [(name, case) for name in REFERENCE for case in REFERENCE[name]])
def test_equals_the_public_implementation(name: str, case: str) -> None:
    if name == "CaptionScore" and not shutil.which("java"):
        pytest.skip("METEOR needs Java")
    if name == "CaptionScore":
        pytest.importorskip("pycocoevalcap")
    samples = ROWS[name][2][case]
    ours = measured(ROWS[name], samples, list(range(len(samples)))).compute()
    for number, expected in REFERENCE[name][case].items():
        if expected is None:
            assert math.isnan(ours[number])
        else:
            assert ours[number] == pytest.approx(expected, abs=1e-6), number


def test_the_reference_covers_every_metric_but_the_plain_groups() -> None:
    assert set(REFERENCE) == set(ROWS)


@pytest.mark.parametrize("name", [name for name in ROWS if name != "CaptionScore"])
def test_any_split_over_processes_gives_the_same_digits(name: str) -> None:
    samples = [sample for case in ROWS[name][2].values() for sample in case]
    whole = measured(ROWS[name], samples, list(range(len(samples)))).compute()
    order = list(range(len(samples)))
    random.Random(3).shuffle(order)
    parts = [measured(ROWS[name], samples, order[start::3]) for start in range(3)]
    total = copy.deepcopy(parts[0])
    for part in parts[1:]:
        total.merge(part)
    merged = total.compute()
    assert merged.keys() == whole.keys()
    assert all(merged[k] == whole[k] or (math.isnan(merged[k]) and math.isnan(whole[k])) for k in whole)


@pytest.mark.parametrize("name", [name for name in ROWS if name != "CaptionScore"])
def test_nothing_measured_is_nan(name: str) -> None:
    assert all(math.isnan(value) for value in ROWS[name][0]().compute().values())


def perfect(name: str) -> list[Any]:
    """The random samples of a metric, with the truth as the prediction."""
    samples = ROWS[name][2]["random"]
    if isinstance(samples[0], cases.PanopticCase):
        return [
            cases.PanopticCase(s.truth, s.truth, s.truth_categories, s.truth_categories)
            for s in samples  # no crowds: they need not be found
        ]
    if name == "TrackIdentity":
        return [[(truth, truth) for _, truth in video] for video in samples]
    if "Grounded" in name:
        return [(truth, truth, np.eye(len(truth))) for _, truth, _ in samples]
    return [(truth, truth) for _, truth in samples]


@pytest.mark.parametrize("name", [name for name in ROWS if name != "CaptionScore"])
def test_the_truth_itself_is_perfect(name: str) -> None:
    samples = perfect(name)
    result = measured(ROWS[name], samples, list(range(len(samples)))).compute()
    if name == "TrackIdentity":
        assert result.pop("IDSW") == 0
    few = [result.pop(k) for k in list(result) if k.startswith("AR@1")]  # at most 1 or 10 of a category may be named
    assert len(few) == (2 + 1 if name in ("MaskAP", "TrackAP") else 0)
    assert all(value == pytest.approx(1) or math.isnan(value) for value in result.values())
    assert not all(math.isnan(value) for value in result.values())


@pytest.mark.parametrize("name", ["PanopticQuality", "VideoPanopticQuality", "SegmentationTrackingQuality"])
def test_the_choice_of_ids_does_not_matter(name: str) -> None:
    samples = ROWS[name][2]["random"]
    rng = np.random.default_rng(0)

    def renamed(case: cases.PanopticCase) -> cases.PanopticCase:
        names = {i: int(n) for i, n in zip(case.predicted_categories, rng.permutation(100) + 1, strict=False)}
        predicted = np.zeros_like(case.predicted)
        for old, new in names.items():
            predicted[case.predicted == old] = new
        categories = {names[i]: c for i, c in case.predicted_categories.items()}
        return cases.PanopticCase(predicted, case.truth, categories, case.truth_categories, case.crowd)

    numbers = list(range(len(samples)))
    ours = measured(ROWS[name], samples, numbers).compute()
    assert measured(ROWS[name], [renamed(s) for s in samples], numbers).compute() == pytest.approx(ours, nan_ok=True)
