"""The model on ONNX Runtime: `X2SamModel` with its large parts replaced by graphs; everything else is the same code.

What stays in torch are small maps between the parts, and all that is no network (prompts, tracks, answers): a second
copy of that logic without torch would have to be kept equal to the first.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from x2sam.config import X2SamConfig
from x2sam.errors import CheckpointError, InputError
from x2sam.model.efficientnet import EfficientNetLiteOutput
from x2sam.model.language import LanguageSide, Reading
from x2sam.model.modeling import X2SamModel
from x2sam.model.packed import BLOCK, BYTES, decode
from x2sam.model.prompted_head import PromptedMasks
from x2sam.names import cache_folder
from x2sam.onnx.export import INDEX, REST, export, need
from x2sam.onnx.graphs import STAGES
from x2sam.version import __version__

OPTIMISED = "optimised"
"""Folder beside the graphs."""
PROVIDERS = ["CPUExecutionProvider"]


class Graphs:
    """The graphs of a folder, each opened when it is first run."""

    def __init__(self, folder: Path) -> None:
        need("onnxruntime")
        self.folder = folder
        self.index: dict[str, Any] = json.loads((folder / INDEX).read_text())
        self._sessions: dict[str, Any] = {}

    def run(self, name: str, **inputs: Tensor) -> list[Tensor]:
        """Outputs in the order of the index; tensors on the CPU."""
        if name not in self._sessions:
            self._sessions[name] = opened(self.folder / f"{name}.onnx")
        found = self._sessions[name].run(None, {key: x.contiguous().numpy() for key, x in inputs.items()})
        return [torch.from_numpy(array) for array in found]


def opened(file: Path) -> Any:
    """A session of a graph.

    Most of what opening takes is optimising the graph for the processor, so that is kept in a folder beside it (if one
    can be written there): for this version of ONNX Runtime and this kind of processor alone, as its layouts are.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    known = hashlib.sha256(f"{onnxruntime.__version__} {_processor()}".encode()).hexdigest()[:12]
    ready, part = (file.parent / OPTIMISED / f"{file.stem}-{known}.{end}" for end in ("onnx", f"{os.getpid()}.part"))
    if ready.exists():
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return onnxruntime.InferenceSession(str(ready), options, providers=PROVIDERS)
    try:
        ready.parent.mkdir(exist_ok=True)
        part.touch()
    except OSError:
        return onnxruntime.InferenceSession(str(file), options, providers=PROVIDERS)
    options.optimized_model_filepath = str(part)
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=PROVIDERS)
        part.replace(ready)
    finally:
        part.unlink(missing_ok=True)
    return session


def _processor() -> str:
    """What tells one kind of processor from another: its instructions, where the system lists them."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.exists() else []
    return next((line for line in lines if line.lower().startswith(("flags", "features"))), str(platform.uname()))


class Rows(nn.Module):
    """Embeddings of words, in the blocks that they are published in: a row is decoded when it is asked for."""

    rows: Tensor
    weight: Tensor

    def __init__(self, config: X2SamConfig) -> None:
        super().__init__()
        count, width = config.text_config.vocab_size, config.text_config.hidden_size
        packed = "language.model" in (config.apart or {})
        stored = torch.zeros(count, width // BLOCK * BYTES["Q8_0"], dtype=torch.uint8)
        self.register_buffer("rows", stored if packed else torch.zeros(count, width))
        self.register_buffer("weight", torch.zeros(1, 1).expand(count, width), persistent=False)
        """Of the whole table the size, type and place; not its numbers."""

    def forward(self, ids: Tensor) -> Tensor:
        """``[...]`` -> ``[..., D]``."""
        found = self.rows[ids.flatten()]
        if found.dtype == torch.uint8:
            found = decode(found, "Q8_0")
        return found.view(*ids.shape, -1)


class Cache:
    """Keys and values of what was read: of the early layers, and where all layers read it, of the later ones."""

    def __init__(self) -> None:
        self.parts: dict[str, Tensor] = {}

    def get_seq_length(self) -> int:
        """Tokens read."""
        return self.parts["read"].shape[4] if "read" in self.parts else 0

    def crop(self, tokens: int) -> None:
        """Forget the newest: ``tokens`` is below zero, as in `transformers`' caches."""
        self.parts = {name: part[..., :tokens, :] for name, part in self.parts.items()}

    def push(self, name: str, new: Tensor) -> None:
        known = self.parts.get(name)
        self.parts[name] = new if known is None else torch.cat([known, new], 4)


