"""What names look like, learned from masks, and which photos they are in: nano's first stage, minutes of one core.

python -m x2sam.train.names PHOTOS OUT [MINUTES]

The backbone is frozen and a name's meaning is, so every photo is looked at once, and what is fitted is linear: the map
from meanings to looks, the levels and one scale (`model.recognition`). It begins as the ridge regression that knows the
classifier's thousand names (`look.fit_look`), and is held near to it. With 0 minutes nano is written as it knows by
that alone, before any training.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from x2sam.data.photos import PhotoFolder
from x2sam.data.photos.folder import Photo
from x2sam.model.modeling import X2SamModel
from x2sam.model.recognition import Recognition, pooled
from x2sam.processing import X2SamProcessor
from x2sam.train import english
from x2sam.train.build import build
from x2sam.train.context import fit_context
from x2sam.train.loop import export_model
from x2sam.train.recipes import resolve

BATCH, NEGATIVES = 48, 30
"""Photos of an update, and absent names that each is asked for at most."""
RATE = 2e-3
HOLD = 20.0
"""Weight of staying near what the classifier's names look like (of one minus the cosine)."""
SUREST = 5
"""Cells whose mean says whether a name is there."""
OFTEN = {"coco-full": 3, "coco-panoptic-train": 3, "coco-stuff-sample": 3, "voc07": 3}
"""Sets whose photos come so many times as often, since each of them holds much."""


@dataclass(frozen=True)
class Looked:
    """A photo as the frozen backbone sees it."""

    set: str
    features: NDArray[np.float16]
    """``[R, h, w]``."""
    covers: dict[str, NDArray[np.float32]]
    """How much of every cell each of its names covers, ``[h, w]``; only names of which all segments are known."""
    absent: tuple[str, ...]


@torch.inference_mode()
def look_at(model: X2SamModel, processor: X2SamProcessor, folder: PhotoFolder) -> Iterator[Looked]:
    """Every photo that has names."""
    for photo in folder.photos:
        features = model.encode(processor.frames([photo.frame(0)])).recognition
        assert features is not None
        size = (features.shape[2], features.shape[3])
        covers = {name: _cover(photo, name, size) for name in photo.names if name in folder.everywhere(photo)}
        if covers:
            yield Looked(photo.set, features[0].numpy().astype(np.float16), covers, tuple(folder.absent(photo)))


def _cover(photo: Photo, name: str, size: tuple[int, int]) -> NDArray[np.float32]:
    mask = np.isin(photo.ids(0), [shape.id for shape in photo.called(name)])
    return F.interpolate(torch.from_numpy(mask)[None, None].float(), size, mode="area")[0, 0].numpy()


def loss_of(recognition: Recognition, looks: Tensor, features: Tensor, covers: Tensor) -> Tensor:
    """Where each name is, whether it is there, and which name each mask has.

    Args:
        recognition: what is fitted.
        looks: ``[C, R + 1]``, of the names that are there and then of those that are not.
        features: ``[R, h, w]``.
        covers: ``[P, h, w]``, of the names that are there.
    """
    answers = recognition(looks[None], features[None])[0].flatten(1)  # [C, cells]
    there, cells = len(covers), answers.shape[1]
    truth = torch.zeros_like(answers)
    truth[:there] = covers.flatten(1)
    # Names that are not there weigh one and a half times as much, together, as those that are.
    weight = torch.ones(len(answers))
    weight[there:] = 1.5 * min(1.0, there / max(len(answers) - there, 1))
    loss = weight @ F.binary_cross_entropy_with_logits(answers, truth, reduction="none").mean(1)
    probability = answers[:there].sigmoid()
    shared = 2 * (probability * truth[:there]).sum(1) + 1
    loss = loss + 0.5 * (1 - shared / (probability.sum(1) + truth[:there].sum(1) + 1)).sum()
    surest = answers.topk(min(SUREST, cells), 1).values.mean(1)
    present = (torch.arange(len(answers)) < there).float()
    loss = loss + 0.3 * weight @ F.binary_cross_entropy_with_logits(surest, present, reduction="none")
    means = truth[:there] @ answers.T / truth[:there].sum(1, keepdim=True).clamp_min(1e-6)  # [P, C]
    return loss + 0.5 * F.cross_entropy(means, torch.arange(there), reduction="sum")


