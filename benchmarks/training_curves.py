"""Draw the losses of finished runs, stage by stage, one run after the other, and write their means as a table.

python benchmarks/training_curves.py docs/nano_log runs/prompted_nano runs/talk_nano   # .csv and .png
python benchmarks/training_curves.py docs/nano_log                                          # draws the .csv again

Needs matplotlib, which the extra `export` brings.
"""

from __future__ import annotations

import csv
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

from matplotlib.figure import Figure

PARTS = ("loss_words", "loss_cls", "loss_mask", "loss_dice", "loss_align")
"""As they enter the sum, over all decoder layers."""
SHOWN = {
    "prompted": ("loss_cls", "loss_mask", "loss_dice", "loss_align"),
    "talk": ("loss_words",),
}
BINS = 30
"""Rows of a run."""


def rows_of(run: int, folder: Path) -> Iterator[dict[str, str]]:
    """The means over equally long stretches of a run."""
    stage = json.loads((folder / "config.json").read_text())["stage"]
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    size = -(-len(entries) // BINS)
    for start in range(0, len(entries), size):
        part = entries[start : start + size]
        means = {k: [e[k] for e in part if k in e and e[k] < 1e4] for k in PARTS}  # early versions could overflow
        told = {k: f"{fmean(v):.3f}" for k, v in means.items() if v}
        yield {"run": str(run), "stage": stage, "update": str(part[-1]["update"]), **told}


def draw(rows: list[dict[str, str]], path: Path) -> None:
    """A panel for every stage; a line breaks where another run of the stage begins."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    axes = figure.subplots(1, len(SHOWN))
    for (stage, parts), panel in zip(SHOWN.items(), axes, strict=True):
        offset, runs = 0, defaultdict(list)
        for row in rows:
            if row["stage"] == stage:
                runs[row["run"]].append(row)
        for steps in runs.values():
            updates = [offset + int(step["update"]) for step in steps]
            for part in parts:
                values = [float(step[part]) if step.get(part) else float("nan") for step in steps]
                panel.plot(updates, values, color=f"C{PARTS.index(part)}", label=None if offset else part)
            offset = updates[-1]
            panel.axvline(offset, color="0.85", zorder=0)
        panel.set(title=stage, xlabel="updates", yscale="log")
        panel.legend()
    figure.savefig(path, dpi=70)


if __name__ == "__main__":
    out, folders = Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]]
    if folders:
        found = [row for run, folder in enumerate(folders, 1) for row in rows_of(run, folder)]
        with out.with_suffix(".csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ["run", "stage", "update", *PARTS], restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(found)
    with out.with_suffix(".csv").open() as file:
        draw(list(csv.DictReader(file)), out.with_suffix(".png"))
