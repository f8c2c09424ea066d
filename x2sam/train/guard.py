"""Whether a fine-tune helped, and what it cost: scores before and after, on its own data and on what it may forget.

Own data are the run's validation part. Guard sets are what the model was good for before: a slice of the generated
world and, where a folder is given, photos. The scores are those of `validation`, made to compare states of one run.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from x2sam.data.photos import PhotoSource
from x2sam.data.world import World
from x2sam.errors import X2SamError
from x2sam.model.modeling import X2SamModel
from x2sam.train.batches import Collator
from x2sam.train.recipes import TrainConfig, task_of
from x2sam.train.sampler import Source
from x2sam.train.validation import validate

OWN = "own"
TASKS = ("img_refseg", "img_genseg", "img_intseg")
"""Of the guard sets: a phrase, names, and a drawn region."""
NUMBERS = ("iou", "present", "absent")
"""Overlap; share of what is there that is found; share of what is not there that is not found."""
KEPT = 0.01
"""Changes up to this are none."""
FILE = "guard.json"

Scores = dict[str, float]
"""For example ``{"own iou": 0.61, "world absent": 0.9}``."""


class RefusedError(X2SamError):
    """A model that lost more than it may; it is not written."""


@dataclass(frozen=True)
class Change:
    """One number before and after."""

    name: str
    before: float
    after: float

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or ``kept``."""
        gain = self.after - self.before
        return "kept" if abs(gain) <= KEPT + 1e-9 else "better" if gain > 0 else "worse"


class Guard:
    """The scores of one run.

    Args:
        config: of the run; ``guard_samples`` of every task are scored.
        collator: of the run.
        held_out: the run's validation part.
    """

    def __init__(self, config: TrainConfig, collator: Collator, held_out: Source) -> None:
        self.config, self.collator, self.file = config, collator, Path(config.out) / FILE
        side = config.world_size
        self.sets: dict[str, tuple[Source, Sequence[str]]] = {
            OWN: (held_out, [task for task in config.tasks if not task_of(task).is_chat]),
            "world": (World("val", (side, side), max(config.clip_length, 2)), TASKS),
        }
        if config.guard_photos:
            self.sets["photos"] = (PhotoSource(config.guard_photos, "val", config.clip_length), TASKS)

    def measure(self, model: X2SamModel) -> Scores:
        """Score a state of the run; means over the tasks of each set."""
        scores: Scores = {}
        for name, (source, tasks) in self.sets.items():
            found: dict[str, list[float]] = defaultdict(list)
            for numbers in validate(model, self.collator, source, list(tasks), self.config.guard_samples).values():
                for number in NUMBERS:
                    found[number] += [numbers[number]] if number in numbers else []
            scores |= {f"{name} {number}": float(np.mean(values)) for number, values in found.items() if values}
        return scores

    def before(self, model: X2SamModel) -> Scores:
        """The scores of the model that the run starts from; measured once."""
        if not self.file.exists():
            self.file.write_text(json.dumps({"before": self.measure(model)}, indent=2) + "\n")
        return json.loads(self.file.read_text())["before"]

    def judge(self, model: X2SamModel) -> list[Change]:
        """The changes up to this state, which are also written down."""
        before, after = self.before(model), self.measure(model)
        changes = [Change(name, before[name], after[name]) for name in before if name in after]
        told = {"before": before, "after": after, "verdicts": {c.name: c.verdict for c in changes}}
        self.file.write_text(json.dumps(told, indent=2) + "\n")
        return changes

    def lost(self, changes: Sequence[Change]) -> list[Change]:
        """What the guard sets lost beyond ``config.guard`` points; nothing where that is negative."""
        most = self.config.guard / 100
        return [c for c in changes if most >= 0 and not c.name.startswith(OWN) and c.before - c.after > most + 1e-9]

    def refuse(self, lost: Sequence[Change]) -> RefusedError:
        """The error that says why nothing is written."""
        what = ", ".join(f"{100 * (c.before - c.after):.1f} points of {c.name}" for c in lost)
        return RefusedError(
            f"Got a model that lost {what}, so it is not written",
            f"at most {self.config.guard:g} (--guard)",
            "Mix what it should keep into the training, take fewer updates or a lower lr; checkpoints are kept",
        )


def show(changes: Sequence[Change]) -> None:
    """The table of changes, on stderr."""
    table = Table("score", "before", "after", "change", "")
    for c in changes:
        points = (f"{100 * v:.1f}" for v in (c.before, c.after))
        table.add_row(c.name, *points, f"{100 * (c.after - c.before):+.1f}", c.verdict)
    Console(stderr=True).print(table)
