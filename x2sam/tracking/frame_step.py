"""All prompts of a track on one frame: who is decoded, one pass of the decoder, and what is remembered for the next."""

from __future__ import annotations

import math
from collections.abc import Container, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from x2sam.decoding.answer import answer_frame
from x2sam.decoding.candidates import AnswerOptions, Candidate, masks_of
from x2sam.decoding.presence import presence_of
from x2sam.masks import BoolMask, union
from x2sam.model.mask_decoder import Prediction
from x2sam.tasks import Task
from x2sam.tracking.engine import Engine, Query
from x2sam.tracking.history import History
from x2sam.tracking.objects import ObjectManager
from x2sam.tracking.prompt_state import AGREEMENT, PATIENCE, PromptState, Refresh
from x2sam.types import Condition, Frame, Prompt, Region, Segment


def step(
    states: Sequence[PromptState],
    engine: Engine,
    history: History,
    objects: ObjectManager,
    index: int,
    frame: Frame,
    refresh: Refresh = None,
) -> list[tuple[PromptState, tuple[Segment, ...]]]:
    """Find the objects of all prompts on the next frame: one encoding, one propagation, one pass of the decoder."""
    for state in states:
        for _ in state.read(engine, index, refresh):
            pass  # what is read again says nothing new
    asking = [state for state in states if state.encoded is not None and state.encoded.guidance is not None]
    keys = [key for state in asking for key in _keys(state, refresh)]
    descriptors = engine.features(index, frame).descriptors[0] if keys else None
    propagated = {} if descriptors is None else history.propagate(descriptors, keys)
    shot = Shot(index, (frame.shape[0], frame.shape[1]), descriptors, propagated)
    decodes = take_turns(asking, engine, propagated, index)
    busy = [state for state in asking if decodes[state.number] != ()]
    queries = [_query(state, decodes[state.number], shot, engine, history) for state in busy]
    answers = engine.decode(index, frame, queries)
    found = {state.number: Found() for state in asking}
    for state, query, (prediction, bank) in zip(busy, queries, answers, strict=True):
        carried = None if engine.draws(state.request) else propagated.get(state.key)
        found[state.number] = _decoded(state, query, prediction, carried, history, objects, shot)
        state.bank, state.last = bank, index
    _hold(asking, decodes, found, shot)
    for state in asking:
        _remember(state, decodes[state.number], found[state.number], history, shot)
        if refresh == "auto" and decodes[state.number] != ():
            _check_agreement(state, found[state.number], history, shot)
    return [(state, _shown(state, found.get(state.number), objects)) for state in states]


@dataclass(frozen=True)
class Shot:
    """The frame of a step."""

    index: int
    size: tuple[int, int]
    """Height and width."""
    descriptors: Tensor | None
    """``[D, h, w]``; None where nothing is propagated."""
    propagated: Mapping[Hashable, Tensor]
    """By trail, ``[rows, h, w]``."""


@dataclass
class Found:
    """What one prompt has on a frame."""

    segments: list[Segment] = field(default_factory=list)
    """With conditions as the prompt counts them."""
    masks: dict[int, Tensor] = field(default_factory=dict)
    """By row of the propagated masks, ``[h, w]``, bool or 0 to 1, of any size."""
    shown: set[int] = field(default_factory=set)
    """Conditions whose region is drawn on this frame."""


def take_turns(
    states: Sequence[PromptState], engine: Engine, propagated: Container[Hashable], index: int
) -> dict[int, tuple[int, ...] | None]:
    """The conditions of each prompt (by its number) that are decoded on this frame; None: all.

    A prompt is decoded every `AnswerOptions.every` frames, and where one of its regions is drawn. Followed objects that
    the model draws one by one take turns: `AnswerOptions.per_frame` of a track's are decoded on a frame, those first
    that waited longest, and the masks of the others are propagated alone.
    """
    decodes: dict[int, tuple[int, ...] | None] = {}
    waiting: list[tuple[int, int, int]] = []  # frames since the last decoding, negative; prompt; condition
    busy, most = 0, 0.0
    for state in states:
        assert state.encoded is not None
        if not (state.follows and engine.draws(state.request)):
            decodes[state.number] = None if state.due(state.last, index) else ()
            continue
        fresh, rest = [], []
        for c, condition in enumerate(state.encoded.conditions):
            drawn = condition.region is not None and condition.region.frame == index
            if drawn or c not in state.decoded or state.key not in propagated:
                fresh.append(c)
            elif state.due(state.decoded[c], index):
                rest.append((-abs(index - state.decoded[c]), state.number, c))
        decodes[state.number] = tuple(fresh)
        busy, waiting = busy + len(fresh), waiting + rest
        most = max(most, state.options.per_frame or math.inf)
    for _, number, c in sorted(waiting)[: int(min(len(waiting), max(0.0, most - busy)))]:
        decodes[number] = (*(decodes[number] or ()), c)
    return decodes


