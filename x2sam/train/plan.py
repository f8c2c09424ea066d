"""``x2sam train --dry-run`` and ``--fit``: what a run would take and of what it would learn, before it begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from x2sam.data.own import check_own, open_own
from x2sam.tasks import get_task
from x2sam.train.budget import Budget, Trial, fit, parse_size, size
from x2sam.train.recipes import TrainConfig, resolve
from x2sam.train.sources import open_source

FITTED = (
    *("image_batch", "video_batch", "image_accumulation", "video_accumulation"),
    *("gradient_checkpointing", "lora_rank", "image_size"),
)
"""Settings that fitting changes."""
TOLD = 20
"""Problems that are told one by one."""


@dataclass(frozen=True)
class Planned:
    """What was found."""

    config: TrainConfig
    budget: Budget
    overrides: list[str]
    """What to add to the command so that it fits."""
    told: dict[str, Any]
    """The same, for json."""


def plan(recipe: str, overrides: Sequence[str], data: Path | None, limit: str, say: Callable[[str], None]) -> Planned:
    """Look at a run. Problems of own data are told; samples and categories are counted.

    Args:
        recipe, overrides: as in `recipes.resolve`.
        data: a folder of own data, or None for the recipe's source.
        limit: memory to fit into, such as ``12GB``; empty: as it is.
        say: takes a sentence for the user.

    Raises:
        X2SamError: what would stop the run, or a limit that nothing fits into.
    """
    most = parse_size(limit) if limit else 0
    problems = 0
    if data is not None:
        for problem in check_own(data):
            problems += 1
            if problems <= TOLD:
                say(problem.text)
        overrides = [f"source={data}", f"tasks={','.join(open_own(data).records)}", *overrides]
    config = resolve(recipe, overrides)
    counted = _count(config)
    fitted, budget = fit(config, most) if most else (config, Trial(config).budget())
    changed = [
        f"{name}={_text(getattr(fitted, name))}" for name in FITTED if getattr(fitted, name) != getattr(config, name)
    ]
    parts = {name: getattr(budget, name) for name in ("program", "weights", "gradients", "optimiser", "activations")}
    told = {
        "peak_bytes": budget.peak,
        "parts": parts,
        "costliest_task": budget.task,
        "trained": budget.trained,
        "parameters": budget.total,
        "modules": budget.modules,
        "seconds_per_update": round(budget.seconds, 3),
        "hours": round(budget.seconds * config.updates / 3600, 3),
        "changed_to_fit": changed,
        "problems": problems,
        **counted,
    }
    _show(budget, told, fitted)
    return Planned(fitted, budget, changed, told)


def _count(config: TrainConfig) -> dict[str, Any]:
    """Samples of each task and part, and the categories that are asked for."""
    counts: dict[str, Any] = {}
    names: set[str] = set()
    for part in ("train", "val"):
        source = open_source(config.source, part, config.world_size, config.clip_length, config.photos)
        counts[part] = dict(getattr(source, "lengths", None) or {})
    if Path(config.source).is_dir():
        own = open_own(Path(config.source)) if not (Path(config.source) / "pack.json").exists() else None
        for task, records in (own.records if own else {}).items():
            if get_task(task).answer == "generic":
                for sample in records:
                    names |= {c.text for o in sample.objects if (c := sample.prompt.conditions[o.condition]).text}
    return {"samples": counts, "categories": sorted(names)}


def _show(budget: Budget, told: dict[str, Any], config: TrainConfig) -> None:
    console = Console(stderr=True)
    table = Table("memory", "", title=f"peak {size(budget.peak)}, in {budget.task}")
    for name, count in told["parts"].items():
        table.add_row(name, size(count))
    console.print(table)
    trains = ", ".join(f"{part} {count / 1e6:.2f} M" for part, count in budget.modules.items())
    lines = [
        f"trains {budget.trained / 1e6:.2f} M of {budget.total / 1e6:.1f} M parameters: {trains}",
        f"{budget.seconds:.1f} s an update, {told['hours']:.2f} hours for {config.updates} updates on this machine",
        f"samples: {told['samples']}; categories: {len(told['categories'])}; problems: {told['problems']}",
    ]
    if told["changed_to_fit"]:
        lines.append(f"to fit: {' '.join(told['changed_to_fit'])}")
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
