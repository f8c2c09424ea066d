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

from x2sam.config import X2SamConfig
from x2sam.model.frames import FrameFeatures
from x2sam.model.losses import Targets
from x2sam.model.modeling import X2SamModel
from x2sam.testing.tiny import tiny_model

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
            elif name.startswith("mask_decoder.mask_head.") and parameter.ndim > 1:
                parameter.mul_(9)
            elif name.startswith(("memory_attention.", "memory_encoder.")) and parameter.ndim > 1:
                parameter.mul_(6)
            elif name.startswith("language.qwen.") and parameter.ndim > 1:
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
        language = self.config.language_config
        patches = torch.randn(t * h * w, 1536, generator=self.random)
        (self.videos if video else self.images).append((patches, (t, h, w)))
        self.ids.append(language.vision_start_token_id)
        self.ids += [language.video_token_id if video else language.image_token_id] * (t * h * w // 4)
        self.ids.append(language.vision_end_token_id)
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


__all__ = ["GOLDEN", "Request", "awake", "clips", "close", "collate", "targets"]
