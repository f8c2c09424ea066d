"""A cheap look at every task while training: intersection over union per condition, words, and a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from x2sam.masks import RLE
from x2sam.model.losses import Targets
from x2sam.model.mask_decoder import Prediction
from x2sam.model.modeling import X2SamModel
from x2sam.prompts import read_answer
from x2sam.results.draw import contact_sheet, overlay, side_by_side
from x2sam.tasks import Task, get_task
from x2sam.train.batches import Collator, window
from x2sam.train.sampler import Source
from x2sam.types import Frame, Sample, Segment


@dataclass
class Scores:
    """What was measured on one task."""

    iou: list[float] = field(default_factory=list)
    """Per condition and frame on which it is visible (phase 1: per object)."""
    present: list[bool] = field(default_factory=list)
    """Per visible condition: was anything found with more than even odds?"""
    absent: list[bool] = field(default_factory=list)
    """Per condition that is not visible: was nothing found?"""
    words: list[float] = field(default_factory=list)
    """Cross-entropy per sample."""

    def means(self) -> dict[str, float]:
        """The means of what there is."""
        return {name: float(np.mean(values)) for name, values in vars(self).items() if values}


@torch.no_grad()
def validate(
    model: X2SamModel, collator: Collator, source: Source, tasks: list[str], samples: int, picture: Path | None = None
) -> dict[str, dict[str, float]]:
    """Score the first ``samples`` of every task; one comparison (annotated, found) per task goes to ``picture``.

    Tasks whose answer is a template are read with it; generated answers are read as annotated. The scores are made to
    compare states of one run, not models.
    """
    training = model.training
    model.eval()
    results, panels = {}, []
    for name in tasks:
        scores = Scores()
        for index in range(samples):
            panel = _score(model, collator, source.sample(name, index), scores)
            if index == 0 and panel is not None:
                panels.append((panel, name))
        results[name] = scores.means()
    if picture is not None and panels:
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(contact_sheet(panels)).save(picture)
    model.train(training)
    return results


def _score(model: X2SamModel, collator: Collator, sample: Sample, scores: Scores) -> Frame | None:
    """Add one sample's numbers; returns its last frame, annotated and found side by side."""
    task = get_task(sample.task)
    clip = window(sample, collator.clip_length, np.random.default_rng(0))
    device = model.device
    frames = collator.processor.frames(clip.frames).to(device)
    guidance = None
    if not model.config.class_agnostic:
        encoded = collator.encode(task, clip, None)
        inputs = {k: v.to(device) for k, v in collator.processor.collate([encoded], len(clip.frames)).items()}
        labels, marked = inputs.pop("labels"), inputs.get("region_frames")
        features = model.encode(frames) if marked is not None else None
        understanding = model.understand(**inputs, region_features=features, speaks=True)
        if understanding.normed is not None:
            scores.words.append(float(model.language.loss(understanding.normed, labels)))
        guidance = understanding.guidance
    if task.is_chat:
        return None
    bank, alone = None, task.answer == "best"
    drawn = collator.drawn(clip, np.random.default_rng(0)).to(device) if task.one_region else None  # [T, C, ...]
    for t, wanted in enumerate(collator.targets(task, clip)):
        maps = None if drawn is None else drawn[t : t + 1]
        prediction, bank = model.segment(frames[t : t + 1], guidance, bank, alone=alone, drawn=maps)
        found = list(_compare(model, task, prediction, wanted, scores))
    names = [phrase.text for phrase in read_answer(sample.answer or "")[1]] or sample.prompt.labels
    truth = list(zip(wanted.classes.tolist(), wanted.masks, strict=True))
    return side_by_side(*(overlay(clip.frames[-1], _segments(m, names, clip.frames[-1])) for m in (truth, found)))


def _compare(
    model: X2SamModel, task: Task, prediction: Prediction, wanted: Targets, scores: Scores
) -> Iterator[tuple[int, Tensor]]:
    """Score one frame, yielding every condition (phase 1: object) and the mask found for it."""
    probabilities = prediction.class_logits[0].softmax(-1)  # [Q, C+1]
    masks = F.interpolate(prediction.mask_logits, wanted.masks.shape[-2:], mode="bilinear")[0] > 0  # [Q, H, W]
    if model.config.class_agnostic:
        for place, truth in enumerate(wanted.masks.to(masks.device)):
            overlaps = (masks & truth).sum((1, 2)) / (masks | truth).sum((1, 2)).clamp_min(1)
            scores.iou.append(float(overlaps.max()))
            yield place, masks[overlaps.argmax()].cpu()
        return
    for c in range(probabilities.shape[1] - 1):
        score = probabilities[:, c]
        chosen = (probabilities.argmax(-1) == c) if task.answer != "best" else torch.zeros_like(score, dtype=torch.bool)
        chosen[score.argmax()] = True
        mask = masks[chosen].any(0).cpu()
        truth = wanted.masks[wanted.classes == c].bool().any(0)
        if truth.any():
            scores.iou.append(float((mask & truth).sum() / (mask | truth).sum()))
            scores.present.append(float(score.max()) > 0.5)
        else:
            scores.absent.append(float(score.max()) <= 0.5)
        if float(score.max()) > 0.5:
            yield c, mask


def _segments(found: list[tuple[int, Tensor]], names: Sequence[str], frame: Frame) -> list[Segment]:
    """Conditions and masks ``[h, w]`` at the frame's size, to be drawn with their names."""
    if not found:
        return []
    masks = torch.stack([mask for _, mask in found])
    sized = F.interpolate(masks[None].float(), frame.shape[:2], mode="nearest")[0] > 0.5
    named = [names[place] if place < len(names) else "" for place, _ in found]
    pairs = zip(named, sized, strict=True)
    return [Segment(RLE.encode(m.cpu().numpy()), name, 1.0, i) for i, (name, m) in enumerate(pairs)]
