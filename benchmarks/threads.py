"""How long a film takes by how threads wait, alone and beside busy processes: ratios, side by side in one run.

    python benchmarks/threads.py [--frames 24] [--busy 2] [--rounds 3]

Every measurement is a process of its own, because OpenMP reads its settings once. Policies take turns and the best of
all rounds counts, so that what else the machine does is the same for each. "alone" is only as quiet as the machine is:
the load that was seen is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from contextlib import ExitStack

import numpy as np

POLICIES = {
    "spinning (the libraries' own)": {"GOMP_SPINCOUNT": "300000"},  # what GNU's takes where nothing is said
    "sleeping (x2sam's)": {},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
BUSY = "while True: pass"


def measure(frames: int) -> None:
    """In a process of its own: seconds of following a box through a film, and of one click on a picture."""
    import time

    from x2sam import X2Sam

    model = X2Sam.from_pretrained("nano", device="cpu")
    still = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    film = [np.roll(still, 3 * i, axis=1) for i in range(frames)]
    session = model.open(still)
    session.segment(regions=(100, 100))
    started = time.perf_counter()
    session.segment(regions=(120, 90))
    click = time.perf_counter() - started
    started = time.perf_counter()
    _ = model.track(film, regions={"box": (60, 60, 160, 160)}).finish()
    print(json.dumps({"click": click, "film": time.perf_counter() - started}))


def measure_layers(times: int) -> None:
    """The same of convolutions alone, which takes seconds where the model takes minutes."""
    import time

    import torch

    import x2sam  # noqa: F401  settles how threads wait

    layer = torch.nn.Conv2d(64, 64, 3, padding=1).requires_grad_(False)
    picture = torch.ones(1, 64, 56, 56)
    layer(picture)
    started = time.perf_counter()
    for _ in range(times):
        layer(picture)
    print(json.dumps({"layers": time.perf_counter() - started}))


def run(frames: int, layers: int, settings: dict[str, str]) -> dict[str, float]:
    """One process with these settings."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "KMP_"))} | settings
    words = [sys.executable, __file__, "--measure", "--frames", str(frames), "--layers", str(layers)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--busy", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--layers", type=int, default=0, help="Convolutions to time instead of the model.")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure_layers(arguments.layers) if arguments.layers else measure(arguments.frames)
        return
    print(f"{os.cpu_count()} cores, load before: {os.getloadavg()[0]:.1f}")
    for beside in (0, arguments.busy):
        timed = ("layers",) if arguments.layers else ("click", "film")
        best = {name: dict.fromkeys(timed, float("inf")) for name in POLICIES}
        with ExitStack() as stack:
            for _ in range(beside):
                busy = subprocess.Popen([sys.executable, "-c", BUSY])
                stack.callback(busy.wait)
                stack.callback(busy.kill)
            for _ in range(arguments.rounds):
                for name, settings in POLICIES.items():
                    found = run(arguments.frames, arguments.layers, settings)
                    best[name] = {what: min(seconds, found[what]) for what, seconds in best[name].items()}
        sleeping = best["sleeping (x2sam's)"]
        for name, row in best.items():
            told = ", ".join(f"{what} {s:.2f} s ({s / sleeping[what]:.2f} of sleeping)" for what, s in row.items())
            print(f"beside {beside} busy processes: {name}: {told}", flush=True)


if __name__ == "__main__":
    main()
