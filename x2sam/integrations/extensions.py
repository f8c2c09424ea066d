"""What `x2sam serve` adds to itself where it is asked to: other tools' protocols. Imports each when it is wanted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from x2sam.errors import MissingExtraError

if TYPE_CHECKING:
    from fastapi import FastAPI


def chosen(
    label_studio: str | None = None, label_studio_key: str | None = None, mcp: bool = False
) -> list[Callable[[FastAPI], None]]:
    """What `create_app` takes for its extensions."""
    extensions: list[Callable[[FastAPI], None]] = []
    if label_studio:
        from x2sam.integrations.label_studio_files import LabelStudioServer

        server = LabelStudioServer(label_studio, label_studio_key or "")
        extensions.append(partial(_label_studio, server=server))
    if mcp:
        if find_spec("mcp") is None:
            raise MissingExtraError("mcp", "mcp")
        extensions.append(_mcp)
    return extensions


def _mcp(app: FastAPI) -> None:
    from x2sam.integrations import mcp

    mcp.mount(app)


def _label_studio(app: FastAPI, server: object) -> None:
    from x2sam.integrations import label_studio  # it loads torch, and `serve` answers before that is there

    label_studio.mount(app, server)  # type: ignore[arg-type]