class OnnxLanguage(LanguageSide):
    """The language side over the graphs ``read`` and ``speak``."""

    graphs: Graphs

    def language_model(self, config: X2SamConfig) -> Any:
        inner = nn.Module()
        inner.embed_tokens, inner.layers = Rows(config), nn.ModuleList()
        outer = nn.Module()
        outer.model = inner
        return outer

    def cache(self) -> Any:
        return Cache()

    def read(
        self,
        reading: Reading,
        attention_mask: Tensor | None = None,
        cache: Any = None,
        position_ids: Tensor | None = None,
        whole: bool = True,
    ) -> tuple[Tensor, Tensor | None]:
        """As `LanguageSide.read`; what it gives for words are their logits already, of the last token."""
        kept, batch, length = cache if cache is not None else Cache(), *reading.embeddings.shape[:2]
        known = kept.get_seq_length()
        real = torch.ones(batch, known + length, dtype=torch.bool)
        if attention_mask is not None:
            real[:, known:] = attention_mask.bool()
        states = self._run("read", reading.embeddings, real, known, kept)[-1]
        return states, self._run("speak", states, real, known, kept)[0][:, None] if whole else None

    def early(self, states: Tensor, mask: Tensor) -> list[Tensor]:
        found = dict(zip(self._stops(), self._run("read", states, mask, 0, Cache()), strict=True))
        return [found[layer] for layer in self.config.meaning_layers]

    def head(self, normed: Tensor) -> Tensor:
        return normed

    def _stops(self) -> list[int]:
        names = list(self.graphs.index["graphs"]["read"]["outputs"])
        return [int(name.removeprefix("states")) for name in names if name.startswith("states")]

    def _run(self, name: str, states: Tensor, real: Tensor, known: int, cache: Cache) -> list[Tensor]:
        """Run some layers on new tokens; ``real`` ``[B, known + L]``. The cache then knows them, too."""
        batch, length = states.shape[:2]
        ahead = torch.arange(known + length) > torch.arange(known, known + length)[:, None]
        hidden = (ahead | ~real[:, None])[:, None]
        *found, new = self.graphs.run(
            name,
            states=states,
            past=cache.parts.get(name, self._nothing(name, batch)),
            mask=torch.zeros(hidden.shape).masked_fill(hidden, torch.finfo(torch.float32).min),
            positions=torch.arange(known, known + length).expand(batch, -1),
        )
        cache.push(name, new)
        return found

    def _nothing(self, name: str, batch: int) -> Tensor:
        layers, two, _, heads, _, depth = self.graphs.index["graphs"][name]["inputs"]["past"]["shape"]
        return torch.zeros(layers, two, batch, heads, 0, depth)


class OnnxBackbone(nn.Module):
    """The graph ``frame`` where the mask encoder has its backbone."""

    graphs: Graphs

    def forward(self, frames: Tensor) -> EfficientNetLiteOutput:
        *maps, recognition = self.graphs.run("frame", frames=frames)
        stages = tuple(x.permute(0, 2, 3, 1) for x in maps)
        return EfficientNetLiteOutput(stages[-1], stages, recognition)


class OnnxEncoder(nn.Module):
    """A mask encoder without a neck: who draws needs none."""

    def __init__(self, _: Any) -> None:
        super().__init__()
        self.backbone = OnnxBackbone()


class OnnxHead(nn.Module):
    """The graph ``draw`` where the prompted head is."""

    graphs: Graphs

    def __init__(self, _: X2SamConfig) -> None:
        super().__init__()

    def look(self, stages: Sequence[Tensor], recognition: Tensor | None) -> Any:
        """The graph makes of them what it needs."""
        return [*stages, recognition]

    def forward(self, looks: Sequence[Tensor], rows: Tensor, **told: Tensor) -> PromptedMasks:
        shown = dict(zip((*STAGES, "recognition"), looks, strict=True))
        return PromptedMasks(*self.graphs.run("draw", **shown, rows=rows, **told))


class OnnxModel(X2SamModel):
    """nano on ONNX Runtime. It segments, tracks and speaks as the network does; it does not train."""

    language_side, encoder_side, head_side = OnnxLanguage, OnnxEncoder, OnnxHead

    def __init__(self, config: X2SamConfig, folder: Path) -> None:
        graphs = Graphs(folder)
        super().__init__(config)
        self.load_state_dict(load_file(folder / REST), strict=True)
        parts: tuple[Any, ...] = (self.language, self.mask_encoder.backbone, self.prompted_head)
        for part in parts:
            part.graphs = graphs
        self.requires_grad_(False)

    @classmethod
    def load(cls, folder: str | Path) -> OnnxModel:
        """Open the graphs that `x2sam.onnx.export.export` wrote.

        Raises:
            CheckpointError: no such folder, or one of a model that does not draw.
        """
        folder = Path(folder)
        if not (folder / INDEX).exists() or not (folder / REST).exists():
            raise CheckpointError(
                f"Got {folder} without graphs of a model that draws", "a folder of: x2sam export onnx --model nano"
            )
        config = copy.deepcopy(X2SamConfig.from_pretrained(folder))
        config.tie_word_embeddings = config.language_config.tie_word_embeddings = False
        return cls(config, folder)


def graphs_of(source: str | Path, load: Callable[[], tuple[X2SamModel, Any]]) -> Path:
    """The graphs of a model: the folder itself if it has them, else written once into the cache.

    source: a model's folder. load: gives the network and its processor.
    """
    source = Path(source)
    if (source / INDEX).exists():
        return source
    if not source.is_dir():
        raise InputError(f"Got {str(source)!r} for runtime='onnx'", "a folder", "Write one: x2sam export onnx")
    marks = [f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in sorted(source.iterdir())]
    mark = hashlib.sha256("\n".join([__version__, *marks]).encode()).hexdigest()[:12]
    target = cache_folder() / "onnx" / f"{source.name}-{mark}"
    if not (target / INDEX).exists():
        model, processor = load()
        export(model, target, processor)
    return target
