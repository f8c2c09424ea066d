"""Matching queries to annotated masks, and the three segmentation losses (Mask2Former, arXiv 2112.01527, section 3.3).

Masks are compared at points rather than at every pixel: uniformly random ones for matching, mostly uncertain ones for
the losses (PointRend, arXiv 1912.08193). Point coordinates are always float32: half precision would quantise them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor

from x2sam.config import X2SamConfig
from x2sam.errors import InputError
from x2sam.model.prompted_head import PromptedMasks


@dataclass(frozen=True)
class Targets:
    """The annotated masks of one frame."""

    classes: Tensor
    """``[G]`` int64: index of the condition each mask belongs to."""
    masks: Tensor
    """``[G, H, W]``, bool or 0..1, any size."""
    prompted: int = 0
    """So many queries, the first ones, started from the first conditions (`X2SamConfig.prompted`)."""

    def __post_init__(self) -> None:
        if len(self.classes) != len(self.masks):
            raise InputError(f"Got {len(self.classes)} classes for {len(self.masks)} masks", "one class for every mask")


@dataclass(frozen=True)
class Layer:
    """What one decoder layer predicts for one frame (or, stacked, for several)."""

    class_logits: Tensor
    """``[Q, C+1]``, background last; stacked ``[N, Q, C+1]``."""
    mask_logits: Tensor
    """``[Q, h, w]``; stacked ``[N, Q, h, w]``."""


FIRST_SHARE, BEST_SHARE, OTHER_SHARE = 0.35, 0.5, 0.05
"""Of a single click's loss: what its first mask learns, the best of its masks, and each of them."""

Matches = list[tuple[Tensor, Tensor]]
"""Per frame: queries that answer for a target, and their targets, both of one length."""


def segmentation_losses(
    layers: Sequence[Sequence[Layer]], targets: Sequence[Targets], config: X2SamConfig
) -> dict[str, Tensor]:
    """Weighted losses of every decoder layer; their sum is the segmentation loss.

    Args:
        layers: per frame, the predictions of every layer, the final one last.
        targets: per frame.
        config: weights and points.

    Returns:
        ``loss_cls``, ``loss_mask``, ``loss_dice`` of the final layer; ``_0``, ``_1`` ... for the earlier ones.
    """
    if not layers or not layers[0]:
        return {}
    weights = {"loss_cls": config.class_weight, "loss_mask": config.mask_weight, "loss_dice": config.dice_weight}
    count = _num_masks(targets, layers[0][0].mask_logits.device)
    parts = {}
    stacks = [_stack(frames) for frames in zip(*layers, strict=True)]
    for i, layer in enumerate(stacks):
        suffix = "" if i == len(stacks) - 1 else f"_{i}"
        matches = match(layer, targets, config)
        for name, loss in layer_losses(layer, targets, matches, count, config).items():
            parts[name + suffix] = weights[name] * loss
    return parts


@torch.no_grad()
def match(layer: Layer, targets: Sequence[Targets], config: X2SamConfig) -> Matches:
    """Assign queries to targets so that the summed cost is lowest, frame by frame.

    A query that started from a condition answers for it, besides: for the nearest of its targets. Left to find its
    targets by itself, it never got one from the queries that had learned before it.
    """
    costs = [
        _cost(layer.class_logits[i], layer.mask_logits[i].float(), target, config) for i, target in enumerate(targets)
    ]
    flat = torch.cat([cost.flatten() for cost in costs]).nan_to_num(1e6, 1e6, -1e6).cpu()  # one transfer for all
    matches = []
    for target, cost, values in zip(targets, costs, flat.split([cost.numel() for cost in costs]), strict=True):
        told, free = values.view(cost.shape).split([target.prompted, len(cost) - target.prompted])
        from scipy.optimize import linear_sum_assignment  # slow to import, and one picture needs none

        rows, columns = linear_sum_assignment(free.numpy())
        pairs = [
            *(_own(told, target.classes.cpu()) if target.prompted else ()),
            *zip(rows + target.prompted, columns, strict=True),
        ]
        found = torch.tensor(pairs, dtype=torch.long, device=cost.device).view(-1, 2)
        matches.append((found[:, 0], found[:, 1]))
    return matches


def _own(cost: Tensor, classes: Tensor) -> list[tuple[int, int]]:
    """Of each condition whose query has a row in ``cost`` ``[P, G]`` and that has targets: query and nearest target."""
    own = cost.masked_fill(classes != torch.arange(len(cost))[:, None], torch.inf)
    return [(k, int(row.argmin())) for k, row in enumerate(own) if row.isfinite().any()]


