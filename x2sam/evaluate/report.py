"""What an evaluation says: json for programs, a table for the terminal, markdown beside the paper's numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from x2sam.evaluate.run import Score
from x2sam.tasks import get_task

# fmt: off
HEADLINE: dict[str, tuple[str, ...]] = {
    "pq": ("PQ",), "miou": ("mIoU",), "mask_ap": ("AP", "AP50"), "referring": ("cIoU", "gIoU", "N-acc", "T-acc"),
    "interactive": ("point/gIoU", "scribble/gIoU", "box/gIoU", "mask/gIoU"),
    "gcg": ("MaskRecall", "Nouns", "mIoU", "AP50"), "vpq": ("VPQ",), "stq": ("STQ",), "mvc": ("mVC@8", "mVC@16"),
    "track_ap": ("AP", "AP50"), "vvgd": ("AP", "AP50"), "jf": ("J&F",), "identity": ("HOTA", "IDF1", "IDSW"),
}
"""Which numbers of a metric a table shows."""
PAPER: dict[str, dict[str, float]] = {
    "coco_panoptic_val": {"PQ": 54.1}, "coco_semantic_val": {"mIoU": 64.8}, "coco_instance_val": {"AP": 45.8},
    "ade20k_panoptic_val": {"PQ": 31.2}, "ade20k_semantic_val": {"mIoU": 38.2}, "ade20k_instance_val": {"AP": 20.2},
    "refcoco_val": {"cIoU": 84.0}, "reasonseg_val": {"cIoU": 64.5, "gIoU": 71.1},
    "vipseg_val": {"VPQ": 47.3}, "vspw_val": {"mIoU": 65.1, "mVC@8": 90.0, "mVC@16": 86.5},
    "ref_youtube_vos_val": {"J&F": 78.5}, "ref_davis_val": {"J&F": 79.0},
}
"""The paper's numbers (arXiv 2605.00891), from its own evaluation, which departs from the public protocols."""
# fmt: on
COUNTS = ("IDSW",)
"""Numbers that are no share of anything."""


def headline(score: Score) -> dict[str, float]:
    """The numbers a table shows, in per cent."""
    wanted = dict.fromkeys(name for metric in score.split.metrics for name in HEADLINE.get(metric, ()))
    return {n: _percent(n, score.numbers[n]) for n in wanted if n in score.numbers and not math.isnan(score.numbers[n])}


def _percent(name: str, value: float) -> float:
    return value if name in COUNTS else 100 * value


def as_dict(scores: Sequence[Score], model: str, protocol: str) -> dict[str, Any]:
    """Everything, for json; shares from 0 to 1."""
    return {
        "model": model,
        "protocol": protocol,
        "splits": {
            s.split.name: {
                "task": s.split.task,
                "samples": s.samples,
                "numbers": {k: None if math.isnan(v) else v for k, v in s.numbers.items()},
                "errors": s.errors,
            }
            for s in scores
        },
    }


def markdown(scores: Sequence[Score]) -> str:
    """A table; the paper's number stands in brackets where it has one."""
    lines = ["| task | split | samples | result |", "|---|---|---|---|"]
    for s in scores:
        paper = PAPER.get(s.split.name, {})
        cells = [f"{n} {v:.1f}" + (f" ({paper[n]:.1f})" if n in paper else "") for n, v in headline(s).items()]
        lines.append(f"| {get_task(s.split.task).paper} | {s.split.name} | {s.samples} | {' · '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write(scores: Sequence[Score], folder: Path, model: str, protocol: str) -> None:
    """``results.json`` and ``results.md`` in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(as_dict(scores, model, protocol), indent=1) + "\n")
    (folder / "results.md").write_text(markdown(scores))


def table(scores: Sequence[Score]) -> Any:
    """A `rich` table."""
    from rich.table import Table

    out = Table("task", "split", "samples", "result", "failed")
    for s in scores:
        cells = "  ".join(f"{n} {v:.1f}" for n, v in headline(s).items())
        out.add_row(get_task(s.split.task).paper, s.split.name, str(s.samples), cells, str(len(s.errors) or ""))
    return out
