"""The mask memory: what was found on the last frames keeps the masks of the next one on their objects.

After a frame is decoded, its features and its guided mask (the queries' masks weighted by how well they match a
condition) are encoded and stored. The next frame's features read the stored ones by attention (X2SAM, section 3; the
attention is SAM2's, arXiv 2408.00714). What is stored are the attention's keys and values, projected once: the code
for a memory's age is added to the keys after the linear map, which is the same number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from x2sam.config import X2SamConfig
from x2sam.model.layers import Attention, rotary_table, sine_positions, tokens

ROWS = 2048
"""Rows that go through a feed-forward at once: the wide activations of a whole map would be fetched anew from the
system on every call."""

KeyValue = tuple[Tensor, Tensor]
"""Keys and values of one attention layer, each ``[B, heads, L, D / heads]``."""


@dataclass(frozen=True)
class Memory:
    """One remembered frame."""

    index: int
    levels: dict[int, list[KeyValue]]
    """Per pixel decoder level, per memory attention layer."""


@dataclass(frozen=True)
class MemoryBank:
    """The most recent frames, oldest first. Immutable: `segment()` takes one and returns the next."""

    memories: tuple[Memory, ...] = ()
    next_index: int = 0
    """Index of the frame that comes next, counted since the bank was empty."""

    def push(self, levels: dict[int, list[KeyValue]], capacity: int) -> MemoryBank:
        """The bank after one more frame; the oldest leaves when more than ``capacity`` are kept."""
        memories = (*self.memories, Memory(self.next_index, levels))
        return MemoryBank(memories[max(0, len(memories) - capacity) :], self.next_index + 1)

    @property
    def ages(self) -> tuple[int, ...]:
        """Frames since each memory; banks of equal ages can be one batch."""
        return tuple(self.next_index - memory.index for memory in self.memories)

    @staticmethod
    def cat(banks: Sequence[MemoryBank]) -> MemoryBank:
        """Banks of equal ages as one batch."""
        first = banks[0]
        if len(banks) == 1 or not first.memories:
            return first
        memories = tuple(
            Memory(
                same[0].index,
                {
                    level: [
                        (torch.cat([k for k, _ in pairs]), torch.cat([v for _, v in pairs]))
                        for pairs in zip(*(memory.levels[level] for memory in same), strict=True)
                    ]
                    for level in same[0].levels
                },
            )
            for same in zip(*(bank.memories for bank in banks), strict=True)
        )
        return MemoryBank(memories, first.next_index)

    def row(self, i: int, before: MemoryBank, capacity: int) -> MemoryBank:
        """The bank of one sample: what it had ``before``, and its row of what this batch remembers newly."""
        if self.next_index == 0 or not self.memories:
            return before
        levels = {
            level: [(k[i : i + 1].clone(), v[i : i + 1].clone()) for k, v in pairs]
            for level, pairs in self.memories[-1].levels.items()
        }
        return before.push(levels, capacity)


class MemoryAttentionLayer(GradientCheckpointingLayer):
    """Self-attention of the frame, cross-attention to the memory, feed-forward; normed first, then added."""

    def __init__(self, config: X2SamConfig) -> None:
        super().__init__()
        dim, dropout = config.hidden_dim, config.memory_dropout
        self.self_attention = Attention(dim, config.memory_heads, dropout)
        self.cross_attention = Attention(dim, config.memory_heads, dropout)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, config.memory_feedforward)
        self.linear2 = nn.Linear(config.memory_feedforward, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, rotary: Tensor) -> Tensor:
        """``x`` ``[B, L, D]``; ``keys``, ``values`` ``[B, heads, M, D / heads]``; the frame's rotary table."""
        normed = self.norm1(x)
        x = x + self.dropout(self.self_attention(normed, normed, normed, rotary=rotary))
        x = x + self.dropout(self.cross_attention.attend(self.norm2(x), keys, values, rotary=rotary))
        if x.shape[1] <= ROWS:
            return self.feedforward(x)
        return torch.cat([self.feedforward(rows) for rows in x.split(ROWS, 1)], 1)

    def feedforward(self, x: Tensor) -> Tensor:
        """``x`` ``[B, L, D]`` and what the feed-forward adds."""
        return x + self.dropout(self.linear2(self.dropout(F.relu(self.linear1(self.norm3(x)), inplace=True))))