def layer_losses(
    layer: Layer, targets: Sequence[Targets], matches: Matches, num_masks: Tensor | float, config: X2SamConfig
) -> dict[str, Tensor]:
    """Unweighted losses of one layer, stacked over frames."""
    wanted = layer.class_logits.new_full(layer.class_logits.shape[:2], layer.class_logits.shape[-1] - 1).long()
    for i, (queries, found) in enumerate(matches):
        wanted[i, queries] = targets[i].classes[found]
    class_weights = layer.class_logits.new_ones(layer.class_logits.shape[-1], dtype=torch.float32)
    class_weights[-1] = config.no_object_weight
    loss_cls = F.cross_entropy(layer.class_logits.flatten(0, 1).float(), wanted.flatten(), class_weights)

    logits, labels = [], []
    for i, (queries, found) in enumerate(matches):
        if len(queries):
            x, y = _sample_for_loss(layer.mask_logits[i, queries].float(), targets[i].masks[found].float(), config)
            logits.append(x)
            labels.append(y)
    if not logits:
        nothing = layer.mask_logits.sum() * 0.0
        return {"loss_cls": loss_cls, "loss_mask": nothing, "loss_dice": nothing}
    bce = torch.stack(
        [
            F.binary_cross_entropy_with_logits(x, y, reduction="none").mean(1).sum()
            for x, y in zip(logits, labels, strict=True)
        ]
    )
    dice = torch.stack([_dice(x.sigmoid(), y).sum() for x, y in zip(logits, labels, strict=True)])
    return {"loss_cls": loss_cls, "loss_mask": bce.sum() / num_masks, "loss_dice": dice.sum() / num_masks}


def alignment_loss(frames: Sequence[tuple[Tensor, Targets]]) -> Tensor:
    """How well the mask features themselves answer to the conditions: where each is, and which one each mask is.

    Per condition cross-entropy and dice against all of its masks together; per mask cross-entropy over the conditions,
    of its mean answer. Both reach pixels and words without the queries in between. The second is what teaches names:
    where little is found yet, the first two are nearly flat. Conditions that match nothing weigh no more, together,
    than those that match something, however many were asked for.

    Args:
        frames: per frame, logits ``[C, h, w]`` and its targets, whose classes count these conditions.
    """
    losses = []
    for logits, target in frames:
        x = logits.flatten(1).float()  # [C, h*w]
        y = torch.zeros_like(x)
        if len(target.classes):
            masks = F.interpolate(target.masks[:, None].float(), logits.shape[-2:], mode="area").flatten(1)  # [G, h*w]
            y = y.index_add(0, target.classes, masks).clamp_max(1)
            means = masks @ x.T / masks.sum(1, keepdim=True).clamp_min(1e-6)  # [G, C]
            losses.append(F.cross_entropy(means, target.classes, reduction="none"))
        there = y.amax(1) > 0  # [C]
        weight = torch.where(there, 1.0, (there.sum().clamp_min(1) / (~there).sum().clamp_min(1)).clamp_max(1.0))
        where = F.binary_cross_entropy_with_logits(x, y, reduction="none").mean(1) + _dice(x.sigmoid(), y)
        losses.append(weight * where)
    return torch.cat(losses).sum() / _num_masks([target for _, target in frames], frames[0][0].device)