def fit(model: X2SamModel, processor: X2SamProcessor, photos: list[Looked], minutes: float, seed: int = 0) -> None:
    """Fit ``model.recognition`` for so many minutes of processor time, in place."""
    recognition = model.recognition
    assert recognition is not None
    names = sorted({name for photo in photos for name in (*photo.covers, *photo.absent)})
    place = {name: i for i, name in enumerate(names)}
    meanings, known = (_meanings(model, processor, some) for some in (names, english.names()))
    with torch.no_grad():
        begun = recognition.looks(known)[:, :-1]
    slow = [recognition.look.weight, recognition.look.bias]
    quick = [recognition.scale, recognition.level.weight, recognition.level.bias]
    search = torch.optim.Adam([{"params": slow, "lr": RATE}, {"params": quick, "lr": 5 * RATE}])
    rates = [group["lr"] for group in search.param_groups]
    rng, started = np.random.default_rng(seed), time.process_time()
    chances = np.array([OFTEN.get(photo.set, 1) for photo in photos], dtype=float)
    chances /= chances.sum()
    while (progress := (time.process_time() - started) / (60 * max(minutes, 1e-9))) < 1:
        for group, rate in zip(search.param_groups, rates, strict=True):
            group["lr"] = rate * max(0.02, 1 - progress)
        looks = recognition.looks(meanings)
        total = HOLD * (1 - (recognition.looks(known)[:, :-1] * begun).sum(1)).mean()
        for photo in (photos[i] for i in rng.choice(len(photos), BATCH, p=chances)):
            absent = rng.permutation(list(photo.absent))[:NEGATIVES].tolist()
            rows = [place[name] for name in (*photo.covers, *absent)]
            features = torch.from_numpy(photo.features.astype(np.float32))
            covers = torch.from_numpy(np.stack(list(photo.covers.values())))
            total = total + loss_of(recognition, looks[rows], features, covers) / BATCH
        search.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_([*slow, *quick], 5.0)
        search.step()


def fit_whole(model: X2SamModel, processor: X2SamProcessor, photos: list[Looked]) -> None:
    """Fit what whole photos tell (`context.fit_context`), in place."""
    recognition, eyes = model.recognition, model.language.visual
    assert recognition is not None
    names = sorted({name for photo in photos for name in (*photo.covers, *photo.absent)})
    place = {name: i for i, name in enumerate(names)}
    truth = torch.full((len(photos), len(names)), -1.0)
    for row, photo in zip(truth, photos, strict=True):
        row[[place[name] for name in photo.absent]] = 0.0
        row[[place[name] for name in photo.covers]] = 1.0
    pictures = torch.cat([pooled(torch.from_numpy(photo.features.astype(np.float32))[None]) for photo in photos])
    looks, known = (recognition.looks(_meanings(model, processor, n))[:, :-1] for n in (names, english.names()))
    fit_context(recognition, eyes.classifier, pictures, looks.detach(), truth, known.detach())


@torch.no_grad()
def _meanings(model: X2SamModel, processor: X2SamProcessor, names: list[str]) -> Tensor:
    return torch.stack(model.language.meanings_of(processor.spelled(names)))


def main(photos: Path, out: Path, minutes: float) -> None:
    """Write nano with names, and with nothing else learned, to ``OUT/model``."""
    model, processor = build(resolve("prompted_nano", [f"photos={photos}", f"out={out}", "init="]))
    model.requires_grad_(False).eval()
    if minutes and model.recognition is not None:
        seen = list(look_at(model, processor, PhotoFolder(photos, validation=False)))
        model.recognition.requires_grad_(True)
        fit(model, processor, seen, minutes)
        fit_whole(model, processor, seen)
    export_model(model, model.state_dict(), processor, out / "model", 1.0)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit("Usage: python -m x2sam.train.names PHOTOS OUT [MINUTES]")
    main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) == 4 else 5.0)
