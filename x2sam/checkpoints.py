"""Released X2SAM checkpoints -> ours: loaded, or converted shard by shard. Names are translated by `released`.

A release is either the trained subset (the language model's adapter unmerged; needs the base Qwen3-VL beside it) or
the full model. Nothing is unpickled: `.bin` files are opened with torch's weights-only reader, memory-mapped.
"""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLConfig

from x2sam.config import X2SamConfig
from x2sam.errors import CheckpointError, InputError
from x2sam.model.modeling import X2SamModel
from x2sam.released import ADAPTED, to_ours, to_released

# --- reading files without loading them --------------------------------------------------------------------------


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that is still on disk."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    """As stored; a merged tensor loads more precisely than it needs to be kept."""
    load: Callable[[], Tensor]


def open_weights(path: str | Path) -> dict[str, StoredTensor]:
    """The tensors of a `.safetensors` or `.bin` file, or of a folder of them, by name.

    Raises:
        CheckpointError: nothing there, or a file that is cut off or damaged.
    """
    path = Path(path)
    files = [path]
    if path.is_dir():
        files = sorted(path.glob("*.safetensors")) or sorted(path.glob("pytorch_model*.bin"))
    if not files or not files[0].exists():
        raise CheckpointError(f"Got no weights at {path}", "a .safetensors or .bin file, or a folder with such files")
    tensors: dict[str, StoredTensor] = {}
    for file in files:
        try:
            tensors.update(_open_safetensors(file) if file.suffix == ".safetensors" else _open_bin(file))
        except (SafetensorError, RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"Got a weight file that cannot be read, {file}: {error}", "a whole file", "Download it again"
            ) from error
        except Exception as error:  # torch's weights-only reader refuses anything but tensors
            raise CheckpointError(f"Got a file that holds more than tensors, {file}: {error}") from error
    return tensors


_SAFETENSORS_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def _open_safetensors(file: Path) -> dict[str, StoredTensor]:
    def load(name: str) -> Tensor:
        with safe_open(file, "pt") as reader:
            return reader.get_tensor(name)

    tensors = {}
    with safe_open(file, "pt") as reader:
        for name in reader.keys():  # noqa: SIM118 (a reader is not a mapping)
            header = reader.get_slice(name)
            dtype = _SAFETENSORS_DTYPES[header.get_dtype()]
            tensors[name] = StoredTensor(tuple(header.get_shape()), dtype, partial(load, name))
    return tensors


def _open_bin(file: Path) -> dict[str, StoredTensor]:
    state = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    state = state.get("state_dict", state.get("module", state))
    return {n: StoredTensor(tuple(value.shape), value.dtype, value.detach) for n, value in state.items()}


# --- planning: every tensor of ours, how to get it -----------------------------------------------------------------


def plan_import(
    released: Mapping[str, StoredTensor],
    base: Mapping[str, StoredTensor],
    config: X2SamConfig,
    lora_alpha: float | None,
) -> dict[str, StoredTensor]:
    """How to make each of our tensors from the released ones and the base language model's.

    Raises:
        CheckpointError: names every tensor that is missing, unexpected or of another shape.
    """
    merged, adapters = _collect(released, base)
    made: dict[str, StoredTensor] = {}
    for name, stored in merged.items():
        if name in adapters:
            stored = _merge(stored, adapters.pop(name), lora_alpha)
        ours = to_ours(name)
        for i, our_name in enumerate(ours):
            made[our_name] = _part(stored, i, len(ours))
    if adapters:
        raise CheckpointError(
            f"Got an adapter for {_some(adapters)} without the weights it adapts",
            "the base language model",
            "Pass base_language=FOLDER (Qwen3-VL in Hugging Face format)",
        )
    with torch.device("meta"):
        wanted = X2SamModel(config).state_dict()
    if config.tie_word_embeddings:
        wanted.pop("language.model.lm_head.weight")
        made.pop("language.model.lm_head.weight", None)
    return _checked(made, wanted)


def _collect(
    released: Mapping[str, StoredTensor], base: Mapping[str, StoredTensor]
) -> tuple[dict[str, StoredTensor], dict[str, dict[str, StoredTensor]]]:
    """Weights under released names without adapter spelling, and the adapters (A and B) by the weight they adapt."""
    merged = {f"vlm.{name}": stored for name, stored in base.items()}
    adapters: dict[str, dict[str, StoredTensor]] = {}
    for name, stored in released.items():
        name = name.replace(ADAPTED, "vlm.").replace(".base_layer.", ".").replace(".modules_to_save.default.", ".")
        adapter = re.fullmatch(r"(.*)\.lora_([AB])\.default\.weight", name)
        if adapter:
            adapters.setdefault(f"{adapter[1]}.weight", {})[adapter[2]] = stored
        else:
            merged[name] = stored
    return merged, adapters


def _merge(weight: StoredTensor, adapter: dict[str, StoredTensor], alpha: float | None) -> StoredTensor:
    """``W + alpha / r * B A``, rounded once, to float32. The release trained with alpha = 2 r."""
    a, b = adapter["A"], adapter["B"]
    scale = 2.0 if alpha is None else alpha / a.shape[0]

    def load() -> Tensor:
        return torch.addmm(weight.load().double(), b.load().double(), a.load().double(), alpha=scale).float()

    return StoredTensor(weight.shape, weight.dtype, load)


def _part(stored: StoredTensor, index: int, count: int) -> StoredTensor:
    if count == 1:
        return stored
    shape = (stored.shape[0] // count, *stored.shape[1:])
    return StoredTensor(shape, stored.dtype, lambda: stored.load().chunk(count)[index])


def _checked(made: dict[str, StoredTensor], wanted: Mapping[str, Tensor]) -> dict[str, StoredTensor]:
    missing = [to_released(name) for name in wanted if name not in made]
    unexpected = [to_released(name) for name in made if name not in wanted]
    misshapen = []
    for name, stored in made.items():
        if name in wanted and stored.shape != tuple(wanted[name].shape):
            if _squeezed(stored.shape) == _squeezed(wanted[name].shape):
                made[name] = _reshaped(stored, tuple(wanted[name].shape))
            else:
                misshapen.append(f"{to_released(name)} {list(stored.shape)} instead of {list(wanted[name].shape)}")
    problems = [
        f"{what}: {_some(names)}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen))
        if names
    ]
    if problems:
        raise CheckpointError(
            "Got weights that do not fit the model; " + "; ".join(problems),
            "exactly the tensors of the configuration",
            "Pass base_language=FOLDER for a release with an adapter, or config= for another size",
        )
    return made


def _squeezed(shape: Any) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


def _reshaped(stored: StoredTensor, shape: tuple[int, ...]) -> StoredTensor:
    return StoredTensor(shape, stored.dtype, lambda: stored.load().reshape(shape))


def _some(names: Any, most: int = 6) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


# --- the two ways to use it ----------------------------------------------------------------------------------------


def import_released(
    weights: str | Path,
    base_language: str | Path | None = None,
    config: X2SamConfig | None = None,
    lora_alpha: float | None = None,
    dtype: torch.dtype = torch.float32,
) -> X2SamModel:
    """Load a released checkpoint.

    Args:
        weights: `pytorch_model.bin` (or safetensors, or a folder): the trained subset, or the full model.
        base_language: folder of the Qwen3-VL that the subset was trained from; None for the full form.
        config: sizes; None means the released 4B model, with the language model's sizes from ``base_language``.
        lora_alpha: the adapter's alpha; None means twice its rank, as released.
        dtype: of the model's parameters.
    """
    config, plan = _prepare(weights, base_language, config, lora_alpha)
    with torch.device("meta"):
        model = X2SamModel(config)
    state = {name: stored.load().to(dtype) for name, stored in plan.items()}
    model.load_state_dict(state, strict=False, assign=True)
    model.tie_weights()
    _materialise_buffers(model)
    return model.eval()


def convert_released(
    weights: str | Path,
    out: str | Path,
    base_language: str | Path | None = None,
    config: X2SamConfig | None = None,
    lora_alpha: float | None = None,
    dtype: torch.dtype | None = None,
    shard_bytes: int = 2 * 1024**3,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Convert a released checkpoint to a folder for `X2SamModel.from_pretrained`, one shard in memory at a time.

    Args:
        out: folder to write; it appears under this name only when it is complete.
        dtype: of the stored tensors; None keeps each one's own.
        shard_bytes: upper bound of a shard.
        progress: called with (tensors done, tensors in all).
        weights, base_language, config, lora_alpha: as in `import_released`.
    """
    out = Path(out)
    if out.exists():
        raise InputError(f"Got the output folder {out}, which exists", "a new one", "Name another, or remove it first")
    config, plan = _prepare(weights, base_language, config, lora_alpha)
    unfinished = out.with_name(out.name + ".partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    weight_map: dict[str, str] = {}
    total = 0
    shards = list(_shards(plan, shard_bytes))
    for number, names in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors" if len(shards) > 1 else "model.safetensors"
        shard = {}
        for name in names:
            shard[name] = plan[name].load().to(dtype or plan[name].dtype, copy=True).contiguous()
            total += shard[name].nbytes
            weight_map[name] = file
            if progress is not None:
                progress(len(weight_map), len(plan))
        save_file(shard, unfinished / file, metadata={"format": "pt"})
        del shard
    if len(shards) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        (unfinished / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))
    config.architectures = [X2SamModel.__name__]
    config.save_pretrained(unfinished)
    unfinished.replace(out)
    return out