def _keys(state: PromptState, refresh: Refresh) -> list[Hashable]:
    """The trails that are propagated for a prompt."""
    keys = [state.key] if state.follows or refresh == "auto" else []
    return keys if state.follows or state.options.every == 1 else [*keys, state.keyframe]


def _query(state: PromptState, places: tuple[int, ...] | None, shot: Shot, engine: Engine, history: History) -> Query:
    """What the decoder is asked; a model that draws for itself is shown where each mask may be."""
    assert state.encoded is not None
    propagated, last = shot.propagated.get(state.key), history.last(state.key)
    if propagated is None or last is None or not state.follows or not engine.draws(state.request):
        return Query(state.encoded, state.bank, places)
    # Still where it was, or where it was carried to: who looks at the frame as well leaves out what is too much; what
    # is missing from a hint is hard to find again.
    rows = range(len(last)) if places is None else places
    hints = [torch.maximum(propagated[c], last[c]) for c in rows]
    return Query(state.encoded, state.bank, places, [hint if bool((hint > 0).any()) else None for hint in hints])


def _decoded(
    state: PromptState,
    query: Query,
    prediction: Prediction,
    propagated: Tensor | None,
    history: History,
    objects: ObjectManager,
    shot: Shot,
) -> Found:
    """What the decoder found of a prompt, with ids."""
    conditions, known = query.conditions, objects.known(state.number)
    places = tuple(range(len(conditions))) if query.places is None else query.places
    recent = history.sure(state.key, len(query.prompt.conditions)) if state.stays else ()
    prompt_masks = [mask_on(condition.region, shot.index, shot.size) for condition in conditions]
    candidates = candidates_of(
        state.request.task,
        conditions,
        state.options,
        prediction,
        shot.size,
        prompt_masks=prompt_masks,
        recent=[recent[place] for place in places] if recent else (),
        seen={i for i, place in enumerate(places) if place in known},
        carried=propagated if state.follows else None,
    )
    candidates = [replace(candidate, condition=places[candidate.condition]) for candidate in candidates]
    sure = presence_of(state.request.task, prediction.class_logits[0], conditions, state.options)
    state.presence |= dict(zip(places, sure, strict=True))
    if state.stays:
        history.add_sure(state.key, candidates)
    elapsed = 1 if state.last is None else abs(shot.index - state.last)
    ids = state.association.step(candidates, prediction.queries[0].float(), elapsed)
    segments = segments_of(candidates, ids, query.prompt.conditions, shot.index)
    found = Found(segments, shown={p for p, mask in zip(places, prompt_masks, strict=True) if mask is not None})
    if state.follows:
        state.decoded |= dict.fromkeys(places, shot.index)
        state.found = {c: s for c, s in state.found.items() if c not in places} | {s.condition: s for s in segments}
        found.masks = {c.condition: _probable(c) for c in candidates}
    else:
        state.found = dict(enumerate(segments))
    return found


