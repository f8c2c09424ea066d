"""How fast PQ and J&F are beside panopticapi and the DAVIS toolkit, on one core each and the same generated data.

    python benchmarks/metrics_speed.py --panopticapi DIR --davis DIR

The folders are clones of cocodataset/panopticapi and davisvideochallenge/davis2017-evaluation; the latter needs
opencv-python-headless and scikit-image. PQ is timed from id maps in memory, which is the scoring itself, and from PNG
files, where most of the time goes into decoding the same PNGs; J&F from arrays in memory.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image

from x2sam.masks import RLE
from x2sam.metrics import PanopticQuality, RegionBoundary
from x2sam.metrics.region_boundary import boundary_accuracy, region_similarity

THINGS = {category: category < 8 for category in range(1, 16)}


def seconds(run: Callable[[], Any], repeats: int = 3) -> tuple[float, Any]:
    """Processor time of the fastest of some runs, which other work on the machine hardly changes, and the result."""
    times, result = [], None
    for _ in range(repeats):
        start = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):
            result = run()
        times.append(time.process_time() - start)
    return min(times), result


def blob(rng: np.random.Generator, height: int, width: int) -> tuple[tuple[slice, slice], np.ndarray]:
    """Where a wavy disk lies, and its mask there."""
    radius = int(rng.integers(height // 20, height // 4))
    y, x = int(rng.integers(radius, height - radius)), int(rng.integers(radius, width - radius))
    rows, columns = np.mgrid[-radius:radius, -radius:radius]
    edge = radius * (0.8 + 0.15 * np.sin(rng.integers(2, 9) * np.arctan2(rows, columns)))
    return (slice(y - radius, y + radius), slice(x - radius, x + radius)), rows**2 + columns**2 < edge**2


def panoptic_pair(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two id maps ``[480, 640]`` of about 18 segments; the prediction's are some pixels off."""
    truth, predicted = np.zeros((2, 480, 640), dtype=np.int64)
    truth[:200], truth[200:] = 1001, 2001
    predicted[:204], predicted[204:] = 1001, 2001
    for number in range(16):
        (rows, columns), mask = blob(rng, 480, 640)
        truth[rows, columns][mask] = number * 3011 + 7
        shift = int(rng.integers(-4, 5))
        predicted[rows, columns][np.roll(mask, shift, axis=(0, 1))] = number * 3011 + 7
    return predicted, truth


def category(number: int) -> int:
    return number % 15 + 1


def ids_of(image: Image.Image | np.ndarray) -> np.ndarray:
    """Segment ids ``[H, W]`` of a panoptic picture: its colours, and with four bytes a pixel is one number."""
    if isinstance(image, np.ndarray):
        return image
    pixels = np.frombuffer(image.tobytes("raw", "RGBX"), dtype="<u4")
    return pixels.reshape(image.height, image.width) & 0xFFFFFF


def time_pq(folder: Path, pairs: int, at_once: int = 50) -> None:
    sys.path.insert(0, str(folder))
    panopticapi = importlib.import_module("panopticapi.evaluation")
    rng = np.random.default_rng(0)
    spent = {source: np.zeros(2) for source in ("id maps", "PNG files")}  # ours, theirs
    for _ in range(0, pairs, at_once):
        with tempfile.TemporaryDirectory() as place:
            maps, annotations = panoptic_files(Path(place), rng, at_once)
            readers = (maps.__getitem__, lambda ids: ids), (Image.open, panopticapi.rgb2id)
            for source, (read, as_ids) in zip(spent, readers, strict=True):
                our_time, our_score = seconds(partial(score, annotations, read))
                their_time, their_score = seconds(partial(score_panopticapi, panopticapi, annotations, read, as_ids))
                assert abs(our_score - their_score) < 1e-9, (our_score, their_score)
                spent[source] += our_time, their_time
    for source, times in spent.items():
        report(f"PQ of {pairs} pairs 640x480, from {source}", *times)


Annotations = list[tuple[dict[str, Any], dict[str, Any]]]


