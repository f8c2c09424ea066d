"""What trains in which stage: gradients reach all of it and nothing else."""

from __future__ import annotations

import gzip
import json
import re

import pytest
import torch
from conftest import GOLDEN, Request, awake, clips, close, collate, new_small_model, small_config, targets
from peft import LoraConfig, get_peft_model
from torch import Tensor

from x2sam.config import preset, tiny
from x2sam.errors import InputError
from x2sam.model.language import share
from x2sam.model.modeling import X2SamModel
from x2sam.released import to_released
from x2sam.train.build import initialise
from x2sam.train.stages import STAGES, LoraSettings, merge_lora, prepare_stage

LORA = LoraSettings(rank=2, alpha=4, dropout=0.0)


def agnostic_model() -> X2SamModel:
    config = tiny()
    config.class_agnostic = True
    torch.manual_seed(0)
    return awake(X2SamModel(config))


def agnostic_loss(model: X2SamModel) -> Tensor:
    """Phase 1: masks of one class, no words."""
    torch.manual_seed(0)
    return model(
        frames=clips(model.config, 2, 1), targets=[[targets(model.config, [0, 0, 0], b)] for b in range(2)]
    ).loss


def joint_loss(model: X2SamModel) -> Tensor:
    """An image, a clip and a region, so that every part has something to do."""
    torch.manual_seed(0)
    config = model.config
    requests = [
        Request(config, 1).picture().phrase(3).region(frame=1).words(2).seg().words(2),
        Request(config, 2).picture(t=2, video=True).phrase(2).phrase(1).seg().words(3),
    ]
    batch = collate(requests, clip=3)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    labels[labels < 0] = -100
    wanted = [[targets(config, [0, 1], 3 * b + t) for t in range(3)] for b in range(2)]
    return model(**batch, labels=labels, frames=clips(config, 2, 3), targets=wanted).loss


def wake_adapters(model: torch.nn.Module) -> None:
    """An adapter's second factor is zero at first, which hides its first."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2, generator=generator)


@pytest.mark.parametrize(
    ("stage", "lora"), [("agnostic", None), ("joint", LORA), ("joint", None), ("all", None)], ids=str
)
def test_gradients_reach_all_that_trains_and_nothing_else(
    stage: str, lora: LoraSettings | None, own_model: X2SamModel
) -> None:
    model = agnostic_model() if stage == "agnostic" else own_model
    prepare_stage(model, stage, lora)  # type: ignore[arg-type]
    wake_adapters(model)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    loss = agnostic_loss(model) if stage == "agnostic" else joint_loss(model)
    loss.backward()
    trains = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    reached = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert reached == trains
    # A softmax does not change when all its keys move together: key biases have no say, nor their gradients.
    still = [n for n, p in model.named_parameters() if p.grad is not None and not p.grad.any()]
    assert not [name for name in still if "k_proj.bias" not in name]
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0).step()
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved <= trains


def test_the_joint_stage_trains_what_the_release_trained() -> None:
    """Name by name and shape by shape, with the adapters; embeddings, which it kept, are trained too."""
    with torch.device("meta"):
        model = X2SamModel(preset("4b"))
        prepare_stage(model, "joint", LoraSettings())
    record = json.loads(gzip.decompress((GOLDEN / "released_4b_keys.json.gz").read_bytes()))
    ours = {released(name): parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    embeddings = "vlm.base_model.model.model.language_model.embed_tokens.weight"
    assert set(ours) - {embeddings} == set(record["trainable"])
    for name, parameter in ours.items():
        if ".lora_" in name:
            assert list(parameter.shape) == record["full"][name][0]


def released(name: str) -> str:
    """The released spelling of a parameter while an adapter is attached."""
    lora = re.search(r"\.lora_[AB]\.default", name)
    plain = to_released(re.sub(r"\.lora_[AB]\.default|\.base_layer", "", name))
    plain = plain.replace("vlm.", "vlm.base_model.model.")
    return plain.replace(".weight", f"{lora[0]}.weight") if lora else plain


def test_stage_one_decodes_without_words_or_memory() -> None:
    model = agnostic_model()
    prepare_stage(model, "agnostic")
    prediction, bank = model.segment(clips(model.config, 1, 1)[:, 0], None)
    assert prediction.class_logits.shape == (1, model.config.num_queries, 2)
    assert not bank.memories
    trains = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert trains == {"pixel_decoder", "mask_decoder", "class_head"}


def test_only_adapters_train_with_the_adapter_library(own_model: X2SamModel) -> None:
    """`PreTrainedModel.add_adapter`, as the library's own documentation has it."""
    ids = collate([Request(own_model.config).words(4).phrase(3).seg()])
    before = own_model.understand(**ids).states
    own_model.add_adapter(LoraConfig(r=2, target_modules=r"language\.model\.model\.language_model\..*_proj"))
    assert {n.split(".lora_")[1][0] for n, p in own_model.named_parameters() if p.requires_grad} == {"A", "B"}
    assert torch.equal(own_model.understand(**ids).states, before)
    wake_adapters(own_model)
    assert not close(own_model.understand(**ids).states, before, 1e-3)
    own_model.disable_adapters()
    assert torch.equal(own_model.understand(**ids).states, before)


