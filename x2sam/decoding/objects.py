"""From logits to one mask for each condition: phrases, and objects that were pointed at, with what is known of them."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import replace
from itertools import groupby
from operator import attrgetter

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from x2sam.decoding.candidates import Candidate, FrameLogits, Pick, Size, merge
from x2sam.errors import InputError
from x2sam.masks import RLE, BoolMask, iou_matrix
from x2sam.regions import grown

ALIKE, UNLIKELY = 0.9, 0.05
"""Overlap from which two answers to a click are one, and the score below which an answer is none."""
STROKES = ("point", "scribble")
BOX_MARGIN = 0.05
"""Nothing of an object lies further outside of its box than this part of the box's sides: hands are not exact."""


def best(
    frame: FrameLogits,
    prompt_masks: Sequence[BoolMask | None] = (),
    recent: Sequence[Sequence[Candidate]] = (),
    seen: Container[int] = (),
    carried: Tensor | None = None,
) -> list[Candidate]:
    """For each condition the best query. Regions that are one object each never share one.

    An object of a video that was seen before is where its mask was carried to, and the query that agrees helps to draw
    it; one whose mask is shown on this very frame has that mask.
    """
    rules, queries = frame.rules, len(frame.scores)
    frame, followed = _followed(frame, carried) if rules.follow and carried is not None else (frame, [])
    scores = frame.scores
    if rules.quality:
        scores = scores * frame.quality(range(len(scores)))[:, None]
    prompts = [prompt_masks[c] if c < len(prompt_masks) else None for c in range(scores.shape[1])]
    for prompt in prompts:
        if prompt is not None and prompt.shape != frame.size:
            raise InputError(f"Got a prompt mask of shape {prompt.shape}", f"the answer's size {frame.size}")
    pointed = torch.tensor([rules.agreement > 0 and prompt is not None for prompt in prompts])
    sure = (scores >= rules.threshold) | (scores == scores.amax(0)) | pointed
    rank, kept = torch.where(sure, scores, -1.0), torch.ones_like(scores)
    for c, prompt in enumerate(prompts):
        if pointed[c]:
            agreement = _agreement(frame, c, prompt)
            rank[:, c] = (1 - rules.agreement) * scores[:, c] + rules.agreement * agreement
            if _kind(frame, c) in STROKES:  # a mask that leaves out the click is not to be sure of
                kept[:, c] = agreement
            continue
        geometry = _geometry(frame, sure[:, c], prompt, recent[c] if c < len(recent) else ())
        if geometry is not None:
            rank[sure[:, c], c] = (1 - rules.geometry) * scores[sure[:, c], c] + rules.geometry * geometry
    rank[queries:] = -1.0
    for query, c in followed:
        if not pointed[c]:  # what is drawn on this very frame says more
            rank[query, c] = 2.0
    if frame.task.one_region and scores.shape[1] > 1:
        from scipy.optimize import linear_sum_assignment  # slow to import, and one picture needs none

        chosen = zip(*linear_sum_assignment(rank.numpy(), maximize=True), strict=True)
    else:  # of equals the surest; the release takes the one that an unsorted topk happens to list first
        listed = frame.scores.topk(len(scores), dim=0, sorted=not rules.quality).indices
        first = torch.from_numpy(rank.gather(0, listed).numpy().argmax(0))  # numpy promises the first
        chosen = zip(listed.gather(0, first[None])[0].tolist(), range(scores.shape[1]), strict=True)
    reported = rank if rules.combined_score else scores * kept
    picks: list[Pick] = []
    for query, c in sorted(chosen, key=lambda pair: pair[1]):
        least = rules.threshold if c in seen else max(rules.threshold, rules.arrival)
        if rules.always or pointed[c] or scores[query, c] >= least:
            members = {int(query)}
            if frame.options.union_threshold is not None:
                members |= set((scores[:, c] >= frame.options.union_threshold).nonzero().flatten().tolist())
            picks += [(member, int(c), float(reported[member, c])) for member in sorted(members)]
    found = [
        c if c.query is None or c.query < queries else replace(c, query=None) for c in frame.cut(picks, alone=True)
    ]
    boxes = {c: box for c, box in enumerate(prompts) if pointed[c] and box is not None and _kind(frame, c) == "box"}
    found = [_within(c, grown(boxes[c.condition], BOX_MARGIN)) if c.condition in boxes else c for c in found]
    groups = [list(group) for _, group in groupby(found, key=lambda found: found.condition)]
    answers = [merge(group, sum(found.score for found in group) / len(group)) for group in groups]
    if frame.options.alternatives > 1:
        answers = [other for answer in answers for other in (answer, *_alternatives(frame, answer))]
    if rules.follow:
        shown = _shown(frame, prompts)
        answers = sorted(
            [a for a in answers if a.condition not in shown] + list(shown.values()), key=attrgetter("condition")
        )
    return [answer for answer in answers if rules.always or answer.rle.area]


def _alternatives(frame: FrameLogits, answer: Candidate) -> list[Candidate]:
    """What else the click of an answer may mean: masks of other queries that are unlike it and each other."""
    c = answer.condition
    if answer.query is None or answer.rle.area == 0 or frame.conditions[c].region is None or _kind(frame, c) != "point":
        return []
    order = frame.scores[:, c].argsort(descending=True, stable=True).tolist()
    picks = [(q, c, float(frame.scores[q, c])) for q in order if q != answer.query][: frame.options.alternatives - 1]
    kept = [answer]
    for other in frame.cut([pick for pick in picks if pick[2] >= UNLIKELY], alone=False):
        known = iou_matrix([other.rle], [a.rle for a in kept]) if other.rle.area else np.ones((1, 1))
        if known.max() < ALIKE:
            kept.append(replace(other, score=min(other.score, answer.score)))
    return kept[1:]


