"""What each graph computes: the network's own modules, seen through plain tensors."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from x2sam.model.efficientnet import ConvNorm, EfficientNetLiteModel
from x2sam.model.mask_decoder import Guidance
from x2sam.model.mask_memory import Memory, MemoryBank
from x2sam.model.modeling import X2SamModel
from x2sam.model.prompt_maps import CHANNELS, STRIDE
from x2sam.model.recognition import EVIDENCE

STAGES = ("stage4", "stage8", "stage16", "stage32")
"""A frame's maps ``[N, C, h, w]`` by their stride."""


@dataclass(frozen=True)
class Graph:
    """A module to be written down, with an example of its inputs."""

    name: str
    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    free: dict[str, dict[int, str]] = field(default_factory=dict)
    """Of inputs and outputs the axes whose length is free, by name."""
    purpose: str = ""
    again: dict[str, Tensor] = field(default_factory=dict)
    """Other inputs to check it with, whose free axes have other lengths."""


class Kept:
    """A cache for one run of some layers: what is known comes in as a tensor, what is new goes out as one."""

    def __init__(self, past: Tensor, first: int) -> None:
        self.past, self.first = past, first
        self.new: list[Tensor] = []

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any) -> tuple[Tensor, Tensor]:
        """As `transformers`' caches: all keys and values of a layer, ``[B, heads, P + L, D]``."""
        self.new.append(torch.stack([keys, values]))
        known = self.past[layer - self.first]
        return torch.cat([known[0], keys], 2), torch.cat([known[1], values], 2)