@pytest.mark.parametrize("library", [False, True], ids=["ours", "peft"])
def test_merged_adapters_give_the_same_outputs(library: bool, own_model: X2SamModel) -> None:
    batch = collate([Request(own_model.config).picture().words(4).phrase(3).seg()])
    names = set(own_model.state_dict())
    before = own_model.understand(**batch).states
    wrapped = None
    if library:
        wrapped = get_peft_model(
            own_model.language.model.model.language_model, LoraConfig(r=2, target_modules=r".*_proj")
        )
    else:
        prepare_stage(own_model, "joint", LORA)
    wake_adapters(own_model)
    adapted = own_model.understand(**batch)
    assert not close(adapted.states, before, 1e-3)
    if wrapped is not None:
        wrapped.merge_and_unload()
    else:
        merge_lora(own_model)
    merged = own_model.understand(**batch)
    assert close(merged.states, adapted.states, 1e-4)
    assert close(merged.guidance.conditions, adapted.guidance.conditions, 1e-4)
    assert set(own_model.state_dict()) == names


@pytest.mark.parametrize("stage", ["agnostic", "none"])
def test_a_stage_that_does_not_fit(stage: str, own_model: X2SamModel) -> None:
    with pytest.raises(InputError, match=f"Got the stage '{stage}'.*Expected"):
        prepare_stage(own_model, stage)  # type: ignore[arg-type]


def lexical_model() -> X2SamModel:
    config = tiny()
    config.lexical_conditions, config.meaning_layers, config.alignment_weight = True, (1, 2), 2.0
    config.mask_refinements, config.prompted_queries = 1, 3
    torch.manual_seed(0)
    return awake(X2SamModel(config))


@pytest.mark.parametrize("stage", STAGES)
def test_every_name_in_the_table_means_something(stage: str) -> None:
    """A part that is renamed must not silently stop training."""
    models = (lexical_model(), new_small_model())
    names = [name for model in models for name, _ in model.named_parameters(remove_duplicate=False)]
    assert all(any(name.startswith(start) for name in names) for start in STAGES[stage])


