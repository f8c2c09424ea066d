"""What `x2sam serve` adds to itself where it is asked to: other tools' protocols. Imports each when it is wanted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI


def chosen(label_studio: str | None = None, label_studio_key: str | None = None) -> list[Callable[[FastAPI], None]]:
    """What `create_app` takes for its extensions."""
    extensions: list[Callable[[FastAPI], None]] = []
    if label_studio:
        from x2sam.integrations.label_studio_files import LabelStudioServer

        server = LabelStudioServer(label_studio, label_studio_key or "")
        extensions.append(partial(_label_studio, server=server))
    return extensions


def _label_studio(app: FastAPI, server: object) -> None:
    from x2sam.integrations import label_studio  # it loads torch, and `serve` answers before that is there

    label_studio.mount(app, server)  # type: ignore[arg-type]
