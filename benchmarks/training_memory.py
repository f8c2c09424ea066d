"""Memory that a dry run foretells, beside the most that the run then takes.

    python benchmarks/training_memory.py                             # three settings of a fine-tune of nano
    python benchmarks/training_memory.py image_batch=2 tasks=img_refseg     # settings of your own

Each half is a process of its own. Measured is the most resident memory during updates (Linux' high-water mark, set back
after the model is built): not what reading weights takes for a moment before, nor the validation after.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

COMMON = ["threads=1", "precision=no", "updates=3", "guard_samples=0", "validate_first=false"]
SETTINGS = [
    ["tasks=img_genseg,img_intseg", "image_batch=2"],
    ["tasks=img_refseg,img_gcgseg", "image_batch=6", "lora_rank=4", "gradient_checkpointing=true"],
    ["tasks=vid_genseg,vid_objseg", "video_batch=2", "clip_length=6"],
]


def foretold(words: list[str]) -> int:
    from x2sam.train.budget import Trial
    from x2sam.train.recipes import resolve

    return Trial(resolve("finetune", words)).budget().peak


def measured(words: list[str]) -> int:
    from x2sam.train.loop import Run
    from x2sam.train.recipes import resolve

    class Updates(Run):
        """Only the updates."""

        def _validate(self, update: int) -> None: ...

        def _save(self, update: int) -> None: ...

    with tempfile.TemporaryDirectory() as folder:
        run = Updates(resolve("finetune", [f"out={folder}", *words]))
        run._guarded = lambda *_, **__: None  # type: ignore[method-assign]
        Path("/proc/self/clear_refs").write_text("5")
        run.run()
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return int(status["VmHWM"].split()[0]) * 1024


def main(words: list[str]) -> None:
    if words[:1] in (["foretold"], ["measured"]):
        print(json.dumps({"foretold": foretold, "measured": measured}[words[0]](words[1:])))
        return
    for settings in [words] if words else SETTINGS:
        told = {}
        for half in ("foretold", "measured"):
            command = [sys.executable, __file__, half, *COMMON, *settings]
            out = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
            told[half] = int(out.splitlines()[-1])
        mb = {half: round(peak / 2**20) for half, peak in told.items()}
        print(
            json.dumps({"settings": settings, **mb, "ratio": round(told["foretold"] / told["measured"], 3)}), flush=True
        )


if __name__ == "__main__":
    main(sys.argv[1:])
