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
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from x2sam import X2Sam, example
from x2sam.data.photos import Photo, PhotoFolder
from x2sam.data.photos.drawing import bounds
from x2sam.data.photos.folder import mask_in
from x2sam.masks import BoolMask
from x2sam.results.result import Result

LEAST = 0.01
"""Part of a photo that a thing covers at least."""
Row = tuple[float, float, float]
"""Score, IoU, and whether the thing is there."""


def pairs(folder: PhotoFolder, count: int, seed: int) -> Iterator[tuple[Photo, list[tuple[str, Photo, int, bool]]]]:
    """Photos, and of each the names to ask for with the photo and the segment that show one."""
    rng = np.random.default_rng(seed)
    photos = [p for p in folder.photos[: 8 * count] if p.names and folder.everywhere(p)]
    shown: dict[str, list[tuple[Photo, int]]] = {}
    for photo in photos:
        area = photo.size[0] * photo.size[1]
        for shape in photo.shapes:
            if shape.single and shape.name in folder.everywhere(photo) and shape.area >= LEAST * area:
                shown.setdefault(shape.name, []).append((photo, shape.id))
    for photo in photos[:count]:
        area, asked = photo.size[0] * photo.size[1], []
        here = [n for n in photo.names if sum(s.area for s in photo.called(n)) >= LEAST * area]
        here = [n for n in here if n in folder.everywhere(photo)]
        for names, there in ((here, True), (folder.absent(photo), False)):
            able = [n for n in names if any(p.id != photo.id for p, _ in shown.get(n, ()))]
            if able:
                name = able[rng.integers(len(able))]
                sources = [(p, i) for p, i in shown[name] if p.id != photo.id]
                asked.append((name, *sources[rng.integers(len(sources))], there))
        if asked:
            yield photo, asked


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
    for photo, asked in pairs(folder, given.count, given.seed):
        if time.monotonic() - started > 60 * given.minutes:
            break
        session = model.open(photo.pictures[0])
        for name, source, segment, there in asked:
            truth = mask_in(photo.ids(), [s.id for s in photo.called(name)]) if there else np.zeros(photo.size, bool)
            box = bounds(mask_in(source.ids(), [segment]))
            shown = model.examples([example(source.pictures[0], box=box)])
            near.append(shown.things[0].words == name)
            ways = {
                "example": session.segment(like=shown, threshold=0.0),
                "example, named": session.segment(name, like=shown, threshold=0.0),
                "name": session.segment(name, threshold=0.0),
            }
            for way, result in ways.items():
                rows.setdefault(way, []).append(row_of(result, truth, there))
            middle = np.zeros(photo.size, bool)
            height, width = photo.size
            middle[height // 5 : -height // 5, width // 5 : -width // 5] = True
            for way, mask in (("whole", np.ones_like(middle)), ("middle", middle)):
                iou = float((mask & truth).sum() / (mask | truth).sum())
                rows.setdefault(way, []).append((1.0, iou, float(there)))
    print(json.dumps({"asked": len(near), "of the nearest name": round(float(np.mean(near)), 3), "part": given.part}))
    for way, some in rows.items():
        print(json.dumps({"way": way, **{k: round(v, 3) for k, v in told(some, threshold).items()}}))


if __name__ == "__main__":
    main()
