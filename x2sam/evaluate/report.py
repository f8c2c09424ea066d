"""What an evaluation says: json for programs, a table for the terminal, markdown beside the paper's numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from x2sam.evaluate.run import Score
from x2sam.tasks import get_task

# fmt: off
HEADLINE: dict[str, tuple[str, ...]] = {
    "pq": ("PQ",), "miou": ("mIoU",), "mask_ap": ("AP", "AP50"), "referring": ("cIoU", "gIoU", "N-acc", "T-acc"),
    "interactive": ("point/gIoU", "scribble/gIoU", "box/gIoU", "mask/gIoU"),
    "gcg": ("MaskRecall", "Nouns", "mIoU", "AP50"), "captions": ("METEOR", "CIDEr"),
    "vpq": ("VPQ",), "stq": ("STQ",), "mvc": ("mVC@8", "mVC@16"),
    "track_ap": ("AP", "AP50"), "vvgd": ("AP", "AP50", "HOTA", "IDSW"),
    "jf": ("J&F", "J", "F"),
    "identity": ("HOTA", "IDF1", "IDSW"),
    "best_of": ("box/gIoU", "point/gIoU", "point@3/gIoU", "scribble/gIoU"),
    "names": ("present/gIoU", "present/T-acc", "absent/N-acc"), "presence": ("refused@90",),
    "listed": ("present/gIoU", "absent/N-acc"), "said": ("main", "any", "invented"),
}
"""Which numbers of a metric a table shows."""
PAPER: dict[str, dict[str, float]] = {
    "img_genseg_coco_panoptic_val": {"PQ": 54.1}, "img_genseg_coco_panoptic_semantic_val": {"mIoU": 64.8},
    "img_genseg_coco_instance_val": {"AP": 45.8}, "img_ovseg_ade20k_panoptic_val": {"PQ": 31.2},
    "img_ovseg_ade20k_panoptic_semantic_val": {"mIoU": 38.2}, "img_ovseg_ade20k_instance_val": {"AP": 20.2},
    "img_refseg_refcoco_val": {"cIoU": 84.0}, "img_reaseg_lisa_val": {"cIoU": 64.5, "gIoU": 71.1},
    "img_gcgseg_val": {"METEOR": 15.2, "CIDEr": 35.6, "AP50": 33.1, "mIoU": 67.1},
    "img_vgdseg_coco_point_val": {"AP": 45.9, "AP50": 68.2}, "img_vgdseg_coco_box_val": {"AP": 48.5, "AP50": 71.6},
    "vid_genseg_vipseg_panoptic_val": {"VPQ": 47.3},
    "vid_genseg_vspw_semantic_val": {"mIoU": 65.1, "mVC@8": 90.0, "mVC@16": 86.5},
    "vid_genseg_yt19_instance_val": {"AP": 69.9, "AP50": 88.4},
    "vid_ovseg_yt21_instance_val": {"AP": 60.3, "AP50": 78.0},
    "vid_refseg_yt21_val": {"J&F": 78.5}, "vid_refseg_davis17_val": {"J&F": 79.0},
    "vid_reaseg_revos_referring_val": {"J&F": 69.3}, "vid_reaseg_revos_reasoning_val": {"J&F": 70.3},
    "vid_reaseg_revos_all_val": {"J&F": 69.9}, "vid_objseg_yt19_seen_val": {"J&F": 76.0},
    "vid_objseg_yt19_unseen_val": {"J&F": 61.4}, "vid_objseg_yt19_all_val": {"J&F": 74.0},
    "vid_vgdseg_yt19_point_val": {"AP": 73.8, "AP50": 93.5}, "vid_vgdseg_yt19_box_val": {"AP": 74.4, "AP50": 93.9},
    "vid_vgdseg_vipseg_point_val": {"AP": 55.5, "AP50": 75.4}, "vid_vgdseg_vipseg_box_val": {"AP": 57.8, "AP50": 78.3},
}
"""The paper's numbers (arXiv 2605.00891), from its own evaluation, which departs from the public protocols."""
# fmt: on
COUNTS = ("IDSW",)
"""Numbers that are no share of anything."""


def headline(score: Score) -> dict[str, float]:
    """The numbers a table shows, in per cent."""
    wanted = dict.fromkeys(name for metric in score.split.metrics for name in HEADLINE.get(metric, ()))
    return {n: _percent(n, score.numbers[n]) for n in wanted if n in score.numbers and not math.isnan(score.numbers[n])}


def beside(score: Score) -> str:
    """The first number of `headline` for every answer that needs no model: ``box 57.1, ellipse 60.2``."""
    main = next(iter(headline(score)), None)
    found = {name: headline(replace(score, numbers=numbers)) for name, numbers in score.trivial.items()}
    return ", ".join(f"{name} {numbers[main]:.1f}" for name, numbers in found.items() if main in numbers)


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
                "numbers": _plain(s.numbers),
                **({"trivial": {name: _plain(numbers) for name, numbers in s.trivial.items()}} if s.trivial else {}),
                "errors": s.errors,
            }
            for s in scores
        },
    }


def _plain(numbers: dict[str, float]) -> dict[str, float | None]:
    return {k: None if math.isnan(v) else v for k, v in numbers.items()}


def markdown(scores: Sequence[Score]) -> str:
    """A table; the paper's number stands in brackets where it has one, trivial answers beside the first number."""
    simple = any(s.trivial for s in scores)
    lines = [
        f"| task | split | samples | result |{' without a model |' * simple}",
        f"|---|---|---|---|{'---|' * simple}",
    ]
    for s in scores:
        paper = PAPER.get(s.split.name, {})
        cells = [f"{n} {v:.1f}" + (f" ({paper[n]:.1f})" if n in paper else "") for n, v in headline(s).items()]
        row = f"| {get_task(s.split.task).paper} | {s.split.name} | {s.samples} | {' · '.join(cells)} |"
        lines.append(row + f" {beside(s)} |" * simple)
    return "\n".join(lines) + "\n"


def write(scores: Sequence[Score], folder: Path, model: str, protocol: str) -> None:
    """``results.json`` and ``results.md`` in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(as_dict(scores, model, protocol), indent=1) + "\n")
    (folder / "results.md").write_text(markdown(scores))


def table(scores: Sequence[Score]) -> Any:
    """A `rich` table."""
    from rich.table import Table

    simple = ["without a model"] * any(s.trivial for s in scores)
    out = Table("task", "split", "samples", "result", *simple, "failed")
    for s in scores:
        cells = "  ".join(f"{n} {v:.1f}" for n, v in headline(s).items())
        row = [get_task(s.split.task).paper, s.split.name, str(s.samples), cells, *(beside(s) for _ in simple)]
        out.add_row(*row, str(len(s.errors) or ""))
    return out
