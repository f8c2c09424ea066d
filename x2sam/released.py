"""The released model in our terms: a literal table of tensor names, read in both directions, and of configurations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLConfig
from transformers.models.sam2.configuration_sam2 import Sam2VisionConfig

from x2sam.config import X2SamConfig
from x2sam.errors import CheckpointError

# fmt: off
KEY_TABLE: tuple[tuple[str, str], ...] = (
    ("vlm.", "language.model."),
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
