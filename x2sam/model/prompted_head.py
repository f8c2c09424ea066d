"""The prompted head: one mask for what is said, drawn or remembered, drawn densely at stride 4 (ours).

A query decoder has to learn where things are; who clicks, draws a box, gives a mask of the frame before or names
something that the recognition features answer to has said that already. Here those prompts are maps
(`x2sam.model.prompt_maps`), added to the backbone's stages, coarse to fine, one pass for each condition. Beside its
masks it says how good they are and whether the thing is there at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor, nn

from x2sam.config import X2SamConfig
from x2sam.model.layers import sine_positions, tokens
from x2sam.model.mask_decoder import Guidance, Prediction
from x2sam.model.prompt_maps import CARRIED, CHANNELS, SINGLE
from x2sam.model.recognition import EVIDENCE, SUREST

MASKS = 3
"""Of every prompt. One click may mean a part, an object or a group: then all three answer, else only the first."""
MOST = 24
"""Conditions of a long list that are drawn; the others are recognised nowhere."""
PIECES, SMALLEST = 12, 0.05
"""Pieces of a mask that may be things of their own, and the smallest, as a part of the largest."""
RECALLED = 0.5
"""How often a training clip goes on from what was found on the frame before."""
SURE = (1e-4, 0.99)
"""Scores are told within these: nothing is ever quite sure."""
SECOND = 0.95
"""How sure another answer to a click is beside the first, at most."""
ANSWER_RANGE = 8.0
"""Logits of the recognition features enter the maps divided by this."""


@dataclass(frozen=True)
class PromptedMasks:
    """What the head says about ``P`` prompts."""

    logits: Tensor
    """``[P, MASKS, h, w]``, stride 4."""
    quality: Tensor
    """``[P, MASKS]``: logits of the expected overlap (IoU) of each mask with what is meant."""
    presence: Tensor
    """``[P]``: logits of the thing being there."""
    pointed: Tensor
    """``[P]`` bool: something is drawn on this very frame, so it is there."""
    single: Tensor
    """``[P]`` bool: prompts of one click, which all masks answer."""
    token: Tensor
    """``[P, D]``: what was found, as a vector."""

    @classmethod
    def cat(cls, parts: Sequence[PromptedMasks]) -> PromptedMasks:
        """Prompts one after the other."""
        return cls(**{f.name: torch.cat([getattr(part, f.name) for part in parts]) for f in fields(cls)})

    def split(self, sizes: Sequence[int]) -> list[PromptedMasks]:
        """Runs of so many prompts each."""
        parts = (getattr(self, f.name).split(list(sizes)) for f in fields(self))
        return [PromptedMasks(*part) for part in zip(*parts, strict=True)]

    def scores(self) -> Tensor:
        """Probability that each mask is the answer, ``[P, MASKS]``: the first one's is that the thing is there.

        The others of a click follow by their quality. That it does not choose the first itself is measured: the first
        mask overlaps what is clicked by 0.71 on validation, the one of the best quality by 0.59.
        """
        quality = self.quality.sigmoid()
        others = (quality / quality.amax(1, keepdim=True).clamp_min(1e-6)).clamp_max(SECOND)
        first = torch.arange(MASKS, device=quality.device) == 0
        share = torch.where(first, 1.0, torch.where(self.single[:, None], others, 0.0))
        return torch.where(self.pointed, 1.0, self.presence.sigmoid())[:, None] * share


class Mix(nn.Module):
    """Two convolutions over normed features, added."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, dim), nn.GroupNorm(8, dim)
        self.conv1, self.conv2 = nn.Conv2d(dim, dim, 3, padding=1), nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``[P, D, h, w]``."""
        return x + self.conv2(F.relu(self.norm2(self.conv1(F.relu(self.norm1(x))))))


class PromptedHead(nn.Module):
    """Stages of a frame and maps of prompts -> masks."""

    def __init__(self, config: X2SamConfig) -> None:
        super().__init__()
        widths = list(config.prompted_widths)
        channels = list(reversed(config.mask_encoder_config.backbone_channel_list))
        inputs = len(CHANNELS) + 1
        coarse = widths[-1]
        self.laterals = nn.ModuleList(nn.Conv2d(c, w, 1) for c, w in zip(channels, widths, strict=True))
        self.recognition = nn.Conv2d(config.recognition_channels, coarse, 1) if config.recognition_channels else None
        self.prompts = nn.ModuleList(nn.Conv2d(inputs, w, 3, padding=1) for w in widths)
        self.narrow = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.mix = nn.ModuleList(Mix(w) for w in widths[:-1])
        self.condition = nn.Linear(config.hidden_dim, coarse)
        self.judge = nn.Parameter(torch.zeros(1, 1, coarse))
        layer = {"nhead": config.num_heads, "dim_feedforward": 2 * coarse, "dropout": 0.0, "norm_first": True}
        self.context = nn.ModuleList(
            nn.TransformerEncoderLayer(coarse, batch_first=True, **layer) for _ in range(config.prompted_layers)
        )
        fine = widths[0]
        self.norm = nn.GroupNorm(8, fine)
        self.masks = nn.Conv2d(fine, MASKS, 3, padding=1)
        self.quality = nn.Sequential(nn.Linear(coarse + fine + 2, coarse), nn.ReLU(), nn.Linear(coarse, 1))
        self.rank = nn.Parameter(torch.zeros(MASKS))
        """How much better one of the masks is than another by nature."""
        self.recognised = nn.Parameter(torch.ones(()))
        """What the surest cells say of a thing that is only named counts so much for its being there."""
        self.evidence = nn.Linear(EVIDENCE, 1)
        """The same of what the classifier says of it (`Recognition.evidence`)."""
        nn.init.zeros_(self.evidence.weight)
        nn.init.zeros_(self.evidence.bias)
        self.presence = nn.Sequential(nn.Linear(coarse + fine + 3, coarse), nn.ReLU(), nn.Linear(coarse, 1))

    def look(self, stages: Sequence[Tensor], recognition: Tensor | None) -> list[Tensor]:
        """What all prompts on a frame share: stages ``[N, C, h, w]``, fine to coarse -> the widths of the head."""
        looks = [lateral(stage) for lateral, stage in zip(self.laterals, stages, strict=True)]
        if self.recognition is not None and recognition is not None:
            looks[-1] = looks[-1] + _resized(self.recognition(recognition), looks[-1].shape[-2:])
        return looks

    def forward(
        self,
        looks: Sequence[Tensor],
        rows: Tensor,
        maps: Tensor,
        answers: Tensor,
        conditions: Tensor,
        evidence: Tensor,
    ) -> PromptedMasks:
        """Draw what is meant.

        Args:
            looks: of ``N`` frames (`look`).
            rows: ``[P]``, the frame that each prompt is about.
            maps: ``[P, len(CHANNELS), h, w]``, stride 4.
            answers: ``[P, h', w']``: logits of the recognition features for what is said; zeros where nothing is.
            conditions: ``[P, D]``: what is said or shown, as the language side tells it.
            evidence: ``[P, EVIDENCE]``, of what is said; zeros where nothing is.
        """
        said = _resized((answers[:, None] / ANSWER_RANGE).clamp(-1.5, 1.5), maps.shape[-2:])
        inputs = torch.cat([maps, said], 1)
        x, token = self._around(looks[-1][rows] + self._prompt(-1, inputs, looks[-1]), conditions)
        for i in reversed(range(len(looks) - 1)):
            y = looks[i][rows] + self._prompt(i, inputs, looks[i])
            x = self.mix[i](y + _resized(self.narrow[i](x), y.shape[-2:]))
        x = F.relu(self.norm(x))
        logits = self.masks(x)
        inside = logits.detach().sigmoid()  # [P, MASKS, h, w]
        area = inside.sum((2, 3))
        pooled = torch.einsum("pmhw,pdhw->pmd", inside, x) / area[..., None].clamp_min(1.0)
        sure = (inside * inside).sum((2, 3)) / area.clamp_min(1e-6)
        told = torch.stack([sure, area / inside[0, 0].numel()], -1)
        judged = torch.cat([token[:, None].expand(-1, MASKS, -1), pooled, told], -1)
        said_inside = (inside[:, 0] * said[:, 0]).sum((1, 2)) / area[:, 0].clamp_min(1.0)
        there = torch.cat([judged[:, 0], said_inside[:, None]], -1)
        told_by = maps.amax((2, 3)) > 0  # [P, CHANNELS]
        pointed, single = told_by[:, :CARRIED].any(1), told_by[:, SINGLE]
        quality, presence = self.quality(judged)[..., 0] + self.rank, self.presence(there)[:, 0]
        cells = answers.flatten(1)
        surest = cells.topk(min(SUREST, cells.shape[1]), 1).values.mean(1).clamp(-12, 12)
        recognised = self.recognised * surest + self.evidence(evidence)[:, 0]
        presence = presence + torch.where(told_by.any(1), 0.0, recognised)
        return PromptedMasks(logits, quality, presence, pointed, single, token)

    def _prompt(self, level: int, inputs: Tensor, look: Tensor) -> Tensor:
        step = int(inputs.shape[-1]) // int(look.shape[-1])  # each level is half as fine as the one before
        return self.prompts[level](inputs if step == 1 else F.avg_pool2d(inputs, step))

    def _around(self, x: Tensor, conditions: Tensor) -> tuple[Tensor, Tensor]:
        """The coarsest cells look at each other and at what is said: (cells, what they make of it)."""
        size = x.shape[-2:]
        places = sine_positions(*size, x.shape[1], x.device, x.dtype)
        told = torch.stack([self.judge[0].expand(x.shape[0], -1), self.condition(conditions)], 1)
        y = torch.cat([told, tokens(x) + places], 1)
        for layer in self.context:
            y = layer(y)
        return y[:, 2:].transpose(1, 2).unflatten(2, size), y[:, 0]


def recalled(maps: Tensor, own: Tensor, before: Mapping[tuple[int, int], Tensor], rows: Tensor) -> Tensor:
    """In training, half of the time: what was found on the frame before, in place of what was truly there.

    In use nobody mends a mask in between, so what a mask has lost must be found again.

    Args:
        maps: ``[N, C, len(CHANNELS), h, w]``.
        own: ``[P, 2]``, row of ``maps`` and condition of every prompt.
        before: by sample and condition, logits ``[h, w]`` of the frame before.
        rows: ``[N]``, the sample of each row of ``maps``.
    """
    maps = maps.clone()
    for row, condition in own.tolist():
        logits = before.get((int(rows[row]), condition))
        was = maps[row, condition, CARRIED]
        if logits is not None and bool((logits > 0).any()) and bool(was.any()) and float(torch.rand(())) < RECALLED:
            maps[row, condition, CARRIED] = _resized(logits.sigmoid().to(maps)[None, None], was.shape)[0, 0]
    return maps


def prediction_of(masks: PromptedMasks, own: Tensor, guidance: Guidance) -> Prediction:
    """The head's masks as a decoder's queries: ``MASKS`` for every condition, each sure of its own condition only.

    own: ``[P, 2]``, sample and condition of every prompt.
    """
    batch, count = guidance.conditions.shape[0], guidance.conditions.shape[1] - 1
    scores = masks.scores().clamp(*SURE)  # [P, MASKS]
    nowhere = max(-1e6, torch.finfo(scores.dtype).min)
    rows, columns = own.unbind(1)
    classes = scores.new_full((batch, count, MASKS, count + 1), nowhere)
    classes[..., -1] = 0.0
    classes[rows, columns, :, columns] = scores.logit()
    logits = scores.new_full((batch, count, MASKS, *masks.logits.shape[-2:]), -20.0)
    logits[rows, columns] = masks.logits
    queries = scores.new_zeros(batch, count, MASKS, masks.token.shape[-1])
    queries[rows, columns] = masks.token[:, None].expand(-1, MASKS, -1)
    return Prediction(classes.flatten(1, 2), logits.flatten(1, 2), queries.flatten(1, 2))


def likeliest(guidance: Guidance, known: Tensor | None, most: int = MOST) -> Tensor:
    """The pairs ``[P, 2]`` of sample and condition to draw: all, or of a long list those that are recognised most.

    known: ``[B, C, h, w]``, what the recognition features answer.
    """
    there = guidance.condition_mask[:, :-1]
    if known is not None and there.shape[1] > most:
        cells = known.flatten(2)
        surest = cells.topk(min(4, cells.shape[2]), -1).values.mean(-1).masked_fill(~there, -torch.inf)  # [B, C]
        there = there & (surest >= surest.topk(most, 1).values[:, -1:])
    return there.nonzero()


def pieces_of(masks: PromptedMasks, own: Tensor, guidance: Guidance) -> Prediction:
    """The head's masks with a query for every connected piece: what is asked for may be there more than once.

    own: ``[P, 2]``, sample and condition of every prompt.
    """
    batch, count = guidance.conditions.shape[0], guidance.conditions.shape[1] - 1
    scores, logits = masks.scores()[:, 0].clamp(*SURE), masks.logits[:, 0]
    found: list[list[tuple[int, int, Tensor]]] = [[] for _ in range(batch)]  # prompt, condition, its place
    for p, (row, condition) in enumerate(own.tolist()):
        labels, pieces = ndimage.label((logits[p] > 0).cpu().numpy(), np.ones((3, 3)))
        areas = np.bincount(labels.ravel(), minlength=pieces + 1)[1:]
        kept = [k for k in np.argsort(-areas)[:PIECES] if areas[k] >= SMALLEST * areas.max()] if pieces else []
        found[row] += [(p, condition, torch.from_numpy(labels == k + 1)) for k in kept]
    most = max(1, *(len(pieces) for pieces in found))
    nowhere = max(-1e6, torch.finfo(scores.dtype).min)
    classes = scores.new_full((batch, most, count + 1), nowhere)
    classes[..., -1] = 0.0
    drawn = scores.new_full((batch, most, *logits.shape[-2:]), -20.0)
    queries = scores.new_zeros(batch, most, masks.token.shape[-1])
    for row, pieces in enumerate(found):
        for q, (p, condition, place) in enumerate(pieces):
            around = F.max_pool2d(place[None].float(), 3, 1, 1)[0].to(logits.device) > 0  # a soft edge all around
            classes[row, q, condition] = scores[p].logit()
            drawn[row, q] = torch.where(around, logits[p], drawn[row, q])
            queries[row, q] = masks.token[p]
    return Prediction(classes, drawn, queries)


def _resized(x: Tensor, size: torch.Size) -> Tensor:
    return x if x.shape[-2:] == size else F.interpolate(x, size, mode="bilinear", align_corners=False)
