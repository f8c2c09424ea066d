"""Released X2SAM checkpoints -> ours: one literal key table, read in both directions, and a streaming conversion.

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
from transformers.models.sam2.configuration_sam2 import Sam2VisionConfig

from x2sam.config import X2SamConfig
from x2sam.errors import CheckpointError, InputError
from x2sam.model.modeling import X2SamModel

# fmt: off
KEY_TABLE: tuple[tuple[str, str], ...] = (
    ("vlm.", "language.qwen."),
    ("mlm_projector.model.", "language.prompt_projector."),
    ("bg_embeds.", "language.background."),
    ("extra_projector.model.", "region_sampler.projector."),
    ("segmentor.encoder.", "mask_encoder."),
    ("segmentor.pixel_decoder.", "pixel_decoder.decoder."),
    ("segmentor.no_memory_embedding", "no_memory"),
    ("segmentor.class_predictor.logit_scale", "class_head.logit_scale"),
    ("segmentor.decoder.queries_embedder.", "mask_decoder.query_positions."),
    ("segmentor.decoder.queries_features.", "mask_decoder.query_features."),
    ("segmentor.decoder.level_embed.", "mask_decoder.level_embedding."),
    ("segmentor.decoder.decoder.layernorm.", "mask_decoder.norm."),
    ("segmentor.decoder.decoder.mask_predictor.mask_embedder.0.0.", "mask_decoder.mask_head.0."),
    ("segmentor.decoder.decoder.mask_predictor.mask_embedder.1.0.", "mask_decoder.mask_head.2."),
    ("segmentor.decoder.decoder.mask_predictor.mask_embedder.2.0.", "mask_decoder.mask_head.4."),
    ("segmentor.decoder.decoder.layers.*.cross_attn.in_proj_weight", "mask_decoder.layers.*.image_attention.{q,k,v}_proj.weight"),
    ("segmentor.decoder.decoder.layers.*.cross_attn.in_proj_bias", "mask_decoder.layers.*.image_attention.{q,k,v}_proj.bias"),
    ("segmentor.decoder.decoder.layers.*.cross_attn.out_proj.", "mask_decoder.layers.*.image_attention.o_proj."),
    ("segmentor.decoder.decoder.layers.*.cross_attn_layer_norm.", "mask_decoder.layers.*.image_norm."),
    ("segmentor.decoder.decoder.layers.*.text_cross_attn.in_proj_weight", "mask_decoder.layers.*.text_attention.{q,k,v}_proj.weight"),
    ("segmentor.decoder.decoder.layers.*.text_cross_attn.in_proj_bias", "mask_decoder.layers.*.text_attention.{q,k,v}_proj.bias"),
    ("segmentor.decoder.decoder.layers.*.text_cross_attn.out_proj.", "mask_decoder.layers.*.text_attention.o_proj."),
    ("segmentor.decoder.decoder.layers.*.text_cross_attn_layer_norm.", "mask_decoder.layers.*.text_norm."),
    ("segmentor.decoder.decoder.layers.*.self_attn.q_proj.", "mask_decoder.layers.*.self_attention.q_proj."),
    ("segmentor.decoder.decoder.layers.*.self_attn.k_proj.", "mask_decoder.layers.*.self_attention.k_proj."),
    ("segmentor.decoder.decoder.layers.*.self_attn.v_proj.", "mask_decoder.layers.*.self_attention.v_proj."),
    ("segmentor.decoder.decoder.layers.*.self_attn.out_proj.", "mask_decoder.layers.*.self_attention.o_proj."),
    ("segmentor.decoder.decoder.layers.*.self_attn_layer_norm.", "mask_decoder.layers.*.self_norm."),
    ("segmentor.decoder.decoder.layers.*.fc1.", "mask_decoder.layers.*.linear1."),
    ("segmentor.decoder.decoder.layers.*.fc2.", "mask_decoder.layers.*.linear2."),
    ("segmentor.decoder.decoder.layers.*.final_layer_norm.", "mask_decoder.layers.*.final_norm."),
    ("segmentor.memory_attention.layers.*.self_attn.", "memory_attention.layers.*.self_attention."),
    ("segmentor.memory_attention.layers.*.cross_attn.", "memory_attention.layers.*.cross_attention."),
    ("segmentor.memory_attention.layers.*.linear1.", "memory_attention.layers.*.linear1."),
    ("segmentor.memory_attention.layers.*.linear2.", "memory_attention.layers.*.linear2."),
    ("segmentor.memory_attention.layers.*.layer_norm1.", "memory_attention.layers.*.norm1."),
    ("segmentor.memory_attention.layers.*.layer_norm2.", "memory_attention.layers.*.norm2."),
    ("segmentor.memory_attention.layers.*.layer_norm3.", "memory_attention.layers.*.norm3."),
    ("segmentor.memory_attention.layer_norm.", "memory_attention.norm."),
    ("segmentor.memory_encoder.mask_downsampler.layers.*.conv.", "memory_encoder.mask_downsampler.convs.*."),
    ("segmentor.memory_encoder.mask_downsampler.layers.*.layer_norm.", "memory_encoder.mask_downsampler.norms.*."),
    ("segmentor.memory_encoder.mask_downsampler.final_conv.", "memory_encoder.mask_downsampler.projection."),
    ("segmentor.memory_encoder.vision_downsampler.*.layers.*.conv.", "memory_encoder.feature_downsamplers.*.convs.*."),
    ("segmentor.memory_encoder.vision_downsampler.*.layers.*.layer_norm.", "memory_encoder.feature_downsamplers.*.norms.*."),
    ("segmentor.memory_encoder.vision_downsampler.*.final_conv.", "memory_encoder.feature_downsamplers.*.projection."),
    ("segmentor.memory_encoder.memory_fuser.layers.*.scale", "memory_encoder.fuser.*.scale"),
    ("segmentor.memory_encoder.memory_fuser.layers.*.depthwise_conv.", "memory_encoder.fuser.*.depthwise."),
    ("segmentor.memory_encoder.memory_fuser.layers.*.layer_norm.", "memory_encoder.fuser.*.norm."),
    ("segmentor.memory_encoder.memory_fuser.layers.*.pointwise_conv1.", "memory_encoder.fuser.*.linear1."),
    ("segmentor.memory_encoder.memory_fuser.layers.*.pointwise_conv2.", "memory_encoder.fuser.*.linear2."),
    ("segmentor.memory_encoder.projection.", "memory_encoder.projection."),
)
# fmt: on
"""(released, ours). A row ending in ``.`` stands for everything below it; ``*`` is a number; ``{q,k,v}`` lists tensors
that the release stacks into one."""

UNUSED = {"segmentor.shared_image_embedding.positional_embedding"}
"""In released files, but never read by the network that was released."""

ADAPTED = "vlm.base_model.model."
"""How adapter libraries prefix the language model's names while an adapter is attached."""


