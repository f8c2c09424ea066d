"""``x2sam bench segment``: seconds, memory and arithmetic of the mask side on one stream, as fractions of this machine.

Random weights: what is measured does not depend on what was learned. The language side is left out (it reads once per
clip); its guidance is random, too.
"""

from __future__ import annotations

import contextlib
import ctypes
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count
from transformers.models.sam2.configuration_sam2 import Sam2VisionConfig

from x2sam.config import X2SamConfig, preset, released_mask_encoder_config, tiny
from x2sam.errors import InputError
from x2sam.model.mask_decoder import Guidance
from x2sam.model.mask_memory import MemoryBank
from x2sam.model.modeling import X2SamModel
from x2sam.predictor import pick_device, pick_dtype

MATMUL = 2048
"""Side of the square matrices whose product sets the machine's peak."""
FUSED = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
"""The one fused attention that PyTorch's counter does not know."""
CONDITIONS, WORDS = 8, 24
"""Of the random guidance."""

ENCODERS: dict[str, Callable[[], Sam2VisionConfig]] = {
    "hiera-tiny": Sam2VisionConfig,
    "hiera-large": released_mask_encoder_config,
}


@dataclass(frozen=True)
class Bench:
    """One measurement; sizes in pixels, frames and queries, times in seconds, memory in megabytes."""

    name: str
    size: int
    queries: int
    memory: int
    levels: tuple[int, ...]
    """Of the pixel decoder, that remember."""
    dtype: str
    frames: int
    threads: int
    seconds_per_frame: float
    """Median of the frames after the memory is full."""
    first_mask_seconds: float
    peak_mb: float
    growth_mb_per_frame: float
    """Between the first and the last frame with a full memory, after the allocator gave back its reserve."""
    gflop_per_frame: float
    """Counted over matrix products, convolutions and attention, with a full memory."""
    peak_gflops: float
    """Measured: a product of two large matrices."""
    fraction_of_peak: float


def configuration(
    encoder: str, size: int = 0, queries: int = 0, memory: int = -1, levels: Sequence[int] = ()
) -> X2SamConfig:
    """What is measured: a preset (``nano``, ``4b``), or the released mask side over a SAM2 encoder of another size.

    The language side is the smallest there is; zeros (memory -1, no levels) leave the preset's sizes.
    """
    if encoder in ENCODERS:
        config = X2SamConfig(language_config=tiny().language_config, mask_encoder_config=ENCODERS[encoder]())
    elif encoder in ("nano", "4b"):
        config = preset(encoder)
        if not config.shared_eyes:
            config.language_config = tiny().language_config
    else:
        raise InputError(f"Got the encoder {encoder!r}", f"one of: {', '.join([*ENCODERS, 'nano', '4b'])}")
    config.image_size = size or config.image_size
    config.num_queries = queries or config.num_queries
    config.memory_size = memory if memory >= 0 else config.memory_size
    config.memory_levels = tuple(levels) or config.memory_levels
    return config


def bench_segment(
    encoder: str = "hiera-tiny",
    size: int = 0,
    queries: int = 0,
    frames: int = 16,
    memory: int = -1,
    levels: Sequence[int] = (),
    device: str = "cpu",
    dtype: str = "float32",
) -> Bench:
    """Segment a stream of random frames; see `configuration` for the sizes.

    Raises:
        InputError: not enough frames to fill the memory, or a ``dtype`` that the device does not compute with.
    """
    kind = pick_dtype(dtype, pick_device(device))
    config = configuration(encoder, size, queries, memory, levels)
    if frames < config.memory_size + 2:
        raise InputError(f"Got {frames} frames", f"more than the {config.memory_size} that the memory holds, by 2")
    model = torch.nn.Module.to(random_model(config), device, kind)
    guidance = random_guidance(config, device, kind)
    peak_mb, settled_mb, seconds = 0.0, 0.0, []
    bank: MemoryBank | None = None
    with torch.no_grad():
        model.segment(_frame(config, device), guidance)  # the first call prepares kernels and tables
        for index in range(frames):
            frame = _frame(config, device)
            started = time.perf_counter()
            prediction, bank = model.segment(frame, guidance, bank)
            float(prediction.mask_logits.sum())  # waits for the device
            seconds.append(time.perf_counter() - started)
            peak_mb = max(peak_mb, _resident_mb())
            if index == config.memory_size:
                settled_mb = _resident_mb(settled=True)
        grown = _resident_mb(settled=True) - settled_mb
        with FlopCounterMode(display=False, custom_mapping={FUSED: _attention_flop}) as counter:
            model.segment(_frame(config, device), guidance, bank)
    full = seconds[config.memory_size :]
    median = statistics.median(full)
    peak, work = matmul_peak(device, kind), counter.get_total_flops() / 1e9
    return Bench(
        name=encoder,
        size=config.image_size,
        queries=config.num_queries,
        memory=config.memory_size,
        levels=tuple(config.memory_levels),
        dtype=str(kind).removeprefix("torch."),
        frames=frames,
        threads=torch.get_num_threads(),
        seconds_per_frame=median,
        first_mask_seconds=seconds[0],
        peak_mb=peak_mb,
        growth_mb_per_frame=grown / (len(full) - 1),
        gflop_per_frame=work,
        peak_gflops=peak,
        fraction_of_peak=work / median / peak,
    )


def random_model(config: X2SamConfig) -> X2SamModel:
    """The same random weights for the same sizes."""
    torch.manual_seed(0)
    return X2SamModel(config).eval().requires_grad_(False)


def matmul_peak(device: str = "cpu", dtype: torch.dtype = torch.float32, repeats: int = 5) -> float:
    """Billion operations a second of the best of some large matrix products."""
    a, b = torch.randn(2, MATMUL, MATMUL, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        float((a @ b)[0, 0])
        best = min(best, time.perf_counter() - started)
    return 2 * MATMUL**3 / best / 1e9


def random_guidance(config: X2SamConfig, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Guidance:
    """As a prompt of some categories would give."""
    dim = config.hidden_dim

    def yes(*shape: int) -> Tensor:
        return torch.ones(shape, dtype=torch.bool, device=device)

    return Guidance(
        conditions=torch.randn(1, CONDITIONS + 1, dim, device=device, dtype=dtype),
        condition_mask=yes(1, CONDITIONS + 1),
        num_conditions=torch.full((1,), CONDITIONS, device=device),
        tokens=torch.randn(1, WORDS, dim, device=device, dtype=dtype),
        token_mask=yes(1, WORDS),
        seg=torch.randn(1, 1, dim, device=device, dtype=dtype),
        has_seg=yes(1),
    )


def _resident_mb(settled: bool = False) -> float:
    """Of this process; ``settled``: without what the allocator keeps for later, where it can be asked to return it."""
    if settled:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
    return psutil.Process().memory_info().rss / 2**20


def _attention_flop(query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _frame(config: X2SamConfig, device: str) -> Tensor:
    return torch.randn(1, 3, config.image_size, config.image_size, device=device)
