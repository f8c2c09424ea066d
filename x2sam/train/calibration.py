"""Scores that come true: a temperature and a bias for the logits of a kind of condition, and how far off they are."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from x2sam.decoding.presence import EDGE, come_true

BINS = 10
RIDGE = 1.0
FLAT = 1e-3
"""A score that tells less than this has no temperature."""
Scores = NDArray[np.floating]
Truth = NDArray[np.bool_]


def logistic(table: NDArray[np.floating], truth: Truth, ridge: float = RIDGE) -> tuple[NDArray[np.float64], float]:
    """Weights of the columns of ``table`` ``[N, K]`` and a bias, with the least cross-entropy.

    ridge: weight of staying small, of a column that varies by 1, in samples.
    """
    centre, spread = table.mean(0), table.std(0) + 1e-6
    even = (table - centre) / spread

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        told = even @ values[:-1] + values[-1]
        off = 1 / (1 + np.exp(-told)) - truth
        entropy = np.logaddexp(0, told) - truth * told
        slope = np.append(even.T @ off + ridge * values[:-1], off.sum())
        return float(entropy.sum() + 0.5 * ridge * (values[:-1] ** 2).sum()), slope

    values = minimize(loss, np.zeros(table.shape[1] + 1), jac=True, method="L-BFGS-B").x
    weights = values[:-1] / spread
    return weights, float(values[-1] - weights @ centre)


def fit(scores: Scores, truth: Truth) -> tuple[float, float]:
    """Temperature and bias with the least cross-entropy of ``sigmoid(logit(score) / temperature + bias)``."""
    logits = torch.from_numpy(np.asarray(scores, dtype=np.float64)).clamp(EDGE, 1 - EDGE).logit().numpy()
    (weight,), bias = logistic(logits[:, None], truth)
    return float(1 / max(weight, FLAT)), bias


def apply(scores: Scores, temperature: float, bias: float) -> Scores:
    """Scores as probabilities (`decoding.presence.come_true`)."""
    return come_true(torch.from_numpy(np.asarray(scores, dtype=np.float64)), temperature, bias).numpy()


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
