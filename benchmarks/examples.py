"""Things marked in one photo, found in another: by example beside the same by name, and beside answers without a model.

python benchmarks/examples.py PHOTOS [--part val] [--count 60] [--threshold 0.3]

Of every photo of a part (the validation tenth, or training photos to choose by) one thing that is there and one that is
not is asked for, shown by a box in another photo of the same part. A thing covers 1 % of its photo at least. Printed
are, for each way of asking: gIoU where the thing is there (a thing that is refused counts 0), T-acc and N-acc (share of
present things that are answered and of absent ones that are refused), and refused@90: N-acc at the threshold that keeps
nine tenths of the present. The areas under the curve say how well scores tell present from absent at all.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from x2sam import X2Sam, example
from x2sam.data.photos import PhotoFolder
from x2sam.data.photos.shown import pairs
from x2sam.masks import BoolMask
from x2sam.results.result import Result

Row = tuple[float, float, float]
"""Score, IoU, and whether the thing is there."""


def row_of(result: Result, truth: BoolMask, there: bool) -> Row:
    """All that was found, at the surest score."""
    segments = result.segments
    found = np.any([s.mask for s in segments], axis=0) if segments else np.zeros_like(truth)
    score = max((s.score for s in segments), default=0.0)
    return score, float((found & truth).sum() / max((found | truth).sum(), 1)), float(there)


def told(rows: list[Row], threshold: float) -> dict[str, float]:
    """The numbers of a way of asking."""
    score, iou, there = np.array(rows).T
    present, absent = score[there == 1], score[there == 0]
    kept = np.quantile(present, 0.1)
    return {
        "gIoU": float(np.mean(iou[there == 1] * (present >= threshold))),
        "gIoU, all answered": float(np.mean(iou[there == 1])),
        "T-acc": float(np.mean(present >= threshold)),
        "N-acc": float(np.mean(absent < threshold)),
        "refused@90": float(np.mean(absent < kept)),
        "area under curve": float(np.mean(present[:, None] > absent[None])),
        "threshold@90": float(kept),
    }


def main() -> None:
    """Print a row of json for each way of asking."""
    parser = argparse.ArgumentParser()
    parser.add_argument("photos", type=Path)
    parser.add_argument("--part", choices=("train", "val"), default="val")
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--threshold", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60.0, help="stop after so long, and tell what there is")
    given = parser.parse_args()
    model = X2Sam.from_pretrained(given.model)
    threshold = model.config.presence_threshold if given.threshold is None else given.threshold
    folder = PhotoFolder(given.photos, validation=given.part == "val")
    rows: dict[str, list[Row]] = {}
    near: list[bool] = []
    started = time.monotonic()
    session, last = None, ""
    for pair in pairs(folder, given.count, given.seed):
        if time.monotonic() - started > 60 * given.minutes:
            break
        if session is None or pair.photo.id != last:
            session, last = model.open(pair.photo.pictures[0]), pair.photo.id
        truth = pair.truth
        shown = model.examples([example(pair.source.pictures[0], box=pair.box)])
        near.append(shown.things[0].words == pair.name)
        found = {
            "example": session.segment(like=shown, threshold=0.0),
            "example, named": session.segment(pair.name, like=shown, threshold=0.0),
            "name": session.segment(pair.name, threshold=0.0),
        }
        for way, result in found.items():
            rows.setdefault(way, []).append(row_of(result, truth, pair.there))
        middle = np.zeros_like(truth)
        height, width = truth.shape
        middle[height // 5 : -height // 5, width // 5 : -width // 5] = True
        for way, mask in (("whole", np.ones_like(truth)), ("middle", middle)):
            iou = float((mask & truth).sum() / (mask | truth).sum())
            rows.setdefault(way, []).append((1.0, iou, float(pair.there)))
    print(json.dumps({"asked": len(near), "of the nearest name": round(float(np.mean(near)), 3), "part": given.part}))
    for way, some in rows.items():
        print(json.dumps({"way": way, **{k: round(v, 3) for k, v in told(some, threshold).items()}}))


if __name__ == "__main__":
    main()
