"""nano in miniature, as a whole: kept apart from its language model, answering conditions alone, learning in stages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Request, awake_small, clips, close, collate, new_small_model, small_config, targets
from safetensors.torch import load_file, save_file
from torch import Tensor

from x2sam.config import X2SamConfig
from x2sam.errors import CheckpointError
from x2sam.masks import RLE
from x2sam.model import modeling
from x2sam.model.efficientnet import ConvNorm
from x2sam.model.mask_decoder import Guidance, Prediction
from x2sam.model.modeling import X2SamModel
from x2sam.model.packed import Packed, decode, describe
from x2sam.model.prompt_maps import CARRIED, CHANNELS, MASK, prompt_maps
from x2sam.model.prompted_head import MASKS
from x2sam.processing import X2SamProcessor
from x2sam.train.batches import Collator
from x2sam.train.stages import STAGES, prepare_stage
from x2sam.types import Region

# --- files ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> X2SamModel:
    """A model whose language model is kept in a packed file: one matrix of blocks, the rest as it is."""
    monkeypatch.setattr(modeling, "WEIGHTS", tmp_path)
    made = new_small_model().language.model
    stored = {name: parameter.detach().clone() for name, parameter in made.named_parameters()}
    name, told = "model.layers.0.mlp.down_proj.weight", Packed("Q8_0", 48, 64)
    blocks = np.random.default_rng(0).integers(-9, 9, (48, 2, 34)).astype(np.int8)
    blocks[:, :, :2] = np.frombuffer(np.float16(0.01).tobytes(), np.int8)
    stored[name] = torch.from_numpy(blocks.reshape(48, 68).view(np.uint8))
    (tmp_path / "words").mkdir()
    save_file(stored, tmp_path / "words" / "language.safetensors", describe({name: told}))
    model = awake_small(X2SamModel(small_config(apart={"language.model": "words/language.safetensors"})).eval())
    model.read_apart()
    read = dict(model.language.model.named_parameters())
    assert torch.equal(read[name], decode(stored.pop(name), "Q8_0"))
    assert all(torch.equal(read[n], value) for n, value in stored.items())
    return model


@torch.no_grad()
def test_a_language_model_that_is_kept_apart_is_read_from_there_and_not_saved_again(
    apart: X2SamModel, tmp_path: Path
) -> None:
    apart.save_pretrained(tmp_path / "model")
    stored = load_file(tmp_path / "model" / "model.safetensors")
    assert not [name for name in stored if name.startswith("language.model.")]
    assert set(stored) == {n for n in apart.state_dict() if not n.startswith("language.model.")}
    loaded = X2SamModel.from_pretrained(tmp_path / "model").eval()
    assert all(torch.equal(value, apart.state_dict()[name]) for name, value in loaded.state_dict().items())
    assert loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight
    batch = collate([Request(apart.config).picture().phrase(3).phrase(2).seg()])
    ours, theirs = (model.understand(**batch, speaks=True) for model in (apart, loaded))
    assert torch.equal(ours.states, theirs.states)
    assert torch.equal(ours.normed, theirs.normed)
    frame = clips(apart.config, 1, 1)[:, 0]
    for alone in (False, True):
        one, other = (
            model.segment(frame, said.guidance, alone=alone)[0] for model, said in ((apart, ours), (loaded, theirs))
        )
        assert close(one.mask_logits, other.mask_logits, 1e-4)
        assert close(one.class_logits, other.class_logits, 1e-4)


def test_a_language_model_that_is_gone_is_missed(apart: X2SamModel, tmp_path: Path) -> None:
    apart.save_pretrained(tmp_path / "model")
    (tmp_path / "words" / "language.safetensors").unlink()
    with pytest.raises(CheckpointError, match="Got no packed weights"):
        X2SamModel.from_pretrained(tmp_path / "model")


# --- one mask a condition ------------------------------------------------------------------------------------------


def maps_for(config: X2SamConfig, conditions: int, seed: int = 0) -> Tensor:
    """A box, nothing, and a carried mask in turn, ``[1, C, len(CHANNELS), h, w]``."""
    rng = np.random.default_rng(seed)
    regions: list[Region | None] = [None] * conditions
    carried: list[Any] = [None] * conditions
    for i in range(conditions):
        mask = np.zeros((64, 64), dtype=bool)
        y, x = rng.integers(0, 30, 2)
        mask[y : y + 20, x : x + 25] = True
        if i % 3 == 0:
            regions[i] = Region(RLE.encode(mask), kind="box")
        elif i % 3 == 2:
            carried[i] = mask
    return prompt_maps(regions, 0, config.image_size, carried)[None]


def only(guidance: Guidance, row: int, condition: int) -> Guidance:
    """What is said of one condition of one sample."""
    picked = guidance.select(torch.tensor([row]))
    assert picked.looks is not None
    place = [condition, -1]
    return replace(
        picked,
        conditions=picked.conditions[:, place],
        condition_mask=picked.condition_mask[:, place],
        num_conditions=torch.ones_like(picked.num_conditions),
        looks=picked.looks[:, condition : condition + 1],
    )


@torch.no_grad()
@pytest.mark.parametrize("draws", [False, True], ids=["said", "drawn"])
def test_conditions_are_answered_one_by_one(draws: bool, small_model: X2SamModel) -> None:
    config = small_model.config
    requests = [Request(config, 1).phrase(3).phrase(2).phrase(1).seg(), Request(config, 2).phrase(2).seg()]
    guidance = small_model.understand(**collate(requests)).guidance
    features = small_model.encode(clips(config, 2, 1)[:, 0])
    drawn = torch.cat([maps_for(config, 3, seed) for seed in (0, 1)]) if draws else None
    together, bank = small_model.segment(features, guidance, alone=True, drawn=drawn)
    assert not bank.memories
    assert together.mask_logits.shape == (2, 3 * MASKS, 16, 16)
    for row, condition in ((0, 0), (0, 1), (0, 2), (1, 0)):
        alone, _ = small_model.segment(
            features[row : row + 1],
            only(guidance, row, condition),
            alone=True,
            drawn=None if drawn is None else drawn[row : row + 1, condition : condition + 1],
        )
        queries = slice(condition * MASKS, (condition + 1) * MASKS)
        assert close(together.mask_logits[row, queries], alone.mask_logits[0], 1e-4)
        assert close(together.class_logits[row, queries][:, [condition, -1]], alone.class_logits[0], 1e-4)
        assert close(together.queries[row, queries], alone.queries[0], 1e-4)
    assert bool((together.class_logits[1, MASKS:].argmax(-1) == 3).all()), "what was not asked for is not found"


@torch.no_grad()
def test_what_is_drawn_and_said_and_the_frame_all_count(small_model: X2SamModel) -> None:
    config = small_model.config
    one, other = (small_model.understand(**collate([Request(config, n).phrase(3).seg()])).guidance for n in (1, 2))
    frame, later = clips(config, 1, 1)[:, 0], clips(config, 1, 1, seed=1)[:, 0]
    nothing = torch.zeros(1, 1, len(CHANNELS), 16, 16)

    def answer(frame: Tensor, guidance: Guidance, drawn: Tensor | None) -> Prediction:
        return small_model.segment(frame, guidance, alone=True, drawn=drawn)[0]

    before = answer(frame, one, None)
    assert close(answer(frame, one, nothing).mask_logits, before.mask_logits)
    for changed in (answer(later, one, None), answer(frame, other, None), answer(frame, one, maps_for(config, 1))):
        assert not close(changed.mask_logits, before.mask_logits, 1e-2)


@torch.no_grad()
def test_a_region_s_condition_looks_like_what_it_shows(small_model: X2SamModel) -> None:
    """In the order of their slots, also where phrases stand between them."""
    config = small_model.config
    first, last = (8, 8, 40, 30), (0, 32, 64, 64)
    requests = [
        Request(config, 1).region(box=first).phrase(2).region(box=last).seg(),
        Request(config, 2).phrase(1).region(box=last).seg(),
    ]
    features = small_model.encode(clips(config, 2, 1)[:, 0])
    batch = collate(requests, features)
    looks = small_model.understand(**batch).guidance.looks
    shown = small_model.recognition.looks_of(features.recognition[batch["region_frames"]], batch["region_masks"])
    assert close(torch.stack([looks[0, 0], looks[0, 2], looks[1, 1]]), shown)
    words = tuple(batch["input_ids"][1, 1:2].tolist())
    assert close(looks[1, 0], small_model.recognition.looks(small_model.language.meanings_of([words])[0]))


# --- learning ------------------------------------------------------------------------------------------------------


def losses_of(model: X2SamModel, drawn: bool, alone: bool = True) -> Any:
    torch.manual_seed(0)
    config = model.config
    requests = [Request(config, n).phrase(3).seg() for n in (1, 2)]
    if drawn:
        requests = [Request(config, 1).region().region(box=(0, 0, 20, 60)).seg(), Request(config, 2).region().seg()]
    batch = collate(requests, clip=2)
    if drawn and alone:
        maps = torch.stack([torch.cat([maps_for(config, 2, 2 * row + t) for t in range(2)]) for row in range(2)])
        batch["drawn"] = maps
    wanted = [[targets(config, [0], 2 * row + t) for t in range(2)] for row in range(2)]
    return model(**batch, frames=clips(config, 2, 2), targets=wanted, alone=alone)


@pytest.mark.parametrize("drawn", [False, True], ids=["said", "drawn"])
def test_the_prompted_stage_trains_the_head_and_what_leads_to_it(drawn: bool) -> None:
    model = new_small_model()
    prepare_stage(model, "prompted")
    out = losses_of(model, drawn)
    assert set(out.parts) == {"loss_mask", "loss_dice", "loss_cls"} | (set() if drawn else {"loss_align"})
    assert bool(torch.isfinite(out.loss))
    out.loss.backward()
    reached = {n for n, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}
    assert all(name.startswith(STAGES["prompted"]) for name in reached)
    unreached = {n for n, p in model.named_parameters() if n.startswith("prompted_head.")} - reached
    assert all("in_proj_bias" in name for name in unreached), unreached
    assert "language.lexical.weight" in reached
    assert any(name.startswith("region_sampler.") for name in reached) == drawn
    assert ("recognition.look.weight" in reached) != drawn


def test_the_queries_learn_where_conditions_are_not_alone() -> None:
    model = new_small_model()
    prepare_stage(model, "words")
    out = losses_of(model, drawn=False, alone=False)
    out.loss.backward()
    assert all(p.grad is None for n, p in model.named_parameters() if n.startswith("prompted_head."))
    assert model.mask_decoder.query_features.weight.grad.abs().sum() > 0


def test_frames_that_are_padding_teach_nothing() -> None:
    model = new_small_model()
    config = model.config
    prepare_stage(model, "prompted")
    batch = collate([Request(config, 1).phrase(3).seg(), Request(config, 2).phrase(2).phrase(1).seg()])
    frames = clips(config, 2, 2)
    wanted = [[targets(config, [0], 0)], [targets(config, [0, 1], 1), targets(config, [1], 2)]]
    mask = torch.tensor([[True, False], [True, True]])
    one = model(**batch, frames=frames, frame_mask=mask, targets=wanted, alone=True).loss
    frames[0, 1] = 9.0
    other = model(**batch, frames=frames, frame_mask=mask, targets=wanted, alone=True).loss
    assert torch.allclose(one, other)


@pytest.mark.parametrize("task", ["img_refseg", "img_intseg", "vid_objseg"])
def test_batches_of_the_prompted_stage_are_learned_from(task: str, small_processor: X2SamProcessor) -> None:
    from shapes import Shapes

    model = new_small_model()
    prepare_stage(model, "prompted")
    samples = [Shapes("train").sample(task, i) for i in range(2)]
    rngs = [np.random.default_rng(i) for i in range(2)]
    batch = Collator(model.config, small_processor, 2, reads=False)(samples, rngs)
    out = model(**batch.inputs)
    assert bool(torch.isfinite(out.loss))
    assert out.loss_language is None
    if task == "vid_objseg":
        drawn = batch.inputs["drawn"]
        assert drawn[:, 0, :, MASK].any()
        assert drawn[:, 1, :, CARRIED].any()


# --- without queries -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawer() -> X2SamModel:
    """As nano is: the prompted head answers whatever is asked."""
    return new_small_model(num_queries=0, memory_size=0, memory_levels=(), mask_refinements=0, fine_regions=False)


@torch.no_grad()
def test_a_model_without_queries_answers_with_every_piece_of_a_mask(drawer: X2SamModel) -> None:
    """Each has its own query, sure of its condition; together they are the mask that is drawn of it alone."""
    assert all(part is None for part in (drawer.mask_decoder, drawer.pixel_decoder, drawer.memory_encoder))
    config = drawer.config
    requests = [Request(config, 1).phrase(3).phrase(2).seg(), Request(config, 2).phrase(2).seg()]
    guidance = drawer.understand(**collate(requests)).guidance
    features = drawer.encode(clips(config, 2, 1)[:, 0])
    alone, _ = drawer.segment(features, guidance, alone=True)
    listed, _ = drawer.segment(features, guidance)
    owner = listed.class_logits[..., :-1].argmax(-1)  # [B, Q]
    real = (listed.mask_logits > 0).flatten(2).any(-1)
    found = 0
    for row, condition in ((0, 0), (0, 1), (1, 0)):
        pieces = listed.mask_logits[row, (owner[row] == condition) & real[row]] > 0
        whole = alone.mask_logits[row, condition * MASKS] > 0
        found += len(pieces)
        assert pieces.sum(0).amax() <= 1, "pieces do not overlap"
        assert not (pieces.any(0) & ~whole).any()
        sure = listed.class_logits[row, (owner[row] == condition) & real[row], condition]
        assert close(sure, alone.class_logits[row, condition * MASKS, condition].expand(len(sure)), 1e-4)
    assert found > 0
    assert not ((owner[1] == 1) & real[1]).any(), "what was not asked for is not found"


def test_a_model_without_queries_learns_what_it_is_asked(drawer: X2SamModel) -> None:
    model = new_small_model(num_queries=0, memory_size=0, memory_levels=(), mask_refinements=0)
    prepare_stage(model, "prompted")
    for alone in (True, False):
        out = losses_of(model, drawn=False, alone=alone)
        assert bool(torch.isfinite(out.loss))
        assert {"loss_mask", "loss_dice", "loss_cls"} <= set(out.parts)


def test_absorbed_norms_follow_their_weights() -> None:
    """What is worked out once is worked out again when a weight changes."""
    layer = ConvNorm(4, 6, 1, 1e-3).eval()
    x = torch.randn(1, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = layer(x)
        assert torch.equal(layer(x), before)
        assert layer.absorbed()[0] is layer.absorbed()[0]
        layer[1].running_mean += 1
        assert not torch.equal(layer(x), before)
        changed = layer(x)
    assert torch.allclose(layer(x), changed), "as with gradients, where nothing is kept"
