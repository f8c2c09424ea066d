"""What is fitted so that absent things are refused: what whole photos tell, and how much each piece counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import new_small_model
from torch import nn

from x2sam.train.calibration import logistic
from x2sam.train.context import fit_context


@pytest.mark.parametrize("told", [True, False])
def test_whole_pictures_tell_what_is_in_them(told: bool) -> None:
    """Two kinds of pictures and two things, each in one kind; a thing of which nobody says anything stays unlikely."""
    recognition = new_small_model().recognition
    assert recognition is not None
    generator = torch.Generator().manual_seed(0)
    kind = torch.arange(80) % 2
    pictures = torch.rand(80, 64, generator=generator)
    pictures[:, ::2] += kind[:, None]
    looks = torch.eye(32)[:2]
    truth = torch.stack([kind == 1, kind == 0], -1).float()
    if not told:
        truth[:, 1] = -1
    classifier = nn.Linear(32, 4)
    nn.init.zeros_(classifier.weight)
    fit_context(recognition, classifier, pictures, looks, truth, torch.eye(32)[4:8])
    with torch.no_grad():
        answers = recognition.context(looks, pictures)
    assert bool(((answers[:, 0] > 0) == (kind == 1)).all())
    assert bool(((answers[:, 1] > 0) == (kind == 0)).all()) == told
    assert not any(p.requires_grad for p in recognition.context_parts())


def test_evidence_counts_as_much_as_it_tells() -> None:
    """Logits that are drawn from known weights give them back; a piece that says nothing counts nothing."""
    random = np.random.default_rng(0)
    own, evidence = 3 * random.standard_normal(4000), random.standard_normal((4000, 3)) * [1, 5, 2] + [0, -6, 1]
    logits = 0.5 * own + evidence @ [1.0, 0.2, 0.0] + 1.2
    weights, bias = logistic(np.column_stack([own, evidence]), random.random(4000) < 1 / (1 + np.exp(-logits)))
    assert weights == pytest.approx([0.5, 1.0, 0.2, 0.0], abs=0.1)
    assert bias == pytest.approx(1.2, abs=0.25)
