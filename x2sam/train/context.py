"""Whether a thing is there by all that is seen: fitted on the looks of whole photos, seconds of one core.

A head that learns where things are has seen each name in few photos, and answers to whatever resembles it. Photos tell
much more about what is not in them: all names that their set labels everywhere. And of the classifier's thousand names
it says itself how likely they are, which keeps names that no photo was labelled with from meaning anything.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from x2sam.model.recognition import Recognition

UPDATES, RATE = 300, 2e-3
BATCH, NAMES = 512, 256
"""Photos of an update, and names of the classifier that they are asked for."""
HOLD = 2e-5
"""Weight of staying small (of a sum of squares)."""
START = -3.0
"""Logit of any thing in any picture at first: few are there."""


def fit_context(
    recognition: Recognition,
    classifier: nn.Linear,
    pictures: Tensor,
    looks: Tensor,
    truth: Tensor,
    known: Tensor,
    seed: int = 0,
) -> None:
    """Fit `Recognition.context`, in place.

    Args:
        recognition: its looks are fitted, and stay.
        classifier: from features to the names that the backbone has learned.
        pictures: of photos, ``[N, 2 * R]`` (`recognition.pooled`).
        looks: of the names of the photos, ``[C, R]``, without levels.
        truth: ``[N, C]``: 1 where a name is there, 0 where it is not, below 0 where nobody knows.
        known: looks of the classifier's names, ``[K, R]``.
    """
    draw = torch.Generator().manual_seed(seed)
    thing, scene, usual = recognition.thing, recognition.scene, recognition.usual
    parts = [p.requires_grad_(True) for p in recognition.context_parts()]
    with torch.no_grad():
        likely = classifier(pictures[:, : pictures.shape[1] // 2]).softmax(-1)
        centre, spread = pictures.mean(0), (pictures.std(0) + 1e-3) * pictures.shape[1] ** 0.5
        even = (pictures - centre) / spread
        nn.init.normal_(thing.weight, std=thing.in_features**-0.5)
        usual.bias.fill_(START)
    search = torch.optim.Adam(parts, lr=RATE)
    for update in range(UPDATES):
        for group in search.param_groups:
            group["lr"] = RATE * (1 - update / UPDATES)
        some = torch.randint(len(even), (min(BATCH, len(even)),), generator=draw)
        names = torch.randint(len(known), (min(NAMES, len(known)),), generator=draw)
        told, sure = recognition.context(looks, even[some]), truth[some] >= 0
        loss = F.binary_cross_entropy_with_logits(told[sure], truth[some][sure])
        seen = recognition.context(known[names], even[some])
        loss = loss + F.binary_cross_entropy_with_logits(seen, likely[some][:, names])
        loss = loss + HOLD * sum(part.weight.square().sum() for part in (thing, scene))
        search.zero_grad()
        loss.backward()
        search.step()
    with torch.no_grad():  # fitted on even numbers, kept for features as they are
        scene.weight.div_(spread)
        scene.bias.sub_(scene.weight @ centre)
    for part in parts:
        part.requires_grad_(False)
