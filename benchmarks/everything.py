"""Everything in a photo: average recall of masks without a prompt, beside proposals that need no model.

python benchmarks/everything.py PHOTOS [--part val] [--count 20] [--minutes 20]

Average recall at k masks: the share of the annotated segments (0.2 % of the photo at least) that one of the first k
masks overlaps by t, averaged over t = 0.50, 0.55 ... 0.95, over all segments of the photos. Beside it, in the same run:
Felzenszwalb's segments at three scales and SLIC's at three numbers (scikit-image), largest first, and a grid of boxes.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from skimage.segmentation import felzenszwalb, slic

from x2sam import X2Sam
from x2sam.data.photos import PhotoFolder
from x2sam.masks import RLE, BoolMask, iou_matrix
from x2sam.types import Frame

LEAST = 0.002
STEPS = np.arange(0.5, 1.0, 0.05)
MOST = 100


def pieces(maps: list[np.ndarray]) -> list[BoolMask]:
    """The segments of several label maps, in turn, largest first within each."""
    each = []
    for labels in maps:
        areas = np.bincount(labels.ravel())
        each.append([labels == i for i in np.argsort(-areas) if areas[i]])
    turns = max(map(len, each))
    return [masks[t] for t in range(turns) for masks in each if t < len(masks)][:MOST]


def by_felzenszwalb(frame: Frame) -> list[BoolMask]:
    return pieces([felzenszwalb(frame, scale=s, sigma=0.8, min_size=60) for s in (800, 300, 100)])


def by_slic(frame: Frame) -> list[BoolMask]:
    return pieces([slic(frame, n_segments=n, compactness=10, start_label=0) for n in (8, 25, 67)])


def by_boxes(frame: Frame) -> list[BoolMask]:
    height, width = frame.shape[:2]
    masks = []
    for n in (1, 2, 3, 4, 5, 6):
        for y in range(n):
            for x in range(n):
                mask = np.zeros((height, width), bool)
                mask[y * height // n : (y + 1) * height // n, x * width // n : (x + 1) * width // n] = True
                masks.append(mask)
    return masks[:MOST]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("photos", type=Path)
    parser.add_argument("--part", choices=("train", "val"), default="val")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--minutes", type=float, default=60.0)
    given = parser.parse_args()
    model, started = X2Sam.from_pretrained(given.model), time.monotonic()
    folder = PhotoFolder(given.photos, validation=given.part == "val")
    best: dict[str, list[np.ndarray]] = {}
    count, seconds = 0, 0.0
    for photo in folder.photos:
        shapes = [s for s in photo.shapes if not s.crowd and s.area >= LEAST * photo.size[0] * photo.size[1]]
        if len(shapes) < 2:
            continue
        if count == given.count or time.monotonic() - started > 60 * given.minutes:
            break
        count += 1
        frame, ids = photo.frame(), photo.ids()
        truth = [RLE.encode(ids == s.id) for s in shapes]
        before = time.process_time()
        ways = {"x2sam": [s.rle for s in model.segment(frame, everything=True).segments]}
        seconds += time.process_time() - before
        for name, propose in (("felzenszwalb", by_felzenszwalb), ("slic", by_slic), ("boxes", by_boxes)):
            ways[name] = [RLE.encode(mask) for mask in propose(frame)]
        for name, masks in ways.items():
            overlap = iou_matrix(masks[:MOST], truth) if masks else np.zeros((1, len(truth)))
            best.setdefault(name, []).append(np.stack([overlap[:k].max(0) for k in (10, MOST)], 1))
    for name, overlaps in best.items():
        o = np.concatenate(overlaps)  # [segments, 2]
        recall = [float(np.mean([(o[:, k] >= t).mean() for t in STEPS])) for k in (0, 1)]
        print(json.dumps({"way": name, "AR@10": round(recall[0], 3), "AR@100": round(recall[1], 3)}))
    print(json.dumps({"photos": count, "segments": len(o), "processor seconds a photo": round(seconds / count, 2)}))


if __name__ == "__main__":
    main()
