"""A causal language model of `transformers`, read by `LanguageSide`: its own states, by as many layers as needed."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from conftest import SMALL_VOCABULARY, Request, close, collate, new_small_model
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, DynamicCache

from x2sam.config import WEIGHTS, nano
from x2sam.model import language as module
from x2sam.model.language import LanguageSide, Reading
from x2sam.model.modeling import X2SamModel
from x2sam.processing import X2SamProcessor
from x2sam.prompts import read_answer
from x2sam.testing.tiny import byte_tokenizer


def random_ids(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(1, SMALL_VOCABULARY, shape, generator=torch.Generator().manual_seed(seed))


def spelled(side: LanguageSide, ids: Tensor) -> Reading:
    return Reading(side.spell(ids), None, None)


@contextmanager
def counted(side: LanguageSide) -> Iterator[list[int]]:
    """How often each of the decoder's layers runs."""
    calls = [0] * len(side.decoder.layers)

    def count(i: int) -> None:
        calls[i] += 1

    hooks = [
        layer.register_forward_hook(lambda *_, i=i: count(i))  # type: ignore[misc]
        for i, layer in enumerate(side.decoder.layers)
    ]
    yield calls
    for hook in hooks:
        hook.remove()


# --- states --------------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("cut", [0, 1, 6, 11], ids=lambda n: f"prefix {n}")
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_states_are_the_language_model_s_own(layer: int, cut: int) -> None:
    """After layer k those are ``hidden_states[k]`` (0: the last, normed), with a prefix read before or without."""
    side, ids = new_small_model(adapter_rank=0).language, random_ids(2, 12)
    untouched = AutoModelForCausalLM.from_config(side.config.language_config)
    untouched.load_state_dict(side.model.state_dict())
    theirs = untouched(ids, output_hidden_states=True)
    config = side.config
    config.conditions_layer, config.conditions_before_norm = layer, layer > 0
    for whole in (True, False, True):
        cache = DynamicCache(config=config.text_config) if cut else None
        parts = [ids[:, :cut], ids[:, cut:]] if cut else [ids]
        read = [side.read(spelled(side, part), None, cache, None, whole) for part in parts]
        assert close(torch.cat([part for part, _ in read], 1), theirs.hidden_states[layer or -1])
        if not whole and layer:
            assert {words for _, words in read} == {None}
            continue
        said = torch.cat([words for _, words in read if words is not None], 1)
        assert close(said, theirs.hidden_states[-1])
        assert close(side.head(said)[..., :SMALL_VOCABULARY], theirs.logits)


@torch.no_grad()
def test_reading_leaves_nothing_behind() -> None:
    """However often it is read: a hook that stays on a layer costs time at each reading, and may count states twice."""
    side, ids = new_small_model().language, random_ids(1, 5)
    seen = []
    for _ in range(3):
        states, _ = side.read(spelled(side, ids))
        seen.append((states, sum(len(m._forward_hooks) for m in side.model.modules())))
    assert all(torch.equal(states, seen[0][0]) for states, _ in seen)
    assert {hooks for _, hooks in seen} == {seen[0][1]}


@torch.no_grad()
@pytest.mark.parametrize("whole", [False, True])
def test_padding_is_not_read(whole: bool, small_model: X2SamModel) -> None:
    side, ids, lengths = small_model.language, random_ids(3, 9), [9, 4, 1]
    mask = (torch.arange(9) < torch.tensor(lengths)[:, None]).long()
    together = side.read(spelled(side, ids), mask, whole=whole)
    for row, length in enumerate(lengths):
        alone = side.read(spelled(side, ids[row : row + 1, :length]), whole=whole)
        for ours, theirs in zip(together, alone, strict=True):
            assert (ours is None and theirs is None) or close(ours[row, :length], theirs[0])