def prompted_losses(
    masks: PromptedMasks, own: Tensor, targets: Sequence[Targets], config: X2SamConfig
) -> dict[str, Tensor]:
    """Losses of the prompted head: its masks, how good it says they are, and whether the thing is there.

    Of the masks of a single click the first, which is the answer, and the best one learn, and the others a little; else
    only the first.

    Args:
        masks: of ``P`` prompts.
        own: ``[P, 2]``, frame and condition of each.
        targets: per frame; a condition without a target there is absent.
    """
    truth = torch.zeros_like(masks.logits[:, 0])  # [P, h, w]
    for p, (frame, condition) in enumerate(own.tolist()):
        mine = targets[frame].masks[targets[frame].classes == condition]
        if len(mine):
            whole = mine.to(truth).amax(0)[None, None]
            truth[p] = F.interpolate(whole, truth.shape[-2:], mode="area")[0, 0]
    there = truth.flatten(1).amax(1) > 0
    x, y = masks.logits.flatten(2).float(), truth.flatten(1)[:, None].expand(-1, masks.logits.shape[1], -1)
    bce = F.binary_cross_entropy_with_logits(x, y, reduction="none").mean(-1)  # [P, M]
    probability, hard = x.sigmoid(), (y > 0.5).float()
    dice = 1 - (2 * (probability * y).sum(-1) + 1) / (probability.sum(-1) + y.sum(-1) + 1)
    each = config.mask_weight * bce + config.dice_weight * dice
    first = torch.zeros_like(each)
    first[:, 0] = 1.0
    best = F.one_hot(each.argmin(1), each.shape[1])
    shared = FIRST_SHARE * first + BEST_SHARE * best.to(each) + OTHER_SHARE
    weight = torch.where(masks.single[:, None], shared, first) * there[:, None]
    with torch.no_grad():
        drawn = (x > 0).float()
        overlap = (drawn * hard).sum(-1) / (drawn + hard).clamp_max(1).sum(-1).clamp_min(1)
    judged = torch.where(masks.single[:, None], torch.ones_like(first), first) * there[:, None]
    quality = F.binary_cross_entropy_with_logits(masks.quality.float(), overlap, reduction="none")
    asked = (~masks.pointed).float()  # what is pointed at is there
    presence = F.binary_cross_entropy_with_logits(masks.presence.float(), there.float(), reduction="none") * asked
    count = _num_masks(targets, x.device)
    return {
        "loss_mask": (weight * config.mask_weight * bce).sum() / count,
        "loss_dice": (weight * config.dice_weight * dice).sum() / count,
        "loss_cls": config.class_weight
        * ((judged * quality).sum() / judged.sum().clamp_min(1) + presence.sum() / asked.sum().clamp_min(1)),
    }


def sample_points(masks: Tensor, points: Tensor) -> Tensor:
    """Masks ``[M, H, W]`` looked up bilinearly at ``points`` ``[M or 1, P, 2]`` (x, y in 0..1) -> ``[M, P]``."""
    grid = (2 * points - 1).expand(len(masks), -1, -1)[:, :, None]
    return F.grid_sample(masks[:, None], grid, align_corners=False)[:, 0, :, 0]


def _stack(frames: Sequence[Layer]) -> Layer:
    return Layer(torch.stack([f.class_logits for f in frames]), torch.stack([f.mask_logits for f in frames]))


def _cost(class_logits: Tensor, mask_logits: Tensor, target: Targets, config: X2SamConfig) -> Tensor:
    """``[Q, G]``."""
    probability = class_logits.float().softmax(-1)[:, target.classes]
    truth = target.masks.to(mask_logits.dtype)
    if not len(truth):
        return mask_logits.new_zeros(len(mask_logits), 0)
    if config.train_points:
        points = torch.rand(1, config.train_points, 2, device=mask_logits.device)
        x, y = sample_points(mask_logits, points), sample_points(truth, points)
    else:
        x, y = _every_pixel(mask_logits, truth)
    bce = (F.softplus(-x) @ y.T + F.softplus(x) @ (1 - y).T) / x.shape[1]
    p = x.sigmoid()
    dice = 1 - (2 * p @ y.T + 1) / (p.sum(1)[:, None] + y.sum(1) + 1)
    return config.mask_weight * bce + config.dice_weight * dice - config.class_weight * probability


def _sample_for_loss(mask_logits: Tensor, truth: Tensor, config: X2SamConfig) -> tuple[Tensor, Tensor]:
    """Logits and labels ``[M, P]`` at points of which most are where the prediction is least certain."""
    if not config.train_points:
        return _every_pixel(mask_logits, truth)
    count, device = len(mask_logits), mask_logits.device
    uncertain = int(config.importance_ratio * config.train_points)
    with torch.no_grad():
        candidates = torch.rand(count, int(config.oversample_ratio * config.train_points), 2, device=device)
        order = sample_points(mask_logits, candidates).abs().topk(uncertain, dim=1, largest=False).indices
        points = torch.cat(
            [
                candidates.gather(1, order[..., None].expand(-1, -1, 2)),
                torch.rand(count, config.train_points - uncertain, 2, device=device),
            ],
            1,
        )
        labels = sample_points(truth, points)
    return sample_points(mask_logits, points), labels


def _every_pixel(mask_logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    resized = F.interpolate(mask_logits[:, None], size=truth.shape[-2:], mode="bilinear", align_corners=False)
    return resized[:, 0].flatten(1), truth.flatten(1)


def _dice(p: Tensor, y: Tensor) -> Tensor:
    return 1 - (2 * (p * y).sum(1) + 1) / (p.sum(1) + y.sum(1) + 1)


def _num_masks(targets: Sequence[Targets], device: torch.device) -> Tensor:
    """Annotated masks in the batch, averaged over processes, at least one."""
    count = torch.tensor(float(sum(len(t.classes) for t in targets)), device=device)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(count)
        count /= torch.distributed.get_world_size()
    return count.clamp_min(1.0)
