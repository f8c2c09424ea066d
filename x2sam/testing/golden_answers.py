"""Recorded post-processing (``heads/post_*``): our answers as the label maps, scores and masks of the release.

A case's arguments stand in ``post_cases.json`` of its folder. Where the release sorts by nothing, our segments are put
into the recorded order.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from x2sam.decoding.answer import AnswerOptions, Candidate, answer_frame
from x2sam.errors import InputError
from x2sam.tasks import get_task
from x2sam.tracking.association import FrameToFrame
from x2sam.types import Condition

CASES: dict[str, tuple[str, dict[str, Any], int]] = {
    "semantic": ("genseg", {"form": "semantic"}, -1),
    "instance": ("genseg", {"form": "instance"}, -1),
    "panoptic": ("genseg", {"form": "panoptic"}, 0),
    "refseg": ("refseg", {}, 255),
    "grefseg": ("refseg", {"union_threshold": 0.6}, 255),
    "gcgseg": ("gcgseg", {}, 255),
    "vgdseg": ("vgdseg", {}, 255),
    "intseg": ("intseg", {}, 255),
}
"""Of each kind of case: its task, its options, and what its label map holds where nothing is."""


def recorded(file: Path, wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """The recorded tensors, and condition and score of every segment (``segments_i``, ``[N, 2]``).

    Instances without a pixel, which the release lists if the threshold is 0, are no segments.
    """
    lists = [_listed(entry) for entry in _case(file)["segments_info"]]
    wanted = wanted | {f"segments_{i}": _table(rows) for i, rows in enumerate(lists) if rows is not None}
    for i in range(len(lists)):
        if f"inst_masks_{i}" in wanted:
            seen = wanted[f"inst_masks_{i}"].flatten(1).bool().any(1)
            wanted |= {f"inst_{name}_{i}": wanted[f"inst_{name}_{i}"][seen] for name in ("masks", "scores", "classes")}
    return wanted


def answers(file: Path, given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our answer to one case, under the recorded names."""
    case = _case(file)
    media, kind = file.stem.removeprefix("post_").split("_")
    if kind not in CASES:
        raise InputError(f"Got the case {file.stem}, which is not built yet", f"one of {', '.join(CASES)}")
    suffix, columns, void = CASES[kind]
    task = get_task(f"{media}_{suffix}")
    options = AnswerOptions(protocol="released", threshold=case["args"].get("threshold"), **columns)
    stuff = _stuff(file) - {c for entry in case["segments_info"] for c, _ in _listed(entry) or () if kind != "panoptic"}
    conditions = [Condition(text=str(c), is_thing=c not in stuff) for c in range(_classes(given))]
    tracker = FrameToFrame()
    out: dict[str, Tensor] = {}
    for i, (classes, masks) in enumerate(
        zip(given["class_queries_logits"], given["masks_queries_logits"], strict=True)
    ):
        if kind == "panoptic":  # the release gives every frame the size of the first
            size, scaled = _size(case["image_sizes"], 0), _size(case["scaled_sizes"], 0)
        else:
            size, scaled = _size(case["image_sizes"], i), _size(case["scaled_sizes"], i)
        prompts = []
        if "vprompt_masks" in given:
            prompt = given["vprompt_masks"][i].reshape(1, 1, *masks.shape[-2:])[..., : scaled[0], : scaled[1]]
            prompts = [F.interpolate(prompt, size)[0, 0].numpy() > 0]
        found = answer_frame(
            task,
            classes,
            masks,
            size,
            conditions,
            options,
            prompt_masks=prompts,
            input_size=(masks.shape[1], masks.shape[2]),
            scaled_size=scaled,
        )
        found = _in_order(found, _listed(case["segments_info"][i]))
        if kind == "panoptic":
            ids = tracker.step(found)
        elif kind == "semantic":
            ids = [candidate.condition for candidate in found]
        else:
            ids = list(range(0 if options.form == "instance" or task.answer == "instances" else 1, len(found) + 1))
        out |= _frame(found, ids, size, void, i)
    return out


def _frame(found: list[Candidate], ids: list[int], size: tuple[int, int], void: int, i: int) -> dict[str, Tensor]:
    labels = np.full(size, void)
    masks = [candidate.rle.decode() for candidate in found]
    for mask, number in zip(masks, ids, strict=False):
        labels[mask] = number
    return {
        f"segmentation_{i}": torch.from_numpy(labels),
        f"segments_{i}": _table([(candidate.condition, candidate.score) for candidate in found]),
        f"inst_masks_{i}": torch.from_numpy(np.stack(masks) if masks else np.zeros((0, *size))),
        f"inst_scores_{i}": torch.tensor([candidate.score for candidate in found]),
        f"inst_classes_{i}": torch.tensor([candidate.condition for candidate in found]),
    }


def _case(file: Path) -> dict[str, Any]:
    return json.loads((file.parent / "post_cases.json").read_text())[file.stem.removeprefix("post_")]


def _listed(entry: Any) -> list[tuple[int, float]] | None:
    """Condition and score of recorded segments, which may be one, a list, or none recorded."""
    if entry is None:
        return None
    entries = entry if isinstance(entry, list) else [entry]
    return [(e["category_id"] if "category_id" in e else e["label_id"], e["score"]) for e in entries]


def _table(rows: list[tuple[int, float]]) -> Tensor:
    return torch.tensor(sorted(rows), dtype=torch.float64).reshape(-1, 2)


def _in_order(found: list[Candidate], rows: list[tuple[int, float]] | None) -> list[Candidate]:
    """Ours in the recorded order, as far as they are the same."""
    rest, ordered = list(found), []
    for condition, score in rows or ():
        same = [candidate for candidate in rest if candidate.condition == condition]
        if same:
            ordered.append(min(same, key=lambda candidate: abs(candidate.score - score)))
            rest.remove(ordered[-1])
    return ordered + rest


def _classes(given: dict[str, Tensor]) -> int:
    return given["class_queries_logits"].shape[-1] - 1


def _size(sizes: Any, i: int) -> tuple[int, int]:
    """Of images there is one size each; of a clip, one list of its frames' sizes."""
    sizes = sizes[0] if isinstance(sizes[0][0], list) else sizes
    return sizes[i][0], sizes[i][1]


def _stuff(file: Path) -> set[int]:
    """The classes that any case of the folder records as stuff."""
    cases = json.loads((file.parent / "post_cases.json").read_text()).values()
    entries = [e for case in cases for entry in case["segments_info"] if isinstance(entry, list) for e in entry]
    return {e["category_id"] for e in entries if e.get("isthing") is False}