def panoptic_files(place: Path, rng: np.random.Generator, pairs: int) -> tuple[dict[str, np.ndarray], Annotations]:
    """Panoptic PNGs written to a folder: the id map by path, and pairs of COCO records, true and predicted."""
    maps, annotations = {}, []
    for n in range(pairs):
        sides = []
        for side, ids in zip("pt", panoptic_pair(rng), strict=True):
            path = f"{place}/{side}{n}.png"
            maps[path] = ids.astype(np.uint32)
            Image.fromarray(np.stack([ids % 256, ids // 256, 0 * ids], -1).astype(np.uint8)).save(path)
            segments = [
                {"id": int(i), "category_id": category(int(i)), "area": int(a), "iscrowd": 0}
                for i, a in zip(*np.unique(ids, return_counts=True), strict=True)
            ]
            sides.append({"image_id": n, "file_name": path, "segments_info": segments})
        annotations.append((sides[1], sides[0]))
    return maps, annotations


def score(annotations: Annotations, read: Callable[[str], Any]) -> float:
    metric = PanopticQuality(THINGS)
    for truth, predicted in annotations:
        names = [{s["id"]: s["category_id"] for s in side["segments_info"]} for side in (predicted, truth)]
        metric.update(*(ids_of(read(side["file_name"])) for side in (predicted, truth)), *names)
    return metric.compute()["PQ"]


def score_panopticapi(
    panopticapi: Any, annotations: Annotations, read: Callable[[str], Any], as_ids: Callable[[Any], Any]
) -> float:
    names = {c: {"isthing": int(thing)} for c, thing in THINGS.items()}
    with mock.patch.object(panopticapi.Image, "open", read), mock.patch.object(panopticapi, "rgb2id", as_ids):
        return panopticapi.pq_compute_single_core(0, annotations, "", "", names).pq_average(names, None)[0]["pq"]


def time_jf(folder: Path, frames: int) -> None:
    sys.path.insert(0, str(folder))
    toolkit = importlib.import_module("davis2017.metrics")
    rng = np.random.default_rng(1)
    truth, predicted = np.zeros((2, frames, 480, 854), dtype=bool)
    place, mask = blob(rng, 480, 854)
    for t in range(frames):
        truth[t][place] = mask
        predicted[t][place] = np.roll(mask, int(rng.integers(-6, 7)), axis=int(rng.integers(2)))
        truth[t], predicted[t] = np.roll(truth[t], t, axis=1), np.roll(predicted[t], t, axis=1)

    def ours() -> list[float]:
        pairs = list(zip(predicted, truth, strict=True))
        return [np.mean([region_similarity(*p) for p in pairs]), np.mean([boundary_accuracy(*p) for p in pairs])]

    def reference() -> list[float]:
        return [toolkit.db_eval_iou(truth, predicted).mean(), toolkit.db_eval_boundary(truth, predicted).mean()]

    coded = [[RLE.encode(mask) for mask in side] for side in (predicted, truth)]
    our_time, our_score = seconds(ours)
    coded_time, _ = seconds(lambda: RegionBoundary().update(*coded))
    their_time, their_score = seconds(reference)
    assert np.allclose(our_score, their_score, atol=1e-9), (our_score, their_score)
    report(f"J&F of {frames} frames 854x480, from arrays", our_time, their_time)
    report("  ours from run-length codes, theirs from arrays", coded_time, their_time)


def report(name: str, ours: float, theirs: float) -> None:
    print(f"{name:52} ours {ours:7.2f} s   reference {theirs:7.2f} s   {theirs / ours:5.1f} times as fast")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--panopticapi", type=Path)
    parser.add_argument("--davis", type=Path)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--frames", type=int, default=100)
    arguments = parser.parse_args()
    with contextlib.suppress(ImportError):
        importlib.import_module("cv2").setNumThreads(1)
    if arguments.panopticapi:
        time_pq(arguments.panopticapi, arguments.pairs)
    if arguments.davis:
        time_jf(arguments.davis, arguments.frames)


if __name__ == "__main__":
    main()