def _hold(
    states: Sequence[PromptState],
    decodes: Mapping[int, tuple[int, ...] | None],
    found: Mapping[int, Found],
    shot: Shot,
) -> None:
    """Add the segments of the last decoding where they are now, of what is not decoded on this frame."""
    held: list[tuple[PromptState, int, Tensor]] = []
    for state in states:
        places = decodes[state.number]
        masks = shot.propagated.get(state.key if state.follows else state.keyframe)
        if places is not None and masks is not None:
            held += [(state, row, masks[row]) for row in state.found if row not in places]
    if not held:
        return
    thresholds = [state.options.mask_threshold for state, _, _ in held]
    codes = masks_of(torch.stack([mask for _, _, mask in held]), shot.size, thresholds)
    for (state, row, mask), code in zip(held, codes, strict=True):
        if code is not None:
            found[state.number].segments.append(replace(state.found[row], rle=code, frame=shot.index))
            found[state.number].masks[row] = mask


def _remember(state: PromptState, places: tuple[int, ...] | None, found: Found, history: History, shot: Shot) -> None:
    """What a prompt found on this frame, for the next ones."""
    if shot.descriptors is None or state.encoded is None:
        return
    if state.follows:
        every = range(len(state.encoded.conditions))
        masks, shown = [found.masks.get(c) for c in every], [c in found.shown for c in every]
        history.remember(state.key, shot.descriptors, masks, shown)
    elif state.options.every > 1:
        key = places is None
        if key:
            history.forget(state.keyframe)
            found.masks = {row: torch.from_numpy(segment.rle.decode()) for row, segment in state.found.items()}
        if state.found:
            rows = [found.masks.get(row) for row in state.found]
            history.remember(state.keyframe, shot.descriptors, rows, [key] * len(rows))


def _check_agreement(state: PromptState, found: Found, history: History, shot: Shot) -> None:
    """Whether what was decoded lies where the masks of the frames before went; if not, the prompt is read again."""
    if shot.descriptors is None or state.encoded is None:
        return
    if not state.follows:
        every = range(len(state.encoded.conditions))
        own = [[s.rle for s in found.segments if s.condition == c] for c in every]
        masks = [torch.from_numpy(union(codes).decode()) if codes else None for codes in own]
        history.remember(state.key, shot.descriptors, masks, [False] * len(masks))
    before, now = shot.propagated.get(state.key), history.last(state.key)
    if before is not None and now is not None:
        expected, there = before > 0.5, now > 0.5
        either = (expected | there).sum((1, 2))
        overlap = (expected & there).sum((1, 2))[either > 0] / either[either > 0]
        agrees = len(overlap) == 0 or float(overlap.mean()) >= AGREEMENT
        state.stale, state.patience = not agrees, PATIENCE if agrees else state.patience


def _shown(state: PromptState, found: Found | None, objects: ObjectManager) -> tuple[Segment, ...]:
    """The segments of objects that nobody took away; followed ones in the order in which they were asked for."""
    segments = found.segments if found is not None else []
    if state.follows:
        segments = sorted(segments, key=lambda segment: segment.condition)
    return tuple(segment for segment in segments if objects.shows(state.number, segment.object_id))


def candidates_of(
    task: Task,
    conditions: Sequence[Condition],
    options: AnswerOptions,
    prediction: Prediction,
    size: tuple[int, int],
    row: int = 0,
    **known: Any,
) -> list[Candidate]:
    """The candidates of one sample of a prediction; a batch pads its samples to the longest list of conditions."""
    logits = prediction.class_logits[row].float()
    logits = torch.cat([logits[:, : len(conditions)], logits[:, -1:]], 1)
    return answer_frame(task, logits, prediction.mask_logits[row].float(), size, conditions, options, **known)


def segments_of(
    candidates: Sequence[Candidate], ids: Sequence[int], conditions: Sequence[Condition], index: int
) -> list[Segment]:
    """Candidates that were told apart."""
    labels = Prompt(tuple(conditions)).labels
    return [
        Segment(c.rle, labels[c.condition], c.score, i, c.condition, index, conditions[c.condition].is_thing)
        for c, i in zip(candidates, ids, strict=True)
    ]


def mask_on(region: Region | None, index: int, size: tuple[int, int]) -> BoolMask | None:
    """The region's pixels, if it is drawn on this frame."""
    if region is None or region.frame != index or (region.rle.height, region.rle.width) != size:
        return None
    return region.mask


def _probable(candidate: Candidate) -> Tensor:
    return candidate.soft if candidate.soft is not None else torch.from_numpy(candidate.rle.decode())
