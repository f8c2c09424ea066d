"""How sure a model is: that something is there at all (presence), and that a mask is right (score).

The two are not the same: a name may be there and its mask be wrong. A temperature and a bias of a score's logits,
fitted on held-out data for each kind of condition (`x2sam.train.calibration`), turn it into a share that comes true.
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


def calibrated(scores: Tensor, task: Task, options: AnswerOptions, what: str = "score") -> Tensor:
    """Scores 0 to 1 -> probabilities of ``what``; as they are where nothing was fitted for their kind."""
    wanted = f"{kind_of(task)}/{what}"
    found = {kind: (temperature, bias) for kind, temperature, bias in options.calibration}.get(wanted)
    if found is None or options.protocol == "released":
        return scores
    return torch.where(scores > EDGE, come_true(scores, *found), scores)


def come_true(scores: Tensor, temperature: float, bias: float) -> Tensor:
    """Scores 0 to 1 as shares that come true, by what was fitted."""
    return (scores.clamp(EDGE, 1 - EDGE).logit() / temperature + bias).sigmoid()


def presence_of(
    task: Task, class_logits: Tensor, conditions: Sequence[Condition], options: AnswerOptions
) -> list[float]:
    """Of each condition the probability that it is there, on one frame: what the surest query says.

    class_logits: ``[Q, C+1]``, background last.
    """
    if not conditions or not len(class_logits):
        return [0.0] * len(conditions)
    logits = torch.cat([class_logits[:, : len(conditions)], class_logits[:, -1:]], 1)
    scores = calibrated(logits.float().softmax(-1)[:, :-1], task, options, "presence")
    return [float(score) for score in scores.amax(0)]
