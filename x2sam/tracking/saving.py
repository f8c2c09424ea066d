"""A running state as one safetensors file: tensors as they are, the rest as json in one more. Reading runs nothing."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from x2sam.errors import InputError

_REST = "state.json"


def save(state: Any, path: str | os.PathLike[str]) -> Path:
    """Write a state made of plain values, containers, tensors, arrays and objects of plain classes.

    It is written under another name and renamed when it is whole.
    """
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_pack(state, tensors)).encode()
    tensors[_REST] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    target = Path(path)
    draft = target.with_name(target.name + ".part")
    save_file(tensors, draft)
    draft.replace(target)
    return target


def load(path: str | os.PathLike[str], classes: Sequence[type], device: torch.device) -> Any:
    """Read what `save` wrote. Objects are made of the given classes only; tensors go to ``device``.

    Raises InputError for another file, or one with other classes in it.
    """
    try:
        tensors = load_file(path)
        code = json.loads(tensors.pop(_REST).numpy().tobytes())
        return _unpack(code, tensors, {known.__name__: known for known in classes}, device)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"Got {os.fspath(path)}, which is no saved state ({error})", "a file of Track.save") from error


def _pack(value: Any, tensors: dict[str, Tensor]) -> Any:
    """A value as json; what is no plain value or list becomes ``{kind: content}``."""
    if value is None or isinstance(value, (bool, str, int, float)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (Tensor, np.ndarray)):
        name = str(len(tensors))
        tensors[name] = torch.as_tensor(value).detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"tensor" if isinstance(value, Tensor) else "array": name}
    if isinstance(value, bytes):
        return {"bytes": value.decode("latin-1")}
    if isinstance(value, deque):
        return {"deque": [value.maxlen, [_pack(v, tensors) for v in value]]}
    if isinstance(value, list):
        return [_pack(v, tensors) for v in value]
    if isinstance(value, (tuple, set)):
        return {type(value).__name__: [_pack(v, tensors) for v in value]}
    if isinstance(value, Mapping):
        return {"dict": [[_pack(k, tensors), _pack(v, tensors)] for k, v in value.items()]}
    names = [f.name for f in fields(value)] if is_dataclass(value) else list(vars(value))
    return {"object": [type(value).__name__, {name: _pack(getattr(value, name), tensors) for name in names}]}


def _unpack(code: Any, tensors: dict[str, Tensor], classes: dict[str, type], device: torch.device) -> Any:
    def again(part: Any) -> Any:
        return _unpack(part, tensors, classes, device)

    if isinstance(code, list):
        return [again(part) for part in code]
    if not isinstance(code, dict):
        return code
    ((kind, content),) = code.items()
    if kind == "tensor":
        return tensors[content].to(device)
    if kind == "array":
        return tensors[content].numpy()
    if kind == "bytes":
        return content.encode("latin-1")
    if kind == "deque":
        return deque(again(content[1]), maxlen=content[0])
    if kind in ("tuple", "set"):
        return {"tuple": tuple, "set": set}[kind](again(content))
    if kind == "dict":
        return {again(key): again(value) for key, value in content}
    name, parts = content
    kept: Any = classes[name]
    made = kept.__new__(kept)
    made.__dict__.update({part: again(value) for part, value in parts.items()})  # frozen data classes, too
    return made
