"""x2sam: any segmentation in images and videos. Public names load when first used, so importing is instant."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from x2sam.version import __version__

if TYPE_CHECKING:
    from x2sam.errors import X2SamError as X2SamError
    from x2sam.tasks import TASKS as TASKS
    from x2sam.types import Prompt as Prompt
    from x2sam.types import Region as Region

_PUBLIC = {
    "X2SamError": "x2sam.errors",
    "TASKS": "x2sam.tasks",
    "Prompt": "x2sam.types",
    "Region": "x2sam.types",
}

__all__ = ["TASKS", "Prompt", "Region", "X2SamError", "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'x2sam' has no attribute {name!r}; it offers: {', '.join(__all__)}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return list(__all__)