def _followed(frame: FrameLogits, carried: Tensor) -> tuple[FrameLogits, list[tuple[int, int]]]:
    """The frame with one more query for each object that was carried here, and (query, condition) of each.

    Its mask is the carried one; a query whose own mask agrees draws it more sharply than features of stride 4 can.
    """
    size = (frame.logits.shape[1], frame.logits.shape[2])
    maps = F.interpolate(carried[None].to(frame.logits.device), size, mode="bilinear", align_corners=False)[0]
    here = (maps >= frame.options.mask_threshold).flatten(1).any(1).nonzero().flatten().tolist()
    if not here:
        return frame, []
    maps = maps[here]
    inside, ours = (maps >= frame.options.mask_threshold).flatten(1), (frame.logits > frame.cutoff).flatten(1)
    shared = inside.float() @ ours.float().T  # [N, Q]
    overlap = shared / (inside.sum(1)[:, None] + ours.sum(1) - shared).clamp_min(1)
    best, query = overlap.max(1)
    logits = maps.clamp(0.02, 0.98).logit()
    helped = (logits + frame.logits[query].clamp(-4, 4)) / 2
    logits = torch.where((best >= frame.rules.helpful)[:, None, None], helped, logits)
    scores = torch.zeros(len(here), frame.scores.shape[1])
    scores[range(len(here)), here] = ((maps.flatten(1) * inside).sum(1) / inside.sum(1)).cpu()
    extended = replace(frame, logits=torch.cat([frame.logits, logits]), scores=torch.cat([frame.scores, scores]))
    return extended, [(len(frame.scores) + i, c) for i, c in enumerate(here)]


def _shown(frame: FrameLogits, prompts: Sequence[BoolMask | None]) -> dict[int, Candidate]:
    """The objects whose mask the caller gave on this frame: that is their mask."""
    size = (frame.logits.shape[1], frame.logits.shape[2])
    return {
        c: Candidate(None, c, 1.0, RLE.encode(prompt), RLE.encode(_shrunk(prompt, size)), alone=True)
        for c, prompt in enumerate(prompts)
        if prompt is not None and _kind(frame, c) == "mask"
    }


def _kind(frame: FrameLogits, condition: int) -> str:
    region = frame.conditions[condition].region
    return region.kind if region is not None else "mask"


def _within(found: Candidate, window: BoolMask) -> Candidate:
    """What of a candidate lies in ``window``."""
    assert found.low is not None
    assert found.soft is not None
    small = _shrunk(window, (found.low.height, found.low.width))
    return replace(
        found,
        rle=RLE.encode(found.rle.decode() & window),
        low=RLE.encode(found.low.decode() & small),
        soft=found.soft * torch.from_numpy(small).to(found.soft.device),
    )


def _geometry(
    frame: FrameLogits, queries: Tensor, prompt: BoolMask | None, recent: Sequence[Candidate]
) -> Tensor | None:
    """Mean overlap of queries' masks with the prompt's and the recent ones; None where nothing is known."""
    full, small = frame.rules.full, (frame.logits.shape[1], frame.logits.shape[2])
    seen = [(candidate.rle if full else candidate.low, candidate.score) for candidate in recent]
    known = [(mask, weight) for mask, weight in seen if mask is not None]
    if prompt is not None:
        known.append((RLE.encode(prompt if full else _shrunk(prompt, small)), 1.0))
    weights = np.array([weight for _, weight in known])
    total = weights.sum() + (frame.rules.blank_anchor and prompt is None)
    if not frame.rules.geometry or total <= 0:
        return None
    chosen = queries.nonzero().flatten().tolist()
    ours = frame.masks(chosen) if full else frame.low(chosen)
    overlap = iou_matrix(ours, [mask for mask, _ in known])
    return torch.from_numpy(overlap @ weights / total).float()


def _agreement(frame: FrameLogits, condition: int, prompt: BoolMask | None) -> Tensor:
    """How well the masks of all queries agree with what was drawn, 0 to 1 ``[Q]``.

    A click or a stroke lies inside of its object; a box is its object's box; a mask is its object, more or less.
    """
    assert prompt is not None
    ours = (frame.logits > frame.cutoff).cpu()  # [Q, h, w]
    drawn = torch.from_numpy(_shrunk(prompt, (ours.shape[1], ours.shape[2])))
    kind = _kind(frame, condition)
    if kind in STROKES:
        return (ours & drawn).sum((1, 2)) / drawn.sum()
    if kind == "box":  # only what is inside will be answered
        inside = ours & drawn
        kept = inside.sum((1, 2)) / ours.sum((1, 2)).clamp_min(1)
        return kept * _overlap(_box(inside), _box(drawn[None]))
    return _overlap(ours, drawn)


def _overlap(ours: Tensor, drawn: Tensor) -> Tensor:
    return (ours & drawn).sum((1, 2)) / (ours | drawn).sum((1, 2)).clamp_min(1)


def _box(masks: Tensor) -> Tensor:
    """The filled boxes around masks ``[Q, h, w]``."""
    return _span(masks.any(2))[:, :, None] & _span(masks.any(1))[:, None]


def _span(marks: Tensor) -> Tensor:
    """``[Q, n]`` bool, True from the first mark to the last."""
    return (marks.cumsum(1) > 0) & (marks.flip(1).cumsum(1).flip(1) > 0)


def _shrunk(mask: BoolMask, size: Size) -> BoolMask:
    """A mask at the decoder's size; even a point stays visible."""
    return F.adaptive_max_pool2d(torch.from_numpy(mask)[None].float(), size)[0].numpy() > 0
