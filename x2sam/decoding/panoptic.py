"""From logits to the segments of categories, one frame at a time: panoptic, semantic and instance form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from x2sam.decoding.candidates import Candidate, FrameLogits, Pick, merge
from x2sam.masks import RLE, iou_matrix


def panoptic(frame: FrameLogits) -> list[Candidate]:
    """Sure queries compete for every pixel; one that keeps too little of its own mask is dropped.

    Repeats do not compete: two equally sure masks of one object would take half of it from each other, and both go.
    """
    score, condition = frame.scores.max(-1)
    kept = [q for q in score.argsort(descending=True, stable=True).tolist() if score[q] > frame.rules.threshold]
    picks = _unlike(frame, [(query, int(condition[query]), float(score[query])) for query in kept])
    pieces: dict[tuple[int, int], list[Candidate]] = {}  # stuff in one piece, things each by itself
    masks = None
    if frame.options.overlap != "allow":
        masks = frame.disjoint(picks, frame.options.overlap_threshold, frame.rules.own_pixels)
    for found in frame.cut(picks, alone=False, masks=masks):
        thing = frame.conditions[found.condition].is_thing
        key = (found.condition, -1 if frame.rules.fuse and not thing else len(pieces))
        if found.rle.area:
            pieces.setdefault(key, []).append(replace(found, alone=not thing))
    return [merge(found, max(piece.score for piece in found)) for found in pieces.values()]


def semantic(frame: FrameLogits) -> list[Candidate]:
    """All queries vote for the class of every pixel; where no class has enough votes there is nothing."""
    scores = frame.scores.to(frame.logits.device)

    def votes(logits: Tensor) -> Tensor:
        return torch.einsum("qc,qhw->chw", scores, logits.sigmoid())

    maps, chosen = frame.logits, torch.arange(scores.shape[1])
    if not frame.rules.full:
        maps = votes(frame.logits)
        chosen = maps.argmax(0).unique()
        maps = maps[chosen]
    labels = np.full(frame.size, -1, dtype=np.int32)
    total = torch.zeros(len(chosen), dtype=torch.float64)
    for rows, _, band in frame.bands(maps):
        sure, winner = (votes(band) if frame.rules.full else band).max(0)
        winner[sure < frame.rules.threshold] = -1
        labels[rows] = winner.cpu().numpy()
        total.index_add_(0, winner[winner >= 0].cpu(), sure[winner >= 0].double().cpu())
    masks = ((int(condition), RLE.encode(labels == k), float(total[k])) for k, condition in enumerate(chosen))
    return [
        Candidate(None, condition, min(1.0, evidence / mask.area), mask, alone=True)
        for condition, mask, evidence in masks
        if mask.area
    ]


def instances(frame: FrameLogits) -> list[Candidate]:
    """Every sure pair of query and condition, scored by class and by how sure its mask is; surest first."""
    queries, classes = frame.scores.shape
    scores, pairs = frame.scores.flatten().topk(queries)
    wanted = torch.tensor([condition.is_thing for condition in frame.conditions])[pairs % classes]
    kept = (scores >= frame.rules.threshold) & wanted
    scores, pairs = scores[kept], pairs[kept]
    chosen, where = (pairs // classes).unique(return_inverse=True)
    scores = scores * frame.quality(chosen.tolist())[where]
    order = scores.argsort(descending=True, stable=True)
    order = order[(scores[order] >= frame.rules.threshold) & (scores[order] > 0)]
    picks = [(int(pairs[i]) // classes, int(pairs[i]) % classes, float(scores[i])) for i in order]
    picks = _unlike(frame, picks)[: frame.options.top_k]
    found = frame.cut(picks, alone=False)
    return [candidate for candidate in found if candidate.rle.area]


def _unlike(frame: FrameLogits, picks: list[Pick]) -> list[Pick]:
    """Picks, surest first, without those whose mask repeats a surer one of their condition."""
    if frame.rules.duplicates >= 1:
        return picks
    masks = frame.low([query for query, _, _ in picks])
    alike = iou_matrix(masks, masks) > frame.rules.duplicates
    alike &= np.equal.outer(*[[condition for _, condition, _ in picks]] * 2)
    kept: list[int] = []
    for i in range(len(picks)):
        if not alike[i, kept].any():
            kept.append(i)
    return [picks[i] for i in kept]