def to_ours(released: str) -> list[str]:
    """Our names for a released tensor: one, several where the release stacks them, none if the network ignores it."""
    if released in UNUSED:
        return []
    for theirs, ours in KEY_TABLE:
        name = _translate(released, theirs, ours)
        if name is not None:
            return _spread(name)
    raise CheckpointError(f"Got the unexpected tensor {released!r}", "a tensor of a released X2SAM checkpoint")


def to_released(name: str) -> str:
    """The released name that holds our tensor ``name`` (perhaps stacked with others)."""
    for theirs, ours in KEY_TABLE:
        for variant, pattern in zip(_spread(theirs) * 3, _spread(ours), strict=False):
            released = _translate(name, pattern, variant)
            if released is not None:
                return released
    raise CheckpointError(f"Got the tensor {name!r}", "a tensor of an X2SamModel")


def _spread(name: str) -> list[str]:
    found = re.search(r"\{(.*?)\}", name)
    return [name.replace(found[0], part) for part in found[1].split(",")] if found else [name]


def _translate(name: str, source: str, target: str) -> str | None:
    below = source.endswith(".")
    pattern = re.escape(source).replace(r"\*", r"(\d+)") + ("(.+)" if below else "")
    match = re.fullmatch(pattern, name)
    if match is None:
        return None
    parts = list(match.groups())
    for number in parts[: source.count("*")]:
        target = target.replace("*", number, 1)
    return target + parts[-1] if below else target


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
        wanted.pop("language.qwen.lm_head.weight")
        made.pop("language.qwen.lm_head.weight", None)
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


def config_from_components(components: Mapping[str, Any]) -> X2SamConfig:
    """Our configuration from the released component configurations (`sam2`, `mask2former`, `qwen3_vl`)."""
    sam2, masks, language = components["sam2"], components["mask2former"], components["qwen3_vl"]
    ids = components.get("special_token_ids", {})
    vision = dict(sam2["vision_config"])
    vision["backbone_config"] = dict(vision["backbone_config"], model_type="sam2_hiera_det_model")
    return X2SamConfig(
        language_config=Qwen3VLConfig.from_dict(_plain(language)),
        mask_encoder_config=Sam2VisionConfig.from_dict(_plain(vision)),
        image_size=sam2["image_size"],
        hidden_dim=masks["hidden_dim"],
        num_heads=masks["num_attention_heads"],
        num_queries=masks["num_queries"],
        pixel_decoder_layers=masks["encoder_layers"],
        pixel_decoder_feedforward=masks["encoder_feedforward_dim"],
        decoder_layers=masks["decoder_layers"] - 1,
        decoder_feedforward=masks["dim_feedforward"],
        memory_size=sam2["num_maskmem"],
        memory_layers=sam2["memory_attention_num_layers"],
        memory_heads=sam2["memory_attention_num_attention_heads"],
        memory_feedforward=sam2["memory_attention_feed_forward_hidden_size"],
        memory_fuser_layers=sam2["memory_fuser_num_layers"],
        memory_fuser_feedforward=sam2["memory_fuser_intermediate_dim"],
        memory_mask_scale=sam2["sigmoid_scale_for_mem_enc"],
        memory_mask_bias=sam2["sigmoid_bias_for_mem_enc"],
        class_weight=masks["class_weight"],
        mask_weight=masks["mask_weight"],
        dice_weight=masks["dice_weight"],
        no_object_weight=masks["no_object_weight"],
        **{
            field: ids[token]
            for field, token in (
                ("seg_token_id", "<SEG>"),
                ("phrase_start_token_id", "<p>"),
                ("phrase_end_token_id", "</p>"),
            )
            if token in ids
        },
    )


def _plain(config: Any) -> Any:
    """A stored configuration without the generation defaults and nulls that older versions wrote into it."""
    if not isinstance(config, dict):
        return config
    return {k: _plain(v) for k, v in config.items() if v is not None and k not in ("id2label", "label2id", "dtype")}
