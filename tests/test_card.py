"""`benchmarks/card.py`, the script for a machine with a card, runs on a processor and without any media library."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "card.py"
ABSENT = ("av", "pycocotools", "pi_heif", "psutil", "typer", "rich", "skimage")
"""What a machine with a card need not have."""
RUN = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({ABSENT}))
sys.argv[1:] = {{arguments}}
runpy.run_path({str(SCRIPT)!r}, run_name="__main__")
"""


def test_every_row_is_measured_on_a_processor(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    given = ["--device", "cpu", "--model", "tiny", "--frames", "12", "--no-compile", "--no-golden", "--out", str(out)]
    done = subprocess.run([sys.executable, "-c", RUN.format(arguments=given)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["row"] for row in rows] == ["load", *["objects"] * 3, "levels", "levels", "growth"]
    for row in rows:
        assert "failed" not in row, row
        assert row["torch"], "each row says where it was measured"
    assert {row["objects"] for row in rows[1:4]} == {1, 16, 128}
    assert rows[-1]["frames"] == 12


def test_a_row_that_does_not_fit_says_so(tmp_path: Path) -> None:
    given = ["--device", "cpu", "--model", "tiny", "--seconds", "0", "--no-golden"]
    done = subprocess.run([sys.executable, "-c", RUN.format(arguments=given)], capture_output=True, text=True)
    assert json.loads(done.stdout.splitlines()[1])["left out"]
