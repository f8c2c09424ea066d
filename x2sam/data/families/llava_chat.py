"""LLaVA's instructions: conversations about pictures.

Options: json, images. A sample is a whole conversation, which asks for its last answer; records without a
picture are left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from x2sam.data.base import Packed, Records, Split, lazy_frames, part, read_json, record_error
from x2sam.types import Prompt, Sample


def read(root: Path, split: Split, seed: int) -> Records:
    """One sample per conversation."""
    file = root / split.options["json"]
    records = Packed(
        (n, row) for n, row in enumerate(read_json(file, list)) if isinstance(row, dict) and "image" in row
    )

    def make(index: int) -> Sample:
        number, row = records[index]
        *history, (question, answer) = _turns(row, file, number)
        frames = lazy_frames([root / split.options["images"] / part(row, "image", str, file, number)])
        prompt = Prompt(text=question, history=tuple(history))
        return Sample(str(row.get("id", number)), split.task, frames, prompt, answer=answer)

    return Records(len(records), make)


def _turns(row: Any, file: Path, number: int) -> list[tuple[str, str]]:
    """Question and answer of every exchange."""
    said = part(row, "conversations", list, file, number)
    who = [part(turn, "from", str, file, number) for turn in said]
    if not said or who != ["human", "gpt"] * (len(said) // 2):
        raise record_error(file, number, f"turns of {', '.join(who)[:80] or 'nobody'}", "human and gpt in turn")
    texts = [part(turn, "value", str, file, number).replace("<image>", "").strip() for turn in said]
    return list(zip(texts[::2], texts[1::2], strict=True))
