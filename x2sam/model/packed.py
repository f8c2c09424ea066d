"""Weights kept as they were published for llama.cpp: blocks of 32 values of 4 or 8 bits, decoded when they are read.

A row of a matrix is a run of blocks; every block brings its own scale (and minimum), as ggml lays them out:

| kind | bytes a block | content |
|---|---|---|
| Q4_1 | 20 | float16 scale, float16 minimum, 16 bytes: value i in the low, value 16 + i in the high half of byte i |
| Q8_0 | 34 | float16 scale, 32 int8 |

A packed file is a safetensors file: blocks are uint8 ``[rows, bytes a row]``, and the metadata's one entry ``packed``,
a JSON object, says of such a tensor by its name what it is (``Q4_1 576 1536``: kind and decoded shape). Everything
else is stored plainly. Floats are little-endian, as both formats have them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from x2sam.errors import CheckpointError

BLOCK = 32
"""Values a block."""
BYTES = {"Q4_1": 20, "Q8_0": 34}
"""Bytes a block, by kind."""


class Packed(NamedTuple):
    """What the metadata says of a tensor of blocks."""

    kind: str
    rows: int
    columns: int

    @classmethod
    def parse(cls, text: str) -> Packed:
        """Read ``KIND ROWS COLUMNS``.

        Raises:
            CheckpointError: it says something else.
        """
        kind, *shape = text.split()
        if kind not in BYTES or len(shape) != 2 or not all(side.isdecimal() for side in shape):
            raise CheckpointError(f"Got the packed form {text!r}", f"one of {', '.join(BYTES)}, rows, columns")
        return cls(kind, int(shape[0]), int(shape[1]))

    def __str__(self) -> str:
        return f"{self.kind} {self.rows} {self.columns}"


def decode(blocks: Tensor, kind: str, out: Tensor | None = None) -> Tensor:
    """Blocks uint8 ``[R, bytes a row]`` -> float32 ``[R, C]``, bit for bit what ggml computes.

    Args:
        blocks: whole rows.
        kind: ``Q4_1`` or ``Q8_0``.
        out: where to write, contiguous float32 ``[R, C]``; else it is made.

    Raises:
        CheckpointError: an unknown kind, or rows that are no whole blocks.
    """
    if kind not in BYTES:
        raise CheckpointError(f"Got blocks of the kind {kind!r}", f"one of: {', '.join(BYTES)}")
    rows, width = blocks.shape
    if blocks.dtype != torch.uint8 or width % BYTES[kind]:
        raise CheckpointError(f"Got {blocks.dtype} rows of {width}", f"uint8, a multiple of {BYTES[kind]} bytes")
    count = width // BYTES[kind]
    if out is None:
        out = torch.empty(rows, count * BLOCK)
    elif out.shape != (rows, count * BLOCK) or out.dtype != torch.float32 or not out.is_contiguous():
        raise CheckpointError(f"Got {out.dtype} {list(out.shape)} to write to", f"float32 {[rows, count * BLOCK]}")
    block = blocks.contiguous().view(rows, count, BYTES[kind])
    scale = block[..., :2].view(torch.float16).float()  # [R, blocks, 1]
    if kind == "Q8_0":
        out.view(rows, count, BLOCK).copy_(block[..., 2:].view(torch.int8)).mul_(scale)
        return out
    half = out.view(rows, count, 2, BLOCK // 2)
    nibbles = block[..., 4:]
    half[:, :, 0].copy_(nibbles & 15)
    half[:, :, 1].copy_(nibbles >> 4)
    # Two roundings, as the reference has them: a fused multiply-add would differ in the last bit.
    half.mul_(scale[..., None]).add_(block[..., 2:4].view(torch.float16).float()[..., None])
    return out


def describe(forms: Mapping[str, Packed]) -> dict[str, str]:
    """The metadata of a packed file. One entry: safetensors would write several in any order."""
    return {"packed": json.dumps({name: str(form) for name, form in forms.items()})}


def read_packed(file: str | Path) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a packed file by name, decoded to float32 one at a time.

    Raises:
        CheckpointError: no such file, or one that is not packed as its metadata says.
    """
    for name, stored, form in _stored(file):
        yield name, stored.float() if form is None else decode(stored, form.kind)


