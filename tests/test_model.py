"""The network's two verbs: streams, batches, memory, prefixes, generation, adapters, precision, wrong input."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import Request, clips, close, collate, targets
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from x2sam.config import preset
from x2sam.errors import InputError
from x2sam.model import modeling
from x2sam.model.frames import FrameFeatures
from x2sam.model.language import marker_spans
from x2sam.model.layers import rotary_table, sine_positions, tokens
from x2sam.model.mask_decoder import Guidance, Prediction
from x2sam.model.mask_memory import MemoryAttention, MemoryBank
from x2sam.model.modeling import Understanding, X2SamModel
from x2sam.model.region_sampler import sample_points


def request(model: X2SamModel, seed: int = 0) -> Request:
    return Request(model.config, seed)


def asked(model: X2SamModel) -> Request:
    return request(model).picture().words(3).phrase(2).words(2).phrase(3).seg()


def guided(model: X2SamModel) -> Guidance:
    with torch.no_grad():
        return model.understand(**collate([asked(model)])).guidance


@torch.no_grad()
def stream(model: X2SamModel, frames: Any, guidance: Guidance | None) -> list[Prediction]:
    predictions, bank = [], None
    for frame in frames:
        prediction, bank = model.segment(frame, guidance, bank)
        predictions.append(prediction)
    return predictions


@torch.no_grad()
def answer(model: X2SamModel, requests: list[Request], frames: Tensor) -> tuple[Understanding, list[Prediction]]:
    """Both verbs on a batch of clips ``[B, T, 3, S, S]``."""
    features = model.encode(frames.flatten(0, 1))
    understanding = model.understand(**collate(requests, features, clip=frames.shape[1]))
    return understanding, stream(model, frames.transpose(0, 1), understanding.guidance)


# --- streams and batches ----------------------------------------------------------------------------------------------


def test_streamed_equals_whole_clip(model: X2SamModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """One frame at a time, as a camera gives them, or the whole clip as in training: the same numbers exactly."""
    seen: list[Any] = []
    monkeypatch.setattr(modeling, "segmentation_losses", lambda layers, *_: seen.extend(layers) or {})
    frames = clips(model.config, 1, 5)
    batch = collate([asked(model)])
    with torch.no_grad():
        features = model.encode(frames[0])
        model(**batch, frames=frames, targets=[[targets(model.config, [0])] * 5])
    guidance = guided(model)
    from_features = stream(model, [features[t : t + 1] for t in range(5)], guidance)
    from_pixels = stream(model, frames[0][:, None], guidance)
    assert len(seen) == 5
    for layers, encoded, pixels in zip(seen, from_features, from_pixels, strict=True):
        assert torch.equal(layers[-1].mask_logits, encoded.mask_logits[0])
        assert torch.equal(layers[-1].class_logits, encoded.class_logits[0])
        assert close(encoded.mask_logits, pixels.mask_logits)  # encoded at once or singly: up to rounding
    assert not close(from_pixels[0].mask_logits, stream(model, frames[0][1:, None], guidance)[0].mask_logits, 1e-2)


def image_batch(model: X2SamModel) -> list[Request]:
    return [
        request(model, 1).picture().words(2).phrase(1).seg().words(3),
        request(model, 2).picture(h=6).picture(w=8).words(9).phrase(4).phrase(2).phrase(6).words(2).seg(),
        request(model, 3).words(5).phrase(3).phrase(1).seg(),
    ]


def region_batch(model: X2SamModel) -> list[Request]:
    return [
        request(model, 1).picture().region().seg(),
        request(model, 2).picture().words(4).phrase(2).seg(),
        request(model, 3).picture(w=6).words(1).region(box=(30, 10, 60, 50)).words(2).region(box=(0, 0, 9, 9)).seg(),
    ]


def video_batch(model: X2SamModel) -> list[Request]:
    return [
        request(model, 4).picture(t=2, video=True).phrase(2).words(4).seg(),
        request(model, 5).picture(t=1, video=True).region(frame=1).words(2).region(frame=0).seg(),
    ]


@pytest.mark.parametrize(
    ("build", "lengths"),
    [(image_batch, (1, 1, 1)), (region_batch, (1, 1, 1)), (video_batch, (3, 3)), (video_batch, (4, 2))],
    ids=["images", "regions", "videos", "videos of different lengths"],
)
def test_a_batch_equals_one_by_one(build: Callable, lengths: tuple[int, ...], model: X2SamModel) -> None:
    """Prompts, conditions, regions, pictures and clips of different numbers and lengths, padded."""
    requests = build(model)
    frames = clips(model.config, len(requests), max(lengths))
    for row, length in enumerate(lengths):
        frames[row, length:] = 0
    together, predictions = answer(model, requests, frames)
    for row, (single, length) in enumerate(zip(requests, lengths, strict=True)):
        alone, expected = answer(model, [single], frames[row : row + 1, :length])
        size = len(single.ids)
        assert close(together.states[row, :size], alone.states[0])
        count = int(alone.guidance.num_conditions[0])
        assert int(together.guidance.num_conditions[row]) == count
        assert close(together.guidance.conditions[row, :count], alone.guidance.conditions[0, :count])
        assert close(together.guidance.seg[row], alone.guidance.seg[0])
        for ours, theirs in zip(predictions[:length], expected, strict=True):
            assert close(ours.mask_logits[row], theirs.mask_logits[0], 2e-5)
            real = ours.class_logits[row][:, [*range(count), -1]]
            assert close(real, theirs.class_logits[0], 2e-5)
            assert (ours.class_logits[row, :, count:-1] == -1e6).all()


def test_text_guides_masks(model: X2SamModel) -> None:
    """Every part of the guidance matters: words, conditions, `<SEG>`."""
    guidance = guided(model)
    frame = clips(model.config, 1, 1)[:, 0]
    before = stream(model, [frame], guidance)[0]
    for part in ("tokens", "seg"):
        other = dataclasses.replace(guidance, **{part: getattr(guidance, part) + 0.5})
        assert not close(stream(model, [frame], other)[0].mask_logits, before.mask_logits, 1e-3), part
    other = dataclasses.replace(guidance, conditions=guidance.conditions.flip(1))
    assert not close(stream(model, [frame], other)[0].class_logits, before.class_logits, 1e-3)


# --- memory -----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_the_bank_keeps_the_newest_and_never_changes(model: X2SamModel) -> None:
    guidance, bank = guided(model), MemoryBank()
    for t, frame in enumerate(clips(model.config, 1, 6)[0]):
        copied = [(k.clone(), v.clone()) for m in bank.memories for kvs in m.levels.values() for k, v in kvs]
        before = bank
        first, after = model.segment(frame[None], guidance, bank)
        again, _ = model.segment(frame[None], guidance, bank)
        assert torch.equal(first.mask_logits, again.mask_logits)
        assert before is bank
        assert all(
            torch.equal(k, x) and torch.equal(v, y)
            for (k, v), (x, y) in zip(
                [kv for m in bank.memories for kvs in m.levels.values() for kv in kvs], copied, strict=True
            )
        )
        assert [m.index for m in after.memories] == list(range(max(0, t + 1 - model.config.memory_size), t + 1))
        assert after.next_index == t + 1
        bank = after
    with pytest.raises(dataclasses.FrozenInstanceError):
        bank.next_index = 0  # type: ignore[misc]


@torch.no_grad()
def test_what_was_seen_is_remembered(model: X2SamModel) -> None:
    """The same frame after another past gives other masks."""
    guidance = guided(model)
    a, b = clips(model.config, 1, 4)[0], clips(model.config, 1, 4, seed=9)[0]
    _, after_a = model.segment(a[:1], guidance, None)
    _, after_b = model.segment(b[:1], guidance, None)
    ours, theirs = (model.segment(a[1:2], guidance, bank)[0] for bank in (after_a, after_b))
    assert not close(ours.mask_logits, theirs.mask_logits, 1e-3)


def test_memory_turned_off(varied: Callable[..., X2SamModel]) -> None:
    """Every frame is then a picture of its own."""
    model = varied(memory_size=0)
    guidance = guided(model)
    frames = clips(model.config, 1, 3)[0][:, None]
    for frame, prediction in zip(frames, stream(model, frames, guidance), strict=True):
        alone, bank = model.segment(frame, guidance, None)
        assert torch.equal(prediction.mask_logits, alone.mask_logits)
        assert not bank.memories


@pytest.mark.parametrize("levels", [(0,), (1, 2), (0, 2), ()])
def test_memory_on_some_levels(levels: tuple[int, ...], model: X2SamModel, varied: Callable[..., X2SamModel]) -> None:
    other = varied(memory_levels=levels)
    guidance, frames = guided(model), clips(model.config, 1, 3)[0][:, None]
    assert set(other.memory_encoder.feature_downsamplers) == {str(level) for level in levels}
    with torch.no_grad():
        _, bank = other.segment(frames[0], guidance, None)
    assert all(set(m.levels) == set(levels) for m in bank.memories)
    ours, full = stream(other, frames, guidance), stream(model, frames, guidance)
    assert torch.equal(ours[0].mask_logits, full[0].mask_logits)
    assert not close(ours[2].mask_logits, full[2].mask_logits, 1e-4)


def age_code(age: int, dim: int) -> Tensor:
    angles = [age / 10_000 ** (i / (dim // 2)) for i in range(dim // 2)]
    return torch.tensor([math.sin(a) for a in angles] + [math.cos(a) for a in angles])


@pytest.mark.parametrize("age", [1, 2, 7])
@torch.no_grad()
def test_cached_keys_are_exact(age: int, model: X2SamModel) -> None:
    """Keys projected once plus the projected age code are the keys of memory + place + age."""
    dim = model.config.hidden_dim
    memory = torch.randn(2, dim, 4, 4, generator=torch.Generator().manual_seed(0))
    place = sine_positions(4, 4, dim, memory.device, memory.dtype)
    for layer, (keys, values) in zip(
        model.memory_attention.layers, model.memory_attention.project(memory), strict=True
    ):
        attention = layer.cross_attention
        uncached = attention.heads(attention.k_proj(tokens(memory) + place + age_code(age, dim)))
        assert close(keys + MemoryAttention.age_keys(attention, torch.tensor([age])), uncached, 3e-6)
        assert torch.equal(values, attention.heads(attention.v_proj(tokens(memory))))


def test_tables_made_while_serving_serve_in_training(own_model: X2SamModel) -> None:
    """Position tables are cached; one first made in inference mode must not break a later backward pass."""
    rotary_table.cache_clear()
    sine_positions.cache_clear()
    guidance, frames = guided(own_model), clips(own_model.config, 1, 2)
    with torch.inference_mode():
        _, bank = own_model.segment(frames[:, 0], guidance, None)
        own_model.segment(frames[:, 1], guidance, bank)
    training_loss(own_model).backward()
    assert own_model.no_memory.grad is not None


# --- training ---------------------------------------------------------------------------------------------------------


def training_loss(model: X2SamModel) -> Tensor:
    """Language and segmentation loss of one image and region request over two frames."""
    torch.manual_seed(0)
    batch = collate([asked(model).words(2), request(model, 8).picture().region(frame=1).seg().words(4)], clip=2)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    labels[:, :-4] = -100
    wanted = [[targets(model.config, [0, 1], t) for t in range(2)], [targets(model.config, [0], t) for t in range(2)]]
    out = model(**batch, labels=labels, frames=clips(model.config, 2, 2), targets=wanted)
    assert out.loss is not None
    return out.loss


def gradients(model: X2SamModel) -> tuple[Tensor, dict[str, Tensor]]:
    model.zero_grad()
    loss = training_loss(model)
    loss.backward()
    return loss.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def test_gradient_checkpointing_changes_nothing(own_model: X2SamModel) -> None:
    own_model.train()
    calls: list[int] = []
    for layer in own_model.mask_decoder.layers:
        layer.linear1.register_forward_hook(lambda *_: calls.append(1))
    loss, plain = gradients(own_model)
    count = len(calls)
    own_model.gradient_checkpointing_enable()
    loss_again, recomputed = gradients(own_model)
    assert len(calls) == 3 * count, "every layer runs once more in the backward pass"
    assert torch.equal(loss, loss_again)
    assert plain.keys() == recomputed.keys()
    for name, gradient in plain.items():
        assert close(recomputed[name], gradient, 1e-5 * max(1.0, gradient.abs().max().item())), name


def test_bfloat16_autocast_on_the_cpu(own_model: X2SamModel) -> None:
    exact = training_loss(own_model)
    with torch.autocast("cpu", torch.bfloat16):
        loss = training_loss(own_model)
        frames = clips(own_model.config, 1, 3)[0][:, None]
        assert stream(own_model, frames, guided(own_model))[-1].mask_logits.isfinite().all()
    loss.backward()
    assert abs(loss.item() - exact.item()) < 0.1 * exact.item()
    assert all(p.grad is None or p.grad.isfinite().all() for p in own_model.parameters())


# --- reading and speaking ---------------------------------------------------------------------------------------------


@pytest.fixture(params=[True, False], ids=["plain", "spatial"])
def reader(request: pytest.FixtureRequest, model: X2SamModel, varied: Callable[..., X2SamModel]) -> X2SamModel:
    """The model with either kind of positions."""
    return model if request.param else varied(plain_positions=False)


def test_spatial_positions_differ(model: X2SamModel, varied: Callable[..., X2SamModel]) -> None:
    spatial = varied(plain_positions=False)
    seen, text = collate([asked(model)]), collate([request(model).phrase(3).seg()])
    with torch.no_grad():
        assert not close(spatial.understand(**seen).states, model.understand(**seen).states, 1e-3)
        assert close(spatial.understand(**text).states, model.understand(**text).states)


@torch.no_grad()
def test_a_prefix_read_before_is_the_same_as_reading_at_once(reader: X2SamModel) -> None:
    """Twice in a row, with another prompt and an answer spoken in between."""
    head = request(reader).picture(h=6)
    seen = collate([head])
    del seen["attention_mask"]
    prefix = reader.read_prefix(**seen)
    for seed in (1, 2, 1):
        whole = request(reader).picture(h=6)
        whole.seed = seed
        whole.random.manual_seed(seed)
        whole.words(3).phrase(2 + seed).words(2).seg()
        batch = collate([whole])
        expected = reader.understand(**batch)
        ours = reader.understand(batch["input_ids"], prefix=prefix)
        start = len(head.ids)
        assert torch.equal(ours.input_ids, expected.input_ids)
        assert close(ours.states, expected.states[:, start:])
        assert close(ours.guidance.conditions, expected.guidance.conditions)
        assert close(ours.guidance.tokens, expected.guidance.tokens)
        spoken = reader.understand(**batch, max_new_tokens=3)
        from_prefix = reader.understand(batch["input_ids"], prefix=prefix, max_new_tokens=3)
        assert torch.equal(spoken.input_ids, from_prefix.input_ids)


@torch.no_grad()
def test_speaking_with_a_cache_is_speaking_without(reader: X2SamModel) -> None:
    batch = collate([asked(reader)])
    heard: list[int] = []
    spoken = reader.understand(**batch, max_new_tokens=6, on_token=heard.append)
    ids = batch["input_ids"]
    for _ in range(6):
        if reader.config.plain_positions:
            read = reader.understand(**{**batch, "input_ids": ids, "attention_mask": torch.ones_like(ids)})
        else:
            read = reader.understand(**{**batch, "input_ids": ids, "attention_mask": None})
        ids = torch.cat([ids, reader.language.model.lm_head(read.normed[:, -1:]).argmax(-1)], 1)
    assert torch.equal(spoken.input_ids, ids)
    assert heard == ids[0, -6:].tolist()
    assert len(set(heard)) > 1
    read = reader.understand(**{**batch, "input_ids": ids, "attention_mask": None})
    assert close(spoken.states, read.states)


def say(monkeypatch: pytest.MonkeyPatch, model: X2SamModel, ids: list[int]) -> None:
    """Make the model speak ``ids``, whatever it would rather say."""
    script = iter(ids)
    rows = model.language.model.lm_head.weight.shape[0]
    logits = lambda states: torch.nn.functional.one_hot(torch.tensor([next(script)]), rows).float()  # noqa: E731
    monkeypatch.setattr(model.language.model.lm_head, "forward", logits)


@torch.no_grad()
def test_a_seg_spoken_last_keeps_its_state(model: X2SamModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The release lost it: the last token spoken was never read."""
    seg = model.config.seg_token_id
    asked_without = request(model).picture().phrase(3)
    written = model.understand(**collate([request(model).picture().phrase(3).words(2).seg()])).guidance
    answer = request(model).picture().phrase(3).words(2).ids[-2:]
    say(monkeypatch, model, [*answer, seg])
    spoken = model.understand(**collate([asked_without]), max_new_tokens=3)
    assert spoken.input_ids[0, -1] == seg
    assert spoken.states.shape[1] == spoken.input_ids.shape[1]
    assert spoken.guidance.has_seg.all()
    assert close(spoken.guidance.seg, written.seg)
    assert not model.understand(**collate([asked_without])).guidance.has_seg.any()


