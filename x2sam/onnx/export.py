"""Write the graphs, and check each against the network: ``x2sam export onnx --model nano --out DIR``.

A folder holds ``NAME.onnx`` for every graph, ``graphs.json`` (sizes, inputs and outputs, how far each was from the
network), the configuration, processor and vocabulary, and in ``rest.safetensors`` the small parts that stay outside.
"""

from __future__ import annotations

import copy
import io
import json
import shutil
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from x2sam.config import WEIGHTS
from x2sam.errors import CheckpointError, InputError, MissingExtraError
from x2sam.model.modeling import X2SamModel
from x2sam.model.packed import stored_blocks
from x2sam.onnx.blocks import in_blocks, published
from x2sam.onnx.graphs import Graph, of_prompted
from x2sam.onnx.queries import of_queries
from x2sam.version import __version__

OPSET = 18
CLOSE = 1e-4
"""Largest difference of a graph from the network, as a part of the largest number of that output."""
INDEX, REST = "graphs.json", "rest.safetensors"
WORDS = "language.model.model.embed_tokens.rows"
IN_GRAPHS = ("language.model.", "language.adapters.", "mask_encoder.", "prompted_head.")
"""Tensors that only the graphs need."""


def export(
    model: X2SamModel, out: str | Path, processor: Any = None, say: Callable[[str], None] = lambda _: None
) -> Path:
    """Write a model's graphs to a new folder.

    Args:
        model: one with a prompted head over a small backbone (nano), or with queries: then its mask side alone.
        processor: is saved beside them.
        say: told each graph with its size and its difference from the network.

    Raises:
        InputError: the folder exists.
        MissingExtraError: without the extra ``onnx``.
        CheckpointError: a graph does not give the network's numbers.
    """
    need("onnx", "onnxruntime")
    out = Path(out)
    if out.exists():
        raise InputError(f"Got the folder {out}, which exists", "a new one", "Name another, or remove it first")
    if model.dtype != torch.float32 or model.device.type != "cpu":
        model = copy.deepcopy(model).float().cpu()
    attention, training = model.language.model.config._attn_implementation, [m for m in model.modules() if m.training]
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        return _exported(model.eval().requires_grad_(False), out, processor, say)
    finally:
        model.language.model.set_attn_implementation(attention)
        for module in training:
            module.training = True
        for parameter in learning:
            parameter.requires_grad_(True)


def _exported(model: X2SamModel, out: Path, processor: Any, say: Callable[[str], None]) -> Path:
    prompted = model.mask_decoder is None
    final, out = out, out.with_name(out.name + ".part")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    index: dict[str, Any] = {"x2sam": __version__, "opset": OPSET, "sizes": _sizes(model), "graphs": {}}
    for graph in of_prompted(model) if prompted else of_queries(model):
        started = time.perf_counter()
        file = out / f"{graph.name}.onnx"
        file.write_bytes(written(graph, model))
        index["graphs"][graph.name] = {
            "purpose": graph.purpose,
            "bytes": file.stat().st_size,
            "inputs": {name: _described(graph, name, tensor) for name, tensor in graph.inputs.items()},
            **checked(graph, file),
        }
        size, apart = file.stat().st_size / 1e6, index["graphs"][graph.name]["apart"]
        say(f"{graph.name}: {size:.1f} MB, {apart:.1e} apart, {time.perf_counter() - started:.0f} s")
    if prompted:
        save_file(_rest(model), out / REST)
        model.config.save_pretrained(out)
        if processor is not None:
            processor.save_pretrained(out)
    (out / INDEX).write_text(json.dumps(index, indent=1))
    return out.replace(final)


def written(graph: Graph, model: X2SamModel) -> bytes:
    """A graph as an ONNX file; the language model's weights stay in their blocks where they are published so."""
    import onnx

    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    draft = io.BytesIO()
    graph.module.eval()  # else the exporter, which sets it back, turns on dropout in the network below it
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph.module(*graph.inputs.values())  # position tables are made once, outside of the graph
            torch.onnx.export(
                graph.module,
                tuple(graph.inputs.values()),
                draft,  # type: ignore[arg-type]
                input_names=list(graph.inputs),
                output_names=list(graph.outputs),
                dynamic_axes=graph.free,
                opset_version=OPSET,
                dynamo=False,
                do_constant_folding=graph.name not in ("read", "speak"),
            )
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
    proto = onnx.load_from_string(draft.getvalue())
    pads_in_convolutions(proto)
    packed = (model.config.apart or {}).get("language.model")
    if packed and graph.name in ("read", "speak"):
        in_blocks(proto, published(WEIGHTS / packed, graph.module.start))  # type: ignore[arg-type]
    proto.producer_name, proto.producer_version, proto.doc_string = "x2sam", __version__, graph.purpose
    return proto.SerializeToString()


