"""Memory that is free, back to the system."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache


@cache
def _trim() -> Callable[[int], int] | None:
    return getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc alone


def give_back() -> bool:
    """Return what lies free between what is in use; whether anything was.

    glibc keeps freed blocks for the next of their size. Passes of different tasks have different sizes, so that a run
    of several tasks would come to hold the sum of what they need instead of the most.
    """
    trim = _trim()
    return bool(trim(0)) if trim is not None else False
