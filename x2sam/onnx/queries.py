"""The graphs of a mask side with queries and a memory: encode, decode, recall, remember. The bank stays outside."""

from __future__ import annotations

import torch

from x2sam.model.mask_memory import MemoryBank
from x2sam.model.modeling import X2SamModel
from x2sam.onnx.graphs import Decode, Encode, Graph, Recall, Remember, memory_of

CONDITIONS, WORDS, REMEMBERED = 3, 7, 2
"""Of the example that graphs are traced and checked with; all of them are free."""


@torch.no_grad()
def of_queries(model: X2SamModel) -> list[Graph]:
    """Decode without and with memory, on an example of three frames."""
    config = model.config
    made = torch.Generator().manual_seed(0)
    shape = (1, 3, config.image_size, config.image_size)
    dim = config.hidden_dim
    told = {
        "conditions": torch.randn(1, CONDITIONS + 1, dim, generator=made),
        "tokens": torch.randn(1, WORDS, dim, generator=made),
        "seg": torch.randn(1, 1, dim, generator=made),
    }
    shown = {"frames": torch.randn(shape, generator=made), "first": torch.ones(1)}
    maps, names = ("coarse", "middle", "fine", "mask_features"), ("class_logits", "mask_logits", "queries")
    encode, decode, remember = Encode(model), Decode(model), Remember(model)
    seen = dict(zip((*maps, "regions"), encode(*shown.values()), strict=True))
    levels = {name: seen[name] for name in maps}
    answered = dict(zip(names, decode(*levels.values(), *told.values()), strict=True))
    found = {name: answered[name] for name in names[:2]}
    kept = remember(*[seen[name] for name in maps[:3]], *found.values())
    free = {"conditions": {1: "C"}, "tokens": {1: "N"}, "class_logits": {2: "C"}}
    graphs = [
        Graph(
            "encode", encode, shown, (*maps, "regions"), {}, "a frame -> the pixel decoder's levels and mask features"
        ),
        Graph("decode", decode, levels | told, names, free, "masks of a frame where nothing is remembered"),
    ]
    if not config.memory_size:
        return graphs
    remembered = tuple(f"memory{level}" for level in config.memory_levels)
    memories = {name: torch.cat([x] * REMEMBERED, 2) for name, x in zip(remembered, kept, strict=True)}
    recalled = {**levels, **memories, "ages": torch.arange(REMEMBERED, 0, -1).float(), **told}
    many = {name: {2: "M"} for name in remembered}
    shown_again = {**{name: seen[name] for name in maps[:3]}, **found}
    return [
        *graphs,
        Graph(
            *("recall", Recall(model), recalled, names, {**free, **many, "ages": {0: "M"}}),
            "masks of a frame that reads what is remembered; encode it with first = 0",
        ),
        Graph(
            *("remember", remember, shown_again, remembered, {"class_logits": {2: "C"}}),
            "a decoded frame -> what is remembered of it; the last `memory_size` of them are the bank",
        ),
    ]


def stacked(bank: MemoryBank, levels: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """A bank of the network as `recall` takes it: memories, oldest first, and their ages."""
    ages = [bank.next_index - memory.index for memory in bank.memories]
    memories = {f"memory{level}": memory_of(bank, level) for level in levels}
    return {**memories, "ages": torch.tensor(ages, dtype=torch.float32)}
