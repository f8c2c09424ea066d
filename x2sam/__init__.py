"""x2sam: any segmentation in images and videos. Public names load when first used, so importing is instant."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from x2sam.threads import wait_asleep
from x2sam.version import __version__

wait_asleep()

if TYPE_CHECKING:
    from x2sam.config import X2SamConfig as X2SamConfig
    from x2sam.decoding.answer import AnswerOptions as AnswerOptions
    from x2sam.errors import X2SamError as X2SamError
    from x2sam.examples import Examples as Examples
    from x2sam.examples import example as example
    from x2sam.media.opening import open_media as open_media
    from x2sam.model.modeling import X2SamModel as X2SamModel
    from x2sam.predictor import X2Sam as X2Sam
    from x2sam.processing import X2SamProcessor as X2SamProcessor
    from x2sam.results.result import Result as Result
    from x2sam.tasks import TASKS as TASKS
    from x2sam.tracking.session import Session as Session
    from x2sam.types import Prompt as Prompt
    from x2sam.types import Region as Region

_PUBLIC = {
    "AnswerOptions": "x2sam.decoding.answer",
    "Examples": "x2sam.examples",
    "Result": "x2sam.results.result",
    "Session": "x2sam.tracking.session",
    "X2Sam": "x2sam.predictor",
    "X2SamConfig": "x2sam.config",
    "X2SamModel": "x2sam.model.modeling",
    "X2SamProcessor": "x2sam.processing",
    "example": "x2sam.examples",
    "open_media": "x2sam.media.opening",
    "X2SamError": "x2sam.errors",
    "TASKS": "x2sam.tasks",
    "Prompt": "x2sam.types",
    "Region": "x2sam.types",
}

__all__ = [
    "TASKS",
    "AnswerOptions",
    "Examples",
    "Prompt",
    "Region",
    "Result",
    "Session",
    "X2Sam",
    "X2SamConfig",
    "X2SamError",
    "X2SamModel",
    "X2SamProcessor",
    "__version__",
    "example",
    "open_media",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'x2sam' has no attribute {name!r}; it offers: {', '.join(__all__)}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return list(__all__)
