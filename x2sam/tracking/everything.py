"""Everything in a picture without a prompt: a grid of clicks, the masks that answer them, and no repeats.

What a click means is learned for any region, named or not, so a click on every place of a grid gives class-agnostic
masks. Each is scored by how well the model expects to overlap what is meant and by how little its outline hangs on the
threshold (stability, as in SAM, arXiv 2304.02643, section B); of masks that overlap the surest stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from x2sam.decoding.candidates import AnswerOptions, Candidate, masks_of
from x2sam.decoding.limits import limited
from x2sam.errors import InputError
from x2sam.masks import RLE
from x2sam.model.prompt_maps import prompt_maps
from x2sam.regions import from_points
from x2sam.requests import make_request
from x2sam.tracking.engine import Engine, Query, autocast, listen
from x2sam.types import Frame, FrameResult, Region, Segment

GRID = 14
"""Clicks a side."""
TOGETHER = 28
"""Clicks that are answered in one pass."""
SHIFT = 1.0
"""Logits above and below the threshold between which a stable mask stays the same."""
STABLE = 0.6
"""Overlap of the two from which a mask is kept."""
REPEATS = 0.75
"""Overlap from which two masks are one."""
MOST = 100


@dataclass(frozen=True)
class Proposals:
    """Masks of one frame, surest first."""

    masks: Tensor
    """``[N, h, w]``: probabilities at the decoder's size."""
    scores: Tensor
    """``[N]``."""

    def codes(self, size: tuple[int, int], threshold: float = 0.5) -> list[RLE | None]:
        """At the frame's own size; None where nothing is left."""
        return masks_of(self.masks, size, [threshold] * len(self.masks))


@torch.inference_mode()
def propose(engine: Engine, index: int, frame: Frame, most: int = MOST, grid: int = GRID) -> Proposals:
    """Class-agnostic masks of a frame, at most ``most``, none of which repeats another."""
    size = frame.shape[0], frame.shape[1]
    places = [((x + 0.5) / grid * size[1], (y + 0.5) / grid * size[0]) for y in range(grid) for x in range(grid)]
    clicks = [from_points([place], size, frame=index) for place in places]
    masks, scores = [], []
    answers = _drawn if engine.model.prompted_head is not None else _queried
    for logits, quality in answers(engine, index, frame, clicks):
        high, low = ((logits > shift).flatten(1).sum(1).float() for shift in (SHIFT, -SHIFT))
        stable = high / low.clamp_min(1)
        kept = (stable >= STABLE) & (logits > 0).flatten(1).any(1)
        masks.append(logits[kept].sigmoid())
        scores.append((quality * stable)[kept])
    return distinct(torch.cat(masks), torch.cat(scores), most)


def distinct(masks: Tensor, scores: Tensor, most: int = MOST, overlap: float = REPEATS) -> Proposals:
    """Of masks ``[N, h, w]`` (0 to 1) the surest, without those that overlap a surer one by more than ``overlap``."""
    order = scores.argsort(descending=True, stable=True)
    inside = (masks[order] > 0.5).flatten(1).float()
    area, kept = inside.sum(1), list[int]()
    shared = inside @ inside.T
    union = area[:, None] + area[None] - shared
    alike = shared > overlap * union
    for i in range(len(order)):
        if len(kept) < most and not bool(alike[i, kept].any()):
            kept.append(i)
    return Proposals(masks[order[kept]], scores[order[kept]])


def _drawn(engine: Engine, index: int, frame: Frame, clicks: Sequence[Region]) -> Iterator[tuple[Tensor, Tensor]]:
    """A model that draws what is clicked: clicks are read and drawn as they are anywhere, some at a time."""
    model, features = engine.model, engine.features(index, frame)
    with autocast(model):
        for start in range(0, len(clicks), TOGETHER):
            some = clicks[start : start + TOGETHER]
            guidance = listen(engine.read(make_request(engine.clip, regions=list(some)))).guidance
            assert guidance is not None
            maps = prompt_maps(some, index, model.config.image_size)
            own = torch.tensor([(0, c) for c in range(len(some))], device=model.device)
            found = model.prompted(features, guidance, own, maps[None], None)
            yield found.logits.flatten(0, 1), found.quality.sigmoid().flatten()


def _queried(engine: Engine, index: int, frame: Frame, clicks: Sequence[Region]) -> Iterator[tuple[Tensor, Tensor]]:
    """A model of queries: all that are sure of any click."""
    for start in range(0, len(clicks), TOGETHER):
        request = make_request(engine.clip, regions=list(clicks[start : start + TOGETHER]))
        encoded = listen(engine.read(request))
        if encoded.guidance is None:
            continue
        prediction, _ = engine.decode(index, frame, [Query(encoded)])[0]
        logits = prediction.mask_logits[0].float()
        sure = prediction.class_logits[0].float().softmax(-1)[:, :-1].sum(-1)
        inside = (logits > 0).flatten(1)
        quality = (logits.sigmoid().flatten(1) * inside).sum(1) / inside.sum(1).clamp_min(1)
        yield logits, sure * quality


def names_of(engine: Engine, index: int, frame: Frame, found: Proposals, names: Sequence[str]) -> list[int | None]:
    """Which of the names each mask is called by what the recognition features answer inside; None: by none of them.

    Raises InputError for a model that does not know names by their looks.
    """
    model, features = engine.model, engine.features(index, frame)
    if model.recognition is None or features.recognition is None:
        raise InputError("Got names for everything", "a small model, such as nano", "Ask for the names themselves")
    if not len(found.masks):
        return []
    looks = model.recognition.looks(torch.stack(model.language.meanings_of(engine.processor.spelled(names))))
    means = model.recognition.mean_of(features.recognition.expand(len(found.masks), -1, -1, -1), found.masks)
    answers = model.recognition.scale * (means @ looks[:, :-1].T - looks[:, -1])  # [N, names]
    surest = answers.max(1)
    return [int(c) if a > 0 else None for a, c in zip(surest.values, surest.indices, strict=True)]


def result_of(engine: Engine, names: Sequence[str], options: AnswerOptions) -> FrameResult:
    """Everything in a picture, surest first, each an object of its own; ``condition`` counts the names."""
    index, _, frame = next(iter(engine.clip))
    size = frame.shape[0], frame.shape[1]
    found = propose(engine, index, frame, options.max_objects or MOST)
    called = names_of(engine, index, frame, found, names) if names else [None] * len(found.masks)
    segments = []
    codes = found.codes(size, options.mask_threshold)
    for code, score, name in zip(codes, found.scores.tolist(), called, strict=True):
        if code is None or score < (options.threshold or 0.0) or (names and name is None):
            continue
        segments.append(Candidate(None, name or 0, score, code))
    segments = limited(segments, replace(options, max_objects=None))
    return FrameResult(
        index,
        None,
        *size,
        tuple(
            Segment(c.rle, names[c.condition] if names else "thing", c.score, i + 1, c.condition, index)
            for i, c in enumerate(segments)
        ),
    )