@torch.no_grad()
def test_only_the_layers_that_conditions_need_are_run(small_model: X2SamModel) -> None:
    side, ids = small_model.language, random_ids(1, 7)
    batch = collate([Request(small_model.config).picture().phrase(3).seg()])
    small_model.understand(**batch)  # what its phrases mean is known now
    for read, expected in (
        (lambda: side.read(spelled(side, ids), whole=False), [1, 1, 0]),
        (lambda: side.read(spelled(side, ids)), [1, 1, 1]),
        (lambda: small_model.understand(**batch), [1, 1, 0]),
        (lambda: small_model.understand(**batch, speaks=True), [1, 1, 1]),
        (lambda: small_model.read_prefix(ids, whole=False), [1, 1, 0]),
        (lambda: small_model.read_prefix(ids), [1, 1, 1]),
    ):
        with counted(side) as calls:
            read()
        assert calls == expected


def test_a_view_shares_the_modules_and_leaves_the_original_alone(small_model: X2SamModel) -> None:
    side = small_model.language
    layers = list(side.decoder.layers)
    for start, stop in ((0, 2), (1, 2), (2, None), (0, None)):
        view = side.layers(start, stop)
        assert list(view.layers) == layers[start:stop]
        assert view.embed_tokens is side.decoder.embed_tokens
        assert view.config.num_hidden_layers == len(layers[start:stop])
        assert isinstance(view.norm, torch.nn.Identity)
        assert {id(p) for p in view.parameters()} <= {id(p) for p in side.decoder.parameters()}
    assert list(side.decoder.layers) == layers
    assert side.decoder.config.num_hidden_layers == side.config.text_config.num_hidden_layers == 3
    assert side.decoder.norm.weight.shape == (48,)


@torch.no_grad()
def test_adapters_change_what_is_spoken_and_not_what_conditions_are_made_of() -> None:
    """As if they were folded into the projections of the later layers; at first they are nothing."""
    model, ids = new_small_model(), random_ids(2, 9)
    side = model.language
    adapted = side.read(spelled(side, ids))
    plain = new_small_model(adapter_rank=0)
    kept = {name: value for name, value in model.state_dict().items() if ".adapters." not in name}
    plain.load_state_dict(kept)
    before = plain.language.read(spelled(plain.language, ids))
    assert torch.equal(adapted[0], before[0])
    assert torch.equal(adapted[0], side.read(spelled(side, ids), whole=False)[0])
    assert not close(adapted[1], before[1], 1e-2)
    assert {name.split()[0] for name in side.adapters} == {"2"}
    folded = plain.language.decoder.layers[2]
    for name, adapter in side.adapters.items():
        (linear,) = (m for n, m in folded.named_modules() if n.endswith(name.split()[1]))
        linear.weight += 2 * adapter.up.weight @ adapter.down.weight
    assert close(plain.language.read(spelled(plain.language, ids))[1], adapted[1], 1e-4)
    new = X2SamModel(model.config).language
    assert not any(adapter.up.weight.any() for adapter in new.adapters.values())


@torch.no_grad()
def test_a_copy_has_adapters_of_its_own() -> None:
    model, ids = new_small_model(), random_ids(1, 5)
    side, twin = model.language, copy.deepcopy(model).language
    before = side.read(spelled(side, ids))[1]
    assert torch.equal(twin.read(spelled(twin, ids))[1], before)
    for parameter in side.adapters.parameters():
        parameter.zero_()
    assert torch.equal(twin.read(spelled(twin, ids))[1], before)
    assert not close(side.read(spelled(side, ids))[1], before, 1e-3)


