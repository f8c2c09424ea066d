"""The mask decoder: queries look at the frame, at the words and at each other, then name their class and their mask.

Mask2Former's decoder (arXiv 2112.01527) with one more attention, from queries to the language model's tokens (X2SAM,
section 3). Everything is batch-first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from x2sam.config import X2SamConfig
from x2sam.model.layers import Attention, Places, sine_positions, tokens


@dataclass(frozen=True)
class Guidance:
    """What the language side hands to the mask decoder. One row per sample; the last condition is the background."""

    conditions: Tensor
    """``[B, C+1, D]``."""
    condition_mask: Tensor
    """``[B, C+1]`` bool: which conditions exist."""
    num_conditions: Tensor
    """``[B]``: the sample's own conditions, which come first; after them, in training, come those of other samples."""
    tokens: Tensor
    """``[B, N, D]``: every token inside a condition."""
    token_mask: Tensor
    """``[B, N]`` bool."""
    seg: Tensor
    """``[B, 1, D]``: the sample's last ``<SEG>``; zeros where there is none."""
    has_seg: Tensor
    """``[B]`` bool."""
    looks: Tensor | None = None
    """``[B, C, R + 1]``: what conditions look like to the recognition features (`recognition.Recognition`)."""

    def only(self, places: Tensor) -> Guidance:
        """The same with some of its conditions (``places`` ``[n]``) and the background alone; tokens stay."""
        kept = torch.cat([places, places.new_tensor([self.conditions.shape[1] - 1])])
        return replace(
            self,
            conditions=self.conditions[:, kept],
            condition_mask=self.condition_mask[:, kept],
            num_conditions=torch.full_like(self.num_conditions, len(places)),
            looks=None if self.looks is None else self.looks[:, places],
        )

    @staticmethod
    def cat(parts: Sequence[Guidance]) -> Guidance:
        """Several of equal shapes as one batch."""
        names = Guidance.__dataclass_fields__
        columns = {name: [getattr(part, name) for part in parts] for name in names}
        return Guidance(**{n: None if column[0] is None else torch.cat(column) for n, column in columns.items()})

    @property
    def shape(self) -> tuple[Any, ...]:
        """Sizes that must agree for `cat`, but for the batch's."""
        looks = None if self.looks is None else self.looks.shape[1:]
        return (self.conditions.shape[1:], self.tokens.shape[1:], looks)

    def select(self, rows: Tensor) -> Guidance:
        """The samples that ``rows`` (indices or a bool mask) picks."""
        parts = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return Guidance(**{name: None if part is None else part[rows] for name, part in parts.items()})


@dataclass(frozen=True)
class Prediction:
    """What one prediction of the decoder says about one frame of every sample."""

    class_logits: Tensor
    """``[B, Q, C+1]``, background last; conditions that do not exist have -1e6."""
    mask_logits: Tensor
    """``[B, Q, H/4, W/4]``."""
    queries: Tensor
    """``[B, Q, D]``: the query embeddings, normed; useful to recognise an object again."""

    def row(self, i: int) -> Prediction:
        """One sample's, as a batch of one."""
        parts = (self.class_logits, self.mask_logits, self.queries)
        return Prediction(*(part[i : i + 1] for part in parts))


class MaskDecoderLayer(GradientCheckpointingLayer):
    """One round: image, then text, then the other queries, then a feed-forward; each added and normed."""

    def __init__(self, config: X2SamConfig) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.image_attention = Attention(dim, config.num_heads)
        self.image_norm = nn.LayerNorm(dim)
        self.text_attention = Attention(dim, config.num_heads)
        self.text_norm = nn.LayerNorm(dim)
        self.self_attention = Attention(dim, config.num_heads)
        self.self_norm = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, config.decoder_feedforward)
        self.linear2 = nn.Linear(config.decoder_feedforward, dim)
        self.final_norm = nn.LayerNorm(dim)

    def start_as_nothing(self) -> list[nn.Module]:
        """Text enters as nothing at first, and its weight is learned (paper, section 3)."""
        return [self.text_attention.o_proj]

    def forward(
        self,
        x: Tensor,
        positions: Tensor,
        image: Tensor,
        image_positions: Tensor,
        image_mask: Tensor | None,
        text: Tensor | None,
        text_mask: Tensor | None,
    ) -> Tensor:
        """``x``, ``positions`` ``[B, Q, D]``; ``image`` ``[B, L, D]``; ``text`` ``[B, N, D]``; masks True = look."""
        x = self.image_norm(x + self.image_attention(x + positions, image + image_positions, image, image_mask))
        if text is not None:
            x = self.text_norm(x + self.text_attention(x + positions, text, text, text_mask))
        x = self.self_norm(x + self.self_attention(x + positions, x + positions, x))
        return self.final_norm(x + self.linear2(F.relu(self.linear1(x))))


class ClassHead(nn.Module):
    """Cosine of query and condition times a learned scale (paper, section 3); phase 1: object or not, linear."""

    def __init__(self, config: X2SamConfig) -> None:
        super().__init__()
        self.linear = nn.Linear(config.hidden_dim, 2) if config.class_agnostic else None
        self.logit_scale = None if config.class_agnostic else nn.Parameter(torch.tensor([1 / 0.07]).log())

    def forward(self, queries: Tensor, guidance: Guidance | None) -> Tensor:
        """``[B, Q, D]`` -> ``[B, Q, C+1]``."""
        if self.linear is not None:
            return self.linear(queries)
        assert guidance is not None
        assert self.logit_scale is not None
        cosine = F.normalize(queries, dim=-1) @ F.normalize(guidance.conditions, dim=-1).transpose(1, 2)
        logits = (self.logit_scale.exp() * cosine).clamp(-50, 50)
        nowhere = max(-1e6, torch.finfo(logits.dtype).min)  # float16 ends at 65504
        return logits.masked_fill(~guidance.condition_mask[:, None], nowhere)


