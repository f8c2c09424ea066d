"""nano on ONNX Runtime beside nano on PyTorch: the same masks, and what they cost. Run by hand:

    x2sam export onnx --model nano --out graphs
    python benchmarks/onnx_speed.py graphs --photos FOLDER

Masks: a film of 50 frames with two objects and two corrections, and a phrase for each of up to 50 photos. Time is the
processor's (all threads), both runtimes in turn on every frame, medians; memory is the peak of a process of its own
that answers clicks. Hoped for: 1.6 times the frames, 0.6 of the first mask's time and of the memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from skimage import data

from x2sam import X2Sam
from x2sam.masks import iou_matrix

FRAMES, FIXES = 50, {20: (230, 100), 35: (260, 300)}
NAMES = ("the person", "a dog", "the cat", "the sky", "a car", "the grass", "a horse", "a chair", "the table", "a bird")


def model_on(runtime: str, graphs: str) -> X2Sam:
    return X2Sam.from_pretrained(graphs, runtime="onnx") if runtime == "onnx" else X2Sam.from_pretrained("nano")


def first_mask(runtime: str, graphs: str) -> None:
    """In a process of its own: load, one click on a photo, and what that took."""
    started = time.process_time()
    model = model_on(runtime, graphs)
    loaded = time.process_time() - started
    photo = data.chelsea()
    started = time.process_time()
    model.segment(photo, regions=(200, 120))
    first = time.process_time() - started
    spent = []
    for i in range(5):
        started = time.process_time()
        model.segment(np.roll(photo, i, 1), regions=(200, 120))
        spent.append(time.process_time() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = {"load_s": loaded, "first_mask_s": first, "new_photo_s": median(spent), "process_s": time.process_time()}
    print(json.dumps({**found, "peak_mb": peak}))


def apart(ours: Any, theirs: Any) -> float:
    """The least overlap of two frames' segments; 0 where they are not the same ones."""
    if [(s.object_id, s.label) for s in ours] != [(s.object_id, s.label) for s in theirs]:
        return 0.0
    both = [(a.rle, b.rle) for a, b in zip(ours, theirs, strict=True) if a.area or b.area]
    return min((float(iou_matrix([a], [b])[0, 0]) for a, b in both), default=1.0)


def film(models: dict[str, X2Sam]) -> dict[str, Any]:
    shown = [np.roll(data.astronaut(), 3 * i, 1) for i in range(FRAMES)]
    regions = [{"box": (150, 20, 300, 200)}, {"points": [(420, 150)]}]
    tracks = {name: model.open(shown).track(regions=regions) for name, model in models.items()}
    runs = {name: iter(track) for name, track in tracks.items()}
    spent: dict[str, list[float]] = {name: [] for name in models}
    for index in range(FRAMES):
        for name, run in runs.items():
            started = time.process_time()
            next(run)
            spent[name].append(time.process_time() - started)
            if index in FIXES:
                x, y = FIXES[index]
                tracks[name].correct(1, {"points": [(x, y)]}, backward=index == 35, until=30)
    frames = {name: track.done.frames for name, track in tracks.items()}
    overlaps = [apart(a.segments, b.segments) for a, b in zip(frames["torch"], frames["onnx"], strict=True)]
    costs = {name: median(seconds[2:]) for name, seconds in spent.items()}
    return {
        "least_iou": min(overlaps),
        "frames_per_s": {name: 1 / seconds for name, seconds in costs.items()},
        "ratio": costs["torch"] / costs["onnx"],
    }


def photos(models: dict[str, X2Sam], folder: Path, most: int) -> dict[str, Any]:
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in (".jpg", ".jpeg", ".png"))
    chosen = files[:: max(1, len(files) // most)][:most]
    overlaps, found = [], 0
    for i, file in enumerate(chosen):
        a, b = (model.segment(file, NAMES[i % len(NAMES)]) for model in models.values())
        overlaps.append(apart(a.frames[0].segments, b.frames[0].segments))
        found += a.found
    return {
        "photos": len(chosen),
        "found": found,
        "least_iou": min(overlaps),
        "same": sum(x >= 0.995 for x in overlaps),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graphs")
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--most", type=int, default=50)
    parser.add_argument("--first-mask", choices=("torch", "onnx"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.first_mask:
        first_mask(given.first_mask, given.graphs)
        return
    alone = {}
    for runtime in ("torch", "onnx"):
        command = [sys.executable, __file__, given.graphs, "--first-mask", runtime]
        alone[runtime] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    ratios = {name: alone["onnx"][name] / alone["torch"][name] for name in alone["torch"]}
    print(json.dumps({"process of its own": alone, "onnx/torch": ratios}), flush=True)
    models = {runtime: model_on(runtime, given.graphs) for runtime in ("torch", "onnx")}
    print(json.dumps({"film": film(models)}), flush=True)
    if given.photos:
        print(json.dumps({"phrases": photos(models, given.photos, given.most)}), flush=True)


if __name__ == "__main__":
    main()
