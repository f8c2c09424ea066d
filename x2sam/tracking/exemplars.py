"""A model reads examples: regions of other media become what a prompt holds in their place.

A model whose language side reads regions (the released one) gets the region's embeddings, in a prompt about another
medium. A small model that knows names by their looks (`model.recognition`) asks by the nearest name that it knows, or
the one that it is told; what the thing looks like up close tells it from others of its kind.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from x2sam import vision
from x2sam.decoding.answer import answer_frame
from x2sam.errors import InputError
from x2sam.examples import Example, Examples, Like, listed
from x2sam.masks import BoolMask
from x2sam.media.opening import open_media
from x2sam.model.modeling import X2SamModel
from x2sam.processing import X2SamProcessor
from x2sam.requests import make_request
from x2sam.tracking.engine import Engine, Query, autocast, listen
from x2sam.tracking.likeness import detail_of
from x2sam.tracking.saving import fingerprint
from x2sam.types import Condition, Frame, Region, Shown


@dataclass(frozen=True)
class _Seen:
    """One example, read."""

    name: str | None
    embedding: Tensor
    look: Tensor | None
    details: Tensor


@torch.inference_mode()
def read(model: X2SamModel, processor: X2SamProcessor, like: Any, unlike: Any = ()) -> Examples:
    """Examples of one name (or of none) are one thing. What is unlike is a rival of all, or of the thing of its name.

    Raises InputError for a region that is empty, outside or of another size, and where nothing is liked.
    """
    wanted, rivals = listed(like), listed(unlike)
    if not wanted:
        raise InputError("Got no example of what to find", "at least one", 'like=[example("a.jpg", box=...)]')
    seen = [_see(model, processor, one) for one in wanted]
    against = [_see(model, processor, one) for one in rivals]
    names = list(dict.fromkeys(one.name for one in seen))
    if stray := [one.name for one in against if one.name is not None and one.name not in names]:
        raise InputError(f"Got an example unlike {stray[0]!r}", f"one of the names that are liked: {names}")
    things = []
    for name in names:
        mine = [one for one in seen if one.name == name]
        theirs = [one for one in against if one.name in (None, name)]
        looks = [one.look for one in mine if one.look is not None]
        words = ""
        if looks:
            words = name or nearest(model, processor, torch.stack(looks).mean(0))
        things.append(
            Shown(
                name,
                words,
                None if words else torch.stack([one.embedding for one in mine]).mean(0),
                torch.stack(looks).mean(0) if looks else None,
                torch.stack([one.details for one in mine]),
                torch.stack([one.look for one in theirs if one.look is not None]) if looks and theirs else None,
                torch.stack([one.details for one in theirs]) if theirs else None,
            )
        )
    return Examples(tuple(things), identity_of(model))


def conditions_of(engine: Engine, like: Like, unlike: Any = (), prompt: Any = None) -> tuple[Condition, ...]:
    """What is asked for by examples, by a set of them, or by the path of a saved one.

    prompt: names of the things, where they have none. Raises InputError for a set that another model has read.
    """
    if isinstance(like, (str, os.PathLike)):
        like = Examples.load(like)
    if not isinstance(like, Examples):
        like = read(engine.model, engine.processor, like, unlike)
    elif unlike:
        raise InputError(
            "Got what is unlike a set that was read already", "both together: model.examples(like, unlike)"
        )
    own = identity_of(engine.model)
    if like.model != own:
        got = f"Got examples that another model has read ({like.model or 'unknown'})"
        raise InputError(got, own, "Read them anew: model.examples(...)")
    names = [prompt] if isinstance(prompt, str) else list(prompt or ())
    if names and len(names) != len(like.things):
        raise InputError(
            f"Got {len(names)} names for examples of {len(like.things)} things", "a name for each, or none"
        )
    things = like.things
    if names:
        things = tuple(
            replace(thing, name=name, words=name if thing.words else "")
            for thing, name in zip(things, names, strict=True)
        )
    return tuple(Condition(text=thing.name or thing.words or None, example=thing) for thing in things)


def identity_of(model: X2SamModel) -> str:
    """By what saved examples know their model again: its size of pictures and its weights."""
    if model not in _IDENTITIES:
        told = fingerprint(model)
        _IDENTITIES[model] = f"{told['image_size']}/{told['weights']}"
    return _IDENTITIES[model]


_IDENTITIES: WeakKeyDictionary[X2SamModel, str] = WeakKeyDictionary()


def _see(model: X2SamModel, processor: X2SamProcessor, one: Example) -> _Seen:
    _, region, frame = one.open()
    mask = _whole(model, processor, frame, region)
    side, device = model.config.image_size, model.device
    square = vision.square_masks([mask], side).to(device)
    with autocast(model):
        features = model.encode(processor.frames([frame]).to(device))
        embedding = model.region_sampler(features, square, torch.zeros(1, dtype=torch.long, device=device))[0]
        look = None
        if model.recognition is not None and features.recognition is not None:
            look = model.recognition.mean_of(features.recognition, square)[0]
    return _Seen(one.name, embedding, look, detail_of(features.descriptors[0], square[0]))


def _whole(model: X2SamModel, processor: X2SamProcessor, frame: Frame, region: Region) -> BoolMask:
    """What a click, a box or a stroke means, where the model draws that by itself; else just that."""
    if region.kind == "mask" or model.prompted_head is None:
        return region.mask
    engine = Engine(model, processor, open_media(frame))
    request = make_request(engine.clip, regions=[replace(region, frame=0)])
    encoded = listen(engine.read(request))
    if encoded.guidance is None:
        return region.mask
    prediction, _ = engine.decode(0, frame, [Query(encoded)])[0]
    size = (frame.shape[0], frame.shape[1])
    found = answer_frame(
        request.task, prediction.class_logits[0], prediction.mask_logits[0], size, encoded.conditions,
        prompt_masks=[region.mask],
    )  # fmt: skip
    return found[0].rle.decode() if found else region.mask


def nearest(model: X2SamModel, processor: X2SamProcessor, mean: Tensor) -> str:
    """The name that the model knows best for recognition features ``[R]``."""
    assert model.recognition is not None
    names = model.config.known_names or ["object"]
    looks = model.recognition.looks(torch.stack(model.language.meanings_of(processor.spelled(names))))
    return names[int((looks[:, :-1] @ mean - looks[:, -1]).argmax())]
