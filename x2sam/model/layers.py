"""Building blocks shared by the mask decoder and the mask memory: fused attention, rotary and sine position codes."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization

Rotary = Tensor
"""Complex numbers of length one, as pairs ``[H*W, head_dim / 2, 2]``: the turn of every channel pair."""


class Attention(nn.Module):
    """Multi-head attention on PyTorch's fused kernel. Keys and values can be projected once and attended to often."""

    def __init__(self, dim: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.o_proj = nn.Linear(dim, dim)

    def heads(self, x: Tensor) -> Tensor:
        """``[B, L, C]`` -> ``[B, heads, L, C / heads]``."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def attend(
        self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None, rotary: Rotary | None = None
    ) -> Tensor:
        """Attend from ``query`` to projected ``keys`` and ``values``.

        Args:
            query: ``[B, Q, C]``, not yet projected.
            keys, values: ``[B, heads, L, C / heads]``.
            mask: bool, broadcastable to ``[B, heads, Q, L]``; True may be attended to.
            rotary: turns the query (the keys were turned when they were projected, if at all).
        """
        q = self.heads(self.q_proj(query))
        if rotary is not None:
            q = rotate(q, rotary)
        dropout = self.dropout if self.training else 0.0
        out = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask, dropout_p=dropout)
        return self.o_proj(out.transpose(1, 2).flatten(2))  # [B, Q, C]

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, rotary: Rotary | None = None
    ) -> Tensor:
        """Attend from ``query`` ``[B, Q, C]`` to ``key``, ``value`` ``[B, L, C]``; ``rotary`` turns query and key."""
        keys = self.heads(self.k_proj(key))
        if rotary is not None:
            keys = rotate(keys, rotary)
        return self.attend(query, keys, self.heads(self.v_proj(value)), mask, rotary)


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # a table that was first made while serving must also do for training
def rotary_table(height: int, width: int, dim: int, device: torch.device, theta: float = 10_000.0) -> Rotary:
    """Axial rotary table of a feature map for heads of ``dim`` channels: half of them turn with x, half with y."""
    frequencies = theta ** (-torch.arange(0, dim, 4, device=device, dtype=torch.float32) / dim)  # [dim / 4]
    index = torch.arange(height * width, device=device)
    x, y = (index % width).float(), torch.div(index, width, rounding_mode="floor").float()
    angles = torch.cat([torch.outer(x, frequencies), torch.outer(y, frequencies)], -1)  # [H*W, dim / 2]
    return torch.stack([angles.cos(), angles.sin()], -1)


def rotate(x: Tensor, rotary: Rotary) -> Tensor:
    """Turn neighbouring channel pairs of ``x`` ``[..., L, D]`` by the table's angles, in float32."""
    pairs = x.float().unflatten(-1, (-1, 2))
    if torch.onnx.is_in_onnx_export():  # ONNX has no complex numbers; here they are what is quick
        (a, b), (c, s) = pairs.unbind(-1), rotary.unbind(-1)
        return torch.stack([a * c - b * s, a * s + b * c], -1).flatten(-2).to(x.dtype)
    turned = torch.view_as_complex(pairs) * torch.view_as_complex(rotary)
    return torch.view_as_real(turned).flatten(-2).to(x.dtype)


@lru_cache(maxsize=32)
@torch.inference_mode(False)
def sine_positions(height: int, width: int, dim: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Sine position code of a feature map, ``[1, H*W, dim]``: first half of the channels codes y, second half x.

    Positions count from 1 and are normalised to 2 pi over the map (DETR; used by SAM2 and Mask2Former alike).
    """
    half = dim // 2
    channel = torch.arange(half, device=device, dtype=torch.float32)
    wavelength = 10_000.0 ** (2 * torch.div(channel, 2, rounding_mode="floor") / half)

    def code(length: int) -> Tensor:
        position = torch.arange(1, length + 1, device=device, dtype=torch.float32)
        angle = (position / (length + 1e-6) * 2 * math.pi)[:, None] / wavelength  # [length, half]
        return torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), -1).flatten(1)

    y = code(height)[:, None].expand(height, width, half)
    x = code(width)[None].expand(height, width, half)
    return torch.cat((y, x), -1).flatten(0, 1)[None].to(dtype)


def tokens(feature_map: Tensor) -> Tensor:
    """``[B, C, H, W]`` -> ``[B, H*W, C]``."""
    return feature_map.flatten(2).transpose(1, 2)


def projector(dim_in: int, dim_out: int) -> nn.Sequential:
    """The two-layer projector of the paper: linear, GELU, linear."""
    return nn.Sequential(nn.Linear(dim_in, dim_out), nn.GELU(), nn.Linear(dim_out, dim_out))


WAVES = 10
"""Numbers that `waves` makes of one."""


def waves(x: Tensor) -> Tensor:
    """Places ``[..., n]`` in 0..1 -> ``[..., n * WAVES]``: sines and cosines of a quarter to four waves over a side.

    For places that are no grid, and finer than `sine_positions`, whose shortest wave is a whole side.
    """
    phase = torch.pi / 2 * x[..., None] * 2 ** torch.arange(WAVES // 2, device=x.device)
    return torch.cat([phase.sin(), phase.cos()], -1).flatten(-2)


class Started:
    """For a `PreTrainedModel`: parts that a module names in ``start_as_nothing()`` begin at zero.

    `transformers` would pass over such modules in code that is not its own, where they have no parameters themselves.
    """

    @classmethod
    def is_custom_code(cls) -> bool:
        return False

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)  # type: ignore[misc]
        if hasattr(module, "start_as_nothing"):
            for part in module.start_as_nothing():
                for parameter in part.parameters():
                    initialization.zeros_(parameter)


class Places(nn.Module):
    """Adds to a feature map where its places are."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.code = nn.Linear(2 * WAVES, dim, bias=False)

    def start_as_nothing(self) -> list[nn.Module]:
        return [self.code]

    def forward(self, x: Tensor) -> Tensor:
        """``[N, D, h, w]``."""
        rows, columns = (torch.arange(n, device=x.device).add(0.5) / n for n in x.shape[-2:])
        places = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1)  # [h, w, 2]
        return x + self.code(waves(places).to(x.dtype)).permute(2, 0, 1)
