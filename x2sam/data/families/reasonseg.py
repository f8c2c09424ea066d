"""ReasonSeg (LISA): a json of questions and outlines beside every photo.

Options: folder, per_text (one sample for every text; without it the first text alone, as LISA scores), queries
("phrase" or "sentence": only samples that ask so), joined (for training: one sample asks all texts), explanations (a
json of spoken answers, said in half of the samples).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from x2sam.data.base import (
    Packed,
    Records,
    Split,
    drawn_for,
    lazy_frames,
    parse_json,
    part,
    picture_size,
    read_bytes,
    read_json,
    record_error,
)
from x2sam.masks import RLE
from x2sam.types import Condition, ObjectTrack, Prompt, Sample

IGNORED = 255


def read(root: Path, split: Split, seed: int) -> Records:
    """One sample per question; its one object is all target pixels, and what is labelled ``ignore`` is void."""
    options = split.options
    folder = root / options["folder"]
    said = _explanations(root / options["explanations"]) if "explanations" in options else {}
    asked = []
    for path in sorted(folder.glob("*.json")):
        record = _read(path)
        listed = part(record, "text", list, path, None)
        texts = [part(listed, i, str, path, f"text {i}") for i in range(len(listed))]
        kind = "sentence" if part(record, "is_sentence", bool, path, None) else "phrase"
        if options.get("queries", kind) != kind:
            continue
        if options.get("joined"):
            asked.append((path.name, texts))
        else:
            asked += [(path.name, [text]) for text in (texts if options.get("per_text") else texts[:1])]
    if not asked:
        raise record_error(folder, None, "no json of questions is there", "one beside every photo", "Look at --root")
    records = Packed(asked)

    def make(index: int) -> Sample:
        name, texts = records[index]
        path = folder / name
        picture = path.with_suffix(".jpg")
        painted = _paint(part(_read(path), "shapes", list, path, None), picture_size(picture), path)
        target, void = RLE.encode(painted == 1), RLE.encode(painted == IGNORED)
        objects = tuple(ObjectTrack(1, i, (target,)) for i in range(len(texts))) if target.area else ()
        prompt = Prompt(tuple(Condition(text) for text in texts))
        rng, answers = drawn_for(seed, index), said.get(picture.name, ())
        answer = answers[rng.integers(len(answers))] if len(answers) and rng.random() < 0.5 else None
        frames = lazy_frames([picture])
        return Sample(f"{path.stem}/{index}", split.task, frames, prompt, objects, answer, ignore=(void,))

    return Records(len(records), make)


def _read(path: Path) -> Any:
    """The json in a file; some of the data set's are not in UTF-8."""
    text = read_bytes(path)
    try:
        return parse_json(text.decode("utf-8"), path)
    except UnicodeDecodeError:
        return parse_json(text.decode("cp1252", "replace"), path)


def _explanations(file: Path) -> dict[str, list[str]]:
    """Spoken answers by the name of the photo."""
    said: dict[str, list[str]] = {}
    for number, row in enumerate(read_json(file, list)):
        name, text = (part(row, key, str, file, number) for key in ("image", "outputs"))
        said.setdefault(name, []).append(text)
    return said


def _paint(shapes: list[Any], size: tuple[int, int], path: Path) -> NDArray[np.uint8]:
    """The outlines ``[H, W]`` painted from the largest to the smallest: 1 for the target, 255 for what is left out."""
    layers = []
    for number, shape in enumerate(shapes):
        label = part(shape, "label", str, path, f"shape {number}").lower()
        if label == "flag":  # marks the picture, not a part of it
            continue
        layer = Image.new("1", size[::-1])
        points = part(shape, "points", list, path, f"shape {number}")
        try:
            corners = [(int(x), int(y)) for x, y in points]
        except (TypeError, ValueError, OverflowError):
            raise record_error(path, f"shape {number}", f"the points {points!r:.80}", "pairs of x and y") from None
        if len(corners) > 1:
            ImageDraw.Draw(layer).polygon(corners, fill=1, outline=1)
        layers.append((np.asarray(layer), IGNORED if "ignore" in label else 1))
    painted = np.zeros(size, np.uint8)
    for pixels, value in sorted(layers, key=lambda pair: -int(pair[0].sum())):
        painted[pixels] = value
    return painted
