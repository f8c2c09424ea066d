"""Samples -> the arguments of `X2SamModel.forward`, in worker processes."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from x2sam.config import X2SamConfig
from x2sam.masks import BoolMask
from x2sam.model.losses import Targets
from x2sam.model.prompt_maps import prompt_maps
from x2sam.processing import Encoded, X2SamProcessor
from x2sam.tasks import Task, get_task
from x2sam.train.recipes import TrainConfig, task_of
from x2sam.train.sampler import MicroBatch, Sampler, Source
from x2sam.types import ObjectTrack, Sample
from x2sam.vision import square_masks

UNREAD_SIDE = 64
"""Pixels a side of the blank picture that stands where none is read."""
CARRIED_SHARE, CARRIED_SIDE = 0.2, 96
"""How often a mask is carried rather than drawn in pictures, and cells a side of a carried mask."""


@dataclass
class Batch:
    """One forward pass."""

    task: str
    inputs: dict[str, Any]
    """Arguments of `X2SamModel.forward`."""
    tokens: int
    """Supervised words."""
    masks: int
    """Masks to be found."""
    class_weight: float
    """Summed weight of the queries in the class loss."""

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return dataclasses.replace(self, inputs={name: _to(value, device) for name, value in self.inputs.items()})


class Collator:
    """Samples of one task -> `Batch`.

    Args:
        model: sizes and losses.
        processor: the model's.
        clip_length: frames of a clip that are kept.
        reads: whether the language model reads; where conditions speak for themselves it is shown no pictures.
    """

    def __init__(self, model: X2SamConfig, processor: X2SamProcessor, clip_length: int, reads: bool = True) -> None:
        self.model, self.processor, self.clip_length, self.reads = model, processor, clip_length, reads

    def __call__(self, samples: Sequence[Sample], rngs: Sequence[np.random.Generator]) -> Batch:
        """Batch ``samples``, drawing wordings and windows from ``rngs``."""
        task = get_task(samples[0].task)
        clips = [window(sample, self.clip_length, rng) for sample, rng in zip(samples, rngs, strict=True)]
        length = max(len(clip.frames) for clip in clips)
        inputs: dict[str, Any] = {}
        asked = [0] * len(clips)
        if not self.model.class_agnostic:
            encoded = [self.encode(task, clip, rng) for clip, rng in zip(clips, rngs, strict=True)]
            inputs |= dict(self.processor.collate(encoded, clip_length=length))
            if not self.reads:
                inputs = {name: value for name, value in inputs.items() if not name.startswith("pixel_values")}
            asked = [int((e.input_ids == self.model.phrase_start_token_id).sum()) for e in encoded]
            inputs["share_conditions"] = task.shared_conditions and len(clips) > 1
            inputs["alone"] = task.answer == "best"
        targets: list[list[Targets]] = []
        if not task.is_chat:
            targets = [self.targets(task, clip, n) for clip, n in zip(clips, asked, strict=True)]
            frames = [self.processor.frames(clip.frames) for clip in clips]
            inputs["frames"] = torch.stack([_padded(f, length) for f in frames])
            inputs["frame_mask"] = torch.tensor([[t < len(f) for t in range(length)] for f in frames])
            inputs["targets"] = targets
            if task.one_region and self.model.prompted_widths:
                drawn = [self.drawn(clip, rng) for clip, rng in zip(clips, rngs, strict=True)]  # [T, C, K, h, w] each
                most = max(d.shape[1] for d in drawn)
                inputs["drawn"] = torch.stack([_grown(d, (length, most)) for d in drawn])
        return self._counted(task, inputs, [t for clip_targets in targets for t in clip_targets])

    def encode(self, task: Task, clip: Sample, rng: np.random.Generator | None) -> Encoded:
        """A clip for the language model, which sees evenly spread frames of it."""
        if not self.reads:
            blank = np.zeros((UNREAD_SIDE, UNREAD_SIDE, 3), dtype=np.uint8)
            return self.processor.encode(task, clip.prompt, self.processor.see([blank], False), clip.answer, rng)
        seen = spread(len(clip.frames), self.processor.language_frames)
        times = [clip.times[i] for i in seen] if clip.times is not None else None
        media = self.processor.see([clip.frames[i] for i in seen], task.media == "video", times)
        return self.processor.encode(task, clip.prompt, media, clip.answer, rng)

    def targets(self, task: Task, clip: Sample, asked: int = 0) -> list[Targets]:
        """What is to be found on every frame: one mask an object, or one a condition where that is the answer.

        ``asked``: its conditions, as the model counts them.
        """
        side = self.model.image_size
        conditions = clip.prompt.conditions
        wanted = []
        for t in range(len(clip.frames)):
            groups: dict[tuple[int, int], Any] = {}
            for track in clip.objects:
                rle = track.masks[t]
                if rle is None or track.is_crowd:
                    continue
                is_thing = track.condition >= len(conditions) or conditions[track.condition].is_thing
                apart = self.model.class_agnostic or (task.answer != "best" and is_thing)
                key = (track.condition, track.object_id if apart else -1)
                groups[key] = groups[key] | rle.decode() if key in groups else rle.decode()
            classes = [0 if self.model.class_agnostic else condition for condition, _ in groups]
            masks = square_masks(list(groups.values()), side)
            wanted.append(Targets(torch.tensor(classes, dtype=torch.long), masks, self.model.prompted(asked)))
        return wanted

    def drawn(self, clip: Sample, rng: np.random.Generator) -> Tensor:
        """What is drawn on every frame, ``[T, C, len(CHANNELS), h, w]``. On frames where nothing is, the mask of the
        frame before is carried over, not quite rightly, as it will be in use; sometimes that is so in a picture, too.
        """
        regions = [c.region for c in clip.prompt.conditions]
        before: dict[int, BoolMask] = {}
        stacks = []
        for t in range(len(clip.frames)):
            now = {track.condition: rle.decode() for track in clip.objects if (rle := track.masks[t]) is not None}
            alone = len(clip.frames) == 1
            carried = {i: _distorted(mask, rng) for i, mask in (now if alone else before).items() if mask.any()}
            drawn = list(regions)
            if alone:
                swapped = {i for i in carried if rng.random() < CARRIED_SHARE}
                carried = {i: mask for i, mask in carried.items() if i in swapped}
                drawn = [None if i in swapped else region for i, region in enumerate(regions)]
            shown = [carried.get(i) for i in range(len(regions))]
            stacks.append(prompt_maps(drawn, t, self.model.image_size, shown))
            before.update(now)
        return torch.stack(stacks)

    def _counted(self, task: Task, inputs: dict[str, Any], targets: list[Targets]) -> Batch:
        queries = self.model.num_queries
        found = [
            min(queries - t.prompted, len(t.classes)) + len({c for c in t.classes.tolist() if c < t.prompted})
            for t in targets
        ]
        return Batch(
            task=task.name,
            inputs=inputs,
            tokens=int((inputs["labels"][:, 1:] != -100).sum()) if "labels" in inputs else 0,
            masks=sum(len(t.classes) for t in targets),
            class_weight=sum(n + self.model.no_object_weight * (queries - n) for n in found),
        )


def _distorted(mask: BoolMask, rng: np.random.Generator) -> Tensor:
    """A mask as a tracker might carry it: moved, scaled, turned, frayed and a little blurred, ``[96, 96]``, 0..1."""
    small = F.adaptive_avg_pool2d(torch.from_numpy(mask)[None, None].float(), CARRIED_SIDE)
    rows, columns = (np.ptp(index) + 1 for index in np.nonzero(mask))
    extent = np.array([columns / mask.shape[1], rows / mask.shape[0]])
    (sx, sy), angle = np.exp(rng.normal(0, 0.06, 2)), rng.normal(0, 0.08)
    shift = rng.normal(0, 0.08, 2) * extent * 2
    places = np.argwhere(mask).mean(0)[::-1] / mask.shape[::-1] * 2 - 1  # centre, -1..1 as x, y
    turn = np.array([[np.cos(angle) / sx, -np.sin(angle) / sy], [np.sin(angle) / sx, np.cos(angle) / sy]])
    theta = np.column_stack([turn, places - turn @ (places + shift)])
    grid = F.affine_grid(torch.from_numpy(theta)[None].float(), list(small.shape), align_corners=False)
    moved = F.grid_sample(small, grid, align_corners=False)
    noise = torch.from_numpy(rng.normal(0, 1, (1, 1, 12, 12))).float()
    fray = F.interpolate(noise, small.shape[-2:], mode="bicubic", align_corners=False)
    radius = int(rng.integers(0, 3))
    blurred = F.avg_pool2d(moved, 2 * radius + 1, 1, radius, count_include_pad=False)
    return (8 * (blurred - 0.5 + 0.15 * fray)).sigmoid()[0, 0]


def _grown(stack: Tensor, size: tuple[int, int]) -> Tensor:
    """``[T, C, ...]`` with zeros up to ``size``."""
    out = stack.new_zeros(*size, *stack.shape[2:])
    out[: stack.shape[0], : stack.shape[1]] = stack
    return out


def spread(length: int, count: int) -> list[int]:
    """At most ``count`` indices, evenly spread over ``length``."""
    return list(range(length)) if length <= count else np.linspace(0, length - 1, count).round().astype(int).tolist()


def window(sample: Sample, length: int, rng: np.random.Generator) -> Sample:
    """A run of ``length`` frames of a longer sample, at random among those that hold its regions."""
    total = len(sample.frames)
    if total <= length:
        return sample
    marked = [region.frame for region in sample.prompt.regions]
    lowest = max(0, max(marked, default=0) - length + 1)
    start = int(rng.integers(lowest, max(lowest, min([total - length, *marked])) + 1))
    part = slice(start, start + length)
    conditions = tuple(
        dataclasses.replace(c, region=dataclasses.replace(c.region, frame=c.region.frame - start)) if c.region else c
        for c in sample.prompt.conditions
    )
    return dataclasses.replace(
        sample,
        frames=sample.frames[part],
        times=sample.times[part] if sample.times is not None else None,
        prompt=dataclasses.replace(sample.prompt, conditions=conditions),
        objects=tuple(_cut(track, part) for track in sample.objects),
        ignore=sample.ignore[part] if sample.ignore is not None else None,
    )


class MicroBatches(Dataset):
    """Map-style: the micro-batch (update, number) as a `Batch`, the same wherever it is prepared."""

    def __init__(self, source: Source, collator: Collator, seed: int) -> None:
        self.source, self.collator, self.seed = source, collator, seed

    def __getitem__(self, micro: MicroBatch) -> Batch:
        key = zlib.crc32(micro.task.encode())
        rngs = [np.random.default_rng((self.seed, key, micro.update, index)) for index in micro.indices]
        return self.collator([self.source.sample(micro.task, index) for index in micro.indices], rngs)


def load(
    dataset: MicroBatches, sampler: Sampler, config: TrainConfig, first_update: int, rank: int = 0
) -> Iterator[list[Batch]]:
    """This process's batches of every update from ``first_update`` on."""

    def plan() -> Iterator[MicroBatch]:
        for update in range(first_update, config.updates):
            yield from sampler.micro_batches(update)[rank :: sampler.processes]

    loader = DataLoader(
        dataset,
        batch_size=None,
        sampler=plan(),
        num_workers=config.workers,
        worker_init_fn=_one_thread,
        prefetch_factor=4 if config.workers else None,
    )
    batches = iter(loader)
    for update in range(first_update, config.updates):
        count = config.accumulation(task_of(sampler.task(update)[0]).media)
        yield [next(batches) for _ in range(count)]


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
    torch.multiprocessing.set_sharing_strategy("file_system")


def _cut(track: ObjectTrack, part: slice) -> ObjectTrack:
    return dataclasses.replace(track, masks=track.masks[part])


def _padded(frames: Tensor, length: int) -> Tensor:
    return torch.cat([frames, frames.new_zeros(length - len(frames), *frames.shape[1:])])


def _to(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, Targets):
        return dataclasses.replace(value, classes=value.classes.to(device), masks=value.masks.to(device))
    return [_to(v, device) for v in value] if isinstance(value, list) else value
