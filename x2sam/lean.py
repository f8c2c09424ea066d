"""A lean import of transformers, for a command that answers and ends.

Importing any model of transformers brings what training on many machines, tracing and quantised kernels need
(torch.distributed's tensors, torch._dynamo, SciPy's optimisers, accelerate): a good part of the time before
a first answer, and nothing of it is used to give one. While models are imported and loaded, these say that they are
not there; afterwards everything is as it was, and whoever wants one of them imports it as ever. A library that is
imported into somebody's program does not do this: there, all of transformers may be wanted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

MODELS = ("llama.modeling_llama", "mask2former.modeling_mask2former", "sam2.modeling_sam2")
"""What nano and the mask branch are made of; Qwen3-VL comes with its own loading, when it is loaded."""
LEFT_OUT = ("is_scipy_available", "is_accelerate_available")
DRAWN = (
    "uniform_",
    "normal_",
    "trunc_normal_",
    "kaiming_uniform_",
    "kaiming_normal_",
    "xavier_uniform_",
    "xavier_normal_",
)
"""Functions by which modules draw their first values."""
DYNAMO = "torch._dynamo"
TRACING = f"{DYNAMO}._trace_wrapped_higher_order_op"


@contextmanager
def lean() -> Iterator[None]:
    """Import the models that an answer needs, and little else; load weights in here, too.

    Plain, where that cannot be done: several processes, or transformers is there already.
    """
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    with ExitStack() as stack:
        if not (several or "transformers" in sys.modules or DYNAMO in sys.modules):
            stack.enter_context(_left_out())
            stack.enter_context(_untraced())
            try:
                for name in MODELS:
                    import_module(f"transformers.models.{name}")
            except Exception:  # another release of either library: whoever needs the models then imports them plainly
                stack.close()
                for name in [name for name in sys.modules if name.partition(".")[0] == "transformers"]:
                    del sys.modules[name]
        yield


@contextmanager
def _left_out() -> Iterator[None]:
    import torch
    import torch.distributed
    import transformers.utils as utils
    from transformers.utils import import_utils

    available = torch.distributed.is_available
    checks = {(place, name): getattr(place, name) for place in (utils, import_utils) for name in LEFT_OUT}
    torch.distributed.is_available = _no
    import_utils.is_torch_distributed_available.cache_clear()
    for place, name in checks:
        setattr(place, name, _no)
    try:
        yield
    finally:
        torch.distributed.is_available = available
        import_utils.is_torch_distributed_available.cache_clear()
        for (place, name), check in checks.items():
            setattr(place, name, check)


@contextmanager
def _untraced() -> Iterator[None]:
    """Marks for torch's tracer are left out, and with them its import."""
    import torch

    stand_ins = _stand_ins()
    sys.modules.update(stand_ins)
    torch._dynamo = stand_ins[DYNAMO]
    try:
        yield
    finally:
        for name in stand_ins:
            sys.modules.pop(name, None)
        del torch._dynamo


@contextmanager
def nothing_on_meta() -> Iterator[None]:
    """Tensors on the meta device have no values, so none are drawn for them while a model is built to be loaded.

    Drawn through torch's reference functions, they would cost more than the loading, and import its tracer.
    """
    import torch.nn.init as init

    kept = {name: getattr(init, name) for name in DRAWN}

    def unless_meta(function: Any) -> Any:
        return lambda tensor, *rest, **more: tensor if tensor.is_meta else function(tensor, *rest, **more)

    for name, function in kept.items():
        setattr(init, name, unless_meta(function))
    try:
        yield
    finally:
        for name, function in kept.items():
            setattr(init, name, function)


def _no(*_: Any, **__: Any) -> bool:
    return False


def _stand_ins() -> dict[str, ModuleType]:
    """Marks for a tracer that is not there leave functions as they are."""
    dynamo, tracing = ModuleType(DYNAMO), ModuleType(TRACING)
    dynamo.__path__ = []
    dynamo.__getattr__ = lambda name: _same if not name.startswith("__") else _missing(name)  # type: ignore[method-assign]
    tracing.TransformGetItemToIndex = _transform  # type: ignore[attr-defined]
    dynamo._trace_wrapped_higher_order_op = tracing  # type: ignore[attr-defined]
    return {DYNAMO: dynamo, TRACING: tracing}


def _missing(name: str) -> Any:
    raise AttributeError(name)


def _same(function: Any = None, *_: Any, **__: Any) -> Any:
    return function if function is not None else _same


def _transform(*args: Any) -> Any:
    """The real one, once it is called for."""
    return import_module(TRACING).TransformGetItemToIndex(*args)