def test_the_words_stage_needs_no_language_model_and_reaches_all_that_trains() -> None:
    model = lexical_model()
    prepare_stage(model, "words")
    config = model.config
    batch = collate([Request(config, 1).phrase(3).region().seg(), Request(config, 2).phrase(2).seg()])
    wanted = [[targets(config, [0, 1], 0)], [targets(config, [0], 1)]]
    out = model(**batch, frames=clips(config, 2, 1), targets=wanted)
    out.loss.backward()
    assert {"loss_align", "loss_cls", "loss_mask", "loss_dice"} <= set(out.parts)
    assert out.loss_language is None
    unreached = {n for n, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert all("memory" in n for n in unreached), "pictures read no memory, everything else is used"
    assert model.language.lexical.weight.grad.abs().sum() > 0
    assert all(p.grad is None for n, p in model.named_parameters() if "language_model.layers" in n)


def test_the_names_stage_asks_neither_language_model_nor_decoder() -> None:
    model = lexical_model()
    prepare_stage(model, "names")
    config = model.config
    batch = collate([Request(config, 1).phrase(3).phrase(1).seg(), Request(config, 2).phrase(2).seg()])
    out = model(**batch, frames=clips(config, 2, 1), targets=[[targets(config, [0, 1], 0)], [targets(config, [0], 1)]])
    assert set(out.parts) == {"loss_align"}
    assert out.loss_language is None
    out.loss.backward()
    unreached = {n for n, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert not unreached


def test_the_talk_stage_decodes_no_masks_and_trains_the_language_side_around_its_model() -> None:
    model = new_small_model()
    prepare_stage(model, "talk")
    config = model.config
    batch = collate([Request(config, 1).picture().phrase(3).seg(), Request(config, 2).picture().phrase(2).seg()])
    wanted = [[targets(config, [0], 0)], [targets(config, [0], 1)]]
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    out = model(**batch, labels=labels, frames=clips(config, 2, 1), targets=wanted)
    assert set(out.parts) == {"loss_align"}
    out.parts["loss_align"].backward(retain_graph=True)
    added = model.language.added.weight
    assert added.grad.abs().sum() > 0, "what a condition means reaches the markers through what the features answer"
    before = added.grad.clone()
    out.loss_language.backward()
    assert not torch.equal(added.grad, before)
    trained = {n for n, p in model.named_parameters() if p.grad is not None}
    assert trained == {n for n, p in model.named_parameters() if p.requires_grad}
    assert all(n.startswith(STAGES["talk"]) for n in trained)


def test_adapters_reach_every_layer_of_a_causal_language_model() -> None:
    model = new_small_model()
    prepare_stage(model, "joint", LORA)
    adapted = {n.split(".lora_")[0] for n, p in model.named_parameters() if ".lora_" in n}
    assert len(adapted) == 3 * 7
    merge_lora(model)
    assert set(model.state_dict()) == set(new_small_model().state_dict())


def test_the_context_adds_to_what_phrases_say_by_themselves() -> None:
    """At first nothing; the same of every token of a phrase, and what it says reaches every one."""
    model = new_small_model()
    language, config = model.language, model.config
    ids = torch.tensor([[config.phrase_start_token_id, 10, 11, config.phrase_end_token_id]])
    spans, states = torch.zeros_like(ids), torch.randn(1, 4, 48)
    with torch.no_grad():
        meanings = language.meanings(ids, spans, language.spell(ids))
        alone = language.guide(None, spans, ids, meanings)
        both = language.guide(states, spans, ids, meanings)
        assert close(alone.tokens, language.lexical(meanings).expand(1, 4, -1))
        assert close(alone.conditions[:, 0], language.lexical(meanings)[:, 0])
        assert close(both.tokens, alone.tokens + language.prompt_projector(states))
        initialise(model)
        assert close(
            language.guide(states, spans, ids, meanings).tokens, language.guide(None, spans, ids, meanings).tokens
        )


def test_a_condition_may_be_answered_by_where_a_pixel_is() -> None:
    """Where all features are alike, places differ as soon as their waves are weighed, and rows differ from columns."""
    model = lexical_model()
    config = model.config
    batch = collate([Request(config, 1).phrase(3).phrase(1).seg()])
    alike = torch.ones(1, config.hidden_dim, 5, 7)
    with torch.no_grad():
        guidance = model.understand(**batch).guidance
        model.alignment.place.code.weight.zero_()
        before = model._align(guidance, alike, None)
        model.alignment.place.code.weight[:, : model.alignment.place.code.in_features // 2] = 1.0  # of rows only
        after = model._align(guidance, alike, None)
    assert before.shape == after.shape == (1, 2, 5, 7)
    assert before.flatten(2).std(-1).max() < 1e-5
    assert after.std(2).min() > 1e-3
    assert after.std(3).max() < 1e-5


def test_the_joint_stage_also_aligns_words_and_mask_features() -> None:
    model = lexical_model()
    prepare_stage(model, "joint")
    config = model.config
    batch = collate([Request(config, 1).phrase(3).phrase(2).seg()])
    out = model(**batch, frames=clips(config, 1, 1), targets=[[targets(config, [0, 1], 0)]])
    out.parts["loss_align"].backward()
    assert model.alignment.project.weight.grad.abs().sum() > 0
    assert model.language.lexical.weight.grad.abs().sum() > 0
    assert model.language.prompt_projector[0].weight.grad.abs().sum() > 0


def test_what_shall_start_as_nothing_does() -> None:
    """`transformers` passes over modules without parameters of their own in code that is not its own."""
    model = X2SamModel(small_config())
    silent = [layer.text_attention.o_proj for layer in model.mask_decoder.layers]
    silent += [block.linear2 for block in model.pixel_decoder.refine[1:]]
    silent += [model.pixel_decoder.refine[0].code, model.alignment.place.code, model.alignment.project]
    silent += [model.language.eyes.merger[-1], model.language.eyes.place.code]
    assert all(not parameter.any() for module in silent for parameter in module.parameters())
    attention = X2SamModel(tiny()).pixel_decoder.decoder.encoder.layers[0].self_attn
    ring = attention.sampling_offsets.bias.view(attention.n_heads, -1, 2)
    assert ring.abs().amax((1, 2)).min() == attention.n_points, "points start on rays, as deformable attention's do"


def test_a_refinement_sees_around_a_place_and_where_it_is() -> None:
    model = lexical_model()
    fpn = [torch.randn(1, model.config.hidden_dim, side, side) for side in (16, 8, 4)]
    with torch.no_grad():
        seen = model.pixel_decoder(fpn)[1]
        model.pixel_decoder.refine[1].linear2.weight.zero_()
        nothing = model.pixel_decoder(fpn)[1]
        model.pixel_decoder.refine[0].code.weight.add_(1.0)
        placed = model.pixel_decoder(fpn)[1]
    assert seen.shape == nothing.shape
    assert not torch.allclose(seen, nothing)
    assert not torch.allclose(nothing, placed)


def test_a_few_conditions_each_start_a_query() -> None:
    """The first of as many as asked for, of the sample's own; of a long list none."""
    model = lexical_model()
    decoder, config = model.mask_decoder, model.config
    requests = [Request(config, 1).phrase(2).phrase(1).seg(), Request(config, 2).phrase(3).seg()]
    long = Request(config, 3).phrase(1).phrase(2).phrase(1).phrase(1).seg()
    with torch.no_grad():
        both, last, listed = (model.understand(**collate(batch)).guidance for batch in (requests, requests[1:], [long]))
        few, places = decoder.start(2, both)
        shared, alone, many = (decoder.start(len(g.seg), g)[0] for g in (share(both), last, listed))
    learned = decoder.query_features.weight
    changed = [((x - x[-1] - learned + learned[-1]).abs().amax(-1) > 1e-5).nonzero()[:, 0].tolist() for x in few]
    assert changed == [[0, 1], [0]]
    assert [(row - decoder.query_positions.weight).any(1).sum() for row in places] == [2, 1]
    assert torch.allclose(few, shared, atol=1e-5), "other samples' phrases start nothing"
    assert torch.allclose(few[1:], alone, atol=1e-5)
    assert torch.allclose(many - many[:, -1:], (learned - learned[-1])[None], atol=1e-5)
