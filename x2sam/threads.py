"""How threads wait for work, and how many there are: settled before torch is loaded, which reads it once.

OpenMP's threads wait by spinning. Beside other work on the machine each of them then takes the processor from a thread
that has something to do, and everything takes many times as long; threads that sleep cost next to nothing where nothing
else runs (docs/benchmarks.md has both figures).
"""

from __future__ import annotations

import os
import sys

from x2sam.errors import InputError

SAID = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
"""Variables by which a user says how threads wait; where one is set, nothing is changed."""
SLEEPING = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
"""For GNU's and for LLVM's (and Intel's) OpenMP."""


def wait_asleep() -> None:
    """Let threads sleep while they wait, unless the environment says how, or torch is there already."""
    if "torch" not in sys.modules and not any(name in os.environ for name in SAID):
        os.environ.update(SLEEPING)


def use_threads(count: int | None) -> None:
    """Work with this many threads; None leaves it as it is. Processes that this one starts do the same."""
    if count is None:
        return
    if count < 1:
        raise InputError(f"Got {count} threads", "at least 1")
    os.environ["OMP_NUM_THREADS"] = str(count)
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(count)
