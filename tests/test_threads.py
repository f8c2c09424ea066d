"""Before torch is loaded: how threads wait, and what a command leaves out."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from x2sam.errors import InputError
from x2sam.threads import SAID, use_threads


@pytest.mark.parametrize(
    ("said", "first", "policy"),
    [
        ({}, "import x2sam", "PASSIVE"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "import x2sam", "ACTIVE"),
        ({"GOMP_SPINCOUNT": "100"}, "import x2sam", "None"),
        ({}, "import torch, x2sam", "None"),
    ],
    ids=str,
)
def test_threads_sleep_unless_the_user_says_otherwise(said: dict[str, str], first: str, policy: str) -> None:
    """In a process of its own: what torch has read cannot be unread."""
    environment = {name: value for name, value in os.environ.items() if name not in SAID} | said
    code = f"{first}\nimport os; print(os.environ.get('OMP_WAIT_POLICY'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == policy


def test_a_number_of_threads_holds_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    try:
        use_threads(None)
        assert torch.get_num_threads() == before
        use_threads(before + 1)
        assert torch.get_num_threads() == before + 1
        assert os.environ["OMP_NUM_THREADS"] == str(before + 1)
        with pytest.raises(InputError, match="Got 0 threads"):
            use_threads(0)
    finally:
        torch.set_num_threads(before)
