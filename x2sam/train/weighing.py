"""How much the head and each piece of evidence count for a thing being there: a logistic regression on held-out photos.

On the photos that the head was trained on it is nearly always right, so only others tell how far to trust it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from x2sam.predictor import X2Sam
from x2sam.train.calibration import FLAT, logistic
from x2sam.train.sampler import Source

TASK = "img_refseg"


def weigh(model: X2Sam, source: Source, samples: Sequence[int]) -> dict[str, float]:
    """Fit ``prompted_head.evidence`` and the scale of what the head says itself, in place; tells both."""
    head = model.model.prompted_head
    assert head is not None
    table, there = gather(model, source, samples)
    (scale, *weights), bias = logistic(table, there)
    scale = max(scale, FLAT)
    last: Any = head.presence[-1]
    with torch.no_grad():  # all that the head says of a thing being there, and so the sum, comes true as often as told
        for part in (last.weight, last.bias, head.recognised):
            part.mul_(scale)
        head.evidence.weight.copy_(torch.tensor([weights]))
        head.evidence.bias.fill_(bias)
    return {"head": round(float(scale), 3), **{f"evidence {i}": round(float(w), 3) for i, w in enumerate(weights)}}


def gather(model: X2Sam, source: Source, samples: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Of every phrase: what the head says without evidence and then the evidence; and whether there is such a thing."""
    head, kept = model.model.prompted_head, list[Tensor]()
    assert head is not None

    def keep(_: object, inputs: tuple[Tensor, ...], out: Tensor) -> None:
        kept.extend((inputs[0], out[:, 0]))

    rows, truth = list[Tensor](), list[bool]()
    hooks = [head.evidence.register_forward_hook(keep)]
    hooks.append(head.register_forward_hook(lambda _, inputs, out: kept.append(out.presence)))
    for i in samples:
        kept.clear()
        sample = source.sample(TASK, i)
        model.open(sample.frames[0]).segment(sample.prompt, task=sample.task, threshold=0.0)
        pieces, counted, told = kept[:3]
        rows.append(torch.cat([(told - counted)[:, None], pieces], 1))
        present = {track.condition for track in sample.objects if track.masks[0] is not None and track.masks[0].area}
        truth += [c in present for c in range(len(sample.prompt.conditions))]
    for hook in hooks:
        hook.remove()
    return torch.cat(rows).double().numpy(), np.array(truth)
