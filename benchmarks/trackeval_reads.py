"""What TrackEval makes of exports, beside our own numbers: a folder as DAVIS, and YouTube-VIS json.

    pip install trackeval tabulate
    python benchmarks/trackeval_reads.py

Two discs cross; what was "found" is shifted, misses one for a frame, adds one for a frame, and swaps their ids.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import trackeval
from pycocotools import mask

from x2sam.masks import RLE, BoolMask
from x2sam.media.opening import open_media
from x2sam.metrics.identity import TrackIdentity
from x2sam.results.result import Result
from x2sam.types import Condition, FrameResult, Prompt, Segment

SIZE, FRAMES, SWAP = (72, 100), 10, 6
NUMBERS = {"HOTA": "HOTA", "DetA": "HOTA", "AssA": "HOTA", "IDF1": "Identity", "IDSW": "CLEAR"}


def disc(x: int, y: int, radius: int) -> BoolMask:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return np.hypot(columns - x, rows - y) < radius


def crossing(shift: int = 0, wrong: bool = False) -> Result:
    frames = []
    for t in range(FRAMES):
        masks = {1: disc(20 + 4 * t + shift, 30, 11), 2: disc(80 - 4 * t + shift, 50, 9)}
        masks[1] &= ~masks[2]  # a folder as DAVIS holds one id a pixel
        if wrong and t >= SWAP:
            masks = {1: masks[2], 2: masks[1]}
        if wrong and t == 3:
            del masks[2]
        if wrong and t == 4:
            masks[3] = disc(50, 8, 6)
        found = tuple(Segment(RLE.encode(m), "rabbit", 0.9, i, 0, t) for i, m in masks.items())
        frames.append(FrameResult(t, t / 10, *SIZE, found))
    medium = open_media([np.full((*SIZE, 3), t, np.uint8) for t in range(FRAMES)], fps=10)
    return Result("vid_genseg", "", tuple(frames), Prompt((Condition("rabbit"),)), medium)


def ours(predicted: Result, truth: Result) -> dict[str, float]:
    metric = TrackIdentity()
    metric.update(*([{s.object_id: s.rle for s in f.segments} for f in r.frames] for r in (predicted, truth)))
    return metric.compute()


def theirs(data: Any, name: str) -> dict[str, float]:
    raw = data.get_raw_seq_data("x2sam", data.seq_list[0])
    video = data.get_preprocessed_seq_data(raw, name)
    return {
        number: float(np.mean(getattr(trackeval.metrics, metric)().eval_sequence(video)[number]))
        for number, metric in NUMBERS.items()
    }


def as_davis(folder: Path, predicted: Result, truth: Result) -> Any:
    truth.save(folder / "gt/seq", format="davis")
    predicted.save(folder / "trackers/x2sam/data/seq", format="davis")
    places = {"GT_FOLDER": f"{folder}/gt", "TRACKERS_FOLDER": f"{folder}/trackers"}
    return trackeval.datasets.DAVIS({**places, "PRINT_CONFIG": False})


def as_youtube_vis(folder: Path, predicted: Result, truth: Result) -> Any:
    truth.save(folder / "gt_youtube_vis_val/gt.json", format="ytvis")
    file = folder / "tr_youtube_vis_val/x2sam/data/found.json"
    predicted.save(file, format="ytvis")
    tracks = json.loads(file.read_text())["annotations"]  # of a tracker TrackEval reads a list, with packed run lengths
    for track in tracks:
        for t, code in enumerate(track["segmentations"]):
            if code is not None:
                packed = mask.frPyObjects(code, *code["size"])
                track["segmentations"][t] = {**packed, "counts": packed["counts"].decode()}
    file.write_text(json.dumps(tracks))
    places = {"GT_FOLDER": f"{folder}/gt_", "TRACKERS_FOLDER": f"{folder}/tr_", "SPLIT_TO_EVAL": "val"}
    return trackeval.datasets.YouTubeVIS({**places, "PRINT_CONFIG": False})


def main() -> None:
    predicted, truth = crossing(2, wrong=True), crossing()
    own = ours(predicted, truth)
    told = {"x2sam": own}
    with tempfile.TemporaryDirectory() as name:
        told["davis"] = theirs(as_davis(Path(name) / "davis", predicted, truth), "general")
        told["ytvis"] = theirs(as_youtube_vis(Path(name) / "ytvis", predicted, truth), "rabbit")
    for who, numbers in told.items():
        print(json.dumps({"of": who, **{k: round(v, 6) for k, v in numbers.items()}}))
    if any(abs(own[k] - numbers[k]) > 1e-9 for numbers in told.values() for k in own):
        raise SystemExit("they differ")


if __name__ == "__main__":
    main()
