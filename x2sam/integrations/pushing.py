"""A frame for a session whose frames are pushed, before anything is asked: so that regions can be drawn on it."""

from __future__ import annotations

from typing import Any

from x2sam.errors import InputError, MediaError
from x2sam.tracking.session import Session


def show(session: Session, frame: Any, index: int | None = None, time: float | None = None) -> None:
    """Push a frame that the tracks begun next will answer for; one that was pushed before is not taken again."""
    stream = session.clip.stream
    if stream is None or not stream.pushed:
        raise InputError(f"Got a frame for {session.clip.name}, which has its own", "a session of X2Sam.live")
    _, _, taken = stream.push(frame, index, time)
    if isinstance(taken, MediaError):
        raise taken