def _shards(plan: Mapping[str, StoredTensor], limit: int) -> Iterator[list[str]]:
    names: list[str] = []
    size = 0
    for name, stored in plan.items():
        nbytes = stored.dtype.itemsize * torch.Size(stored.shape).numel()
        if names and size + nbytes > limit:
            yield names
            names, size = [], 0
        names.append(name)
        size += nbytes
    if names:
        yield names


def _prepare(
    weights: str | Path, base_language: str | Path | None, config: X2SamConfig | None, lora_alpha: float | None
) -> tuple[X2SamConfig, dict[str, StoredTensor]]:
    released = open_weights(weights)
    base = open_weights(base_language) if base_language is not None else {}
    if config is None:
        language = Qwen3VLConfig.from_pretrained(base_language) if base_language is not None else None
        config = X2SamConfig(language_config=language)
    config = copy.deepcopy(config)
    if base_language is not None and _stored_dtype(Path(base_language)) == "float16":
        config.rotary_dtype = "float16"  # such a base was cast as a whole; the recorded numbers show it
    _fit_vocabulary(config, _collect(released, base)[0])
    adapter_config = Path(weights).parent / "adapter_config.json"
    if lora_alpha is None and adapter_config.exists():
        lora_alpha = json.loads(adapter_config.read_text()).get("lora_alpha")
    return config, plan_import(released, base, config, lora_alpha)


