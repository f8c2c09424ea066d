"""Processor time of cold commands, against another checkout of x2sam, side by side in one run.

    python benchmarks/cold_start.py --before FOLDER PHOTO [--rounds 3]

FOLDER is a checkout of the version to compare with. Versions take turns, each command is a process of its own, and the
least processor time of all rounds counts: what else the machine does then matters little.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent


def seconds(folder: Path, words: list[str]) -> float:
    """User and system seconds of one process and its children."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], env=environment, check=True, capture_output=True, cwd="/")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--before", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    photo = str(arguments.photo.resolve())
    command = ["-m", "x2sam.cli", photo, "the cat", "-o", "/tmp/x2sam-cold-start", "--overwrite"]
    cases = {
        "python -c pass": ["-c", "pass"],
        "x2sam --help": ["-m", "x2sam.cli", "--help"],
        "from x2sam import X2Sam": ["-c", "from x2sam import X2Sam"],
        'x2sam photo "the cat"': command,
    }
    for name, words in cases.items():
        best = {folder: float("inf") for folder in (arguments.before, HERE)}
        for _ in range(arguments.rounds):
            for folder in best:
                best[folder] = min(best[folder], seconds(folder, words))
        then, now = best.values()
        print(f"{name}: {then:.2f} s before, {now:.2f} s now: {now / then:.2f}", flush=True)


if __name__ == "__main__":
    main()
