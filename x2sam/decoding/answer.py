"""From logits to segments: four ways to answer, chosen by columns of the task table.

`panoptic.panoptic`, `semantic` and `instances` answer generic tasks (``AnswerOptions.form``), `instances` also grounded
regions, `objects.best` phrases and single objects. Choosing happens at the decoder's resolution; only chosen masks are
resized. Where the released model answers differently, a field of `candidates.Rules` says how.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

import torch
from torch import Tensor

from x2sam.decoding.candidates import AnswerOptions, Candidate, FrameLogits, Size, rules_of
from x2sam.decoding.limits import limited
from x2sam.decoding.objects import best
from x2sam.decoding.panoptic import instances, panoptic, semantic
from x2sam.decoding.presence import calibrated
from x2sam.errors import InputError
from x2sam.masks import BoolMask
from x2sam.tasks import Task
from x2sam.types import Condition

DEFAULTS = AnswerOptions()


def answer_frame(
    task: Task,
    class_logits: Tensor,
    mask_logits: Tensor,
    size: Size,
    conditions: Sequence[Condition],
    options: AnswerOptions = DEFAULTS,
    *,
    prompt_masks: Sequence[BoolMask | None] = (),
    recent: Sequence[Sequence[Candidate]] = (),
    seen: Container[int] = (),
    carried: Tensor | None = None,
    input_size: Size | None = None,
    scaled_size: Size | None = None,
) -> list[Candidate]:
    """The segments of one frame. An empty list says that nothing of what was asked for is there.

    class_logits: ``[Q, C+1]``, background last; columns of padding may stand between it and the conditions'.
    mask_logits: ``[Q, h, w]``. size: height and width of the answer.
    prompt_masks: of each condition the region that shows its object on this frame, ``[H, W]``, or None.
    recent: of each condition its candidates on the last frames (`tracking.history`); ``best`` prefers to go on.
    seen: conditions that were answered on a frame before.
    carried: ``[C, h, w]``, where the object of each condition should be now (`tracking.history`).
    input_size, scaled_size: resize to the network's input and crop to the picture in it first, as the release does.
    Raises InputError for logits that are not numbers or do not fit the conditions.
    """
    _check(task, class_logits, mask_logits, size, conditions)
    if not conditions or not len(class_logits):
        return []
    scores = calibrated(class_logits.float().softmax(-1)[:, : len(conditions)].cpu(), task, options)
    rules = rules_of(task, options)
    frame = FrameLogits(scores, mask_logits.float(), size, task, conditions, options, rules, input_size, scaled_size)
    if task.answer == "generic":
        found = {"panoptic": panoptic, "semantic": semantic, "instance": instances}[options.form](frame)
    elif task.answer == "instances":
        found = instances(frame)
    else:
        found = best(frame, prompt_masks, recent, seen, carried)
    return limited(found, options)


def _check(task: Task, class_logits: Tensor, mask_logits: Tensor, size: Size, conditions: Sequence[Condition]) -> None:
    if task.answer == "none":
        raise InputError(f"Got the task {task.name}, which has no masks", "a segmentation task", "See: x2sam tasks")
    shapes = f"{list(class_logits.shape)} and {list(mask_logits.shape)}"
    if class_logits.ndim != 2 or mask_logits.ndim != 3 or len(class_logits) != len(mask_logits):
        raise InputError(f"Got class and mask logits of shapes {shapes}", "[Q, C+1] and [Q, h, w]")
    if class_logits.shape[1] <= len(conditions):
        raise InputError(
            f"Got class logits of shape {list(class_logits.shape)} for {len(conditions)} conditions",
            "a column for each condition and one for the background",
        )
    if min(size) < 1:
        raise InputError(f"Got the size {size}", "at least one pixel")
    if not torch.isfinite(class_logits.float().sum() + mask_logits.float().sum()):
        raise InputError(
            "Got scores or masks that are not numbers (NaN or infinite)",
            "finite logits",
            "Half precision can overflow: run in float32 or bfloat16, and check the weights",
        )
