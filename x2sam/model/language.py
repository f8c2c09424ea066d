"""The language side: a language model reads text, pictures and regions; its states guide the mask decoder.

The language model is Qwen3-VL, or any causal one of `transformers` that sees through shared eyes (`SharedEyes`). What
differs between the two is in the properties at the top of `LanguageSide`; everything else is one path.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, DynamicCache, Qwen3VLForConditionalGeneration
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLConfig

from x2sam.config import X2SamConfig
from x2sam.errors import InputError
from x2sam.model.eyes import SharedEyes
from x2sam.model.layers import projector
from x2sam.model.mask_decoder import Guidance

ADAPTED = ("self_attn.q_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.down_proj")
"""Projections of a layer that have adapters, if any do."""
MEANINGS = 4096
"""Phrases whose meaning is kept."""


@dataclass(frozen=True)
class Prefix:
    """The beginning of a prompt, already read: media that several prompts share are read once."""

    length: int
    """Tokens read."""
    cache: DynamicCache
    image_grid_thw: Tensor | None = None
    video_grid_thw: Tensor | None = None
    """Of the media in it, which spatial positions of what follows depend on."""
    whole: bool = True
    """Read by all layers, so that what follows can be spoken; else by those that conditions need."""


@dataclass(frozen=True)
class Reading:
    """Input embeddings of a batch with everything that is not text already in place."""

    embeddings: Tensor
    """``[B, L, D]``."""
    visual_mask: Tensor | None
    """``[B, L]`` bool: positions of picture tokens."""
    deepstack: list[Tensor] | None
    """Per deep-stack layer, ``[visual tokens, D]``."""


class Adapter(nn.Module):
    """A low-rank map that begins as nothing."""

    def __init__(self, dim_in: int, dim_out: int, rank: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(dim_in, rank, bias=False), nn.Linear(rank, dim_out, bias=False)

    def start_as_nothing(self) -> list[nn.Module]:
        return [self.up]

    def forward(self, x: Tensor) -> Tensor:
        """``[..., dim_in]`` -> ``[..., dim_out]``."""
        return 2 * self.up(self.down(x))


def _adapt(adapter: Adapter, module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor:
    return out + adapter(inputs[0])


class LanguageSide(nn.Module):
    """The language model, the projector of its states, and the background condition."""

    meaning_centre: Tensor
    meaning_spread: Tensor

    def __init__(self, config: X2SamConfig) -> None:
        super().__init__()
        self.config = config
        self.model = self.language_model(config)
        self.eyes = SharedEyes(config) if config.shared_eyes else None
        if self.eyes is not None and isinstance(config.language_config, Qwen3VLConfig):
            del self.model.model.visual
        hidden = config.text_config.hidden_size
        self.prompt_projector = projector(hidden, config.hidden_dim)
        self.lexical = (
            nn.Linear(config.meaning_size, config.hidden_dim, bias=False) if config.lexical_conditions else None
        )
        self.added = nn.Embedding(config.added_tokens, hidden) if config.added_tokens else None
        """Rows of tokens that come after the language model's own vocabulary; they are read and spoken alike."""
        self.adapters = nn.ModuleDict()
        """By layer and projection, ``8 q_proj``: what is added to the projection's output."""
        for number, layer in enumerate(self.decoder.layers if config.adapter_rank else ()):
            for name in ADAPTED if number >= config.conditions_layer else ():
                linear = layer.get_submodule(name)
                adapter = Adapter(linear.in_features, linear.out_features, config.adapter_rank)
                self.adapters[f"{number} {name.rpartition('.')[2]}"] = adapter
                linear.register_forward_hook(partial(_adapt, adapter))
        self.background = nn.Embedding(1, config.hidden_dim)
        if config.lexical_conditions:
            self.register_buffer("meaning_centre", torch.zeros(config.meaning_size))
            self.register_buffer("meaning_spread", torch.ones(config.meaning_size))
        """Early states of phrases lie far from zero, and all on one side: a meaning is what they have beyond that."""
        self._meanings: OrderedDict[tuple[Any, ...], Tensor] = OrderedDict()
        if config.rotary_dtype != "float32":
            for rotary in (self.visual.rotary_pos_emb, self.decoder.rotary_emb):
                rotary.register_forward_pre_hook(_round_frequencies(getattr(torch, config.rotary_dtype)))

    def language_model(self, config: X2SamConfig) -> Any:
        """The language model itself, with random weights."""
        if isinstance(config.language_config, Qwen3VLConfig):
            return Qwen3VLForConditionalGeneration(config.language_config)
        return AutoModelForCausalLM.from_config(config.language_config)

    def cache(self) -> Any:
        """Where keys and values of what was read are kept; empty."""
        return DynamicCache(config=self.config.text_config)

    # --- what differs between language models ----------------------------------------------------------------------

    @property
    def decoder(self) -> Any:
        """The stack of layers, with ``embed_tokens``, ``layers`` and ``norm``."""
        inner = self.model.model
        return inner.language_model if hasattr(inner, "language_model") else inner

    @property
    def visual(self) -> Any:
        """What makes picture tokens: the shared eyes, or the language model's own tower."""
        return self.eyes if self.eyes is not None else self.model.model.visual

    def layers(self, start: int = 0, stop: int | None = None) -> Any:
        """The decoder with some of its layers and without the final norm: the same modules, another view.

        Conditions are made of states before the norm, and where nothing is spoken of an early layer's.
        """
        whole = self.decoder
        chosen = whole.layers if (start, stop) == (0, None) else nn.ModuleList(whole.layers[start:stop])
        view = copy.copy(whole)
        view._modules = {**whole._modules, "layers": chosen, "norm": nn.Identity()}
        view.config = copy.copy(whole.config)
        view.config.num_hidden_layers = len(chosen)
        return view

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
        embeddings = self.spell(input_ids, regions)
        visual_mask, deepstack = torch.zeros_like(input_ids, dtype=torch.bool), []
        for token, pixels, grid in zip(
            self.config.picture_token_ids,
            (pixel_values, pixel_values_videos),
            (image_grid_thw, video_grid_thw),
            strict=True,
        ):
            mask = input_ids == token
            if pixels is None:
                _place(embeddings, mask, embeddings[:0, 0], "picture")
                continue
            seen = self.visual(pixels.to(embeddings.dtype), grid_thw=grid)
            embeddings = _place(embeddings, mask, seen.pooler_output, "picture")
            visual_mask = visual_mask | mask
            deepstack.append((mask, seen.deepstack_features))
        if not deepstack:
            return Reading(embeddings, None, None)
        return Reading(embeddings, visual_mask, _merge_deepstack(visual_mask, deepstack))

    def spell(self, input_ids: Tensor, regions: Tensor | None = None) -> Tensor:
        """Words and regions by themselves, ``[B, L, D]``: no context, and pictures are not in place yet."""
        slots = input_ids == self.config.region_token_id
        ids = input_ids.masked_fill(slots, 0).clamp_min(0)
        if self.added is None:
            embeddings = self.decoder.embed_tokens(ids)
        else:
            own = self.decoder.embed_tokens.weight.shape[0]
            new = (ids - own).clamp_min(0)
            embeddings = torch.where(
                (ids < own)[..., None], self.decoder.embed_tokens(ids.clamp_max(own - 1)), self.added(new)
            )
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
        whole: bool = True,
    ) -> tuple[Tensor, Tensor | None]:
        """Run the language model: (states for conditions, normed states for words), each ``[B, L, D]``.

        whole: False runs only the layers that conditions need, and gives no states for words.
        """
        early, extra = self.config.conditions_layer, dict[str, Any]()
        speaks = whole and early > 0  # both the early states and the last ones are wanted
        decoder = self.decoder if speaks else self.layers(0, early or None)
        if reading.deepstack:
            extra |= {"visual_pos_masks": reading.visual_mask, "deepstack_visual_embeds": reading.deepstack}
        if speaks:
            extra["output_hidden_states"] = True
        out = decoder(
            inputs_embeds=reading.embeddings,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=cache,
            use_cache=cache is not None,
            **extra,
        )
        last = out.last_hidden_state
        if speaks:
            return out.hidden_states[early], last
        if early:
            return last, None
        normed = self.decoder.norm(last)
        return (last if self.config.conditions_before_norm else normed), normed

    def meanings(self, input_ids: Tensor, condition_ids: Tensor, spelled: Tensor) -> Tensor:
        """What every condition means by itself, ``[B, C, M]``: of a phrase the states of ``meaning_layers`` at its last
        token, read after ``lexical_prefix`` and without its article; of a region the mean of its embeddings, as often.

        A phrase is read once as long as the language model stays as it is.
        """
        count = int(condition_ids.max()) + 1 if condition_ids.numel() else 0
        out = spelled.new_zeros(len(input_ids), max(count, 0), self.config.meaning_size)
        wanted: dict[tuple[int, ...], list[tuple[int, int]]] = {}
        markers = (self.config.phrase_start_token_id, self.config.phrase_end_token_id)
        for row, (ids, owners) in enumerate(zip(input_ids.tolist(), condition_ids.tolist(), strict=True)):
            inside: dict[int, list[int]] = {}
            for place, owner in enumerate(owners):
                if owner >= 0 and ids[place] not in markers:
                    inside.setdefault(owner, []).append(place)
            for owner, places in inside.items():
                words = tuple(ids[place] for place in places)
                if self.config.region_token_id in words:
                    out[row, owner] = spelled[row, places].mean(0).repeat(len(self.config.meaning_layers))
                else:
                    wanted.setdefault(words, []).append((row, owner))
        for words, meaning in zip(wanted, self.meanings_of(list(wanted)), strict=True):
            for row, owner in wanted[words]:
                out[row, owner] = meaning
        return out

    def meanings_of(self, phrases: list[tuple[int, ...]]) -> list[Tensor]:
        """What phrases, as tokens, mean by themselves: each ``[M]``."""
        weight = self.decoder.embed_tokens.weight
        learns = torch.is_grad_enabled() and any(p.requires_grad for p in self.decoder.parameters())
        keys = [(str(weight.device), weight.dtype, *phrase) for phrase in phrases]
        kept = {} if learns else {key: self._meanings.get(key) for key in keys}
        known = {key: meaning for key, meaning in kept.items() if meaning is not None}
        new = [(key, phrase) for key, phrase in zip(keys, phrases, strict=True) if key not in known]
        for start in range(0, len(new), 64):
            part = new[start : start + 64]
            with torch.set_grad_enabled(learns):
                states = self._read_phrases([phrase for _, phrase in part], weight.device)
            known |= {key: state for (key, _), state in zip(part, states, strict=True)}
        if learns:
            self.forget()
        else:
            self._meanings.update(known)
            for oldest in list(self._meanings)[: max(len(self._meanings) - MEANINGS, 0)]:
                self._meanings.pop(oldest, None)
        return [known[key] for key in keys]

    def forget(self) -> None:
        """Read phrases anew: something that meanings are made of has changed."""
        self._meanings.clear()

    def _read_phrases(self, phrases: list[tuple[int, ...]], device: torch.device) -> Tensor:
        articles, prefix = self.config.lexical_articles, list(self.config.lexical_prefix)
        bare = [list(p[1:] if len(p) > 1 and p[0] in articles else p) for p in phrases]
        lengths = torch.tensor([len(prefix) + len(words) for words in bare], device=device)
        ids = torch.zeros(len(bare), int(lengths.max()), dtype=torch.long, device=device)
        for row, words in zip(ids, bare, strict=True):
            row[: len(prefix) + len(words)] = torch.tensor(prefix + words)
        mask = torch.arange(ids.shape[1], device=device) < lengths[:, None]
        last = torch.arange(len(bare), device=device), lengths - 1
        found = [states[last] for states in self.early(self.spell(ids), mask)]
        return (torch.cat(found, -1) - self.meaning_centre) / self.meaning_spread

    def early(self, states: Tensor, mask: Tensor) -> list[Tensor]:
        """States ``[B, L, D]`` after each of ``meaning_layers``; ``mask`` ``[B, L]`` bool: real tokens."""
        found = []
        for start, stop in pairwise((0, *self.config.meaning_layers)):
            view = self.layers(start, stop)
            states = view(inputs_embeds=states, attention_mask=mask.long(), use_cache=False).last_hidden_state
            found.append(states)
        return found

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
        image, video = self.config.picture_token_ids
        types = (input_ids == image).int() + 2 * (input_ids == video).int()
        return self.model.model.get_rope_index(
            input_ids,
            mm_token_type_ids=types,
            image_grid_thw=image_grid_thw,
            video_grid_thw=video_grid_thw,
            attention_mask=attention_mask,
        )[0]

    # --- speaking ----------------------------------------------------------------------------------------------

    def head(self, normed: Tensor) -> Tensor:
        """Logits of the next token ``[..., V]``."""
        logits = self.model.lm_head(normed)
        return logits if self.added is None else torch.cat([logits, normed @ self.added.weight.T], -1)

    @torch.no_grad()
    def speak(
        self,
        states: Tensor,
        normed: Tensor,
        cache: DynamicCache,
        max_new_tokens: int,
        stop_ids: tuple[int, ...],
        next_position: int,
    ) -> Generator[int, None, tuple[Tensor, Tensor]]:
        """Continue one sample greedily, yielding every new id; returns (ids ``[1, n]``, their states ``[1, n, D]``).

        Every token that is kept is also read, so a ``<SEG>`` spoken last has its state.
        """
        ids: list[int] = []
        spoken = [states[:, :0]]
        last: Tensor | None = normed
        for step in range(max_new_tokens):
            assert last is not None
            token = int(self.head(last[:, -1]).argmax(-1))
            if token in stop_ids:
                break
            ids.append(token)
            yield token
            embedding = self.spell(torch.tensor([[token]], device=states.device))
            position = torch.full((3, 1, 1), next_position + step, device=states.device)
            state, last = self.read(
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
        logits = self.head(normed[:, :-1][supervised]).float()
        return nn.functional.cross_entropy(logits, targets[supervised])

    # --- guiding -----------------------------------------------------------------------------------------------

    def guide(
        self, states: Tensor | None, condition_ids: Tensor, input_ids: Tensor, meanings: Tensor | None
    ) -> Guidance:
        """Condition, token and ``<SEG>`` embeddings of every sample.

        Args:
            states: ``[B, L, D_llm]``; None lets conditions speak for themselves.
            condition_ids: ``[B, L]``, index of the condition a position belongs to, -1 outside.
            input_ids: ``[B, L]``.
            meanings: ``[B, C, M]``, what conditions mean by themselves; needed with lexical conditions only.
        """
        seg_mask = input_ids == self.config.seg_token_id
        spans = condition_ids >= 0
        token_mask, token_index = _compact(spans)  # [B, N]
        owner = condition_ids.gather(1, token_index).masked_fill(~token_mask, -1)  # [B, N]
        count = int(condition_ids.max()) + 1 if condition_ids.numel() else 0
        device, batch = input_ids.device, len(input_ids)
        told = []
        if states is not None:
            told.append(self.prompt_projector(_at(states, token_index)))
        if self.lexical is not None and count:
            assert meanings is not None
            told.append(_at(self.lexical(meanings), owner.clamp_min(0)))
        nothing = self.background.weight.new_zeros(*token_index.shape, self.config.hidden_dim)
        embedded = sum(told, nothing) * token_mask[..., None]
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
    looks = guidance.looks
    if looks is not None:
        looks = looks[own]
        looks = looks[place % max(len(looks), 1)]
    return Guidance(
        conditions=torch.cat([conditions, background], 1),
        condition_mask=own.new_ones(batch, conditions.shape[1] + 1),
        num_conditions=counts,
        tokens=words,
        token_mask=own.new_ones(batch, words.shape[1]),
        seg=guidance.seg,
        has_seg=guidance.has_seg,
        looks=looks,
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
