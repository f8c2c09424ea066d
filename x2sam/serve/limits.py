"""Every bound of the service in one place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds, right for one person on a laptop. Whoever serves many people raises them.

    Memory is bounded by what is opened (`sessions`, `picture_pixels`), what waits (`queue`, `json_bytes`, `unread`) and
    what is decoded at once (`decoders`, `batch`).
    """

    # --- media
    upload_bytes: int = 256 * 2**20
    """Of a file that is sent as a form; it goes to the disk."""
    json_bytes: int = 16 * 2**20
    """Of a JSON body, which is held in memory with what it embeds."""
    picture_pixels: int = 50_000_000
    video_pixels: int = 8_900_000
    """Of one frame: a little more than 3840x2160."""
    frames: int = 3000
    animation_pixels: int = 500_000_000
    """Of all frames of an animated picture together; opening it unpacks each of them once."""
    inline_frames: int = 300
    """Of a clip whose results are one JSON answer; longer ones are for sessions."""
    fetch_urls: bool = False
    """Whether http and https addresses of media are fetched. Private addresses never are."""

    # --- prompts
    prompts: int = 200
    """Category names or phrases of one request."""
    text: int = 4000
    """Characters of a prompt or a message."""
    messages: int = 64
    regions: int = 32
    points: int = 1000
    """Of one region."""
    tokens: int = 512
    """Of an answer."""

    # --- queue
    queue: int = 128
    """Jobs that wait or run."""
    jobs_per_client: int = 128
    """Of them, one client's."""
    batch: int = 8
    """Pictures that share a forward pass."""
    unread: int = 4
    """Results of a job that wait for their reader; a slow one holds up nobody else."""
    unread_seconds: float = 60.0
    """A job whose results nobody reads for so long is given up."""
    decoders: int = 2
    """Uploads and exports that are worked on at once, beside the worker."""
    finish_seconds: float = 10.0
    """What runs may finish within so long when the service is stopped."""

    # --- sessions
    sessions: int = 32
    sessions_per_client: int = 8
    idle_seconds: float = 900.0
    """A session that is not used for so long is closed and its files are deleted."""
    work_seconds: float = 86_400.0
    """The same for one that somebody has made objects on."""
    work_bytes: int = 64 * 2**20
    """Of the masks that are kept for one session."""
