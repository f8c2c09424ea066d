"""X2SamConfig: every size of the network, every quirk of the released model as a named field, and the presets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoConfig, Mask2FormerConfig, PreTrainedConfig
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLConfig
from transformers.models.sam2.configuration_sam2 import Sam2VisionConfig

from x2sam.errors import InputError

WEIGHTS = Path(__file__).parent / "weights"
"""What comes with the package: checkpoints and language models, one folder each."""


class EfficientNetLiteConfig(PreTrainedConfig):
    """Configuration of `EfficientNetLiteModel`, a small backbone for the mask encoder; the defaults are Lite2's."""

    model_type = "efficientnet_lite"

    stem_channels: int = 32
    stages: list[list[int]] | tuple[tuple[int, ...], ...] = (
        (1, 3, 1, 1, 16),
        (3, 3, 2, 6, 24),
        (3, 5, 2, 6, 48),
        (4, 3, 2, 6, 88),
        (4, 5, 1, 6, 120),
        (5, 5, 2, 6, 208),
        (1, 3, 1, 6, 352),
    )
    """Rows of (blocks, kernel, stride of the first block, expansion, channels)."""
    recognition_channels: int = 1280
    """Width of the features that a classifier would read; 0 leaves them out."""
    norm_eps: float = 1e-3


class EyesConfig(PreTrainedConfig):
    """How `SharedEyes` cut a picture into tokens, named as in Qwen3-VL's vision configuration."""

    model_type = "x2sam_eyes"

    patch_size: int = 32
    spatial_merge_size: int = 2
    """A picture token is a cell of ``patch_size * spatial_merge_size`` pixels a side."""
    temporal_patch_size: int = 2
    image_token_id: int = -1
    video_token_id: int = -1


class X2SamConfig(PreTrainedConfig):
    """Configuration of `X2SamModel`. The defaults are the released 4B model's (paper section 4; release 5b0b106)."""

    model_type = "x2sam"
    sub_configs = {  # noqa: RUF012
        "language_config": AutoConfig,
        "mask_encoder_config": Sam2VisionConfig,
        "eyes_config": EyesConfig,
    }

    language_config: Any = None
    """Qwen3VLConfig, or that of a causal language model (`AutoModelForCausalLM`) with ``shared_eyes``; or its dict."""
    apart: dict[str, str] | None = None
    """Modules whose tensors are not kept beside the others but in packed files below the package's ``weights``, by
    their names. They are read from there, stay as they are, and are not saved again."""
    eyes_config: Any = None
    """EyesConfig, or its dict: how pictures become tokens where the language model does not say."""
    mask_encoder_config: Any = None
    """Sam2VisionConfig, or its dict."""

    # --- mask branch -------------------------------------------------------------------------------------------
    image_size: int = 1024
    """Side of the square frames that the mask encoder sees, in pixels."""
    hidden_dim: int = 256
    """Width of the pixel decoder, the mask decoder and the mask memory."""
    num_heads: int = 8
    num_queries: int = 200
    """0 leaves out queries, pixel decoder and memory bank: the prompted head then answers everything (ours)."""
    pixel_decoder_layers: int = 6
    pixel_decoder_feedforward: int = 1024
    mask_refinements: int = 0
    """Blocks that let neighbouring places of the mask features talk, and know where they are (ours): without a
    deformable encoder nothing else does."""
    decoder_layers: int = 9
    decoder_feedforward: int = 2048
    prompted_widths: list[int] | tuple[int, ...] = ()
    """Widths of the prompted head at strides 4, 8, 16 and 32, which answers what is said, drawn or remembered where
    each condition has one mask (ours); empty: the queries answer."""
    prompted_layers: int = 2
    """Of its attention at stride 32."""
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
    conditions_layer: int = 0
    """Conditions are made of the states after this layer, and where nothing is spoken no later one is run; 0: the
    last (ours)."""
    meaning_layers: list[int] | tuple[int, ...] = ()
    """After which layers a phrase's state is taken to say what it means by itself; several lie side by side."""
    lexical_conditions: bool = False
    """Phrases also reach the conditions directly, as what they mean by themselves (``meaning_layers``), beside what the
    whole prompt makes of them (nano): what can be named is known without any context."""
    lexical_prefix: list[int] | tuple[int, ...] = ()
    """Tokens that a phrase is read after, such as those of "a photo of a"."""
    lexical_articles: list[int] | tuple[int, ...] = ()
    """Tokens that are left out where a phrase begins with one."""
    adapter_rank: int = 0
    """Of the adapters (arXiv 2106.09685) on the language model's layers after ``conditions_layer``: it learns to speak
    of pictures, and what phrases mean stays as it is (ours). 0: none."""
    added_tokens: int = 0
    """Tokens after the language model's own vocabulary, whose embeddings are ours: markers, pictures."""
    shared_eyes: bool = False
    """The language model sees through the mask encoder's backbone, which has recognition features, and has no vision
    tower of its own (nano)."""
    recognition_names: int = 1000
    """Names that the backbone's classifier has told apart."""
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
    staying_threshold: float | None = None
    """What it must score on later frames of the clip; None: as `presence_threshold`."""
    object_threshold: float = 0.5
    """What must be scored by an object that a region shows, frame by frame."""
    grounded_threshold: float = 0.5
    """The same for every instance of what regions or examples show."""
    calibration: dict[str, list[float]] | None = None
    """By kind of condition and what is told of it (``expressions/score``: a mask is right, ``expressions/presence``:
    the thing is there; `decoding.presence`) the temperature and the bias of logits. Written by `train.ship`."""
    known_names: list[str] | None = None
    """Names by which a model that knows things by their looks asks for what examples show; None: regions are read."""

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
        self.language_config = _as_language_config(self.language_config)
        self.eyes_config = _as_config(self.eyes_config, EyesConfig, EyesConfig)
        self.mask_encoder_config = _as_config(self.mask_encoder_config, Sam2VisionConfig, released_mask_encoder_config)
        for name in ("memory_levels", "prompted_widths", "meaning_layers", "lexical_prefix", "lexical_articles"):
            setattr(self, name, tuple(getattr(self, name)))
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
        layers = self.text_config.num_hidden_layers
        if not 0 <= self.conditions_layer < layers or any(not 0 < n <= layers for n in self.meaning_layers):
            raise InputError(
                f"Got conditions_layer={self.conditions_layer}, meaning_layers={self.meaning_layers}",
                f"layers of the {layers} that there are; conditions_layer=0 for the last",
            )
        if not set(self.memory_levels) <= {0, 1, 2}:
            raise InputError(f"Got memory_levels={self.memory_levels}", "a selection of 0, 1 and 2")

    @property
    def text_config(self) -> PreTrainedConfig:
        """Of the language model's layers."""
        return getattr(self.language_config, "text_config", self.language_config)

    @property
    def meaning_size(self) -> int:
        """Width of what a phrase means by itself."""
        return self.text_config.hidden_size * len(self.meaning_layers)

    @property
    def vision_config(self) -> PreTrainedConfig:
        """How pictures become the language model's tokens."""
        return getattr(self.language_config, "vision_config", self.eyes_config)

    @property
    def picture_token_ids(self) -> tuple[int, int]:
        """Ids of the slots of an image's and of a video's tokens."""
        owner = self.language_config if hasattr(self.language_config, "vision_config") else self.eyes_config
        return owner.image_token_id, owner.video_token_id

    @property
    def recognition_channels(self) -> int:
        """Width of the recognition features; 0 where the mask encoder has none."""
        return getattr(self.mask_encoder_config.backbone_config, "recognition_channels", 0)

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