class Alignment(nn.Module):
    """What the mask features themselves, and where they are, answer to the conditions (ours; small models need it).

    A mask's mean answer is a name for it that no query had to learn, and ``the leftmost`` is answered by place.
    """

    def __init__(self, config: X2SamConfig) -> None:
        super().__init__()
        self.project = nn.Linear(config.hidden_dim, config.hidden_dim)
        self.place = Places(config.hidden_dim)

    def start_as_nothing(self) -> list[nn.Module]:
        """What features are recognised by comes with the backbone; what these add is learned."""
        return [self.project]

    def forward(self, conditions: Tensor, mask_features: Tensor) -> Tensor:
        """Conditions ``[B, C, D]`` and mask features ``[B, D, h, w]`` -> answers ``[B, C, h, w]``."""
        return torch.einsum("bcd,bdhw->bchw", self.project(conditions), self.place(mask_features))


class MaskDecoder(nn.Module):
    """Queries, decoder layers and the mask head."""

    def __init__(self, config: X2SamConfig) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.query_positions = nn.Embedding(config.num_queries, dim)
        self.query_features = nn.Embedding(config.num_queries, dim)
        self.prompted_queries = config.prompted_queries
        self.prompt = nn.Linear(dim, 2 * dim) if config.prompted_queries else None
        self.level_embedding = nn.Embedding(3, dim)
        self.layers = nn.ModuleList(MaskDecoderLayer(config) for _ in range(config.decoder_layers))
        self.norm = nn.LayerNorm(dim)
        self.mask_head = nn.Sequential(
            nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim)
        )

    def forward(
        self, levels: list[Tensor], mask_features: Tensor, guidance: Guidance | None, every_layer: bool = False
    ) -> list[tuple[Tensor, Tensor]]:
        """Decode one frame of every sample.

        Args:
            levels: three maps ``[B, D, h, w]``, coarse to fine, visited in turn by the layers.
            mask_features: ``[B, D, H, W]``, stride 4.
            guidance: None in phase 1.
            every_layer: also predict before the first and after every layer (for the auxiliary losses).

        Returns:
            Pairs (queries ``[B, Q, D]``, mask logits ``[B, Q, H, W]``), the final one last.
        """
        batch = mask_features.shape[0]
        sizes = [level.shape[-2:] for level in levels]
        image = [tokens(level) + self.level_embedding.weight[i] for i, level in enumerate(levels)]
        places = [sine_positions(*size, x.shape[-1], x.device, x.dtype) for size, x in zip(sizes, image, strict=True)]
        x, positions = self.start(batch, guidance)
        text, text_mask = None, None
        if guidance is not None:
            text, text_mask = guidance.tokens, _attendable(guidance.token_mask)

        seen = [_resized(mask_features.detach(), size) for size in sizes]
        predictions = []
        for i, layer in enumerate(self.layers):
            level = i % len(levels)
            if every_layer:
                predictions.append(self.predict(x, mask_features))
            looked_at = self.looked_at(x, seen[level])
            x = layer(x, positions, image[level], places[level], looked_at, text, text_mask)
        return [*predictions, self.predict(x, mask_features)]

    def start(self, batch: int, guidance: Guidance | None) -> tuple[Tensor, Tensor]:
        """Queries and their positions, ``[B, Q, D]``; of a few conditions each is the start of a query of its own."""
        x = self.query_features.weight.expand(batch, -1, -1)
        positions = self.query_positions.weight.expand(batch, -1, -1)
        if guidance is None:
            return x, positions
        if self.prompt is not None:
            prompts = self.prompt(guidance.conditions[:, :-1][:, : self.prompted_queries])  # [B, k, 2D]
            k, few = prompts.shape[1], guidance.num_conditions <= self.prompted_queries
            own = torch.arange(k, device=x.device) < (guidance.num_conditions * few)[:, None]
            start, place = (
                torch.where(own[..., None], told.to(learned.dtype), learned[:, :k])
                for told, learned in zip(prompts.chunk(2, -1), (x, positions), strict=True)
            )
            x, positions = torch.cat([start, x[:, k:]], 1), torch.cat([place, positions[:, k:]], 1)
        return x + guidance.seg, positions

    def predict(self, x: Tensor, mask_features: Tensor) -> tuple[Tensor, Tensor]:
        """Normed queries and their mask logits."""
        queries = self.norm(x)
        return queries, torch.einsum("bqd,bdhw->bqhw", self.mask_head(queries), mask_features)

    @torch.no_grad()
    def looked_at(self, x: Tensor, mask_features: Tensor) -> Tensor:
        """Where each query's mask is, ``[B, 1, Q, h*w]`` bool; a query with an empty mask looks everywhere.

        Masks are linear in the mask features, so small masks are made of small features.
        """
        inside = self.predict(x, mask_features)[1].flatten(2) >= 0
        return (inside | ~inside.any(-1, keepdim=True))[:, None]


def _resized(feature_map: Tensor, size: torch.Size) -> Tensor:
    if feature_map.shape[-2:] == size:
        return feature_map
    return F.interpolate(feature_map, size, mode="bilinear", align_corners=False)


def _attendable(mask: Tensor) -> Tensor:
    """``[B, N]`` -> ``[B, 1, 1, N]``; a row without any token may see its padding, which keeps the softmax finite."""
    return (mask | ~mask.any(-1, keepdim=True))[:, None, None]
