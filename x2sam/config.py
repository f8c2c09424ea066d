"""X2SamConfig: every size of the network, every quirk of the released model as a named field, and the presets."""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, Mask2FormerConfig, PreTrainedConfig
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLConfig
from transformers.models.sam2.configuration_sam2 import Sam2VisionConfig

from x2sam.errors import InputError


class EfficientNetLiteConfig(PreTrainedConfig):
    """Configuration of `EfficientNetLiteModel`, a small backbone for the mask encoder; the defaults are Lite0's."""

    model_type = "efficientnet_lite"

    stem_channels: int = 32
    stages: list[list[int]] | tuple[tuple[int, ...], ...] = (
        (1, 3, 1, 1, 16),
        (2, 3, 2, 6, 24),
        (2, 5, 2, 6, 40),
        (3, 3, 2, 6, 80),
        (3, 5, 1, 6, 112),
        (4, 5, 2, 6, 192),
        (1, 3, 1, 6, 320),
    )
    """Rows of (blocks, kernel, stride of the first block, expansion, channels)."""
    norm_eps: float = 1e-3


class X2SamConfig(PreTrainedConfig):
    """Configuration of `X2SamModel`. The defaults are the released 4B model's (paper section 4; release 5b0b106)."""

    model_type = "x2sam"
    sub_configs = {"language_config": Qwen3VLConfig, "mask_encoder_config": Sam2VisionConfig}  # noqa: RUF012

    language_config: Any = None
    """Qwen3VLConfig, or its dict."""
    mask_encoder_config: Any = None
    """Sam2VisionConfig, or its dict."""

    # --- mask branch -------------------------------------------------------------------------------------------
    image_size: int = 1024
    """Side of the square frames that the mask encoder sees, in pixels."""
    hidden_dim: int = 256
    """Width of the pixel decoder, the mask decoder and the mask memory."""
    num_heads: int = 8
    num_queries: int = 200
    pixel_decoder_layers: int = 6
    pixel_decoder_feedforward: int = 1024
    mask_refinements: int = 0
    """Blocks that let neighbouring places of the mask features talk, and know where they are (ours): without a
    deformable encoder nothing else does."""
    decoder_layers: int = 9
    decoder_feedforward: int = 2048
    prompted_queries: int = 0
    """Where no more conditions than this are asked for, each has a query that starts from it (ours)."""
    class_agnostic: bool = False
    """Phase 1: a linear object / no-object head instead of the cosine with the conditions."""

    # --- mask memory -------------------------------------------------------------------------------------------
    memory_size: int = 5
    """Frames kept (first in, first out). 0 turns the memory off."""
    memory_levels: list[int] | tuple[int, ...] = (0, 1, 2)
    """Pixel decoder levels that read and write memory; 0 is the coarsest (stride 16), 2 the finest (stride 4)."""
    memory_layers: int = 4
    memory_heads: int = 1
    memory_feedforward: int = 2048
    memory_dropout: float = 0.1
    memory_fuser_layers: int = 2
    memory_fuser_feedforward: int = 1024
    memory_mask_scale: float = 20.0
    memory_mask_bias: float = -10.0
    """The guided mask, a probability, enters the memory as ``scale * mask + bias``."""

    # --- between language and masks -----------------------------------------------------------------------------
    region_points: int = 256
    region_tokens: int = 64
    """A region is sampled at ``region_points`` pixels and pooled to ``region_tokens`` embeddings."""
    region_corner_coordinates: bool = True
    """The release maps pixel k of n to k/n without the half-pixel centre; False is the unbiased mapping."""
    fine_regions: bool = False
    """Regions are looked up in the finest map of the pyramid (stride 4) rather than in the third stage (16, folded)."""
    region_positions: bool = False
    """A region's embeddings also say where it is (ours): a small model has no other way to tell two like things."""
    conditions_before_norm: bool = True
    """Condition and ``<SEG>`` embeddings come from the language model's last layer before its final norm."""
    plain_positions: bool = True
    """Positions 0..L-1 on all three rotary axes instead of Qwen3-VL's spatial ones."""
    rotary_dtype: str = "float32"
    """Rotary frequencies are rounded to this type first. A language model that was cast as a whole (``.half()``)
    carries rounded frequencies, and what was trained on top of it has learned them."""
    lexical_conditions: bool = False
    """Words also reach the conditions directly, as what their embeddings say, beside the language model's states
    (nano): what can be named is then learned without waiting for the language model, which says how much each word
    counts."""
    shared_eyes: bool = False
    """The language model sees through the mask encoder's backbone and has no vision tower of its own (nano)."""
    region_token_id: int = -400
    """Id of one of the ``region_tokens`` slots that a region occupies in ``input_ids``."""
    seg_token_id: int = 151669
    phrase_start_token_id: int = 151670
    phrase_end_token_id: int = 151671

    # --- answers ---------------------------------------------------------------------------------------------------
    presence_threshold: float = 0.5
    """A phrase whose best mask scores less is said not to be there; calibrated on validation (`train.ship`)."""
    arrival_threshold: float = 0.0
    """What a phrase that a clip has not shown yet must score at least: the best of many frames misleads more easily."""
    object_threshold: float = 0.5
    """The same for an object that a region shows, frame by frame."""

    # --- losses ------------------------------------------------------------------------------------------------
    class_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0
    no_object_weight: float = 0.1
    alignment_weight: float = 0.0
    """Of an auxiliary loss that lets the mask features themselves answer to the conditions, pixel by pixel (ours).
    Above 0, what they answer inside of a query's mask is added to its class logits, in training and inference."""
    train_points: int = 12544
    """Points per mask in matching and losses; 0 means every pixel."""
    oversample_ratio: float = 3.0
    importance_ratio: float = 0.75

    initializer_range: float = 0.02
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        self.language_config = _as_config(self.language_config, Qwen3VLConfig, released_language_config)
        self.mask_encoder_config = _as_config(self.mask_encoder_config, Sam2VisionConfig, released_mask_encoder_config)
        self.memory_levels = tuple(self.memory_levels)
        # A composite model is tied exactly when its language model is.
        self.tie_word_embeddings = self.language_config.tie_word_embeddings
        self._check()
        super().__post_init__(**kwargs)

    def _check(self) -> None:
        if self.hidden_dim % 32 or self.hidden_dim % self.num_heads:
            raise InputError(
                f"Got hidden_dim={self.hidden_dim} with {self.num_heads} heads",
                "a width that 32 (group norm) and num_heads divide",
            )
        if self.region_points % self.region_tokens:
            raise InputError(
                f"Got region_points={self.region_points}, region_tokens={self.region_tokens}",
                "points to be a multiple of tokens",
            )
        if not set(self.memory_levels) <= {0, 1, 2}:
            raise InputError(f"Got memory_levels={self.memory_levels}", "a selection of 0, 1 and 2")

    @property
    def pixel_decoder_config(self) -> Mask2FormerConfig:
        """What `transformers`' Mask2FormerPixelDecoder needs to be built."""
        return Mask2FormerConfig(
            feature_size=self.hidden_dim,
            mask_feature_size=self.hidden_dim,
            hidden_dim=self.hidden_dim,
            encoder_feedforward_dim=self.pixel_decoder_feedforward,
            encoder_layers=self.pixel_decoder_layers,
            num_attention_heads=self.num_heads,
        )

    def prompted(self, conditions: int) -> int:
        """How many queries start from one of so many conditions."""
        return conditions if conditions <= self.prompted_queries else 0

    def get_text_config(self, *args: Any, **kwargs: Any) -> PreTrainedConfig:
        return self.language_config.get_text_config(*args, **kwargs)