@torch.no_grad()
def load_packed(module: nn.Module, file: str | Path) -> list[str]:
    """Decode a packed file straight into the parameters of ``module`` that it names; return their names.

    Float32 matrices are written to without a copy in between. A tensor that is no matrix was packed as one, with a row
    for each of its first entries and zeros up to whole blocks (`pack`).

    Raises:
        CheckpointError: the module lacks a tensor of the file, or has another shape for it.
    """
    own = module.state_dict(keep_vars=True)
    filled = []
    for name, stored, form in _stored(file):
        target = own.get(name)
        if target is None or not _fits(target, stored, form):
            got = "nothing" if target is None else str(list(target.shape))
            wanted = list(stored.shape) if form is None else str(form)
            raise CheckpointError(
                f"Got {got} to hold {name} {wanted}", "a network of the file's sizes", f"The file is {file}"
            )
        values = target.data
        if form is None:
            values.copy_(stored)
        elif _written_to(values):
            decode(stored, form.kind, values)
        else:
            values.copy_(decode(stored, form.kind)[:, : values[0].numel()].view(values.shape))
        filled.append(name)
    return filled


def stored_blocks(file: str | Path) -> dict[str, tuple[Any, str]]:
    """Matrices of a packed file as they are stored: name -> (blocks uint8 ``[rows, bytes a row]``, kind)."""
    return {name: (stored.numpy(), form.kind) for name, stored, form in _stored(file) if form is not None}


def pack(tensor: Tensor) -> tuple[Tensor, Packed]:
    """Round a tensor ``[R, ...]`` to Q8_0: its blocks, and what they are. The largest of 32 values is 127 steps."""
    rows = tensor.flatten(1).float()
    rows = torch.nn.functional.pad(rows, (0, -rows.shape[1] % BLOCK))
    blocks = rows.view(len(rows), -1, BLOCK)
    scale = (blocks.abs().amax(-1, keepdim=True) / 127).half()
    steps = (blocks / scale.float().clamp_min(1e-12)).round().clamp(-127, 127).to(torch.int8)
    packed = torch.cat([scale.view(torch.uint8), steps.view(torch.uint8)], -1).flatten(1)
    return packed, Packed("Q8_0", *rows.shape)


def _written_to(values: Tensor) -> bool:
    """Whether blocks can be decoded right into a tensor."""
    whole = values.ndim == 2 and values.shape[1] % BLOCK == 0 and values.is_contiguous()
    return whole and values.dtype == torch.float32 and values.device.type == "cpu"


def _fits(target: Tensor, stored: Tensor, form: Packed | None) -> bool:
    if form is None:
        return target.shape == stored.shape
    return target.ndim > 1 and len(target) == form.rows and -(-target[0].numel() // BLOCK) * BLOCK == form.columns


def _stored(file: str | Path) -> Iterator[tuple[str, Tensor, Packed | None]]:
    """(name, what is stored, what its blocks are) of every tensor."""
    try:
        with safe_open(file, framework="pt") as opened:
            told = json.loads((opened.metadata() or {}).get("packed", "{}"))
            for name in opened.keys():  # noqa: SIM118 - no mapping
                stored = opened.get_tensor(name)
                form = Packed.parse(told[name]) if name in told else None
                if form is not None and list(stored.shape) != [form.rows, form.columns // BLOCK * BYTES[form.kind]]:
                    raise CheckpointError(f"Got {list(stored.shape)} bytes for {name}", str(form), f"Of {file}")
                yield name, stored, form
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"Got no packed weights in {file}: {error}", "a safetensors file") from error
