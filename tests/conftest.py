"""What the tests of the network share: a tiny model in which every part matters, and requests made of token ids."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
import torch
from hypothesis import HealthCheck, settings
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaConfig
from transformers.models.sam2.configuration_sam2 import Sam2VisionConfig

from x2sam.config import EyesConfig, X2SamConfig
from x2sam.model.frames import FrameFeatures
from x2sam.model.losses import Targets
from x2sam.model.modeling import X2SamModel
from x2sam.processing import X2SamProcessor
from x2sam.testing.tiny import byte_tokenizer, tiny_model

torch.set_num_threads(1)
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")  # a machine that does other things too is no reason to fail

GOLDEN = Path(__file__).parent / "data" / "golden"


def awake(model: X2SamModel) -> X2SamModel:
    """Give weights to what is zero or nearly so at first, so that no part can be wrong without being seen."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "text_attention.o_proj" in name or name == "no_memory" or name.endswith(".scale"):
                parameter.normal_(std=0.3, generator=generator)
            elif name.endswith(("sampling_offsets.weight", "attention_weights.weight", "code.weight")):
                parameter.normal_(std=0.05, generator=generator)
            elif name.startswith("pixel_decoder.refine.") and name.endswith("linear2.weight"):
                parameter.normal_(std=0.3, generator=generator)
            elif name.startswith("alignment.project."):
                parameter.normal_(std=0.2, generator=generator)
            elif name.startswith("mask_decoder.mask_head.") and parameter.ndim > 1:
                parameter.mul_(9)
            elif name.startswith(("memory_attention.", "memory_encoder.")) and parameter.ndim > 1:
                parameter.mul_(6)
            elif name.startswith("language.model.") and parameter.ndim > 1:
                parameter.mul_(3)
    return model


@pytest.fixture(scope="session")
def model() -> X2SamModel:
    """Shared: read it, do not change it."""
    return awake(tiny_model())


@pytest.fixture
def own_model(model: X2SamModel) -> X2SamModel:
    """A copy to train or break."""
    return copy.deepcopy(model)


@pytest.fixture
def varied(model: X2SamModel) -> Callable[..., X2SamModel]:
    """The same weights under a configuration with other values for some fields."""

    def make(**fields: Any) -> X2SamModel:
        config = copy.deepcopy(model.config)
        for name, value in fields.items():
            setattr(config, name, value)
        other = X2SamModel(config).eval()
        other.load_state_dict(model.state_dict(), strict=False)
        return other

    return make


def small_config(**fields: Any) -> X2SamConfig:
    """nano in miniature: a causal language model with added tokens, eyes shared with the backbone, a prompted head.

    It keeps its language model's weights with the others. Token ids are those of `byte_tokenizer`.
    """
    sizes: dict[str, Any] = {
        "language_config": LlamaConfig(
            vocab_size=SMALL_VOCABULARY,
            hidden_size=48,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=4096,
            tie_word_embeddings=True,
        ),
        "added_tokens": 7,
        "seg_token_id": 263,
        "phrase_start_token_id": 264,
        "phrase_end_token_id": 265,
        "eyes_config": EyesConfig(patch_size=16, image_token_id=261, video_token_id=262),
        "mask_encoder_config": Sam2VisionConfig(
            backbone_config={
                "model_type": "efficientnet_lite",
                "stem_channels": 8,
                "stages": [[1, 3, 1, 1, 8], [1, 3, 2, 2, 8], [1, 3, 2, 2, 16], [1, 3, 2, 2, 24], [1, 3, 2, 2, 32]],
                "recognition_channels": 32,
            },
            backbone_channel_list=[32, 24, 16, 8],
            fpn_hidden_size=32,
            fpn_top_down_levels=[0, 1, 2],
        ),
        "image_size": 64,
        "hidden_dim": 32,
        "num_heads": 4,
        "num_queries": 6,
        "pixel_decoder_layers": 0,
        "mask_refinements": 1,
        "decoder_layers": 2,
        "decoder_feedforward": 64,
        "prompted_widths": (8, 8, 16, 16),
        "prompted_layers": 1,
        "prompted_queries": 3,
        "memory_size": 3,
        "memory_levels": (0,),
        "memory_layers": 1,
        "memory_feedforward": 64,
        "memory_dropout": 0.0,
        "memory_fuser_layers": 1,
        "memory_fuser_feedforward": 64,
        "conditions_layer": 2,
        "meaning_layers": (1, 2),
        "adapter_rank": 2,
        "lexical_prefix": (97, 98, 99),
        "lexical_articles": (116,),
        "recognition_names": 10,
        "region_points": 32,
        "region_tokens": 4,
        "fine_regions": True,
        "region_positions": True,
        "train_points": 256,
        "shared_eyes": True,
        "lexical_conditions": True,
        "alignment_weight": 1.0,
    }
    return X2SamConfig(**{**sizes, **fields})


SMALL_VOCABULARY = 259
"""Of the small model's own language model; seven tokens are added."""