def _as_config(value: Any, cls: type, default: Any) -> Any:
    if value is None:
        return default()
    return cls(**{k: v for k, v in value.items() if k != "model_type"}) if isinstance(value, dict) else value


def released_language_config() -> Qwen3VLConfig:
    """Qwen3-VL-4B-Instruct (its public configuration)."""
    return Qwen3VLConfig(
        text_config={
            "vocab_size": 151936,
            "hidden_size": 2560,
            "intermediate_size": 9728,
            "num_hidden_layers": 36,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "max_position_embeddings": 262144,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 5_000_000,
                "mrope_section": [24, 20, 20],
                "mrope_interleaved": True,
            },
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": 24,
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_heads": 16,
            "out_hidden_size": 2560,
            "num_position_embeddings": 2304,
            "deepstack_visual_indexes": [5, 11, 17],
        },
        tie_word_embeddings=True,
    )


def released_mask_encoder_config() -> Sam2VisionConfig:
    """SAM2.1-Hiera-L (its public configuration)."""
    return Sam2VisionConfig(
        backbone_config={
            "model_type": "sam2_hiera_det_model",
            "hidden_size": 144,
            "num_attention_heads": 2,
            "blocks_per_stage": [2, 6, 36, 4],
            "embed_dim_per_stage": [144, 288, 576, 1152],
            "num_attention_heads_per_stage": [2, 4, 8, 16],
            "window_size_per_stage": [8, 4, 16, 8],
            "global_attention_blocks": [23, 33, 43],
        },
        backbone_channel_list=[1152, 576, 288, 144],
    )


def preset(name: str) -> X2SamConfig:
    """The configuration called ``4b`` (the released model), ``nano`` (ships inside) or ``tiny`` (for tests)."""
    presets = {"4b": X2SamConfig, "nano": nano, "tiny": tiny}
    if name not in presets:
        raise InputError(f"Got the preset {name!r}", f"one of: {', '.join(presets)}")
    return presets[name]()


