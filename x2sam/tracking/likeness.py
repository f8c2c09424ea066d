"""Which of several finds is the very thing that was shown: by what they look like up close."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from x2sam.model.mask_decoder import Prediction
from x2sam.types import Condition

SPREAD = 0.05
"""Likeness (cosine of descriptors) that one query must have less than another to be a third as sure."""


def detail_of(descriptors: Tensor, mask: Tensor) -> Tensor:
    """What is under a mask ``[H, W]`` (bool, or 0 to 1) looks like, of descriptors ``[D, h, w]``: a unit vector."""
    height, width = descriptors.shape[-2:]
    cover = F.adaptive_avg_pool2d(mask[None, None].to(descriptors.dtype), (height, width))[0, 0]
    return F.normalize((descriptors * cover).sum((1, 2)), dim=0)


def by_likeness(prediction: Prediction, descriptors: Tensor, conditions: Sequence[Condition]) -> Prediction:
    """Of one frame: how sure a query is of a thing that was shown is weighed with how alike it is to that very thing.

    ``sure * likeness``, where likeness is relative to the most alike query's.
    """
    logits = prediction.class_logits.clone()
    details = torch.stack([detail_of(descriptors, mask.sigmoid()) for mask in prediction.mask_logits[0]])  # [Q, D]
    for c, condition in enumerate(conditions):
        shown = condition.example
        if shown is None or shown.details is None:
            continue
        there = logits[0, :, c].sigmoid() > 1e-4
        if not bool(there.any()):
            continue
        alike = (details @ shown.details.T.to(details)).amax(1)
        if shown.rival_details is not None:
            alike = alike - (details @ shown.rival_details.T.to(details)).amax(1).clamp_min(0)
        alike = ((alike - alike[there].max()) / SPREAD).clamp_max(0).exp()
        logits[0, :, c] = torch.where(there, (logits[0, :, c].sigmoid() * alike).logit(eps=1e-6), logits[0, :, c])
    return replace(prediction, class_logits=logits)