def awake_small(model: X2SamModel) -> X2SamModel:
    """`awake`, and what only such models have: names, looks, prompts."""
    generator = torch.Generator().manual_seed(6)
    awake(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith(("language.eyes.merger.2", "language.added", "language.adapters")):
                parameter.normal_(std=0.3, generator=generator)
            elif name.startswith(("prompted_head.", "recognition.look")) and parameter.ndim > 1:
                parameter.normal_(std=0.3 if parameter.ndim == 2 else 0.15, generator=generator)
            elif name == "recognition.centre" or name.startswith("recognition.level."):
                parameter.normal_(std=0.1, generator=generator)
            elif name == "recognition.scale":
                parameter.fill_(3.0)
            elif name.startswith("mask_encoder.backbone.") and parameter.ndim > 1:
                parameter.normal_(std=(2 / parameter[0].numel()) ** 0.5, generator=generator)
            elif name.startswith(("language.prompt_projector", "language.lexical", "region_sampler")):
                parameter.normal_(std=0.2, generator=generator)
    return model


def new_small_model(**fields: Any) -> X2SamModel:
    """Random, every part awake; the same each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return awake_small(X2SamModel(small_config(**fields)).eval())


@pytest.fixture(scope="session")
def small_model() -> X2SamModel:
    """Shared: read it, do not change it."""
    return new_small_model()


@pytest.fixture
def own_small_model(small_model: X2SamModel) -> X2SamModel:
    """A copy to train or break."""
    model = new_small_model()
    model.load_state_dict(small_model.state_dict())
    return model


@pytest.fixture(scope="session")
def small_processor() -> X2SamProcessor:
    return X2SamProcessor.for_model(
        small_config(),
        byte_tokenizer(),
        max_pixels=64 * 64,
        video_max_pixels=4 * 64 * 64,
        language_frames=4,
        spaced_markers=True,
    )


@dataclass
class Request:
    """One sample made of token ids and random pixels, written piece by piece."""

    config: X2SamConfig
    seed: int = 0
    ids: list[int] = field(default_factory=list)
    images: list[tuple[Tensor, tuple[int, int, int]]] = field(default_factory=list)
    videos: list[tuple[Tensor, tuple[int, int, int]]] = field(default_factory=list)
    region_masks: list[Tensor] = field(default_factory=list)
    region_frames: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = torch.Generator().manual_seed(self.seed)

    def words(self, count: int) -> Request:
        self.ids += torch.randint(1, 256, (count,), generator=self.random).tolist()
        return self

    def phrase(self, count: int) -> Request:
        self.ids.append(self.config.phrase_start_token_id)
        self.words(count).ids.append(self.config.phrase_end_token_id)
        return self

    def picture(self, t: int = 1, h: int = 4, w: int = 4, video: bool = False) -> Request:
        """``t x h x w`` patches, four patches to a token."""
        patches = torch.randn(t * h * w, 6 * self.config.vision_config.patch_size**2, generator=self.random)
        (self.videos if video else self.images).append((patches, (t, h, w)))
        self.ids.append(259)
        self.ids += [self.config.picture_token_ids[video]] * (t * h * w // 4)
        self.ids.append(260)
        return self

    def region(self, frame: int = 0, box: tuple[int, int, int, int] = (8, 8, 40, 30)) -> Request:
        config = self.config
        mask = torch.zeros(config.image_size, config.image_size, dtype=torch.bool)
        mask[box[1] : box[3], box[0] : box[2]] = True
        self.region_masks.append(mask)
        self.region_frames.append(frame)
        slots = [config.region_token_id] * config.region_tokens
        self.ids += [config.phrase_start_token_id, *slots, config.phrase_end_token_id]
        return self

    def seg(self) -> Request:
        self.ids.append(self.config.seg_token_id)
        return self


def collate(requests: Sequence[Request], features: FrameFeatures | None = None, clip: int = 1) -> dict[str, Any]:
    """Pad on the right and stack: arguments of `understand` (with ``features``) or of `forward`."""
    ids = [torch.tensor(r.ids) for r in requests]
    lengths = torch.tensor([len(i) for i in ids])
    batch: dict[str, Any] = {"input_ids": pad_sequence(ids, batch_first=True)}
    batch["attention_mask"] = (torch.arange(int(lengths.max())) < lengths[:, None]).long()
    for pixels, grid, shown in (
        ("pixel_values", "image_grid_thw", [p for r in requests for p in r.images]),
        ("pixel_values_videos", "video_grid_thw", [p for r in requests for p in r.videos]),
    ):
        if shown:
            batch[pixels] = torch.cat([patches for patches, _ in shown])
            batch[grid] = torch.tensor([size for _, size in shown])
    masks = [mask for r in requests for mask in r.region_masks]
    if masks:
        batch["region_masks"] = torch.stack(masks)
        batch["region_frames"] = torch.tensor([b * clip + t for b, r in enumerate(requests) for t in r.region_frames])
        if features is not None:
            batch["region_features"] = features
    return batch


def clips(config: X2SamConfig, batch: int, length: int, seed: int = 0) -> Tensor:
    """Random frames ``[B, T, 3, S, S]``; neighbouring frames are alike, as in a film."""
    generator = torch.Generator().manual_seed(seed)
    size = (3, config.image_size, config.image_size)
    still = torch.randn(batch, 1, *size, generator=generator)
    return still + 0.3 * torch.randn(batch, length, *size, generator=generator)


def targets(config: X2SamConfig, classes: Sequence[int], seed: int = 0) -> Targets:
    """A random box mask for every class."""
    generator = torch.Generator().manual_seed(seed)
    side = config.image_size
    masks = torch.zeros(len(classes), side, side)
    for mask in masks:
        x, y = torch.randint(0, side // 2, (2,), generator=generator).tolist()
        w, h = torch.randint(side // 8, side // 2, (2,), generator=generator).tolist()
        mask[y : y + h, x : x + w] = 1
    return Targets(torch.tensor(classes, dtype=torch.long), masks)


def close(ours: Tensor, theirs: Tensor, tolerance: float = 1e-5) -> bool:
    return ours.shape == theirs.shape and bool(((ours - theirs).abs() <= tolerance).all())


__all__ = ["GOLDEN", "Request", "awake", "clips", "close", "collate", "new_small_model", "small_config", "targets"]