def _stored_dtype(folder: Path) -> str | None:
    config = json.loads((folder / "config.json").read_text())
    return config.get("dtype") or config.get("torch_dtype")


def _fit_vocabulary(config: X2SamConfig, tensors: Mapping[str, StoredTensor]) -> None:
    """Adding tokens changes the number of rows, and training may part the head from the embeddings."""
    embeddings = tensors.get("vlm.model.language_model.embed_tokens.weight")
    head = tensors.get("vlm.lm_head.weight")
    if embeddings is None:
        return
    config.language_config.text_config.vocab_size = embeddings.shape[0]
    tied = head is None or (embeddings.shape == head.shape and torch.equal(embeddings.load(), head.load()))
    config.language_config.text_config.tie_word_embeddings = tied
    config.language_config.tie_word_embeddings = tied
    config.tie_word_embeddings = tied


def _materialise_buffers(model: X2SamModel) -> None:
    """Buffers that are computed rather than stored (rotary frequencies) are still on the meta device: compute them."""
    for name, module in model.named_modules():
        for key, buffer in module.named_buffers(recurse=False):
            if buffer.is_meta:
                fresh = type(module)(config=module.config)
                setattr(module, key, getattr(fresh, key))
                if not isinstance(getattr(module, key), Tensor) or getattr(module, key).is_meta:
                    raise CheckpointError(f"The buffer {name}.{key} has no value")
