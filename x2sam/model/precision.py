"""Whether a device can compute with a number type, asked before weights are loaded rather than found out after."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from x2sam.errors import InputError


def check_dtype(dtype: Any, device: Any = None) -> None:
    """Raise InputError unless ``dtype`` (a type, its name, ``"auto"`` or None) is one that ``device`` computes with.

    Args:
        dtype: as in `from_pretrained`.
        device: as ``device_map`` in `from_pretrained`; a plan for several devices is not tried out.
    """
    if dtype is None or dtype == "auto":
        return
    name = str(dtype).removeprefix("torch.")
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise InputError(f"Got dtype={name!r}", "a floating type", "Pass float32, bfloat16 or float16")
    try:
        device = torch.device("cpu" if device is None else device)
    except (RuntimeError, TypeError):  # "auto", "balanced", or a dict of parts
        return
    try:
        one = torch.ones(1, 1, 1, 1, dtype=found, device=device)
        F.conv2d(one, one)
        F.grid_sample(one, one.new_zeros(1, 1, 1, 2), align_corners=False)
    except (RuntimeError, TypeError) as error:
        raise InputError(
            f"Got dtype={name!r}, which the device {str(device)!r} does not compute with: {error}",
            "a type the device has",
            "Pass dtype='float32', which every device has",
        ) from error