def _as_language_config(value: Any) -> Any:
    if isinstance(value, dict) and value.get("model_type", Qwen3VLConfig.model_type) != Qwen3VLConfig.model_type:
        kind = value["model_type"]
        return AutoConfig.for_model(kind, **{k: v for k, v in value.items() if k != "model_type"})
    return _as_config(value, Qwen3VLConfig, released_language_config)


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
    """The small model that ships inside the package: it runs anywhere. SmolLM2-135M and EfficientNet-Lite2 inside."""
    language = AutoConfig.from_pretrained(WEIGHTS / "smollm2")
    language.name_or_path = ""  # a saved model names no folder of the machine that made it
    added = range(language.vocab_size, language.vocab_size + 7)
    _, _, image, video, seg, phrase_start, phrase_end = added  # the order of `x2sam.train.smollm2`
    return X2SamConfig(
        language_config=language,
        apart={
            "language.model": "smollm2/language.safetensors",
            "mask_encoder.backbone": "efficientnet_lite2/backbone.safetensors",
            "language.eyes.classifier": "efficientnet_lite2/classifier.safetensors",
        },
        added_tokens=len(added),
        seg_token_id=seg,
        phrase_start_token_id=phrase_start,
        phrase_end_token_id=phrase_end,
        eyes_config=EyesConfig(image_token_id=image, video_token_id=video),
        mask_encoder_config=Sam2VisionConfig(
            backbone_config={"model_type": "efficientnet_lite"},
            backbone_channel_list=[352, 120, 48, 24],
            fpn_hidden_size=128,
            fpn_top_down_levels=[0, 1, 2],
        ),
        image_size=320,
        hidden_dim=128,
        num_heads=8,
        num_queries=0,
        prompted_widths=(32, 64, 128, 192),
        memory_size=0,
        memory_levels=(),
        conditions_layer=11,
        meaning_layers=(7, 11),
        adapter_rank=16,
        region_points=64,
        region_tokens=4,
        region_corner_coordinates=False,
        region_positions=True,
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


AutoConfig.register(EyesConfig.model_type, EyesConfig, exist_ok=True)
AutoConfig.register(EfficientNetLiteConfig.model_type, EfficientNetLiteConfig, exist_ok=True)
AutoConfig.register(X2SamConfig.model_type, X2SamConfig, exist_ok=True)