def pads_in_convolutions(proto: Any) -> None:
    """What is padded with zeros only to be convolved is padded by the convolution, which may be uneven in ONNX."""
    from onnx import helper, numpy_helper

    known = {x.name: numpy_helper.to_array(x) for x in proto.graph.initializer}
    known |= {n.output[0]: numpy_helper.to_array(n.attribute[0].t) for n in proto.graph.node if n.op_type == "Constant"}
    uses = Counter(name for node in proto.graph.node for name in node.input)
    pads = {n.output[0]: n for n in proto.graph.node if n.op_type == "Pad" and n.input[1] in known}
    for conv in [node for node in proto.graph.node if node.op_type == "Conv" and node.input[0] in pads]:
        pad = pads[conv.input[0]]
        sides = known[pad.input[1]].tolist()  # of every axis where it begins, then where it ends
        own = next(a for a in conv.attribute if a.name == "pads")
        if uses[pad.output[0]] > 1 or any(sides[:2] + sides[4:6]):
            continue
        both = [more + by for more, by in zip(sides[2:4] + sides[6:8], own.ints, strict=True)]
        own.CopyFrom(helper.make_attribute("pads", both))
        conv.input[0] = pad.input[0]
        proto.graph.node.remove(pad)


def checked(graph: Graph, file: Path) -> dict[str, Any]:
    """Run a graph beside its module: shapes of the outputs, and how far apart they are.

    Raises:
        CheckpointError: further than `CLOSE`.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    known = {i.name for i in session.get_inputs()}
    apart: dict[str, float] = dict.fromkeys(graph.outputs, 0.0)
    for inputs in (graph.again, graph.inputs) if graph.again else (graph.inputs,):
        with torch.no_grad():
            wanted = graph.module(*inputs.values())
        got = session.run(None, {name: x.numpy() for name, x in inputs.items() if name in known})
        for name, ours, theirs in zip(graph.outputs, got, wanted, strict=True):
            difference = (torch.from_numpy(ours).double() - theirs.double()).abs().max().item()
            apart[name] = max(apart[name], difference / max(1.0, theirs.double().abs().max().item()))
    worst = max(apart.values())
    if not worst <= CLOSE:
        raise CheckpointError(f"Got a graph {graph.name} that is {apart} apart from the network", f"at most {CLOSE}")
    outputs = {name: _described(graph, name, x) for name, x in zip(graph.outputs, wanted, strict=True)}
    return {"outputs": outputs, "apart": float(f"{worst:.2g}")}


def _described(graph: Graph, name: str, tensor: Tensor) -> dict[str, Any]:
    free = graph.free.get(name, {})
    return {
        "type": str(tensor.dtype).removeprefix("torch."),
        "shape": [free.get(i, n) for i, n in enumerate(tensor.shape)],
    }


def _sizes(model: X2SamModel) -> dict[str, Any]:
    config = model.config
    network = ("image_size", "hidden_dim", "num_queries", "conditions_layer", "meaning_layers", "memory_size")
    answers = ("memory_levels", "region_points", "region_tokens", "presence_threshold", "object_threshold")
    return {name: getattr(config, name) for name in network + answers}


def _rest(model: X2SamModel) -> dict[str, Tensor]:
    """What the graphs do not hold: small maps, and the rows of words, in the blocks that they are published in."""
    rest = {name: x.clone() for name, x in model.state_dict().items() if not name.startswith(IN_GRAPHS)}
    packed = (model.config.apart or {}).get("language.model")
    if packed:
        words = torch.from_numpy(stored_blocks(WEIGHTS / packed)["model.embed_tokens.weight"][0])
    else:
        words = model.language.decoder.embed_tokens.weight.detach().clone()
    return {**rest, WORDS: words}


def need(*modules: str) -> None:
    """Raise MissingExtraError where a package of the extra ``onnx`` is missing."""
    for module in modules:
        try:
            __import__(module)
        except ModuleNotFoundError:
            raise MissingExtraError(module, "onnx") from None
