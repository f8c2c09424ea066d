"""What a word looks like to an ImageNet backbone, from what a language model says of it: one ridge regression.

The classifier has a row of weights for each of its 1,000 names; the language model has a state for any phrase. A linear
map from the states of the names to their rows carries over to phrases that have no row. No photo is needed.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from x2sam.errors import InputError

WEIGHT = 1.5e-4
"""Of the penalty. Small keeps what is known of the names, large carries over better to others: docs/benchmarks.md."""
SCALE, LEVEL = 4.9, 1.27
"""Logistic fit of "is it there?" over photos and names, for the answers of unit looks to the features at 320 pixels,
mean over cells: logits = SCALE * (answer - LEVEL). From `benchmarks/unseen_names.py`."""


class Look(NamedTuple):
    """``look = weight @ state + bias``; unit looks answer to features with ``scale * (answer - level)``."""

    weight: Tensor
    """``[R, D]``."""
    bias: Tensor
    """``[R]``."""
    scale: float = SCALE
    level: float = LEVEL


def unit_rows(rows: Tensor) -> Tensor:
    """A classifier's rows ``[N, R]`` without what all have in common, each of length 1."""
    beyond = rows - rows.mean(0)
    return beyond / beyond.norm(dim=1, keepdim=True)


def fit_look(states: Tensor, rows: Tensor, weight: float = WEIGHT) -> Look:
    """The map from states to unit rows with the least squared error plus penalty.

    Args:
        states: ``[N, D]``, of the names, on any scale: the last token's after some layers (several layers side by side
            carry more; each should then have the same mean length).
        rows: ``[N, R]``, the classifier's rows of the same names.
        weight: of the penalty, where the centred states have length 1 on average.

    Raises:
        InputError: other numbers of states than rows.
    """
    if len(states) != len(rows) or not len(states):
        raise InputError(f"Got {len(states)} states for {len(rows)} rows", "one of each for every name")
    wanted, meant = unit_rows(rows.double()), states.double()
    centre, aim = meant.mean(0), wanted.mean(0)
    beyond = meant - centre
    length = beyond.norm(dim=1).mean()
    beyond = beyond / length
    penalty = weight * torch.eye(beyond.shape[1], dtype=beyond.dtype, device=beyond.device)
    solved = torch.linalg.solve(beyond.T @ beyond / len(beyond) + penalty, beyond.T @ (wanted - aim) / len(beyond))
    matrix = (solved / length).T
    return Look(matrix.to(states.dtype), (aim - matrix @ centre).to(states.dtype))
