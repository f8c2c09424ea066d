"""Mask AP of images (COCO) and of tracks (YouTube-VIS), both through the COCO evaluator of pycocotools.

The evaluator asks only for scores, areas and overlaps. These are taken when a sample arrives, and the masks let go.
"""

from __future__ import annotations

import contextlib
import io
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.cocoeval import COCOeval

from x2sam.errors import DataError
from x2sam.metrics.base import Metric
from x2sam.metrics.overlap import Tube, tube_counts

MAX_DETECTIONS = 100
SUMMARY = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR@1", "AR@10", f"AR@{MAX_DETECTIONS}", "ARs", "ARm", "ARl")
"""The numbers of COCO's summary, in its order."""


@dataclass(frozen=True)
class Instance:
    """One object, predicted or annotated: its mask on every frame (an image has one frame) and its category."""

    masks: Tube
    category: int = 1
    score: float = 1.0
    """Of a prediction."""
    crowd: bool = False
    """Of an annotation: a group of objects that need not be found; predictions on it do not count."""
    area: float | None = None
    """Of an annotation: the pixels that decide whether it is small; None takes the mask's."""


@dataclass(frozen=True)
class _Record:
    """One category of one sample. Predictions come best first."""

    scores: NDArray[np.float64]  # [D]
    areas: NDArray[np.float64]  # [D]
    overlaps: NDArray[np.float64]  # [D, G]
    truth_areas: NDArray[np.float64]  # [G]
    crowd: NDArray[np.bool_]  # [G]


class MaskAP(Metric):
    """COCO mask AP over images. The released per-frame AP of videos is this, with every frame as one image.

    Memory grows, per image and category, with (its best 100 predictions) x (its annotated objects).
    """

    state = ("records",)
    small, large = 32**2, 96**2
    """Objects below and above these areas, in pixels, are small and large."""
    crowd_absorbs = True
    """A prediction inside a crowd overlaps it wholly, however much of the crowd it leaves out."""

    def __init__(self) -> None:
        self.records: dict[Hashable, dict[int, _Record]] = {}

    def update(self, key: Hashable, predicted: Sequence[Instance], truth: Sequence[Instance]) -> None:
        """Count in one image or video. ``key`` names it; keys must be sortable, their order settles ties of scores."""
        if key in self.records:
            raise DataError(f"Got the sample {key!r} twice", "each sample scored once")
        self.records[key] = {
            category: self._record(
                [p for p in predicted if p.category == category], [t for t in truth if t.category == category]
            )
            for category in sorted({instance.category for instance in (*predicted, *truth)})
        }

    def _record(self, predicted: Sequence[Instance], truth: Sequence[Instance]) -> _Record:
        best = sorted(predicted, key=lambda instance: -instance.score)[:MAX_DETECTIONS]
        return _Record(
            scores=np.array([p.score for p in best], dtype=np.float64),
            areas=np.array([_area(p.masks) for p in best], dtype=np.float64),
            overlaps=self._overlaps(best, truth),
            truth_areas=np.array([_area(t.masks) if t.area is None else t.area for t in truth], dtype=np.float64),
            crowd=np.array([t.crowd for t in truth], dtype=bool),
        )

    def _overlaps(self, predicted: Sequence[Instance], truth: Sequence[Instance]) -> NDArray[np.float64]:
        """IoU ``[D, G]``; with a crowd, where it absorbs, the share of the prediction that lies on it."""
        shared, union = tube_counts([p.masks for p in predicted], [t.masks for t in truth])
        own = np.array([sum(m.area for m in p.masks if m) for p in predicted], dtype=np.int64)[:, None]
        absorbed = np.array([t.crowd and self.crowd_absorbs for t in truth], dtype=bool)
        return shared / np.maximum(np.where(absorbed, own, union), 1)

    def compute(self) -> dict[str, float]:
        """The twelve numbers of COCO's summary: ``AP`` over IoU .50:.95, ``AP50``, ``AP75``, ``APs``, .. ``ARl``."""
        evaluator = _Evaluator(self.records, self.small, self.large)
        if not evaluator.params.catIds:
            return dict.fromkeys(SUMMARY, float("nan"))
        with contextlib.redirect_stdout(io.StringIO()):
            evaluator.evaluate()
            evaluator.accumulate()
            evaluator.summarize()
        return {n: float(v) if v >= 0 else float("nan") for n, v in zip(SUMMARY, evaluator.stats, strict=True)}


class TrackAP(MaskAP):
    """YouTube-VIS AP over tracks: the IoU is of whole tubes, the area a track's mean over the frames that show it.

    This is also the track-level protocol of V-VGD. Memory as in ``MaskAP``, per video.
    """

    small, large = 128**2, 256**2
    crowd_absorbs = False


def _area(masks: Tube) -> float:
    """Pixels of the mask, or their mean over the frames where the tube is seen."""
    seen = [area for mask in masks if mask is not None and (area := mask.area)]
    return sum(seen) / len(seen) if seen else 0.0


class _Evaluator(COCOeval):
    """The COCO evaluator, fed with what was measured before instead of with masks."""

    def __init__(self, records: dict[Any, dict[int, _Record]], small: float, large: float) -> None:
        super().__init__(iouType="segm")
        self.records = [records[key] for key in sorted(records)]
        self.params.imgIds = list(range(len(self.records)))
        self.params.catIds = sorted({category for record in self.records for category in record})
        everything = self.params.areaRng[0]
        self.params.areaRng = [everything, [0, small], [small, large], [large, everything[1]]]

    def _prepare(self) -> None:
        self._gts, self._dts = defaultdict(list), defaultdict(list)
        ids = iter(range(1, 1 << 62))  # the evaluator takes 0 for "no match"
        for image, categories in enumerate(self.records):
            for category, record in categories.items():
                self._gts[image, category] = [
                    {"id": next(ids), "area": area, "iscrowd": int(crowd), "ignore": int(crowd)}
                    for area, crowd in zip(record.truth_areas, record.crowd, strict=True)
                ]
                self._dts[image, category] = [
                    {"id": next(ids), "area": area, "score": score}
                    for area, score in zip(record.areas, record.scores, strict=True)
                ]

    def computeIoU(self, image: int, category: int) -> Any:  # noqa: N802
        record = self.records[image].get(category)
        return record.overlaps if record is not None else []
