"""Make a trained model ready to be used: calibrate when it says "not there", round to float16, write the folder.

python -m x2sam.train.ship runs/talk_nano/model photos nano

The thresholds come from the validation tenth of a folder of photos.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from x2sam.config import WEIGHTS, X2SamConfig
from x2sam.data.photos import PhotoFolder, PhotoSource
from x2sam.data.photos.shown import often_shown, pairs
from x2sam.examples import example
from x2sam.masks import RLE, union
from x2sam.predictor import X2Sam
from x2sam.train.calibration import Scores, Truth, apply, expected_error, fit, halves
from x2sam.train.checkpointing import write_folder
from x2sam.train.sampler import Source
from x2sam.train.weighing import weigh
from x2sam.types import Sample

KEPT = 0.9
"""Of the phrases that match something, how many must be answered; the rest of the freedom goes to absent ones."""
GRID = np.linspace(0.02, 0.9, 89)
WEIGHED = 250
"""Validation samples, others than those, which tell how much evidence counts."""
IN_CLIPS = 1.0, 0.21
"""Parts of the threshold of photos that a phrase must score in a clip to appear and to stay. On five validation clips:
J 35.0, and of 20 absent names 3 are answered; staying as hard as appearing gives J 14.5, appearing as easily as 0.43
gives J 45.6 but 10 of 20 absent names."""
CLIP, CLIPS = 8, 5
"""Frames of a validation clip, and how many clips there are."""
RIGHT = 0.5
"""Overlap from which an answer is right."""
Observed = NDArray[np.float64]
"""``[N, T, 3]``: by condition and frame, the score of its best answer, its IoU, and whether there is one to find."""


def observe(model: X2Sam, source: Source, task: str, samples: Iterable[int]) -> Observed:
    """What the model says about validation samples when it must always answer."""
    return np.array([row for i in samples for row in _rows(model, source.sample(task, i))])


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


def calibrate(
    config: X2SamConfig, what: str, scores: Scores, truth: Truth, group: NDArray[np.integer]
) -> dict[str, float]:
    """Fit how often scores come true, into the configuration, where that brings them nearer; tells how near.

    Judged on halves of the photos (``group``), each calibrated by the other.
    """
    before = expected_error(scores, truth)
    after = expected_error(halves(scores, truth, group), truth)
    if after < before:
        config.calibration = {**(config.calibration or {}), what: [round(v, 4) for v in fit(scores, truth)]}
    return {f"{what}: calibration error": before, f"{what}: the same, calibrated": after}


def calibrate_phrases(config: X2SamConfig, phrases: Observed, group: NDArray[np.integer]) -> dict[str, float]:
    """Presence and scores of phrases, and of questions, which the same head answers; ``phrases`` in new terms."""
    surest, there = phrases[..., 0].max(1), phrases[..., 2].max(1) == 1
    right = there & (phrases[..., 1].max(1) >= RIGHT)
    told = calibrate(config, "expressions/presence", surest, there, group)
    told |= calibrate(config, "expressions/score", surest, right, group)
    fitted = config.calibration or {}
    config.calibration = {**fitted, **{what.replace("expressions", "questions"): v for what, v in fitted.items()}}
    phrases[..., 0] = in_terms_of(config, "expressions/score", phrases[..., 0])
    return told


def calibrate_examples(model: X2Sam, folder: PhotoFolder, photos: int) -> dict[str, float]:
    """The same for things that are shown in other photos, and the threshold that keeps `KEPT` of those that are there.

    A segment's score is its thing's score times the quality of its mask.
    """
    rows, group, numbers = [], list[int](), dict[str, int]()
    for pair in pairs(folder, photos, seed=1):
        like = example(pair.source.pictures[0], box=pair.box)
        found = model.segment(pair.photo.pictures[0], like=like, threshold=0.0)
        sure, score = max(found.presence.values(), default=0.0), max((s.score for s in found.segments), default=0.0)
        masks = [s.rle for s in found.segments]
        overlap = _iou(union(masks) if masks else None, [RLE.encode(pair.truth)] if pair.there else [])
        rows.append((sure, score / max(sure, 1e-6), pair.there, overlap >= RIGHT))
        group.append(numbers.setdefault(pair.photo.id, len(numbers)))
    sure, quality, there, right = np.array(rows, dtype=float).T
    told = calibrate(model.config, "regions/presence", sure, there == 1, np.array(group))
    told |= calibrate(model.config, "regions/score", sure, right == 1, np.array(group))
    scores = in_terms_of(model.config, "regions/score", sure) * quality
    model.config.grounded_threshold = round(float(np.quantile(scores[there == 1], 1 - KEPT)), 3)
    kept = scores >= model.config.grounded_threshold
    return told | {"examples refused of absent": float((~kept[there == 0]).mean())}


def in_terms_of(config: X2SamConfig, what: str, scores: Scores) -> Scores:
    """Scores as the configuration's calibration tells them."""
    fitted = (config.calibration or {}).get(what)
    return scores if fitted is None else apply(scores, *fitted)


def ship(source: Path, photos: Path, name: str, samples: int = 150) -> Path:
    """Calibrate the model in ``source`` and write it, in float16, as the package's checkpoint ``name``."""
    model = X2Sam.from_pretrained(source, dtype="float32")
    config, clips = model.config, PhotoSource(photos, "val", frames=CLIP)
    told = weigh(model, clips, range(samples, samples + WEIGHED))
    config.calibration, config.known_names = None, often_shown(PhotoFolder(photos, validation=False))
    each = [observe(model, clips, "img_refseg", [i]) for i in range(samples)]
    phrases, group = np.concatenate(each), np.repeat(np.arange(samples), [len(rows) for rows in each])
    told |= calibrate_phrases(config, phrases, group)
    config.presence_threshold = round(presence_threshold(phrases), 3)
    config.arrival_threshold, config.staying_threshold = (round(p * config.presence_threshold, 3) for p in IN_CLIPS)
    config.object_threshold = round(object_threshold(observe(model, clips, "vid_objseg", range(CLIPS))), 3)
    told |= calibrate_examples(model, PhotoFolder(photos, validation=True), samples // 2)
    said, there = phrases[..., 0].max(1) >= config.presence_threshold, phrases[..., 2].max(1) == 1
    told |= {n: getattr(config, n) for n in vars(config) if n.endswith("_threshold")}
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
