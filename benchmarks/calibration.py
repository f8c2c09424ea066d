"""Whether scores come true: of phrases on held-out photos, before and after calibration, as numbers and as a picture.

python benchmarks/calibration.py PHOTOS [--samples 110] [--observed FILE.npz] [--out docs/images/calibration.png]

Phrases and names of the validation tenth, some of nothing that is there, are answered by the model as it would without
its calibration. Told are presence (is it there?) and score (does the mask overlap it by half?): the expected
calibration error with ten bins, before, and after a temperature and a bias that each half of the photos gets from the
other half; then, likewise across the halves, how many present things are answered and absent ones refused at a
threshold that keeps nine tenths of the present. ``--observed`` keeps the answers, or takes them from there.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from x2sam import X2Sam
from x2sam.data.photos import PhotoSource
from x2sam.train.calibration import expected_error, halves, reliability
from x2sam.train.ship import CLIP, KEPT, RIGHT, observe

SIDE, EDGE = 340, 46
INK, GREY, BEFORE, AFTER = (40, 40, 40), (200, 200, 200), (214, 110, 60), (40, 110, 170)


def observed(given: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """Rows ``[N, T, 3]`` (`train.ship`) and the photo of each."""
    if given.observed is not None and given.observed.exists():
        kept = np.load(given.observed)
        return kept["rows"], kept["who"]
    model, photos = X2Sam.from_pretrained(given.model), PhotoSource(given.photos, "val", frames=CLIP)
    model.config.calibration = None
    each = [observe(model, photos, "img_refseg", [i]) for i in range(given.samples)]
    rows, who = np.concatenate(each), np.repeat(np.arange(given.samples), [len(some) for some in each])
    if given.observed is not None:
        np.savez(given.observed, rows=rows, who=who)
    return rows, who


def panel(title: str, before: np.ndarray, after: np.ndarray, truth: np.ndarray) -> Image.Image:
    """Shares that came true over what was told; discs as large as their share of samples."""
    picture = Image.new("RGB", (SIDE + 2 * EDGE, SIDE + 2 * EDGE), "white")
    draw = ImageDraw.Draw(picture)

    def at(x: float, y: float) -> tuple[float, float]:
        return EDGE + x * SIDE, EDGE + (1 - y) * SIDE

    draw.rectangle((*at(0, 1), *at(1, 0)), outline=GREY)
    draw.line((*at(0, 0), *at(1, 1)), fill=GREY)
    for scores, colour in ((before, BEFORE), (after, AFTER)):
        points = [(at(told, came), share) for share, told, came in reliability(scores, truth)]
        draw.line([place for place, _ in points], fill=colour, width=2)
        for (x, y), share in points:
            r = 3 + 14 * share**0.5
            draw.ellipse((x - r, y - r, x + r, y + r), outline=colour, width=2)
    told = [f"{title}", f"before {expected_error(before, truth):.3f}", f"calibrated {expected_error(after, truth):.3f}"]
    for i, (text, colour) in enumerate(zip(told, (INK, BEFORE, AFTER), strict=True)):
        draw.text((EDGE + 8, EDGE + 8 + 16 * i), text, fill=colour, font_size=14)
    for x, text in ((0.0, "0"), (0.4, "what was told"), (0.98, "1")):
        draw.text((EDGE + x * SIDE, EDGE + SIDE + 8), text, fill=INK, font_size=14)
    draw.text((6, EDGE - 22), "share that came true, 0 to 1", fill=INK, font_size=14)
    return picture


def main() -> None:
    """Print the numbers; draw the picture."""
    parser = argparse.ArgumentParser()
    parser.add_argument("photos", type=Path)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--samples", type=int, default=110)
    parser.add_argument("--observed", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/images/calibration.png"))
    given = parser.parse_args()
    rows, who = observed(given)
    surest, there = rows[..., 0].max(1), rows[..., 2].max(1) == 1
    right = there & (rows[..., 1].max(1) >= RIGHT)
    panels = []
    for title, truth in (("presence: is it there?", there), ("score: overlaps by half?", right)):
        told = halves(surest, truth, who)
        errors = {"before": expected_error(surest, truth), "calibrated": expected_error(told, truth)}
        print(json.dumps({"what": title, **{name: round(value, 3) for name, value in errors.items()}}))
        panels.append(panel(title, surest, told, truth))
    kept, refused = [], []
    for half in (0, 1):
        own = who % 2 == half
        least = np.quantile(surest[there & ~own], 1 - KEPT)
        kept += (surest[there & own] >= least).tolist()
        refused += (surest[~there & own] < least).tolist()
    numbers = {
        "T-acc": np.mean(kept),
        "N-acc": np.mean(refused),
        "conditions": len(there),
        "absent": int((~there).sum()),
    }
    print(json.dumps({name: round(float(value), 3) for name, value in numbers.items()}))
    sheet = Image.new("RGB", (sum(p.width for p in panels), panels[0].height), "white")
    for i, one in enumerate(panels):
        sheet.paste(one, (i * one.width, 0))
    sheet.save(given.out)


if __name__ == "__main__":
    main()