class MemoryAttention(nn.Module):
    """Reads the bank into the features of a frame."""

    def __init__(self, config: X2SamConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(MemoryAttentionLayer(config) for _ in range(config.memory_layers))
        self.norm = nn.LayerNorm(config.hidden_dim)

    def project(self, memory: Tensor) -> list[KeyValue]:
        """Keys and values of an encoded frame ``[B, D, h, w]`` for every layer."""
        values = tokens(memory)
        keys = values + sine_positions(*memory.shape[-2:], memory.shape[1], memory.device, memory.dtype)
        attentions = [layer.cross_attention for layer in self.layers]
        return [(a.heads(a.k_proj(keys)), a.heads(a.v_proj(values))) for a in attentions]

    def forward(self, features: Tensor, memories: list[tuple[int, list[KeyValue]]]) -> Tensor:
        """Features ``[B, D, h, w]`` of the frame after reading ``memories``: pairs (age in frames, keys and values)."""
        ages = torch.tensor([age for age, _ in memories], device=features.device)
        keyed = []
        for i, layer in enumerate(self.layers):
            shifts = self.age_keys(layer.cross_attention, ages)
            keys = torch.cat([kvs[i][0] + shift for (_, kvs), shift in zip(memories, shifts, strict=True)], 2)
            keyed.append((keys, torch.cat([kvs[i][1] for _, kvs in memories], 2)))
        return self.attend(features, keyed)

    def attend(self, features: Tensor, keyed: Sequence[KeyValue]) -> Tensor:
        """Features ``[B, D, h, w]`` after reading keys and values of every layer, which know their age."""
        height, width = features.shape[-2:]
        dim = features.shape[1]
        x = tokens(features) + 0.1 * sine_positions(height, width, dim, features.device, features.dtype)
        for layer, (keys, values) in zip(self.layers, keyed, strict=True):
            x = layer(x, keys, values, rotary_table(height, width, dim // layer.cross_attention.num_heads, x.device))
        return self.norm(x).transpose(1, 2).unflatten(2, (height, width))

    @staticmethod
    def age_keys(attention: Any, ages: Tensor) -> Tensor:
        """What the codes of ages ``[M]`` (frames) add to every key, ``[M, heads, 1, D / heads]``."""
        half = attention.k_proj.in_features // 2
        frequencies = torch.exp(
            -math.log(10_000.0) * torch.arange(half, device=ages.device, dtype=torch.float32) / half
        )
        angles = ages[:, None] * frequencies
        code = torch.cat([angles.sin(), angles.cos()], -1).to(attention.k_proj.weight.dtype)
        return attention.heads(F.linear(code, attention.k_proj.weight)[:, None])


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of ``[B, C, H, W]``."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class StridedConv(nn.Conv2d):
    """A convolution with few outputs and many channels: on CPU a matrix product, which needs no other order of weights.

    (The library's kernel first reorders the weights, 151 MB for 1,024 to 4,096 channels, on every call.)
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or self.in_channels < 32 or torch.onnx.is_in_onnx_export():
            return super().forward(x)
        height, width = (-(-side // 2) for side in x.shape[-2:])
        columns = F.unfold(x, self.kernel_size, padding=self.padding, stride=self.stride)  # [B, C*9, h*w]
        out = self.weight.flatten(1) @ columns
        if self.bias is not None:
            out = out + self.bias[:, None]
        return out.unflatten(2, (height, width))


class Downsampler(nn.Module):
    """Halves a map ``halvings`` times, four times the channels each, then projects to ``dim_out`` channels."""

    def __init__(self, dim_in: int, dim_out: int, halvings: int) -> None:
        super().__init__()
        widths = [dim_in * 4**i for i in range(halvings + 1)]
        self.convs = nn.ModuleList(StridedConv(a, b, kernel_size=3, stride=2, padding=1) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(ChannelNorm(width, eps=1e-6) for width in widths[1:])
        self.projection = nn.Conv2d(widths[-1], dim_out, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.gelu(norm(conv(x)))
        return self.projection(x)


class FuserBlock(nn.Module):
    """A ConvNeXt block (arXiv 2201.03545): depthwise 7x7, norm, two pointwise layers, scaled and added."""

    def __init__(self, dim: int, feedforward: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(dim, dim, kernel_size=7, padding=3, groups=dim)
        self.norm = ChannelNorm(dim, eps=1e-6)
        self.linear1 = nn.Linear(dim, feedforward)
        self.linear2 = nn.Linear(feedforward, dim)
        self.scale = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.norm(self.depthwise(x)).permute(0, 2, 3, 1)
        return x + (self.scale * self.linear2(F.gelu(self.linear1(mixed)))).permute(0, 3, 1, 2)


class MemoryEncoder(nn.Module):
    """Encodes a decoded frame at the coarsest level's size, whatever level its features come from."""

    def __init__(self, config: X2SamConfig) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.scale, self.bias = config.memory_mask_scale, config.memory_mask_bias
        self.feature_downsamplers = nn.ModuleDict(
            {str(level): Downsampler(dim, dim, halvings=level) for level in config.memory_levels}
        )
        self.mask_downsampler = Downsampler(1, dim, halvings=2)
        self.fuser = nn.ModuleList(
            FuserBlock(dim, config.memory_fuser_feedforward) for _ in range(config.memory_fuser_layers)
        )
        self.projection = nn.Conv2d(dim, dim, kernel_size=1)

    def forward(self, levels: list[Tensor], class_logits: Tensor, mask_logits: Tensor) -> dict[int, Tensor]:
        """Memories ``[B, D, h, w]`` per configured level, from the frame's features (before they read any memory)."""
        mask = self.mask_downsampler(self.guided_mask(class_logits, mask_logits))
        memories = {}
        for name, downsampler in self.feature_downsamplers.items():
            x = downsampler(levels[int(name)]) + mask
            for block in self.fuser:
                x = block(x)
            memories[int(name)] = self.projection(x)
        return memories

    def guided_mask(self, class_logits: Tensor, mask_logits: Tensor) -> Tensor:
        """One mask for all that was found, ``[B, 1, H, W]``: queries compete per pixel, sure ones count more."""
        found = class_logits.softmax(-1)[..., :-1]
        scores = F.pad(found, (0, 1)).amax(-1)  # [B, Q]; 0 where there is no condition at all
        weights = (mask_logits + scores.clamp_min(1e-6).log()[..., None, None]).softmax(1)  # [B, Q, H, W]
        mask = (weights * mask_logits.sigmoid()).sum(1, keepdim=True)
        return mask * self.scale + self.bias
