"""Scores that come true: a temperature and a bias for the logits of a kind of condition, and how far off they are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

EDGE = 1e-4
BINS = 10
Scores = NDArray[np.floating]
Truth = NDArray[np.bool_]


def fit(scores: Scores, truth: Truth) -> tuple[float, float]:
    """Temperature and bias with the least cross-entropy of ``sigmoid(logit(score) / temperature + bias)``.

    A penalty of a few samples' weight keeps them near 1 and 0 where there is little to fit.
    """
    logits = _logit(scores)

    def loss(values: NDArray[np.float64]) -> float:
        told = logits * np.exp(-values[0]) + values[1]
        entropy = np.logaddexp(0, told) - truth * told
        return float(entropy.sum() + 0.5 * (values**2).sum())

    scale, bias = minimize(loss, np.zeros(2), method="Nelder-Mead").x
    return float(np.exp(scale)), float(bias)


def apply(scores: Scores, temperature: float, bias: float) -> Scores:
    """Scores as probabilities."""
    return 1 / (1 + np.exp(-(_logit(scores) / temperature + bias)))


def expected_error(scores: Scores, truth: Truth, bins: int = BINS) -> float:
    """The expected calibration error: how far scores are from the shares that come true, mean over samples.

    Bins are equally wide, from 0 to 1 (arXiv 1706.04599, section 2).
    """
    return float(sum(share * abs(told - came) for share, told, came in reliability(scores, truth, bins)))


def reliability(scores: Scores, truth: Truth, bins: int = BINS) -> list[tuple[float, float, float]]:
    """Of every bin that holds a sample: its share of all, its mean score, and the share that came true."""
    place = np.minimum((np.asarray(scores) * bins).astype(int), bins - 1)
    inside = [place == i for i in range(bins)]
    return [(float(k.mean()), float(scores[k].mean()), float(truth[k].mean())) for k in inside if k.any()]


def halves(scores: Scores, truth: Truth, group: NDArray[np.integer]) -> Scores:
    """Each half of the samples as the other half's calibration tells it; a group (a photo) stays in one half."""
    told = np.empty(len(scores))
    for half in (0, 1):
        own = group % 2 == half
        told[own] = apply(scores[own], *fit(scores[~own], truth[~own]))
    return told


def _logit(scores: Scores) -> NDArray[np.float64]:
    held = np.clip(np.asarray(scores, dtype=np.float64), EDGE, 1 - EDGE)
    return np.log(held / (1 - held))
