"""Linear maps of a language model in the 4-bit blocks that its weights are published in, as ONNX Runtime computes them.

ggml's Q4_1 says ``w = scale * q + least`` of every 32 values. ONNX Runtime's `MatMulNBits` is quick for
``scale * (q - 8)``; what is missing is a constant a block, ``least + 8 * scale``, so it counts as often as the block's
inputs add up to: ``x @ w = nbits(x) + sums_of_32(x) @ constants``. The same numbers, up to rounding, in an eighth of
the memory.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from x2sam.model.packed import BLOCK, BYTES, stored_blocks

Array = NDArray[Any]
Stored = tuple[Array, str]
"""Blocks uint8 ``[rows, bytes a row]`` and their kind."""
DOMAIN = "com.microsoft"


def published(file: Path, start: int) -> dict[str, Stored]:
    """The packed matrices of a language model by their names in a graph whose first layer is number ``start``."""
    found = stored_blocks(file)
    own = {"head.weight": found["model.embed_tokens.weight"]} if "model.embed_tokens.weight" in found else {}
    for name, stored in found.items():
        if match := re.fullmatch(r"model\.layers\.(\d+)\.(.*)", name):
            own[f"layers.{int(match[1]) - start}.{match[2]}"] = stored
    return own


def in_blocks(model: Any, packed: Mapping[str, Stored]) -> int:
    """Replace linear maps of a graph by their blocks, in place; how many.

    Args:
        model: an onnx ModelProto whose weights have names, and are turned by a node (not folded).
        packed: blocks and kind by the weight's name.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    turned = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "Transpose" and n.input[0] in packed}
    made: list[Any] = []
    sums: dict[str, str] = {}
    for node in graph.node:
        name = turned.get(node.input[1]) if node.op_type == "MatMul" else None
        if name is None:
            made.append(node)
            continue
        parts = _PARTS[packed[name][1]](packed[name][0])
        for key, array in parts.items():
            weights.setdefault(f"{name}.{key}", numpy_helper.from_array(array, f"{name}.{key}"))
        rows, blocks = parts["values"].shape[:2]
        x, out, bits = node.input[0], node.output[0], 4 if "constants" in parts else 8
        scaled = f"{out}.scaled" if bits == 4 else out
        sizes = {"K": blocks * BLOCK, "N": rows, "bits": bits, "block_size": BLOCK, "accuracy_level": 1}
        inputs = [x, f"{name}.values", f"{name}.scales"]
        made.append(helper.make_node("MatMulNBits", inputs, [scaled], domain=DOMAIN, **sizes))
        if bits == 4:
            if x not in sums:
                sums[x] = f"{x}.sums"
                made += _sums_of(x, sums[x])
            constant = f"{out}.constant"
            made.append(helper.make_node("MatMul", [sums[x], f"{name}.constants"], [constant]))
            made.append(helper.make_node("Add", [scaled, constant], [out]))
    shape, axis = np.array([0, 0, -1, BLOCK], dtype=np.int64), np.array([3], dtype=np.int64)
    weights |= {"blocks": numpy_helper.from_array(shape, "blocks"), "within": numpy_helper.from_array(axis, "within")}
    del graph.node[:]
    graph.node.extend(node for node in made if not set(node.output) & set(turned))
    del graph.initializer[:]
    graph.initializer.extend(tensor for name, tensor in weights.items() if name not in turned.values())
    if all(entry.domain != DOMAIN for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return len(turned)


def _sums_of(x: str, out: str) -> list[Any]:
    """``[B, L, K]`` -> ``[B, L, K / 32]``."""
    from onnx import helper

    return [
        helper.make_node("Reshape", [x, "blocks"], [f"{out}.blocks"]),
        helper.make_node("ReduceSum", [f"{out}.blocks", "within"], [out], keepdims=0),
    ]


def _four_bits(blocks: Array) -> dict[str, Array]:
    """Q4_1 rows ``[R, bytes]`` -> what the operators take."""
    block = blocks.reshape(len(blocks), -1, BYTES["Q4_1"])
    scale, least = (_halves(block[..., at : at + 2]) for at in (0, 2))
    nibbles = block[..., 4:]
    values = np.concatenate([nibbles & 15, nibbles >> 4], -1)  # [R, blocks, 32], in order
    pairs = values[..., 0::2] | (values[..., 1::2] << 4)
    constants = np.ascontiguousarray((least + 8 * scale).T)
    return {"values": np.ascontiguousarray(pairs), "scales": scale.reshape(-1), "constants": constants}


def _eight_bits(blocks: Array) -> dict[str, Array]:
    """Q8_0 rows; the operator counts from 128."""
    block = blocks.reshape(len(blocks), -1, BYTES["Q8_0"])
    return {"values": block[..., 2:] ^ np.uint8(128), "scales": _halves(block[..., :2]).reshape(-1)}


def _halves(pairs: Array) -> Array:
    return np.ascontiguousarray(pairs).view(np.float16)[..., 0].astype(np.float32)


_PARTS = {"Q4_1": _four_bits, "Q8_0": _eight_bits}
