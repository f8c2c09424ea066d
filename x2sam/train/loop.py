"""The training loop, on `accelerate`: one process or many, FSDP2 or DeepSpeed by its own configuration.

An update begins from seeds that are made of the run's seed and the update's number, and its data are a function of
the same two, so nothing but weights and optimiser has to be remembered: a run killed at any moment continues from
its last checkpoint to the same weights bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import DistributedType, broadcast_object_list, set_seed
from torch import Tensor

from x2sam.model.modeling import X2SamModel
from x2sam.processing import X2SamProcessor
from x2sam.train.batches import Batch, Collator, MicroBatches, load
from x2sam.train.build import build
from x2sam.train.checkpointing import Checkpoints, write_folder
from x2sam.train.guard import Guard, RefusedError, show
from x2sam.train.heap import give_back
from x2sam.train.log import Journal
from x2sam.train.optim import loss_shares, lr_scale, make_optimizer, set_lr
from x2sam.train.recipes import TrainConfig
from x2sam.train.sampler import Sampler
from x2sam.train.sources import open_source
from x2sam.train.validation import validate


def train(config: TrainConfig) -> Path:
    """Run a recipe, or continue it where its folder has a checkpoint.

    Returns:
        The folder of the trained model, for `X2Sam.from_pretrained`; the best one by validation is in ``best``.

    Raises:
        X2SamError: a configuration, weights or data that cannot be used.
    """
    return Run(config).run()


class Run:
    """One run of the loop."""

    def __init__(self, config: TrainConfig) -> None:
        self.config, self.folder = config, Path(config.out)
        if config.threads:
            torch.set_num_threads(config.threads)
        self.accelerator = Accelerator(
            mixed_precision=_precision(config.precision),
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
            log_with="tensorboard" if config.tensorboard else None,
            project_dir=str(self.folder),
        )
        shape = (config.world_size, config.clip_length)
        asked: dict[str, Any] = {n: getattr(config, n) for n in ("absent", "negatives", "phrases")}
        source = open_source(config.source, "train", *shape, config.photos, **asked)
        self.held_out = open_source(config.source, "val", *shape, config.photos)
        model, self.processor = build(config)
        self.collator = Collator(model.config, self.processor, config.clip_length, reads=not model.without_language)
        self.sampler = Sampler(config, self.accelerator.num_processes, getattr(source, "lengths", None))
        self.model, self.optimizer = self.accelerator.prepare(model.train(), make_optimizer(model, config))
        self.dataset = MicroBatches(source, self.collator, config.seed)
        self.checkpoints = Checkpoints(self.folder, self.accelerator, config.keep)
        whole = self.accelerator.distributed_type not in (DistributedType.FSDP, DistributedType.DEEPSPEED)
        self.guard = Guard(config, self.collator, self.held_out) if config.guard_samples and whole else None
        self.best = 0.0
        self.seconds = 0.0
        """Spent on updates, over all attempts."""

    # --- the loop ----------------------------------------------------------------------------------------------

    def run(self) -> Path:
        """Train to the end."""
        config, main = self.config, self.accelerator.is_main_process
        if main:
            self.folder.mkdir(parents=True, exist_ok=True)
            config.save(self.folder / "config.json")
        self.accelerator.wait_for_everyone()
        if config.tensorboard:
            self.accelerator.init_trackers("tensorboard")
        if self.guard is not None and main:
            self.guard.before(self.accelerator.unwrap_model(self.model))
        done = self._resume()
        self.journal = Journal(self.folder, done, main, config.log_every)
        self.journal.say(f"{self._size()}; from update {done}")
        if not done and config.validate_first:
            self._validate(0)
        batches = load(self.dataset, self.sampler, config, done, self.accelerator.process_index)
        while (progress := self._progress(done)) < 1:
            numbers = self._update(done, progress, batches)
            done += 1
            self.journal.update(done, self.sampler.task(done - 1)[0], progress, numbers)
            if config.tensorboard:
                self.accelerator.log(numbers, step=done)
            if config.validate_every and done % config.validate_every == 0:
                self._validate(done)
            if done % config.save_every == 0:
                self._save(done)
        if done % config.save_every:
            self._save(done)
        if not config.validate_every or done % config.validate_every:
            self._validate(done)
        refused = self._guarded(self.folder / "model", tell=True)
        self.journal.close()
        self.accelerator.end_training()
        if refused is not None:
            raise refused
        return self.folder / "model"

    def _update(self, number: int, progress: float, batches: Iterator[list[Batch]]) -> dict[str, float]:
        """One optimiser step; returns what is logged."""
        accelerator, config = self.accelerator, self.config
        started = time.monotonic()
        group = next(batches)
        set_seed((config.seed * 1_000_003 + number * 1009 + accelerator.process_index) % 2**32)
        scale = lr_scale(progress, config.warmup)
        set_lr(self.optimizer, scale)
        shares = self._shares(group)
        accelerator.gradient_accumulation_steps, accelerator.step = len(group), 0
        # accelerate divides by the number of micro-batches; the shares have done that already
        undivided = 1 if accelerator.distributed_type == DistributedType.DEEPSPEED else len(group)
        sums: dict[str, Tensor] = {}
        for batch, share in zip(group, shares, strict=True):
            with accelerator.accumulate(self.model):
                parts = self._losses(batch.to(accelerator.device), share)
                accelerator.backward(torch.stack(list(parts.values())).sum() * undivided)
                norm = None
                if accelerator.sync_gradients:
                    norm = accelerator.clip_grad_norm_(self.model.parameters(), config.clip_norm)
                self.optimizer.step()
                self.optimizer.zero_grad()
            for name, part in parts.items():
                sums[name] = sums.get(name, 0) + part.detach()
        numbers = {name: float(accelerator.reduce(part, "mean")) for name, part in sums.items()}
        if accelerator.device.type == "cpu":
            give_back()  # the next update's task may have passes of another size
        self.seconds += time.monotonic() - started
        total = {"loss": sum(numbers.values())}
        return total | numbers | {"norm": float(norm) if norm is not None else 0.0, "lr": scale * config.lr}

    def _losses(self, batch: Batch, share: Tensor) -> dict[str, Tensor]:
        """Named losses of a micro-batch, as shares of the whole update's mean."""
        out = self.model(**batch.inputs)
        words, masks, classes = share.to(self.accelerator.device)
        kinds = {"loss_mask": masks, "loss_dice": masks, "loss_align": masks, "loss_cls": classes}
        parts: dict[str, Tensor] = {}
        if out.loss_language is not None:
            parts["loss_words"] = out.loss_language * words
        for name, part in (out.parts or {}).items():
            kind = "_".join(name.split("_")[:2])
            parts[kind] = parts.get(kind, 0) + part * kinds[kind]
        return parts

    def _shares(self, group: list[Batch]) -> Tensor:
        counts = torch.tensor([[b.tokens, b.masks, b.class_weight] for b in group], dtype=torch.float64)
        gathered = self.accelerator.gather(counts.float().to(self.accelerator.device)[None]).cpu()
        return loss_shares(gathered, self.accelerator.process_index)

    def _progress(self, done: int) -> float:
        """The finished part of the run, the same on all processes."""
        share = done / self.config.updates
        if self.config.max_minutes:
            spent = torch.tensor([self.seconds], device=self.accelerator.device)
            share = max(share, float(self.accelerator.gather(spent)[0]) / (60 * self.config.max_minutes))
        return min(share, 1.0)

    # --- keeping -----------------------------------------------------------------------------------------------

    def _save(self, done: int) -> None:
        self.checkpoints.save(done, {"seconds": self.seconds, "best": self.best})

    def _resume(self) -> int:
        state = self.checkpoints.resume()
        self.seconds, self.best = state.get("seconds", 0.0), state.get("best", 0.0)
        return state.get("update", 0)

    def _export(self, folder: Path) -> None:
        """Weights and processor for inference; adapters are merged."""
        model: Any = self.accelerator.unwrap_model(self.model)
        weights = self.accelerator.get_state_dict(self.model)
        if self.accelerator.is_main_process:
            rank = self.config.lora_rank
            export_model(model, weights, self.processor, folder, (self.config.lora_alpha or 2 * rank) / max(rank, 1))
        self.accelerator.wait_for_everyone()

    def _guarded(self, folder: Path, tell: bool = False) -> RefusedError | None:
        """Write the model, unless it lost more than it may; then the error that says so, in every process."""
        refused = None
        if self.guard is not None and self.accelerator.is_main_process and (tell or self.config.guard >= 0):
            changes = self.guard.judge(self.accelerator.unwrap_model(self.model))
            lost = self.guard.lost(changes)
            refused = self.guard.refuse(lost) if lost else None
            if tell:
                show(changes)
        told = broadcast_object_list([refused])
        if told[0] is None:
            self._export(folder)
        return told[0]

    def _validate(self, done: int) -> None:
        """Score the run on the main process; weights that are spread over processes are not scored."""
        whole = self.accelerator.distributed_type not in (DistributedType.FSDP, DistributedType.DEEPSPEED)
        if self.accelerator.is_main_process and self.config.validation_samples and whole:
            model: Any = self.accelerator.unwrap_model(self.model)
            picture = self.folder / "validation" / f"{done:06d}.png"
            tasks, count = list(self.config.tasks), self.config.validation_samples
            results = validate(model, self.collator, self.held_out, tasks, count, picture)
            means = [r["iou"] for r in results.values() if "iou" in r]
            mean = sum(means) / max(len(means), 1)
            self.journal.write({"update": done, "validation": results, "iou": mean})
            rows = (f"{t} " + " ".join(f"{k} {v:.2f}" for k, v in r.items()) for t, r in results.items())
            self.journal.say(f"validation at {done}: iou {mean:.3f}\n  " + "\n  ".join(rows))
            improved = mean > self.best
            self.best = max(self.best, mean)
        else:
            improved = False
        flag = torch.tensor([float(improved)], device=self.accelerator.device)
        if float(self.accelerator.gather(flag)[0]):
            self._guarded(self.folder / "best")

    def _size(self) -> str:
        model: Any = self.accelerator.unwrap_model(self.model)
        total = sum(p.numel() for p in model.parameters())
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        return (
            f"{total / 1e6:.1f} M parameters, {trained / 1e6:.1f} M train, {self.accelerator.num_processes} process(es)"
        )


def export_model(
    model: X2SamModel, weights: dict[str, Tensor], processor: X2SamProcessor, folder: Path, lora_scale: float
) -> None:
    """Write a folder for `from_pretrained`, complete or not at all."""

    def write(target: Path) -> None:
        model.save_pretrained(target, state_dict=merged(weights, lora_scale))
        processor.save_pretrained(target)

    write_folder(folder, write)


def merged(weights: dict[str, Tensor], scale: float) -> dict[str, Tensor]:
    """Weights with ``scale * B A`` of every adapter folded into what it adapts."""
    out = {}
    for name, tensor in weights.items():
        if ".lora_" in name:
            continue
        stem = name.removesuffix(".base_layer.weight")
        if stem != name:
            up, down = (weights[f"{stem}.lora_{side}.default.weight"] for side in "BA")
            tensor = (tensor.float() + scale * up.float() @ down.float()).to(tensor.dtype)
        out[name.replace(".base_layer.", ".")] = tensor
    return out


def _precision(wanted: str) -> str:
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "no"
    # A processor without such instructions takes four times as long as in float32 rather than two thirds of it.
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return "bf16" if supported() else "no"
