"""Make a trained model ready to be used: calibrate when it says "not there", round to float16, write the folder.

python -m x2sam.train.ship runs/talk_nano/model photos nano

The thresholds come from the validation tenth of a folder of photos.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from x2sam.config import WEIGHTS
from x2sam.data.photos import PhotoSource
from x2sam.masks import RLE
from x2sam.predictor import X2Sam
from x2sam.train.checkpointing import write_folder
from x2sam.train.sampler import Source
from x2sam.types import Sample

KEPT = 0.9
"""Of the phrases that match something, how many must be answered; the rest of the freedom goes to absent ones."""
GRID = np.linspace(0.02, 0.9, 89)
CLIP, CLIPS = 8, 5
"""Frames of a validation clip, and how many clips there are."""
Observed = NDArray[np.float64]
"""``[N, T, 3]``: by condition and frame, the score of its best answer, its IoU, and whether there is one to find."""


def observe(model: X2Sam, source: Source, task: str, samples: int) -> Observed:
    """What the model says about validation samples when it must always answer."""
    return np.array([row for i in range(samples) for row in _rows(model, source.sample(task, i))])


def _rows(model: X2Sam, sample: Sample) -> Iterator[list[tuple[float, float, float]]]:
    session = model.open(sample.frames if len(sample.frames) > 1 else sample.frames[0])
    result = session.track(sample.prompt, task=sample.task, threshold=0.0).finish()
    for c in range(len(sample.prompt.conditions)):
        row = []
        for t, frame in enumerate(result.frames):
            found = [s for s in frame.segments if s.condition == c]
            truth = [track.masks[t] for track in sample.objects if track.condition == c]
            masks = [mask for mask in truth if mask is not None and mask.area]
            score = found[0].score if found else 0.0
            row.append((score, _iou(found[0].rle if found else None, masks), float(bool(masks))))
        yield row


def _iou(found: RLE | None, truth: list[RLE]) -> float:
    if found is None or not truth:
        return 0.0
    ours = found.decode()
    theirs = np.any([mask.decode() for mask in truth], axis=0)
    return float((ours & theirs).sum() / max((ours | theirs).sum(), 1))


def presence_threshold(observed: Observed) -> float:
    """The threshold that rejects most absent phrases while ``KEPT`` of the others are answered, on some frame."""
    score, there = observed[..., 0].max(1), observed[..., 2].max(1)
    return float(np.quantile(score[there == 1], 1 - KEPT))


def object_threshold(observed: Observed) -> float:
    """The threshold with the best mean IoU over frames, where an empty answer to an absent object counts 1."""
    score, iou, there = observed.reshape(-1, 3).T
    means = [np.where(there == 1, iou * (score >= t), score < t).mean() for t in GRID]
    return float(GRID[int(np.argmax(means))])


def ship(source: Path, photos: Path, name: str, samples: int = 150) -> Path:
    """Calibrate the model in ``source`` and write it, in float16, as the package's checkpoint ``name``."""
    model = X2Sam.from_pretrained(source, dtype="float32")
    config, clips = model.config, PhotoSource(photos, "val", frames=CLIP)
    phrases = observe(model, clips, "img_refseg", samples)
    config.presence_threshold = round(presence_threshold(phrases), 3)
    config.arrival_threshold = config.presence_threshold
    config.object_threshold = round(object_threshold(observe(model, clips, "vid_objseg", CLIPS)), 3)
    said, there = phrases[..., 0].max(1) >= config.presence_threshold, phrases[..., 2].max(1) == 1
    told: dict[str, float] = {n: getattr(config, n) for n in vars(config) if n.endswith("_threshold")}
    told |= {"answered of present": float(said[there].mean()), "rejected of absent": float((~said[~there]).mean())}
    print(json.dumps(told, indent=2))
    half = torch.nn.Module.to(model.model, torch.float16)

    def write(folder: Path) -> None:
        half.save_pretrained(folder)
        model.processor.save_pretrained(folder)
        tokenizer = folder / "tokenizer.json"  # written with a line for every token
        tokenizer.write_text(
            json.dumps(json.loads(tokenizer.read_text("utf-8")), ensure_ascii=False, separators=(",", ":")), "utf-8"
        )

    write_folder(WEIGHTS / name, write)
    return WEIGHTS / name


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("Usage: python -m x2sam.train.ship FOLDER PHOTOS NAME")
    folder = ship(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
    print(folder, f"{sum(f.stat().st_size for f in folder.iterdir()) / 2**20:.1f} MB")
