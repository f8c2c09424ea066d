"""A running track as one safetensors file: tensors as they are, the rest as json in one more. Reading runs nothing.

The file says which version of this form it has and which model it belongs to. Every object in it has exactly the fields
that `FIELDS` lists; a file that lacks one, or has one more, is refused by name.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from x2sam.decoding.candidates import AnswerOptions, Candidate
from x2sam.errors import InputError
from x2sam.masks import RLE
from x2sam.model.mask_decoder import Guidance
from x2sam.model.mask_memory import Memory, MemoryBank
from x2sam.model.modeling import X2SamModel
from x2sam.prompts import Phrase
from x2sam.requests import Request
from x2sam.tasks import Task
from x2sam.tracking.association import FrameToFrame, Hungarian, TrackedObject
from x2sam.tracking.engine import EncodedPrompt
from x2sam.tracking.history import Seen, Trail
from x2sam.tracking.objects import Claim, ObjectManager
from x2sam.tracking.prompt_state import PromptState
from x2sam.types import Condition, FrameResult, Prompt, Region, Segment, Shown, Usage

VERSION = 3
"""Of the form of the file. 2 had no examples; 1 was written until x2sam 1.0 without saying so."""
_JSON = "state.json"
_WHOLE = "a whole file of Track.save"

_DATA = (
    *(EncodedPrompt, PromptState, Request, Task, AnswerOptions, Guidance, Phrase, ObjectManager, Claim, TrackedObject),
    *(Trail, Seen, Candidate, Memory, MemoryBank, RLE, Region, Condition, Shown, Prompt, Segment, FrameResult, Usage),
)
FIELDS: dict[type, tuple[str, ...]] = {
    **{kind: tuple(f.name for f in fields(kind)) for kind in _DATA},
    Hungarian: ("prompt", "patience", "capacity", "tracked"),
    FrameToFrame: ("prompt", "previous"),
}
"""What a saved state is made of."""


def write(state: Mapping[str, Any], path: str | os.PathLike[str], model: X2SamModel) -> Path:
    """Write a state made of plain values, containers, tensors, arrays and objects of `FIELDS`.

    It is written under another name and renamed when it is whole.
    """
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_pack(state, tensors, {})).encode()
    tensors[_JSON] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    target = Path(path)
    draft = target.with_name(target.name + ".part")
    save_file(tensors, draft, metadata={"x2sam": str(VERSION), "model": json.dumps(fingerprint(model))})
    draft.replace(target)
    return target


def read(path: str | os.PathLike[str], model: X2SamModel) -> dict[str, Any]:
    """Read what `write` wrote, of this version and this model; tensors go to the model's device.

    Raises InputError, one sentence for each way in which a file cannot be used.
    """
    name = os.fspath(path)
    try:
        with safe_open(name, "pt") as file:
            about = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no dict
    except (OSError, SafetensorError) as error:
        raise InputError(f"Got {name}, which is no saved state or a damaged one ({error})", _WHOLE) from error
    if _JSON not in tensors:
        raise InputError(f"Got {name}, which is no saved state", _WHOLE)
    version = about.get("x2sam", "1")
    if version != str(VERSION):
        got = f"Got {name}, a saved state of version {version}"
        raise InputError(got, f"version {VERSION}, which this x2sam writes", "Start the track anew")
    try:
        _check_model(name, json.loads(about.get("model", "{}")), fingerprint(model))
        code = json.loads(tensors.pop(_JSON).numpy().tobytes())
        state = _unpack(code, tensors, {kind.__name__: kind for kind in FIELDS}, model.device)
    except _Misfit as error:
        raise InputError(f"Got {name}, a saved state in which {error}", _WHOLE) from error
    except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise InputError(f"Got {name}, a saved state that is damaged ({error!r})", _WHOLE) from error
    if not isinstance(state, dict):
        raise InputError(f"Got {name}, which is no saved state", _WHOLE)
    return state


def require(state: Mapping[str, Any], names: tuple[str, ...], path: str | os.PathLike[str]) -> None:
    """Raise InputError unless a state has just these parts."""
    for what, differing in (("lacks", set(names) - set(state)), ("has an unknown", set(state) - set(names))):
        if differing:
            raise InputError(f"Got {os.fspath(path)}, a saved state that {what} {sorted(differing)[0]!r}", _WHOLE)


def fingerprint(model: X2SamModel) -> dict[str, Any]:
    """By what a saved state knows its model again: sizes by name, and digests of its configuration and weights.

    Of every tensor a few numbers are read, evenly spread: training changes them all.
    """
    config = model.config
    volatile = {"transformers_version", "_name_or_path", "name_or_path", "dtype", "torch_dtype", "architectures"}
    told = {key: value for key, value in config.to_dict().items() if key not in volatile}
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        flat = tensor.detach().flatten()
        last = max(0, len(flat) - 1)
        places = torch.linspace(0, last, min(len(flat), 16), dtype=torch.float64).long().to(flat.device)
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(flat[places].float().cpu().numpy().tobytes())
    return {
        "image_size": config.image_size,
        "memory_size": config.memory_size,
        "memory_levels": list(config.memory_levels),
        "dtype": str(model.dtype).removeprefix("torch."),
        "configuration": hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:16],
        "weights": digest.hexdigest()[:16],
    }


def _check_model(name: str, saved: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    for key, value in own.items():
        if saved.get(key) != value:
            got = f"Got {name}, a state of another model: its {key} is {saved.get(key)}"
            raise InputError(got, f"{value}", "Load the model that it was saved with, with the same options")


class _Misfit(Exception):  # noqa: N818
    """An object that has other fields than its class."""


def _pack(value: Any, tensors: dict[str, Tensor], known: dict[int, str]) -> Any:
    """A value as json; what is no plain value or list becomes ``{kind: content}``. Each tensor is written once."""
    if value is None or isinstance(value, (bool, str, int, float)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (Tensor, np.ndarray)):
        if id(value) not in known:
            known[id(value)] = str(len(tensors))
            whole = torch.as_tensor(value).detach().cpu().clone(memory_format=torch.contiguous_format)
            tensors[known[id(value)]] = whole
        return {"tensor" if isinstance(value, Tensor) else "array": known[id(value)]}
    if isinstance(value, bytes):
        return {"bytes": value.decode("latin-1")}
    if isinstance(value, deque):
        return {"deque": [value.maxlen, [_pack(v, tensors, known) for v in value]]}
    if isinstance(value, list):
        return [_pack(v, tensors, known) for v in value]
    if isinstance(value, (tuple, set)):
        return {type(value).__name__: [_pack(v, tensors, known) for v in value]}
    if isinstance(value, Mapping):
        return {"dict": [[_pack(k, tensors, known), _pack(v, tensors, known)] for k, v in value.items()]}
    parts = {name: _pack(getattr(value, name), tensors, known) for name in FIELDS[type(value)]}
    return {"object": [type(value).__name__, parts]}


def _unpack(code: Any, tensors: dict[str, Tensor], classes: dict[str, type], device: torch.device) -> Any:
    def again(part: Any) -> Any:
        return _unpack(part, tensors, classes, device)

    if isinstance(code, list):
        return [again(part) for part in code]
    if not isinstance(code, dict):
        return code
    ((kind, content),) = code.items()
    if kind == "tensor":
        tensors[content] = tensors[content].to(device)  # once, so that prompts go on sharing it
        return tensors[content]
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
    return _made(name, parts, again, classes)


def _made(name: str, parts: dict[str, Any], again: Any, classes: dict[str, type]) -> Any:
    if name not in classes:
        raise _Misfit(f"there is a {name}, which is not known")
    kept: Any = classes[name]
    for what, differing in (
        ("lacks", set(FIELDS[kept]) - set(parts)),
        ("has an unknown", set(parts) - set(FIELDS[kept])),
    ):
        if differing:
            raise _Misfit(f"a {name} {what} {sorted(differing)[0]!r}")
    made = kept.__new__(kept)
    made.__dict__.update({part: again(value) for part, value in parts.items()})  # frozen data classes, too
    return made
