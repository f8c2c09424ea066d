"""EfficientNet-Lite as a mask-encoder backbone: small, convolutional, with ImageNet weights under a free licence.

The architecture is EfficientNet-B0's table (arXiv 1905.11946, table 1), scaled, without squeeze-and-excitation, with
ReLU6 and a stem of fixed width. Its last features, the ones a classifier reads, are kept as recognition features. It
plugs into `Sam2VisionConfig(backbone_config={"model_type": "efficientnet_lite"})`. Batch
norms keep their statistics in training too: batches are small and their frames alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel
from transformers.utils import ModelOutput

from x2sam.config import EfficientNetLiteConfig


class Stage(NamedTuple):
    """Blocks of one width: a row of `EfficientNetLiteConfig.stages`."""

    blocks: int
    kernel: int
    stride: int
    """Of the first block."""
    expansion: int
    channels: int


@dataclass
class EfficientNetLiteOutput(ModelOutput):
    """Maps of a batch of frames, channels last as the mask encoder's neck takes them."""

    last_hidden_state: Tensor | None = None
    """``[N, H/32, W/32, C]``."""
    intermediate_hidden_states: tuple[Tensor, ...] | None = None
    """``[N, h, w, C]`` at strides 4, 8, 16, 32."""
    recognition: Tensor | None = None
    """``[N, R, H/32, W/32]``: what a classifier of 1,000 names would average and read; None without such a head."""
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class ConvNorm(nn.Sequential):
    """A convolution and its batch norm in one kernel; the output has ``ceil(input / stride)`` cells.

    The norm always uses its stored statistics, so it is a linear map that the weights absorb; its scale and shift
    still train. Where the padding is odd, more goes to the right and the bottom, as the weights were trained.
    """

    def __init__(self, dim_in: int, dim_out: int, kernel: int, eps: float, stride: int = 1, groups: int = 1) -> None:
        super().__init__(
            nn.Conv2d(dim_in, dim_out, kernel, stride, groups=groups, bias=False), nn.BatchNorm2d(dim_out, eps=eps)
        )

    def absorbed(self) -> tuple[Tensor, Tensor]:
        """The weights of both as one map: (weight, bias). Worked out once for weights that do not train."""
        conv, norm = self
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        parts = (conv.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var)
        still = not (
            self.training or torch.is_grad_enabled() or torch.compiler.is_compiling() or conv.weight.is_inference()
        )
        key = tuple((part.data_ptr(), part._version) for part in parts) if still else None
        kept = self.__dict__.get("_absorbed")
        if key is not None and kept is not None and kept[0] == key:
            return kept[1]
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        both = conv.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale
        if key is not None:
            self.__dict__["_absorbed"] = key, both
        return both

    def forward(self, x: Tensor) -> Tensor:
        conv = self[0]
        assert isinstance(conv, nn.Conv2d)
        weight, bias = self.absorbed()
        kernel, stride = conv.kernel_size[0], conv.stride[0]
        if kernel == 1:  # channels lie last, so this is a product of matrices; the convolution would copy them first
            return F.linear(x.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)
        height, width = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[-2:])
        if height % 2 or width % 2:  # the kernel can only pad evenly
            x = F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
            height = width = 0
        return F.conv2d(x, weight, bias, stride, (height // 2, width // 2), 1, conv.groups)


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; added to the input where the shapes agree."""

    def __init__(self, dim_in: int, stage: Stage, stride: int, eps: float) -> None:
        super().__init__()
        dim = dim_in * stage.expansion
        self.expand = ConvNorm(dim_in, dim, 1, eps) if stage.expansion != 1 else None
        self.depthwise = ConvNorm(dim, dim, stage.kernel, eps, stride, groups=dim)
        self.project = ConvNorm(dim, stage.channels, 1, eps)
        self.residual = stride == 1 and dim_in == stage.channels

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x), inplace=True)
        y = self.project(F.relu6(self.depthwise(y), inplace=True))
        return x + y if self.residual else y


class EfficientNetLiteModel(PreTrainedModel):
    """Frames -> four maps."""

    config_class = EfficientNetLiteConfig
    config: EfficientNetLiteConfig
    main_input_name = "pixel_values"
    base_model_prefix = "backbone"
    _no_split_modules = ["InvertedResidual"]  # noqa: RUF012

    def __init__(self, config: EfficientNetLiteConfig) -> None:
        super().__init__(config)
        self.stem = ConvNorm(3, config.stem_channels, 3, config.norm_eps, stride=2)
        self.blocks = nn.ModuleList()
        dim = config.stem_channels
        for stage in (Stage(*row) for row in config.stages):
            for i in range(stage.blocks):
                self.blocks.append(InvertedResidual(dim, stage, stage.stride if i == 0 else 1, config.norm_eps))
                dim = stage.channels
        wide = config.recognition_channels
        self.recognise = ConvNorm(dim, wide, 1, config.norm_eps) if wide else None
        self.post_init()

    def forward(self, pixel_values: Tensor, **_: object) -> EfficientNetLiteOutput:
        """``pixel_values`` ``[N, 3, H, W]``, sides multiples of 32, ImageNet-normalised."""
        x = F.relu6(self.stem(pixel_values.contiguous(memory_format=torch.channels_last)), inplace=True)
        maps: list[Tensor] = []
        for block in self.blocks:
            y = block(x)
            if y.shape[-1] < x.shape[-1]:
                maps.append(x)  # the last map of its stride
            x = y
        recognition = None if self.recognise is None else F.relu6(self.recognise(x), inplace=True)
        maps = [m.permute(0, 2, 3, 1) for m in (*maps[1:], x)]
        return EfficientNetLiteOutput(maps[-1], tuple(maps), recognition)


AutoModel.register(EfficientNetLiteConfig, EfficientNetLiteModel, exist_ok=True)