def nano() -> X2SamConfig:
    """The small model that ships inside the package: it runs anywhere and is trained on generated scenes."""
    return X2SamConfig(
        language_config=Qwen3VLConfig(
            text_config={
                "vocab_size": 2048,
                "hidden_size": 256,
                "intermediate_size": 640,
                "num_hidden_layers": 6,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "head_dim": 64,
                "max_position_embeddings": 8192,
                "rope_parameters": {
                    "rope_type": "default",
                    "rope_theta": 10_000.0,
                    "mrope_section": [16, 8, 8],
                    "mrope_interleaved": True,
                },
                "tie_word_embeddings": False,  # the embeddings also say what conditions mean, and stay as they are
            },
            vision_config={
                "depth": 0,
                "hidden_size": 64,
                "num_heads": 1,
                "patch_size": 8,  # a picture token is a cell of 16 pixels: small things have cells of their own
                "out_hidden_size": 256,
                "num_position_embeddings": 256,
                "deepstack_visual_indexes": [],
            },
            image_token_id=5,
            video_token_id=6,
            vision_start_token_id=3,
            vision_end_token_id=4,
            tie_word_embeddings=False,
        ),
        mask_encoder_config=Sam2VisionConfig(
            backbone_config={"model_type": "efficientnet_lite"},
            backbone_channel_list=[320, 112, 40, 24],
            fpn_hidden_size=128,
            fpn_top_down_levels=[0, 1, 2],
        ),
        image_size=224,
        hidden_dim=128,
        num_heads=8,
        num_queries=40,
        pixel_decoder_layers=0,  # deformable attention over stride 4 would take most of the time; the FPN serves
        mask_refinements=2,
        decoder_layers=4,
        decoder_feedforward=512,
        prompted_queries=12,
        memory_size=4,
        memory_levels=(0,),
        memory_layers=2,
        memory_feedforward=256,
        memory_dropout=0.0,
        memory_fuser_layers=1,
        memory_fuser_feedforward=256,
        region_points=64,
        region_tokens=4,
        region_corner_coordinates=False,
        fine_regions=True,
        region_positions=True,
        seg_token_id=7,
        phrase_start_token_id=8,
        phrase_end_token_id=9,
        train_points=768,
        shared_eyes=True,
        lexical_conditions=True,
        alignment_weight=2.0,
    )


def tiny() -> X2SamConfig:
    """A network of well under a million parameters with every part in place: for tests and for trying out."""
    return X2SamConfig(
        language_config=Qwen3VLConfig(
            text_config={
                "vocab_size": 272,
                "hidden_size": 64,
                "intermediate_size": 96,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "head_dim": 16,
                "max_position_embeddings": 8192,
                "rope_parameters": {
                    "rope_type": "default",
                    "rope_theta": 10_000.0,
                    "mrope_section": [4, 2, 2],
                    "mrope_interleaved": True,
                },
                "tie_word_embeddings": True,
            },
            vision_config={
                "depth": 2,
                "hidden_size": 32,
                "intermediate_size": 48,
                "num_heads": 2,
                "out_hidden_size": 64,
                "num_position_embeddings": 64,
                "deepstack_visual_indexes": [0],
            },
            image_token_id=261,
            video_token_id=262,
            vision_start_token_id=259,
            vision_end_token_id=260,
            tie_word_embeddings=True,
        ),
        mask_encoder_config=Sam2VisionConfig(
            backbone_config={
                "model_type": "sam2_hiera_det_model",
                "hidden_size": 16,
                "num_attention_heads": 1,
                "blocks_per_stage": [1, 1, 2, 1],
                "embed_dim_per_stage": [16, 32, 64, 128],
                "num_attention_heads_per_stage": [1, 2, 4, 8],
                "window_size_per_stage": [8, 4, 4, 2],
                "global_attention_blocks": [3],
            },
            backbone_channel_list=[128, 64, 32, 16],
            fpn_hidden_size=32,
        ),
        image_size=64,
        hidden_dim=32,
        num_heads=4,
        num_queries=8,
        pixel_decoder_layers=1,
        pixel_decoder_feedforward=64,
        decoder_layers=3,
        decoder_feedforward=64,
        memory_size=3,
        memory_layers=1,
        memory_feedforward=64,
        memory_fuser_layers=1,
        memory_fuser_feedforward=64,
        region_points=32,
        region_tokens=8,
        seg_token_id=263,
        phrase_start_token_id=264,
        phrase_end_token_id=265,
        train_points=256,
    )


AutoConfig.register(EfficientNetLiteConfig.model_type, EfficientNetLiteConfig, exist_ok=True)
AutoConfig.register(X2SamConfig.model_type, X2SamConfig, exist_ok=True)