def test_threads_that_read_at_once_get_their_own_states() -> None:
    """From the very first reading on, which prepares the layers."""
    side, other = new_small_model().language, new_small_model().language
    prompts = [random_ids(1, 6 + i, seed=i) for i in range(4)]
    with torch.no_grad():
        expected = [[other.read(spelled(other, i), whole=whole) for whole in (True, False)] for i in prompts]
    wrong: list[str] = []
    ready = threading.Barrier(len(prompts))

    def reads(i: int) -> None:
        ready.wait()
        try:
            with torch.no_grad():
                for turn in range(25):
                    whole = (turn + i) % 2 == 0
                    states, normed = side.read(spelled(side, prompts[i]), whole=whole)
                    wanted, words = expected[i][0 if whole else 1]
                    same = close(states, wanted) and (normed is None if words is None else close(normed, words))
                    if not same:
                        wrong.append(f"prompt {i}, turn {turn}")
        except Exception as error:
            wrong.append(f"prompt {i}: {error!r}")

    threads = [threading.Thread(target=reads, args=(i,)) for i in range(len(prompts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# --- meanings ------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_a_meaning_is_the_states_of_some_layers_at_the_last_word_after_the_prefix() -> None:
    side = new_small_model(adapter_rank=0).language
    prefix, phrases = list(side.config.lexical_prefix), [(10, 11), (12,), (13, 14, 15, 16)]
    side.meaning_centre.normal_()
    side.meaning_spread.uniform_(0.5, 2)
    found = side.meanings_of(phrases)
    for phrase, meaning in zip(phrases, found, strict=True):
        states = side.model(torch.tensor([[*prefix, *phrase]]), output_hidden_states=True).hidden_states
        said = torch.cat([states[1][0, -1], states[2][0, -1]])
        assert close(meaning, (said - side.meaning_centre) / side.meaning_spread)
    again = side.meanings_of(phrases[::-1])
    assert all(torch.equal(a, b) for a, b in zip(found, again[::-1], strict=True))
    side.meaning_centre.zero_()
    side.forget()
    assert not close(side.meanings_of(phrases)[0], found[0], 1e-2)


@torch.no_grad()
def test_an_article_means_nothing_unless_it_is_all_there_is() -> None:
    side = new_small_model().language
    (article,) = side.config.lexical_articles
    bare, with_article, alone, twice = side.meanings_of([(10, 11), (article, 10, 11), (article,), (10, article, 11)])
    assert close(bare, with_article)
    assert not close(bare, twice, 1e-2)
    assert not close(bare, alone, 1e-2)


@torch.no_grad()
def test_a_phrase_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    side = new_small_model().language
    monkeypatch.setattr(module, "MEANINGS", 5)
    with counted(side) as calls:
        first = side.meanings_of([(10, 11), (12,), (10, 11)])
        assert calls == [1, 1, 0], "in one batch"
        more = side.meanings_of([(13,), (14,)])
        again = side.meanings_of([(12,), (10, 11), (13,), (14,)])
        assert calls == [2, 2, 0], "nothing is forgotten while there is room"
        assert torch.equal(again[0], first[1])
        assert torch.equal(again[3], more[1])
        many = side.meanings_of([(i,) for i in range(20, 40)])
        assert len(many) == 20
        assert len(side._meanings) == 5, "the newest are kept"
        assert torch.equal(side.meanings_of([(39,)])[0], many[-1])
        assert calls == [3, 3, 0]
        assert close(side.meanings_of([(12,)])[0], first[1])
        assert calls == [4, 4, 0]


def test_a_language_model_that_trains_is_asked_each_time() -> None:
    side = new_small_model().language
    phrase = [(10, 11)]
    with counted(side) as calls:
        before = side.meanings_of(phrase)[0]
        side.meanings_of(phrase)[0].sum().backward()
    assert calls == [2, 2, 0]
    assert before.requires_grad
    assert side.decoder.layers[0].mlp.up_proj.weight.grad.abs().sum() > 0
    side.decoder.requires_grad_(False)
    with counted(side) as calls:
        assert not side.meanings_of(phrase)[0].requires_grad
        side.meanings_of(phrase)
    assert calls == [1, 1, 0], "frozen, it is asked once"


def test_what_was_known_before_an_update_is_not_known_after_it() -> None:
    side = new_small_model().language
    phrase = [(10, 11)]
    with torch.no_grad():
        old = side.meanings_of(phrase)[0].clone()  # as a validation does
    side.meanings_of(phrase)[0].sum().backward()  # as a training step does
    torch.optim.SGD(side.decoder.parameters(), 0.1).step()
    with torch.no_grad():
        new = side.meanings_of(phrase)[0]
    assert not close(new, old, 1e-3)


@torch.no_grad()
def test_conditions_mean_their_words_and_regions_their_own_embeddings(small_model: X2SamModel) -> None:
    side, config = small_model.language, small_model.config
    requests = [Request(config, 1).words(2).phrase(3).region().seg(), Request(config, 2).phrase(2).seg()]
    batch = collate(requests)
    ids = batch["input_ids"]
    regions = torch.randn(1, config.region_tokens, 48)
    spans = module.marker_spans(ids, config.phrase_start_token_id, config.phrase_end_token_id)
    meanings = side.meanings(ids, spans, side.spell(ids, regions))
    assert meanings.shape == (2, 2, 96)
    words = tuple(ids[0, 3:6].tolist())
    assert close(meanings[0, 0], side.meanings_of([words])[0])
    assert close(meanings[0, 1], regions[0].mean(0).repeat(2))
    assert close(meanings[1, 0], side.meanings_of([tuple(ids[1, 1:3].tolist())])[0])
    assert not meanings[1, 1].any()


# --- added tokens --------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_added_tokens_are_read_and_spoken_beside_the_language_model_s_own() -> None:
    model = new_small_model()
    side, seg = model.language, model.config.seg_token_id
    added = side.added.weight
    ids = torch.tensor([[5, SMALL_VOCABULARY - 1, SMALL_VOCABULARY, seg, seg + 2]])
    read = side.spell(ids)[0]
    assert torch.equal(read[:2], side.decoder.embed_tokens.weight[[5, SMALL_VOCABULARY - 1]])
    assert torch.equal(read[2:], added[[0, 4, 6]])
    batch = {"input_ids": random_ids(1, 8)}
    _, normed = side.read(spelled(side, batch["input_ids"]))
    added[4] = 50 * normed[0, -1]
    logits = side.head(normed[:, -1])
    assert logits.shape == (1, SMALL_VOCABULARY + 7)
    assert int(logits.argmax()) == seg
    spoken = model.understand(**batch, max_new_tokens=1)
    assert int(spoken.input_ids[0, -1]) == seg
    assert bool(spoken.guidance.has_seg)
    cached = torch.cat([batch["input_ids"], torch.tensor([[seg]])], 1)
    assert close(spoken.states, side.read(spelled(side, cached), whole=False)[0], 1e-4)


def test_nano_names_the_tokens_of_its_tokenizer() -> None:
    config, tokenizer = nano(), AutoTokenizer.from_pretrained(WEIGHTS / "smollm2")
    named = {
        "<|image_pad|>": config.picture_token_ids[0],
        "<|video_pad|>": config.picture_token_ids[1],
        "<SEG>": config.seg_token_id,
        "<p>": config.phrase_start_token_id,
        "</p>": config.phrase_end_token_id,
    }
    assert {token: tokenizer.convert_tokens_to_ids(token) for token in named} == named
    assert len(tokenizer) == config.text_config.vocab_size + config.added_tokens


def test_a_configuration_keeps_its_language_model_s_kind(tmp_path: Path, small_model: X2SamModel) -> None:
    small_model.config.save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    told, kept = (c.to_dict() | {"_name_or_path": ""} for c in (config, small_model.config))
    assert told == kept
    assert type(config.language_config) is type(small_model.config.language_config)
    assert config.picture_token_ids == (261, 262)


@pytest.mark.parametrize(
    ("text", "spaced"),
    [
        ("<p>the cat</p>, <p>a dog</p>", "<p> the cat</p>, <p> a dog</p>"),
        ("<p> the cat</p>", "<p> the cat</p>"),
        ("no phrase <p", "no phrase <p"),
    ],
)
def test_words_in_markers_begin_with_a_space_where_that_is_asked_for(
    text: str, spaced: str, small_processor: X2SamProcessor
) -> None:
    """So that they are the tokens that the words are amid a sentence."""
    encode = byte_tokenizer().encode
    assert torch.cat(list(small_processor._pieces(text, iter(())))).tolist() == encode(spaced)
    plain = X2SamProcessor(byte_tokenizer())
    assert torch.cat(list(plain._pieces(text, iter(())))).tolist() == encode(text)
    assert [phrase.text for phrase in read_answer(spaced)[1]] == [phrase.text for phrase in read_answer(text)[1]]


def test_regions_in_markers_get_no_space(small_processor: X2SamProcessor) -> None:
    pieces = torch.cat(list(small_processor._pieces("<p><region></p>", iter(()))))
    assert pieces.tolist() == [264, *[small_processor.region_token_id] * 4, 265]
