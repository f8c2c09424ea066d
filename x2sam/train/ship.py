"""Make a trained model ready to be used: calibrate when it says "not there", round to float16, write the folder.

python -m x2sam.train.ship runs/joint_nano/model nano
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from x2sam.data.world import World
from x2sam.masks import RLE
from x2sam.predictor import WEIGHTS, X2Sam
from x2sam.train.checkpointing import write_folder

KEPT = 0.93
"""Of the phrases that match something, how many must be answered; the rest of the freedom goes to absent ones."""
GRID = np.linspace(0.02, 0.9, 89)
CLIP = 8
"""Frames of a validation clip."""
Observed = NDArray[np.float64]
"""``[N, T, 3]``: by condition and frame, the score of its best answer, its IoU, and whether there is one to find."""


def observe(model: X2Sam, task: str, samples: int, side: int) -> Observed:
    """What the model says about validation samples when it must always answer."""
    world = World("val", size=(side, side), frames=CLIP)
    return np.array([row for i in range(samples) for row in _rows(model, world, task, i)])


def _rows(model: X2Sam, world: World, task: str, index: int) -> Iterator[list[tuple[float, float, float]]]:
    sample = world.sample(task, index)
    session = model.open(sample.frames if len(sample.frames) > 1 else sample.frames[0])
    result = session.track(sample.prompt, task=task, threshold=0.0).result
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


def ship(source: Path, name: str, samples: int = 120) -> Path:
    """Calibrate the model in ``source`` and write it, in float16, as the package's checkpoint ``name``."""
    model = X2Sam.from_pretrained(source, dtype="float32")
    config, side = model.config, model.config.image_size

    def seen(samples: int, *tasks: str) -> Observed:
        return np.concatenate([observe(model, task, samples, side) for task in tasks])

    phrases = seen(samples, "img_refseg", "img_reaseg")
    clips = seen(samples // 4, "vid_refseg", "vid_reaseg")
    config.presence_threshold = round(presence_threshold(phrases), 3)
    config.arrival_threshold = round(presence_threshold(clips), 3)
    config.object_threshold = round(object_threshold(seen(samples // 8, "vid_objseg")), 3)
    told: dict[str, float] = {n: getattr(config, n) for n in vars(config) if n.endswith("_threshold")}
    for medium, observed, threshold in (
        ("pictures", phrases, config.presence_threshold),
        ("clips", clips, max(config.presence_threshold, config.arrival_threshold)),
    ):
        said, there = observed[..., 0].max(1) >= threshold, observed[..., 2].max(1) == 1
        told[f"answered of present, {medium}"] = float(said[there].mean())
        told[f"rejected of absent, {medium}"] = float((~said[~there]).mean())
    print(json.dumps(told, indent=2))
    half = torch.nn.Module.to(model.model, torch.float16)

    def write(folder: Path) -> None:
        half.save_pretrained(folder)
        model.processor.save_pretrained(folder)

    write_folder(WEIGHTS / name, write)
    return WEIGHTS / name


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("Usage: python -m x2sam.train.ship FOLDER NAME")
    folder = ship(Path(sys.argv[1]), sys.argv[2])
    print(folder, f"{sum(f.stat().st_size for f in folder.iterdir()) / 2**20:.1f} MB")
