"""How much the head and each piece of evidence count for a thing being there: a logistic regression on held-out photos.

On the photos that the head was trained on it is nearly always right, so only others tell how far to trust it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from x2sam.predictor import X2Sam
from x2sam.train.sampler import Source

RIDGE = 1.0
"""Weight of staying small, of evidence that varies by 1: that of one phrase."""
TASK = "img_refseg"


def weigh(model: X2Sam, source: Source, samples: Sequence[int]) -> dict[str, float]:
    """Fit ``prompted_head.evidence`` and the scale of what the head says itself, in place; tells both."""
    head = model.model.prompted_head
    assert head is not None
    own, evidence, there = gather(model, source, samples)
    scale, weights, bias = fit(own, evidence, there)
    last: Any = head.presence[-1]
    with torch.no_grad():  # all that the head says of a thing being there, and so the sum, comes true as often as told
        for part in (last.weight, last.bias, head.recognised):
            part.mul_(scale)
        head.evidence.weight.copy_(torch.from_numpy(weights)[None])
        head.evidence.bias.fill_(bias)
    return {"head": round(scale, 3), **{f"evidence {i}": round(float(w), 3) for i, w in enumerate(weights)}}


def gather(
    model: X2Sam, source: Source, samples: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Of every phrase: what the head says without evidence, the evidence, and whether there is such a thing."""
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
    table = torch.cat(rows).double().numpy()
    return table[:, 0], table[:, 1:], np.array(truth)


def fit(
    own: NDArray[np.float64], evidence: NDArray[np.float64], there: NDArray[np.bool_]
) -> tuple[float, NDArray[np.float64], float]:
    """Weights of the head's logit and of the evidence, and a bias, with the least cross-entropy."""
    table = np.column_stack([own, evidence])
    centre, spread = table.mean(0), table.std(0) + 1e-6
    even = (table - centre) / spread

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        told = even @ values[:-1] + values[-1]
        off = 1 / (1 + np.exp(-told)) - there
        entropy = np.logaddexp(0, told) - there * told
        slope = np.append(even.T @ off + RIDGE * values[:-1], off.sum())
        return float(entropy.sum() + 0.5 * RIDGE * (values[:-1] ** 2).sum()), slope

    values = minimize(loss, np.zeros(table.shape[1] + 1), jac=True, method="L-BFGS-B").x
    weights = values[:-1] / spread
    return float(max(weights[0], 1e-3)), weights[1:], float(values[-1] - weights @ centre)