class Layers(nn.Module):
    """Some layers of the language model.

    states ``[B, L, D]``, past ``[layers, 2, B, heads, P, d]``, mask ``[B, 1, L, P + L]`` (added to the attention's
    logits), positions ``[B, L]`` -> the states after each of ``stops`` and new keys and values
    ``[layers, 2, B, heads, L, d]``.
    """

    def __init__(self, decoder: Any, start: int, stops: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(decoder.layers[start : stops[-1]])
        self.rotary, self.start, self.stops = decoder.rotary_emb, start, tuple(stops)

    def forward(self, states: Tensor, past: Tensor, mask: Tensor, positions: Tensor) -> tuple[Tensor, ...]:
        turned, kept, found = self.rotary(states, position_ids=positions), Kept(past, self.start), []
        for number, layer in enumerate(self.layers, self.start + 1):
            states = layer(states, attention_mask=mask, position_embeddings=turned, past_key_values=kept)
            if number in self.stops:
                found.append(states)
        return (*found, torch.stack(kept.new))


class Speak(Layers):
    """The layers that only speaking needs, and the logits ``[B, V]`` of the token after the last one."""

    def __init__(self, language: Any, start: int) -> None:
        super().__init__(language.decoder, start, [len(language.decoder.layers)])
        self.norm, self.head = language.decoder.norm, language.model.lm_head
        self.added = language.added

    def forward(self, states: Tensor, past: Tensor, mask: Tensor, positions: Tensor) -> tuple[Tensor, ...]:
        states, present = super().forward(states, past, mask, positions)
        last = self.norm(states[:, -1])
        logits = self.head(last)
        return (logits if self.added is None else torch.cat([logits, F.linear(last, self.added.weight)], -1)), present


class Frame(nn.Module):
    """Frames ``[N, 3, H, W]`` -> the maps of a small backbone, fine to coarse, and its recognition features."""

    def __init__(self, backbone: EfficientNetLiteModel) -> None:
        super().__init__()
        self.backbone = folded(backbone)

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        seen = self.backbone(frames)
        return (*(stage.permute(0, 3, 1, 2) for stage in seen.intermediate_hidden_states), seen.recognition)


class Padded(nn.Conv2d):
    """A convolution whose odd padding goes to the right and the bottom."""

    def forward(self, x: Tensor) -> Tensor:
        more = max(self.kernel_size[0] - self.stride[0], 0)
        if more % 2 == 0:
            return F.conv2d(x, self.weight, self.bias, self.stride, more // 2, 1, self.groups)
        return super().forward(F.pad(x, (more // 2, more - more // 2) * 2))  # `export.pads_in_convolutions` joins them


def folded(backbone: EfficientNetLiteModel) -> EfficientNetLiteModel:
    """A copy with every norm in its convolution's weights; for sides that all strides divide."""
    copied = copy.deepcopy(backbone)
    for parent in list(copied.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, ConvNorm):
                conv: Any = child[0]
                norm: Any = child[1]
                scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
                sizes = (conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride)
                plain = Padded(*sizes, groups=conv.groups)
                plain.weight.data = conv.weight.data * scale.data[:, None, None, None]
                assert plain.bias is not None
                plain.bias.data = (norm.bias - norm.running_mean * scale).data
                setattr(parent, name, plain)
    return copied


class Draw(nn.Module):
    """The prompted head; see `PromptedHead.forward`. ``maps`` are the stages of ``N`` frames, fine to coarse."""

    def __init__(self, head: Any) -> None:
        super().__init__()
        self.head = head

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        *stages, recognition, rows, maps, answers, conditions, evidence = given
        found = self.head(self.head.look(stages, recognition), rows, maps, answers, conditions, evidence)
        return found.logits, found.quality, found.presence, found.pointed, found.single, found.token


def of_prompted(model: X2SamModel) -> list[Graph]:
    """The graphs of a small model that draws what is said and shown (nano)."""
    config, text = model.config, model.config.text_config
    made = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=made)

    side, cells, early = config.image_size, config.image_size // STRIDE, config.conditions_layer
    model.language.model.set_attn_implementation("eager")
    heads, depth = text.num_key_value_heads, text.head_dim
    many = {0: "N", 2: "h", 3: "w"}

    def words(batch: int, known: int, new: int, layers: int) -> dict[str, Tensor]:
        ahead = torch.arange(known + new)[None] > torch.arange(known, known + new)[:, None]
        mask = torch.zeros(batch, 1, new, known + new).masked_fill(ahead, torch.finfo(torch.float32).min)
        return {
            "states": noise(batch, new, text.hidden_size),
            "past": noise(layers, 2, batch, heads, known, depth),
            "mask": mask,
            "positions": torch.arange(known, known + new).expand(batch, -1).contiguous(),
        }

    free = {
        "states": {0: "B", 1: "L"},
        "past": {2: "B", 4: "P"},
        "mask": {0: "B", 2: "L", 3: "T"},
        "positions": {0: "B", 1: "L"},
        "present": {2: "B", 4: "L"},
    }
    stops = [layer for layer in sorted({*config.meaning_layers, early}) if layer <= early]
    states = tuple(f"states{layer}" for layer in stops)
    read = Graph(
        *("read", Layers(model.language.decoder, 0, stops), words(2, 3, 5, early), (*states, "present")),
        free | dict.fromkeys(states, free["states"]),
        "the language model's early layers, which conditions and meanings are made of",
        words(1, 0, 7, early),
    )
    later = len(model.language.decoder.layers) - early
    speak = Graph(
        *("speak", Speak(model.language, early), words(1, 3, 5, later), ("logits", "present")),
        {**free, "logits": {0: "B"}},
        "the language model's other layers, and the next token",
        words(1, 6, 1, later),
    )
    backbone = Frame(model.mask_encoder.backbone)
    shown = noise(2, 3, side, side)
    frame = Graph(
        *("frame", backbone, {"frames": shown}, (*STAGES, "recognition")),
        dict.fromkeys(("frames", *STAGES, "recognition"), many),
        "frames of the mask branch, or pictures of the language side -> maps by their stride",
        {"frames": noise(1, 3, side // 2, side)},
    )
    with torch.no_grad():
        seen = backbone(shown)

    def drawn(rows: Sequence[int], frames: int) -> dict[str, Tensor]:
        prompts = len(rows)
        return {
            **dict(zip((*STAGES, "recognition"), (x[:frames] for x in seen), strict=True)),
            "rows": torch.tensor(rows),
            "maps": torch.rand(prompts, len(CHANNELS), cells, cells, generator=made).round(),
            "answers": 4 * noise(prompts, *seen[-1].shape[-2:]),
            "conditions": noise(prompts, config.hidden_dim),
            "evidence": noise(prompts, EVIDENCE),
        }

    out = ("logits", "quality", "presence", "pointed", "single", "token")
    axes = {name: {0: "P"} for name in ("rows", "maps", "answers", "conditions", "evidence", *out)}
    draw = Graph(
        *("draw", Draw(model.prompted_head), drawn([0, 1, 1], 2), out),
        axes | {n: {0: "N"} for n in (*STAGES, "recognition")},
        "the prompted head: maps of what is drawn or carried -> masks",
        drawn([0], 1),
    )
    return [frame, draw, read, speak]


# --- a mask side with queries and a memory ---------------------------------------------------------------------------


class Encode(nn.Module):
    """Frames ``[1, 3, S, S]`` -> the pixel decoder's levels (coarse to fine), its mask features, and region features.

    ``first`` 1.0: no memory is read, so that the network's own sign of that is added; else 0.0.
    """

    def __init__(self, model: X2SamModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor, first: Tensor) -> tuple[Tensor, ...]:
        features = self.model.encode(frames)
        nothing = self.model.no_memory[:, None, None] * first
        levels, mask_features = self.model.pixel_decoder([x + nothing for x in features.fpn])
        return (*levels, mask_features, features.stage)


def guidance_of(conditions: Tensor, tokens: Tensor, seg: Tensor) -> Guidance:
    """Of one sample whose conditions and words all are there."""
    yes = torch.ones(1, dtype=torch.bool)
    return Guidance(
        conditions=conditions,
        condition_mask=torch.ones_like(conditions[..., 0]) > 0,
        num_conditions=torch.full((1,), conditions.shape[1] - 1),
        tokens=tokens,
        token_mask=torch.ones_like(tokens[..., 0]) > 0,
        seg=seg,
        has_seg=yes,
    )


class Decode(nn.Module):
    """Levels, mask features and guidance -> class logits, mask logits, queries."""

    def __init__(self, model: X2SamModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, coarse: Tensor, middle: Tensor, fine: Tensor, mask_features: Tensor, *told: Tensor
    ) -> tuple[Tensor, ...]:
        guidance = guidance_of(*told)
        decoded = self.model.mask_decoder([coarse, middle, fine], mask_features, guidance)
        queries, masks = decoded[-1]
        return self.model._classify(queries, masks, guidance, None), masks, queries


class Recall(nn.Module):
    """Levels that read what is remembered, then `Decode`.

    memory: of every remembering level ``[layers, 2, M, heads, L, d]``: keys and values of ``M`` frames; ages ``[M]``.
    """

    def __init__(self, model: X2SamModel) -> None:
        super().__init__()
        self.model, self.decode = model, Decode(model)

    def forward(self, coarse: Tensor, middle: Tensor, fine: Tensor, mask_features: Tensor, *rest: Tensor) -> Any:
        *memories, ages, conditions, tokens, seg = rest
        levels, kept = [coarse, middle, fine], dict(zip(self.model.config.memory_levels, memories, strict=True))
        for i, memory in kept.items():
            levels[i] = self._read(levels[i], memory, ages)
        return self.decode(*levels, mask_features, conditions, tokens, seg)

    def _read(self, level: Tensor, memory: Tensor, ages: Tensor) -> Tensor:
        """As many memories as there are at once: their frames lie side by side, as one long memory of each layer."""
        attention = self.model.memory_attention
        keyed = []
        for layer, (keys, values) in zip(attention.layers, memory, strict=True):  # [M, heads, L, d]
            aged = keys + attention.age_keys(layer.cross_attention, ages)
            keyed.append(tuple(x.transpose(0, 1).flatten(1, 2)[None] for x in (aged, values)))
        return attention.attend(level, keyed)


class Remember(nn.Module):
    """A decoded frame -> its keys and values, of every remembering level ``[layers, 2, 1, heads, L, d]``."""

    def __init__(self, model: X2SamModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, coarse: Tensor, middle: Tensor, fine: Tensor, class_logits: Tensor, mask_logits: Tensor
    ) -> tuple[Tensor, ...]:
        encoded = self.model.memory_encoder([coarse, middle, fine], class_logits, mask_logits)
        return tuple(
            torch.stack([torch.stack(pair) for pair in self.model.memory_attention.project(memory)])
            for memory in encoded.values()
        )


def memory_of(bank: MemoryBank, level: int) -> Tensor:
    """A level's memories as `Recall` takes them."""

    def of(memory: Memory) -> Tensor:
        return torch.stack([torch.cat(pair) for pair in memory.levels[level]])

    return torch.stack([of(memory) for memory in bank.memories], 2)
