"""One process of ``x2sam annotate``, killed with -9 three times and run again: the shards of an undisturbed run?

    OMP_NUM_THREADS=1 python benchmarks/killed_alone.py photos=200 clips=4

The runs are forked from one process, so that a machine which is busy spends its time on the work, not on imports.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import annotate as bench
import pyarrow.parquet as pq

from x2sam.annotate import worker
from x2sam.annotate.command import annotate
from x2sam.annotate.engines import Resources
from x2sam.annotate.plan import Settings

KILLS, BETWEEN = 3, 4
"""So often, each time after so many more shards."""


def begin(source: Path, out: Path) -> int:
    """The id of a process that annotates."""
    pid = os.fork()
    if not pid:
        settings = Settings((str(source),), ("person", "dog"), model="tiny", shard=4, batch=4)
        report = annotate(str(out), settings, Resources("cpu", 1), engine="one")
        os._exit(report["left"])
    return pid


def main(words: list[str]) -> None:
    assert worker  # imported before the first fork
    given = {"photos": 200, "clips": 4, **{k: int(v) for k, v in (word.split("=") for word in words)}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, out, calm = (
            bench.media(folder / "media", given["photos"], given["clips"]),
            folder / "out",
            folder / "calm",
        )
        for n in range(KILLS):
            pid, before = begin(source, out), len(bench.sums(out))
            while len(bench.sums(out)) < before + BETWEEN:
                time.sleep(0.1)
            time.sleep(0.37 * (n + 1))  # somewhere in the middle of a shard
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        for pid in (begin(source, out), begin(source, calm)):
            if os.waitpid(pid, 0)[1]:
                raise SystemExit("a run did not end well")
        rows = [
            (r["index"], r["frame"]) for f in sorted((out / "shards").iterdir()) for r in pq.read_table(f).to_pylist()
        ]
        same = bench.sums(out) == bench.sums(calm)
        inputs = len({index for index, _ in rows})
        print(
            json.dumps({"inputs": inputs, "rows": len(rows), "distinct": len(set(rows)), "shards_are_the_same": same})
        )
        if not same or len(rows) != len(set(rows)):
            raise SystemExit("rows are missing or twice there")


if __name__ == "__main__":
    main(sys.argv[1:])
