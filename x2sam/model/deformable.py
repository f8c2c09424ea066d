"""Deformable attention (arXiv 2010.04159) that is quick on processors: every output is one weighted sum of table rows.

A sampled point is the weighted sum of four cells of its level, so a head's output for a query is one weighted sum over
4 cells x levels x points. `embedding_bag` computes just that, without the sampled values ever being stored. The table
has a border of zeros around every level, so that places need only be clamped, never asked whether they are inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.models.mask2former import modeling_mask2former as mask2former

LOOKUPS = 2**18
"""Table rows that are looked up at once: their indices and shares stay in the processor's cache."""

Sizes = tuple[tuple[int, int], ...]
"""(h, w) of every level."""


class DeformableAttention(mask2former.Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention):
    """`transformers`' module with another way to the same numbers on CPU."""

    def forward(  # type: ignore[override]
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        position_embeddings: Tensor | None = None,
        reference_points: Tensor | None = None,
        spatial_shapes_list: Sequence[tuple[int, int]] = (),
        **others: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """As the parent's, for reference points without a size; the attention weights are not handed out on CPU."""
        if hidden_states.device.type != "cpu" or torch.onnx.is_in_onnx_export():
            return super().forward(
                hidden_states,
                attention_mask,
                encoder_hidden_states,
                encoder_attention_mask,
                position_embeddings,
                reference_points,
                spatial_shapes_list,
                **others,
            )
        assert reference_points is not None
        x = self.with_pos_embed(hidden_states, position_embeddings)
        values = self.value_proj(encoder_hidden_states)  # [B, L, D]
        if attention_mask is not None and attention_mask.any():  # True: padding
            values = values.masked_fill(attention_mask[..., None], 0.0)
        sizes = tuple((int(height), int(width)) for height, width in spatial_shapes_list)
        offsets = self.sampling_offsets(x).unflatten(-1, (self.n_heads, -1, 2))
        offsets = offsets.movedim(-1, 2).contiguous()  # [B, Q, 2, heads, levels*P]: what follows runs over long rows
        cells = reference_points.transpose(-1, -2) * x.new_tensor(sizes).flip(-1).T  # [B, Q, 2, levels]
        places = offsets + (cells - 0.5).repeat_interleave(self.n_points, -1)[..., None, :]
        weights = self.attention_weights(x).unflatten(-1, (self.n_heads, -1)).softmax(-1)
        return self.output_proj(weighted_cells(values, sizes, places, weights)), None


def weighted_cells(values: Tensor, sizes: Sizes, places: Tensor, weights: Tensor) -> Tensor:
    """The weighted sum of values read bilinearly at places; outside of a level there are zeros.

    Args:
        values: ``[B, sum of h*w, D]``, level after level.
        sizes: (h, w) of every level.
        places: ``[B, Q, 2, heads, levels * points]``, x and y in cells of the level; a cell's centre is a whole number.
        weights: ``[B, Q, heads, levels * points]``.

    Returns:
        ``[B, Q, D]``.
    """
    heads, points = weights.shape[-2:]
    table = bordered(values, sizes)
    rows = table_rows(sizes, heads, points // len(sizes), values.device)
    step = max(1, LOOKUPS // (4 * heads * points))
    sums = [
        _sums(sample.view(-1, sample.shape[-1] // heads), rows, p, w)
        for sample, ps, ws in zip(table, places, weights, strict=True)
        for p, w in zip(ps.split(step), ws.split(step), strict=True)
    ]
    return torch.cat(sums).view(*weights.shape[:2], -1)


def bordered(values: Tensor, sizes: Sizes) -> Tensor:
    """``[B, sum of h*w, D]`` -> ``[B, cells, D]``: every level with a border of zeros, and zeros at the end."""
    cells = [(height + 2) * (width + 2) for height, width in sizes]
    table = values.new_zeros(values.shape[0], sum(cells) + sizes[-1][1] + 3, values.shape[2])
    levels = values.split([height * width for height, width in sizes], 1)
    for level, start, count, (height, width) in zip(levels, accumulate(cells, initial=0), cells, sizes, strict=False):
        framed = table[:, start : start + count].unflatten(1, (height + 2, width + 2))
        framed[:, 1:-1, 1:-1] = level.unflatten(1, (height, width))
    return table


class TableRows(NamedTuple):
    """Where the cells of a bordered table are; everything is int32 but ``last``."""

    last: Tensor
    """``[2, 1, levels * points]`` float: the greatest x and y, counted from the border."""
    line: Tensor
    """``[heads, levels * points]``: rows from a cell to the one below."""
    first: Tensor
    """``[heads, levels * points]``: the row of the level's first cell."""
    corners: Tensor
    """``[4, levels * points]``: rows from a cell to itself, to the right, below, and both."""


@lru_cache(maxsize=32)
@torch.inference_mode(False)
def table_rows(sizes: Sizes, heads: int, points: int, device: torch.device) -> TableRows:
    """Of a table with one row per cell and head."""

    def column(numbers: Sequence[int]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.int32, device=device).repeat_interleave(points)

    last = torch.stack([column([w + 1 for _, w in sizes]), column([h + 1 for h, _ in sizes])])
    line = column([(w + 2) * heads for _, w in sizes])
    starts = accumulate(((h + 2) * (w + 2) * heads for h, w in sizes[:-1]), initial=0)
    head = torch.arange(heads, dtype=torch.int32, device=device)[:, None]
    corners = torch.stack([0 * line, 0 * line + heads, line, line + heads])
    return TableRows(last[:, None].float(), line.repeat(heads, 1), column(list(starts)) + head, corners)


def _sums(table: Tensor, rows: TableRows, places: Tensor, weights: Tensor) -> Tensor:
    """`weighted_cells` of some queries of one sample: ``[Q, heads, D / heads]``."""
    places = (places.float() + 1).clamp_min(0).minimum(rows.last)  # [Q, 2, heads, levels*P]
    right, below = places.frac().to(weights.dtype).unbind(1)
    x, y = places.detach().int().clamp_min_(0).unbind(1)  # a place that is not a number has no row
    index = y.mul_(rows.line).add_(x, alpha=weights.shape[1]).add_(rows.first)
    index = (index[:, :, None] + rows.corners).flatten(2).flatten(0, 1)  # [Q*heads, 4*levels*P]
    lower = weights * below
    upper = weights - lower
    lower_right, upper_right = lower * right, upper * right
    shares = torch.stack([upper - upper_right, upper_right, lower - lower_right, lower_right], 2)
    shares = shares.flatten(2).flatten(0, 1).to(table.dtype)
    return F.embedding_bag(index, table, per_sample_weights=shares, mode="sum").unflatten(0, weights.shape[:2])
