"""How sure a model is that something is there at all, as a probability that can be believed.

A head that is trained to be right is surer than it is right. A temperature and a bias of its logits, fitted on held-out
data for each kind of condition (`x2sam.train.calibration`), turn its scores into shares that come true.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from x2sam.decoding.candidates import AnswerOptions
from x2sam.tasks import Task
from x2sam.types import Condition

EDGE = 1e-4
"""Scores are held this far from 0 and 1."""


def kind_of(task: Task) -> str:
    """Of a task's conditions, as calibrations are stored: its column ``conditions``, or ``objects`` pointed at."""
    return "objects" if task.one_region else task.conditions


def calibrated(scores: Tensor, task: Task, options: AnswerOptions) -> Tensor:
    """Scores 0 to 1 -> probabilities of being right; as they are where nothing was fitted for their kind."""
    found = {kind: (temperature, bias) for kind, temperature, bias in options.calibration}.get(kind_of(task))
    if found is None or options.protocol == "released":
        return scores
    temperature, bias = found
    told = (scores.clamp(EDGE, 1 - EDGE).logit() / temperature + bias).sigmoid()
    return torch.where(scores > EDGE, told, scores)


def presence_of(
    task: Task, class_logits: Tensor, conditions: Sequence[Condition], options: AnswerOptions
) -> list[float]:
    """Of each condition the probability that it is there, on one frame: what the surest query says.

    class_logits: ``[Q, C+1]``, background last.
    """
    if not conditions or not len(class_logits):
        return [0.0] * len(conditions)
    logits = torch.cat([class_logits[:, : len(conditions)], class_logits[:, -1:]], 1)
    scores = calibrated(logits.float().softmax(-1)[:, :-1], task, options)
    return [float(score) for score in scores.amax(0)]
