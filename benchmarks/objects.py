"""Many objects that were clicked one after the other, side by side with another checkout. By hand:

    git worktree add ../before 380a681
    python benchmarks/objects.py --before ../before --counts 1 16

Both run in processes of their own, and take turns frame by frame; the best of the frames counts, in processor time.
Predicted: 16 objects cost at most 1.15 of one, 128 at most 2.0; with sixteen, 5 times the frames of before (whose
sixteen cost 6.3 of its one).
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any, TextIO

HERE = Path(__file__).parent.parent


def work(counts: list[int], size: int, frames: int, clicks: int = 3) -> None:
    """In a process of its own, with the package of some checkout: a line for each frame that is asked for."""
    from x2sam import X2Sam

    sys.path.append(str(HERE / "x2sam" / "benchmarks"))
    model = X2Sam.from_pretrained("nano", device="cpu")
    film = _film(size, max(counts))
    pictures = list(itertools.islice(film.frames(), frames + 3))
    walks = {}
    for count in counts:
        track = model.track(iter(pictures), regions=[_click(film, 0)], keep=False, threshold=0.0)
        walks[count] = iter(track)
        next(walks[count])
        spent = []
        for disc in range(1, count):
            started = time.process_time()
            list(track.add(regions=[_click(film, disc)], frame=0))
            spent.append(time.process_time() - started)
        edges = [median(some) for some in (spent[:clicks], spent[-clicks:])] if spent else []
        print(json.dumps({"objects": count, "clicks": edges}), flush=True)
    for line in sys.stdin:
        count = int(line)
        started = time.process_time()
        found = len(next(walks[count]).segments)
        print(json.dumps({"seconds": time.process_time() - started, "found": found}), flush=True)


def _film(size: int, discs: int) -> Any:
    """The film of `x2sam bench objects`, from this checkout whatever package runs."""
    import importlib.util

    file = HERE / "x2sam" / "benchmarks" / "objects.py"
    spec = importlib.util.spec_from_file_location("film", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["film"] = module
    spec.loader.exec_module(module)
    return module.Film(size, discs)


def _click(film: Any, disc: int) -> dict[str, Any]:
    return {"point": film.centre(disc, 0), "id": disc + 1, "frame": 0}


class Side:
    """One checkout."""

    def __init__(self, name: str, folder: Path, arguments: list[str]) -> None:
        self.name = name
        command = [sys.executable, __file__, "--work", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True)
        self.seconds: dict[int, list[float]] = {}
        self.found: dict[int, int] = {}

    @property
    def lines(self) -> TextIO:
        assert self.process.stdout is not None
        return self.process.stdout

    def frame(self, count: int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        answer = json.loads(self.lines.readline())
        self.seconds.setdefault(count, []).append(answer["seconds"])
        self.found[count] = answer["found"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="another checkout")
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", type=int, default=480)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.counts, arguments.size, arguments.frames)
        return
    passed = ["--counts", *map(str, arguments.counts), "--size", str(arguments.size)]
    passed += ["--frames", str(arguments.frames)]
    folders = {"now": HERE} | ({"before": arguments.before.resolve()} if arguments.before else {})
    sides = [Side(name, folder, passed) for name, folder in folders.items()]
    for side in sides:
        for _ in arguments.counts:
            print(json.dumps({"side": side.name, **json.loads(side.lines.readline())}), flush=True)
    for _ in range(arguments.frames + 2):
        for count in arguments.counts:
            for side in sides:
                side.frame(count)
    for count in arguments.counts:
        row: dict[str, Any] = {"objects": count}
        for side in sides:
            own = min(side.seconds[count][2:])
            first = min(side.seconds[arguments.counts[0]][2:])
            row |= {
                f"{side.name} ms": round(1e3 * own, 1),
                f"{side.name} cost": round(own / first, 3),
                f"{side.name} found": side.found[count],
            }
        if len(sides) > 1:
            now, before = (min(side.seconds[count][2:]) for side in sides)
            row["times the frames a second"] = round(before / now, 2)
        print(json.dumps(row), flush=True)
    for side in sides:
        assert side.process.stdin is not None
        side.process.stdin.close()
        side.process.wait()


if __name__ == "__main__":
    main()