@torch.no_grad()
def test_speaking_stops(model: X2SamModel, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = collate([asked(model)])
    say(monkeypatch, model, [7, 8, 9, 10])
    spoken = model.understand(**batch, max_new_tokens=4, stop_ids=(9,))
    assert spoken.input_ids[0].tolist() == [*batch["input_ids"][0].tolist(), 7, 8]
    assert spoken.states.shape[1] == spoken.input_ids.shape[1]


@pytest.mark.parametrize("answers", [False, True])
@torch.no_grad()
def test_conditions_named_in_the_answer(answers: bool, model: X2SamModel, monkeypatch: pytest.MonkeyPatch) -> None:
    config = model.config
    start, end = config.phrase_start_token_id, config.phrase_end_token_id
    batch = collate([request(model).picture().phrase(2)])
    say(monkeypatch, model, [start, 5, end, 6, start, 7, 8, end, config.seg_token_id])
    spoken = model.understand(**batch, max_new_tokens=9, conditions_in_answer=answers).guidance
    assert spoken.num_conditions.tolist() == [2 if answers else 1]
    assert spoken.token_mask.sum() == (3 + 4 if answers else 4)


SYMBOLS = {"a": 1, "<": 2, ">": 3}


@given(st.lists(st.text("a<>", min_size=12, max_size=12), min_size=1, max_size=3))
def test_markers_are_read_as_text_is(rows: list[str]) -> None:
    """Conditions are the closed spans, both markers included, however a model scatters its markers."""
    spans = marker_spans(torch.tensor([[SYMBOLS[c] for c in row] for row in rows]), 2, 3)
    for row, found in zip(rows, spans.tolist(), strict=True):
        expected = [-1] * len(row)
        for number, match in enumerate(re.finditer("<[^<>]*>", row)):
            expected[match.start() : match.end()] = [number] * len(match[0])
        assert found == expected


# --- regions ----------------------------------------------------------------------------------------------------------


@given(st.integers(1, 60), st.integers(0, 2**31 - 1), st.booleans())
def test_region_points_lie_in_the_region(area: int, seed: int, random: bool) -> None:
    torch.manual_seed(seed)
    mask = torch.zeros(1, 8, 9, dtype=torch.bool)
    mask.view(-1)[torch.randperm(72)[:area]] = True
    points = sample_points(mask, 32, random)[0].long()
    assert points.shape == (32, 2)
    assert mask[0, points[:, 1], points[:, 0]].all()
    order = points[:, 1] * 9 + points[:, 0]
    assert (order.diff() >= 0).all()
    if not random:  # evenly: no pixel is taken twice more often than another
        counts = order.unique(return_counts=True)[1]
        assert counts.max() - counts.min() <= 1
        assert len(counts) == min(area, 32)


def test_region_coordinates(model: X2SamModel, varied: Callable[..., X2SamModel]) -> None:
    """Without the release's corner mapping, one pixel under the centre of a cell reads just that cell."""
    sampler = varied(region_corner_coordinates=False, image_size=6).region_sampler
    stage = torch.randn(1, 4, 4, 64, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 6, 6, dtype=torch.bool)
    mask[0, 1, 4] = True  # 3 x 3 pixels to a folded cell: the middle of the upper right one
    with torch.no_grad():
        read = sampler(FrameFeatures((stage, stage, stage), (stage,)), mask, torch.tensor([0]))
        assert close(read[0], sampler.project(stage)[0, :, 0, 1].expand_as(read[0]), 1e-6)


@pytest.mark.parametrize("positions", [False, True])
def test_like_regions_differ_by_where_they_are(varied: Callable[..., X2SamModel], positions: bool) -> None:
    """On a picture that is everywhere the same, regions differ by their place alone, if they may say it."""
    sampler = varied(region_positions=positions, image_size=8).region_sampler
    stage = torch.ones(1, 4, 4, 64)
    masks = torch.zeros(3, 8, 8, dtype=torch.bool)
    masks[0, :2, :2] = masks[1, :2, :2] = masks[2, 5:, 6:] = True
    with torch.no_grad():
        read = sampler(FrameFeatures((stage, stage, stage), (stage,)), masks, torch.zeros(3, dtype=torch.long))
    assert torch.equal(read[0], read[1])
    assert torch.allclose(read[0], read[2], atol=1e-6) != positions


# --- wrong input ------------------------------------------------------------------------------------------------------


def wrong_side(model: X2SamModel) -> None:
    model.segment(torch.zeros(1, 3, 32, 64), guided(model))


def with_regions(model: X2SamModel, **changes: Any) -> None:
    features = model.encode(clips(model.config, 1, 1)[0])
    model.understand(**{**collate([request(model).region().seg()], features), **changes})


def training_region(model: X2SamModel) -> None:
    model(**collate([request(model).region(frame=4).seg()]), frames=clips(model.config, 1, 2))


def more_tokens(model: X2SamModel) -> None:
    batch = collate([asked(model)])
    picture = torch.tensor([[model.config.language_config.image_token_id]])
    model.understand(torch.cat([batch["input_ids"], picture], 1), None, batch["pixel_values"], batch["image_grid_thw"])


def fewer_tokens(model: X2SamModel) -> None:
    batch = collate([asked(model)])
    model.understand(batch["input_ids"][:, 2:], None, batch["pixel_values"], batch["image_grid_thw"])


def no_pixels(model: X2SamModel) -> None:
    model.understand(collate([asked(model)])["input_ids"])


def batch_that_speaks(model: X2SamModel) -> None:
    model.understand(**collate([asked(model), asked(model)]), max_new_tokens=2)


WRONG: dict[str, tuple[Callable[[X2SamModel], object], str]] = {
    "frames of another side": (wrong_side, r"frames of shape .*Expected \[N, 3, 64, 64\]"),
    "region mask of another size": (
        lambda m: with_regions(m, region_masks=torch.ones(1, 32, 32, dtype=torch.bool)),
        r"region masks of shape \(1, 32, 32\).*64, 64.*Build",
    ),
    "region frame outside": (
        lambda m: with_regions(m, region_frames=torch.tensor([3])),
        r"1 regions on the frames \[3\].*from 0 to 0.*Draw",
    ),
    "region frame outside in training": (training_region, r"on the frames \[4\].*from 0 to 1.*Draw"),
    "region frames missing": (lambda m: with_regions(m, region_frames=torch.tensor([], dtype=torch.long)), "1 regions"),
    "empty region": (
        lambda m: with_regions(m, region_masks=torch.zeros(1, 64, 64, dtype=torch.bool)),
        r"an empty region \(number 1\).*Expected.*Draw",
    ),
    "region without features": (lambda m: with_regions(m, region_features=None), "region masks alone.*Expected"),
    "region slots without a region": (
        lambda m: with_regions(m, region_masks=None),
        "0 region embeddings for 8 region tokens.*X2SamProcessor",
    ),
    "more picture tokens": (more_tokens, "4 picture embeddings for 5 picture tokens.*Expected.*X2SamProcessor"),
    "fewer picture tokens": (fewer_tokens, "4 picture embeddings for 3 picture tokens.*Expected.*X2SamProcessor"),
    "picture tokens without pixels": (no_pixels, "0 picture embeddings for 4 picture tokens.*X2SamProcessor"),
    "a batch that is to speak": (batch_that_speaks, "a batch of 2.*one sample"),
    "a preset that does not exist": (lambda _: preset("5b"), "'5b'.*4b"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_says_what_to_do(case: str, model: X2SamModel) -> None:
    call, message = WRONG[case]
    with pytest.raises(InputError, match=message):
        call(model)
