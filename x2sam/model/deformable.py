"""Deformable attention (arXiv 2010.04159) that is quick on processors: every output is one weighted sum of table rows.

A sampled point is the weighted sum of four cells of its level, so a head's output for a query is one weighted sum over
levels x points x 4 cells. `embedding_bag` computes just that, without the sampled values ever being stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.models.mask2former import modeling_mask2former as mask2former

ROWS = 2**22
"""Table rows that are looked up at once: 32 MB of indices."""


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
        if hidden_states.device.type != "cpu":
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
        shape = (*x.shape[:2], self.n_heads, self.n_levels, self.n_points)
        values = self.value_proj(encoder_hidden_states)  # [B, L, D]
        if attention_mask is not None:  # True: padding
            values = values.masked_fill(attention_mask[..., None], 0.0)
        offsets = self.sampling_offsets(x).view(*shape, 2)
        weights = self.attention_weights(x).view(*shape[:3], -1).softmax(-1).view(shape)
        sizes = x.new_tensor([[width, height] for height, width in spatial_shapes_list])  # [levels, 2]
        # the coordinate of a cell's centre is a whole number
        places = reference_points[:, :, None, :, None] * sizes[:, None] + offsets - 0.5  # [B, Q, heads, levels, P, 2]
        step = max(1, ROWS // (weights[:, 0].numel() * 4))
        parts = [
            weighted_cells(values, spatial_shapes_list, p, w)
            for p, w in zip(places.split(step, 1), weights.split(step, 1), strict=True)
        ]
        return self.output_proj(torch.cat(parts, 1)), None


def weighted_cells(values: Tensor, sizes: Sequence[tuple[int, int]], places: Tensor, weights: Tensor) -> Tensor:
    """The weighted sum of values read bilinearly at places; outside of a level there are zeros.

    Args:
        values: ``[B, sum of h*w, D]``, level after level.
        sizes: (h, w) of every level.
        places: ``[B, Q, heads, levels, points, 2]``, x and y in cells of the level.
        weights: ``[B, Q, heads, levels, points]``.

    Returns:
        ``[B, Q, D]``.
    """
    batch, length, dim = values.shape
    heads = weights.shape[2]
    table = values.reshape(batch * length * heads, dim // heads)
    device = values.device
    width = torch.tensor([w for _, w in sizes], device=device)[:, None]  # [levels, 1]
    height = torch.tensor([h for h, _ in sizes], device=device)[:, None]
    start = torch.tensor([sum(h * w for h, w in sizes[:i]) for i in range(len(sizes))], device=device)[:, None]
    first = torch.arange(batch, device=device).view(-1, 1, 1, 1, 1) * length + start
    head = torch.arange(heads, device=device).view(1, 1, -1, 1, 1)
    corner = places.floor()
    share_x, share_y = (places - corner).unbind(-1)
    left, top = corner.long().unbind(-1)
    rows, parts = [], []
    for dy, part_y in ((0, 1 - share_y), (1, share_y)):
        for dx, part_x in ((0, 1 - share_x), (1, share_x)):
            x, y = left + dx, top + dy
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            cell = first + y * width + x
            rows.append(torch.where(inside, cell * heads + head, 0))
            parts.append(part_x * part_y * weights * inside)
    index = torch.stack(rows, -1).flatten(0, 2).flatten(1)  # [B*Q*heads, levels*points*4]
    share = torch.stack(parts, -1).flatten(0, 2).flatten(1).to(table.dtype)
    out = F.embedding_bag(index, table, per_sample_weights=share, mode="sum")
    return out.view(batch, -1, dim)
