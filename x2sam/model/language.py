"""The language side: Qwen3-VL reads text, pictures and regions; its states at the markers guide the mask decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import DynamicCache, Qwen3VLForConditionalGeneration

from x2sam.config import X2SamConfig
from x2sam.errors import InputError
from x2sam.model.eyes import SharedEyes
from x2sam.model.layers import projector
from x2sam.model.mask_decoder import Guidance


@dataclass(frozen=True)
class Prefix:
    """The beginning of a prompt, already read: media that several prompts share are read once."""

    length: int
    """Tokens read."""
    cache: DynamicCache
    image_grid_thw: Tensor | None = None
    video_grid_thw: Tensor | None = None
    """Of the media in it, which spatial positions of what follows depend on."""


@dataclass(frozen=True)
class Reading:
    """Input embeddings of a batch with everything that is not text already in place."""

    embeddings: Tensor
    """``[B, L, D]``."""
    visual_mask: Tensor | None
    """``[B, L]`` bool: positions of picture tokens."""
    deepstack: list[Tensor] | None
    """Per deep-stack layer, ``[visual tokens, D]``."""


class LanguageSide(nn.Module):
    """Qwen3-VL, the projector of its states, and the background condition."""

    def __init__(self, config: X2SamConfig) -> None:
        super().__init__()
        self.config = config
        self.qwen = Qwen3VLForConditionalGeneration(config.language_config)
        if config.shared_eyes:
            self.qwen.model.visual = SharedEyes(config)
        self.prompt_projector = projector(config.language_config.text_config.hidden_size, config.hidden_dim)
        hidden = config.language_config.text_config.hidden_size
        self.lexical = nn.Linear(hidden, config.hidden_dim, bias=False) if config.lexical_conditions else None
        self.relevance = nn.Parameter(torch.zeros(hidden)) if config.lexical_conditions else None
        """What a state must look like for its word to count in its condition."""
        self.background = nn.Embedding(1, config.hidden_dim)
        if config.rotary_dtype != "float32":
            for rotary in (self.qwen.model.visual.rotary_pos_emb, self.qwen.model.language_model.rotary_emb):
                rotary.register_forward_pre_hook(_round_frequencies(getattr(torch, config.rotary_dtype)))

    # --- reading -----------------------------------------------------------------------------------------------

    def embed(
        self,
        input_ids: Tensor,
        pixel_values: Tensor | None = None,
        image_grid_thw: Tensor | None = None,
        pixel_values_videos: Tensor | None = None,
        video_grid_thw: Tensor | None = None,
        regions: Tensor | None = None,
    ) -> Reading:
        """Embed ``input_ids`` ``[B, L]``; picture tokens and region slots take their features in order of appearance.

        Features are placed by the ids alone, so a sample may have any number of pictures, none included.
        """
        config = self.config.language_config
        embeddings = self.spell(input_ids, regions)
        visual_mask, deepstack = torch.zeros_like(input_ids, dtype=torch.bool), []
        for token, pixels, grid in (
            (config.image_token_id, pixel_values, image_grid_thw),
            (config.video_token_id, pixel_values_videos, video_grid_thw),
        ):
            mask = input_ids == token
            if pixels is None:
                _place(embeddings, mask, embeddings[:0, 0], "picture")
                continue
            seen = self.qwen.model.visual(pixels.to(self.qwen.dtype), grid_thw=grid)
            embeddings = _place(embeddings, mask, seen.pooler_output, "picture")
            visual_mask = visual_mask | mask
            deepstack.append((mask, seen.deepstack_features))
        if not deepstack:
            return Reading(embeddings, None, None)
        return Reading(embeddings, visual_mask, _merge_deepstack(visual_mask, deepstack))

    def spell(self, input_ids: Tensor, regions: Tensor | None = None) -> Tensor:
        """Words and regions by themselves, ``[B, L, D]``: no context, and pictures are not in place yet."""
        slots = input_ids == self.config.region_token_id
        embeddings = self.qwen.get_input_embeddings()(input_ids.masked_fill(slots, 0).clamp_min(0))
        if regions is None and not bool(slots.any()):
            return embeddings
        features = regions.flatten(0, 1) if regions is not None else embeddings.new_zeros(0, embeddings.shape[-1])
        return _place(embeddings, slots, features, "region")

    def read(
        self,
        reading: Reading,
        attention_mask: Tensor | None = None,
        cache: DynamicCache | None = None,
        position_ids: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Run the language model: (states for conditions, normed states for words), each ``[B, L, D]``."""
        model = self.qwen.model.language_model
        with _input_of(model.norm) as captured:
            normed = model(
                inputs_embeds=reading.embeddings,
                attention_mask=attention_mask,
                position_ids=position_ids,
                past_key_values=cache,
                use_cache=cache is not None,
                visual_pos_masks=reading.visual_mask,
                deepstack_visual_embeds=reading.deepstack,
            ).last_hidden_state
        return (captured[0] if self.config.conditions_before_norm else normed), normed

    def positions(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        image_grid_thw: Tensor | None,
        video_grid_thw: Tensor | None,
    ) -> Tensor | None:
        """None for plain positions; else Qwen3-VL's spatial ones ``[3, B, L]``."""
        if self.config.plain_positions:
            return None
        config = self.config.language_config
        types = (input_ids == config.image_token_id).int() + 2 * (input_ids == config.video_token_id).int()
        return self.qwen.model.get_rope_index(
            input_ids,
            mm_token_type_ids=types,
            image_grid_thw=image_grid_thw,
            video_grid_thw=video_grid_thw,
            attention_mask=attention_mask,
        )[0]

    # --- speaking ----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def speak(
        self,
        states: Tensor,
        normed: Tensor,
        cache: DynamicCache,
        max_new_tokens: int,
        stop_ids: tuple[int, ...],
        next_position: int,
        on_token: Callable[[int], None] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Continue one sample greedily: (new ids ``[1, n]``, their states ``[1, n, D]``).

        Every token that is kept is also read, so a ``<SEG>`` spoken last has its state.
        """
        ids: list[int] = []
        spoken = [states[:, :0]]
        for step in range(max_new_tokens):
            token = int(self.qwen.lm_head(normed[:, -1]).argmax(-1))
            if token in stop_ids:
                break
            ids.append(token)
            if on_token is not None:
                on_token(token)
            embedding = self.qwen.get_input_embeddings()(torch.tensor([[token]], device=states.device))
            position = torch.full((3, 1, 1), next_position + step, device=states.device)
            state, normed = self.read(
                Reading(embedding, None, None), None, cache, None if self.config.plain_positions else position
            )
            spoken.append(state)
        return torch.tensor([ids], dtype=torch.long, device=states.device), torch.cat(spoken, 1)

    def loss(self, normed: Tensor, labels: Tensor) -> Tensor:
        """Next-token cross-entropy, mean over supervised tokens. Only their logits are ever computed."""
        targets = labels[:, 1:]
        supervised = targets != -100
        if not bool(supervised.any()):
            return normed.sum() * 0.0
        logits = self.qwen.lm_head(normed[:, :-1][supervised]).float()
        return nn.functional.cross_entropy(logits, targets[supervised])

    # --- guiding -----------------------------------------------------------------------------------------------

    def guide(
        self, states: Tensor | None, condition_ids: Tensor, input_ids: Tensor, spelled: Tensor | None
    ) -> Guidance:
        """Condition, token and ``<SEG>`` embeddings of every sample.

        Args:
            states: ``[B, L, D_llm]``; None lets words and regions speak for themselves. With lexical conditions they
                also say how much every word counts.
            condition_ids: ``[B, L]``, index of the condition a position belongs to, -1 outside.
            input_ids: ``[B, L]``.
            spelled: ``[B, L, D_llm]``, words and regions without context; needed with lexical conditions only.
        """
        seg_mask = input_ids == self.config.seg_token_id
        spans = condition_ids >= 0
        token_mask, token_index = _compact(spans)  # [B, N]
        told = []
        if self.lexical is not None:
            assert spelled is not None
            spoken = input_ids.gather(1, token_index)
            marker = (spoken == self.config.phrase_start_token_id) | (spoken == self.config.phrase_end_token_id)
            told.append(self.lexical(_at(spelled, token_index)) * ~marker[..., None])
            if states is not None:  # in "the cup below the boat" it is not the boat that is meant
                told[0] = told[0] * 2 * (_at(states, token_index) @ self.relevance).sigmoid()[..., None]
        if states is not None:
            told.append(self.prompt_projector(_at(states, token_index)))
        embedded = sum(told[1:], told[0]) * token_mask[..., None]
        owner = condition_ids.gather(1, token_index).masked_fill(~token_mask, -1)  # [B, N]
        count = int(condition_ids.max()) + 1 if condition_ids.numel() else 0
        device, batch = input_ids.device, len(input_ids)
        member = (owner[:, None] == torch.arange(max(count, 0), device=device)[:, None]).to(embedded.dtype)
        size = member.sum(-1, keepdim=True)  # [B, C, 1]
        there = size[..., 0] > 0
        means = member @ embedded / size.clamp_min(1)
        background = self.background.weight.expand(batch, 1, -1).to(means.dtype)

        has_seg = seg_mask.any(1)
        length = seg_mask.shape[1]
        last = (seg_mask * torch.arange(1, length + 1, device=device)).amax(1).sub(1).clamp_min(0)  # [B]
        seg = embedded.new_zeros(batch, 1, embedded.shape[-1])
        if states is not None:
            seg = self.prompt_projector(states[torch.arange(batch, device=device), last])[:, None]
        return Guidance(
            conditions=torch.cat([means, background], 1),
            condition_mask=torch.cat([there, has_seg.new_ones(batch, 1)], 1),
            num_conditions=there.sum(1),
            tokens=embedded,
            token_mask=token_mask,
            seg=seg * has_seg[:, None, None],
            has_seg=has_seg,
        )


def marker_spans(input_ids: Tensor, start_id: int, end_id: int) -> Tensor:
    """Which condition each token belongs to, ``[B, L]``: tokens from ``<p>`` to ``</p>``, both included; -1 elsewhere.

    A marker without its partner, as a model may speak one, makes no condition.
    """
    length = input_ids.shape[1]
    place = torch.arange(length, device=input_ids.device)
    starts = input_ids == start_id
    opened = torch.where(starts, place, -1).cummax(1).values  # the last <p> up to here
    closes = _next(torch.where(input_ids == end_id, place, length))  # the next </p> from here on
    reopens = _next(torch.where(starts, place, length)).roll(-1, 1).index_fill(1, place[-1:], length)  # the <p> after
    inside = (opened >= 0) & (closes < reopens) & (closes == closes.gather(1, opened.clamp_min(0)))
    return torch.where(inside, (starts & inside).cumsum(1) - 1, -1)


def _next(places: Tensor) -> Tensor:
    return places.flip(1).cummin(1).values.flip(1)


def share(guidance: Guidance) -> Guidance:
    """Let all samples of a batch see all conditions, so that the phrases of one are the negatives of the others."""
    background = guidance.conditions[:, -1:]
    batch = len(background)
    own = guidance.condition_mask[:, :-1]
    conditions = guidance.conditions[:, :-1][own]
    words = guidance.tokens[guidance.token_mask].expand(batch, -1, -1)
    counts = own.sum(1)
    place = torch.arange(len(conditions), device=own.device) + (counts.cumsum(0) - counts)[:, None]  # own ones first
    conditions = conditions[place % max(len(conditions), 1)]
    return Guidance(
        conditions=torch.cat([conditions, background], 1),
        condition_mask=own.new_ones(batch, conditions.shape[1] + 1),
        num_conditions=counts,
        tokens=words,
        token_mask=own.new_ones(batch, words.shape[1]),
        seg=guidance.seg,
        has_seg=guidance.has_seg,
    )


def _place(embeddings: Tensor, mask: Tensor, features: Tensor, what: str) -> Tensor:
    if int(mask.sum()) != len(features):
        raise InputError(
            f"Got {len(features)} {what} embeddings for {int(mask.sum())} {what} tokens",
            "as many as there are",
            "Build inputs with X2SamProcessor, which counts them",
        )
    return embeddings.masked_scatter(mask[..., None], features.to(embeddings.dtype))


def _merge_deepstack(visual_mask: Tensor, parts: list[tuple[Tensor, list[Tensor]]]) -> list[Tensor]:
    """Deep-stack features of images and videos in one list, in the order of their tokens."""
    if len(parts) == 1:
        return list(parts[0][1])
    merged = []
    for layer in range(len(parts[0][1])):
        joint = parts[0][1][layer].new_empty(int(visual_mask.sum()), parts[0][1][layer].shape[-1])
        for mask, features in parts:
            joint[mask[visual_mask]] = features[layer]
        merged.append(joint)
    return merged


def _compact(mask: Tensor) -> tuple[Tensor, Tensor]:
    """The True positions of every row moved to the left: (which are real ``[B, N]``, their index ``[B, N]``)."""
    counts = mask.sum(1)
    width = max(int(counts.max()), 1) if mask.numel() else 1
    index = mask.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :width]
    return torch.arange(width, device=mask.device) < counts[:, None], index


def _at(states: Tensor, index: Tensor) -> Tensor:
    """``[B, L, D]`` at positions ``[B, N]`` -> ``[B, N, D]``."""
    return states.gather(1, index[..., None].expand(-1, -1, states.shape[-1]))


def _round_frequencies(dtype: torch.dtype) -> Callable[[nn.Module, object], None]:
    def hook(module: nn.Module, _: object) -> None:
        module.inv_freq = module.inv_freq.to(dtype).float()

    return hook


@contextmanager
def _input_of(module: nn.Module) -> Iterator[list[Tensor]]:
    """Collect what ``module`` is called with."""
    captured: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, args: captured.append(args[0]))
    try:
        yield captured
    finally:
        handle.remove()
