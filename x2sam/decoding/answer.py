"""From logits to segments: four ways to answer, chosen by columns of the task table.

`panoptic`, `semantic` and `instances` answer generic tasks (``AnswerOptions.form``), `instances` also grounded regions,
`best` phrases and single objects. Choosing happens at the decoder's resolution; only chosen masks are resized. Where
the released model answers differently, a field of `candidates.Rules` says how.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import replace
from itertools import groupby
from operator import attrgetter

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from x2sam.decoding.candidates import AnswerOptions, Candidate, FrameLogits, Pick, Size, rules_of
from x2sam.errors import InputError
from x2sam.masks import RLE, BoolMask, iou_matrix, union
from x2sam.regions import grown
from x2sam.tasks import Task
from x2sam.types import Condition

__all__ = ["AnswerOptions", "Candidate", "answer_frame", "best", "instances", "panoptic", "semantic"]

DEFAULTS = AnswerOptions()
ALIKE, UNLIKELY = 0.9, 0.05
"""Overlap from which two answers to a click are one, and the score below which an answer is none."""
BOX_MARGIN = 0.05
"""Nothing of an object lies further outside of its box than this part of the box's sides: hands are not exact."""


def answer_frame(
    task: Task,
    class_logits: Tensor,
    mask_logits: Tensor,
    size: Size,
    conditions: Sequence[Condition],
    options: AnswerOptions = DEFAULTS,
    *,
    prompt_masks: Sequence[BoolMask | None] = (),
    recent: Sequence[Sequence[Candidate]] = (),
    seen: Container[int] = (),
    carried: Tensor | None = None,
    input_size: Size | None = None,
    scaled_size: Size | None = None,
) -> list[Candidate]:
    """The segments of one frame. An empty list says that nothing of what was asked for is there.

    class_logits: ``[Q, C+1]``, background last; columns of padding may stand between it and the conditions'.
    mask_logits: ``[Q, h, w]``. size: height and width of the answer.
    prompt_masks: of each condition the region that shows its object on this frame, ``[H, W]``, or None.
    recent: of each condition its candidates on the last frames (`tracking.RecentMasks`); ``best`` prefers to go on.
    seen: conditions that were answered on a frame before.
    carried: ``[C, h, w]``, where the object of each condition should be now (`propagation.Propagation.carry`).
    input_size, scaled_size: resize to the network's input and crop to the picture in it first, as the release does.
    Raises InputError for logits that are not numbers or do not fit the conditions.
    """
    _check(task, class_logits, mask_logits, size, conditions)
    if not conditions or not len(class_logits):
        return []
    scores = class_logits.float().softmax(-1)[:, : len(conditions)].cpu()
    rules = rules_of(task, options)
    frame = FrameLogits(scores, mask_logits.float(), size, task, conditions, options, rules, input_size, scaled_size)
    if task.answer == "generic":
        return {"panoptic": panoptic, "semantic": semantic, "instance": instances}[options.form](frame)
    if task.answer == "instances":
        return instances(frame)
    return best(frame, prompt_masks, recent, seen, carried)


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
    return [_merge(found, max(piece.score for piece in found)) for found in pieces.values()]


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
    rank = torch.where(sure, scores, -1.0)
    for c, prompt in enumerate(prompts):
        if pointed[c]:
            rank[:, c] = (1 - rules.agreement) * scores[:, c] + rules.agreement * _agreement(frame, c, prompt)
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
    reported = rank if rules.combined_score else scores
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
    answers = [_merge(group, sum(found.score for found in group) / len(group)) for group in groups]
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


def _merge(members: list[Candidate], score: float) -> Candidate:
    """One candidate for several: the union of their masks; the surest one's query speaks for it."""
    surest = max(members, key=lambda member: member.score)
    return replace(surest, score=score, rle=union([member.rle for member in members]))


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
    if kind in ("point", "scribble"):
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


def _check(task: Task, class_logits: Tensor, mask_logits: Tensor, size: Size, conditions: Sequence[Condition]) -> None:
    if task.answer == "none":
        raise InputError(f"Got the task {task.name}, which has no masks", "a segmentation task", "See: x2sam tasks")
    shapes = f"{list(class_logits.shape)} and {list(mask_logits.shape)}"
    if class_logits.ndim != 2 or mask_logits.ndim != 3 or len(class_logits) != len(mask_logits):
        raise InputError(f"Got class and mask logits of shapes {shapes}", "[Q, C+1] and [Q, h, w]")
    if class_logits.shape[1] <= len(conditions):
        raise InputError(
            f"Got class logits of shape {list(class_logits.shape)} for {len(conditions)} conditions",
            "a column for each condition and one for the background",
        )
    if min(size) < 1:
        raise InputError(f"Got the size {size}", "at least one pixel")
    if not torch.isfinite(class_logits.float().sum() + mask_logits.float().sum()):
        raise InputError(
            "Got scores or masks that are not numbers (NaN or infinite)",
            "finite logits",
            "Half precision can overflow: run in float32 or bfloat16, and check the weights",
        )
