"""Parameter groups, the learning-rate curve, and the exact mean of losses over an update."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from x2sam.train.recipes import TrainConfig


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over what trains; what was pretrained learns more slowly, and vectors may go without decay."""
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            lr = config.lr * (config.slow_scale if name.startswith(config.slow_prefix) else 1.0)
            decay = config.weight_decay if parameter.ndim > 1 or config.decay_vectors else 0.0
            groups.setdefault((lr, decay), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": group, "lr": lr, "weight_decay": decay, "base_lr": lr} for (lr, decay), group in groups.items()],
        betas=(0.9, config.beta2),
        fused=True,
    )


def lr_scale(progress: float, warmup: float) -> float:
    """Linear warm-up, then a cosine to zero; ``progress`` runs from 0 to 1."""
    if progress < warmup:
        return max(progress / warmup, 1e-3)
    return 0.5 * (1 + math.cos(math.pi * min((progress - warmup) / max(1 - warmup, 1e-9), 1.0)))


def set_lr(optimizer: torch.optim.Optimizer, scale: float) -> None:
    """Every group at ``scale`` times its own rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * scale


def loss_shares(counts: Tensor, rank: int) -> Tensor:
    """How much each micro-batch's mean losses weigh, so that their sum is the mean over the whole update.

    Args:
        counts: ``[processes, micro-batches, 3]``: words, masks and class weight of every forward pass.
        rank: of this process.

    Returns:
        ``[micro-batches, 3]``, for the losses of this process; gradients are then averaged over processes.
    """
    processes = len(counts)
    total = counts.sum((0, 1)).clamp_min(1e-9)
    total[1].clamp_min_(1.0)  # where nothing is to be found, what is said of absent things counts like one mask
    mean = counts[rank].clone()
    # The model divides mask losses by the average number over processes (at least one), not by its own.
    mean[:, 1] = counts[:, :, 1].mean(0).clamp_min(1.0)
    return processes * mean / total
