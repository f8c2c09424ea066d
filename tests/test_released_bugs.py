"""Bugs of the released training code that must not exist here; each test says what holds instead."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import Request, clips, close, collate, targets
from torch import Tensor

from x2sam.model import losses, modeling
from x2sam.model.language import share
from x2sam.model.losses import Targets
from x2sam.model.modeling import X2SamModel, X2SamOutput


def request(model: X2SamModel, seed: int) -> Request:
    return Request(model.config, seed)


def referring(model: X2SamModel) -> list[Request]:
    """Two phrases and two `<SEG>`; one of each; three phrases, one `<SEG>`."""
    return [
        request(model, 1).picture().phrase(2).seg().phrase(1).words(2).seg().words(2),
        request(model, 2).picture().words(4).phrase(4).seg(),
        request(model, 3).picture().phrase(1).phrase(2).words(1).phrase(3).seg().words(1),
    ]


def exactly(model: X2SamModel) -> X2SamModel:
    """With every pixel as a point, so that losses repeat."""
    model.config.train_points = 0
    return model


@torch.no_grad()
def test_every_sample_uses_its_own_last_seg_and_counts_its_own_conditions(
    model: X2SamModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B1: with shared conditions, the release took another sample's `<SEG>` for all but the first sample."""
    requests = referring(model)
    guidance = model.understand(**collate(requests)).guidance
    shared = share(guidance)
    assert shared.num_conditions.tolist() == [2, 1, 3]
    assert shared.conditions.shape[1] == 2 + 1 + 3 + 1
    for row, single in enumerate(requests):
        alone = model.understand(**collate([single]))
        last = max(i for i, token in enumerate(single.ids) if token == model.config.seg_token_id)
        assert close(shared.seg[row, 0], model.language.prompt_projector(alone.states[0, last]))
        count = int(alone.guidance.num_conditions[0])
        assert close(shared.conditions[row, :count], alone.guidance.conditions[0, :count])
        assert close(shared.conditions[row].sum(0), shared.conditions[0].sum(0)), "the same ones, own ones first"
    scored: list[Targets] = []
    monkeypatch.setattr(modeling, "segmentation_losses", lambda _, wanted, __: scored.extend(wanted) or {})
    wanted = [[targets(model.config, [1, 0])], [targets(model.config, [0])], [targets(model.config, [2])]]
    model(**collate(requests), frames=clips(model.config, 3, 1), targets=wanted, share_conditions=True)
    assert [t.classes.tolist() for t in scored] == [[1, 0], [0], [2]]


@torch.no_grad()
def test_a_region_takes_the_features_of_the_frame_it_was_drawn_on(model: X2SamModel) -> None:
    """B2: the release always read frame 0."""
    frames = clips(model.config, 2, 3)
    requests = [
        request(model, 1).region(frame=2).region(frame=0).seg(),
        request(model, 2).region(frame=1, box=(20, 0, 50, 60)).seg(),
    ]
    read: list[Tensor] = []
    hook = model.region_sampler.register_forward_hook(lambda _, __, out: read.append(out))
    model(**collate(requests, clip=3), frames=frames)
    for b, t in ((0, 2), (0, 0), (1, 1), (0, 1)):
        changed = frames.clone()
        changed[b, t] += 1
        model(**collate(requests, clip=3), frames=changed)
    hook.remove()
    before, *after = read
    moved = [[not close(x[i], before[i], 1e-4) for i in range(3)] for x in after]
    assert moved == [[True, False, False], [False, True, False], [False, False, True], [False, False, False]]
    alone = model.region_sampler(model.encode(frames[1, 1:2]), requests[1].region_masks[0][None], torch.tensor([0]))
    assert close(before[2], alone[0])


def video_loss(model: X2SamModel, rows: list[int], of: list[int] | None = None) -> X2SamOutput:
    """Clips ``rows`` of four, with the annotations of clips ``of``; every clip has as many masks a frame."""
    requests = [request(model, 20 + b).phrase(1 + b).phrase(2).seg() for b in rows]
    wanted = [[targets(model.config, [1, 0], seed=10 * b + t) for t in range(3)] for b in (of or rows)]
    return model(**collate(requests), frames=clips(model.config, 4, 3)[rows], targets=wanted)


@torch.no_grad()
def test_clips_in_a_batch_keep_their_own_conditions_and_annotations(own_model: X2SamModel) -> None:
    """B4: the release laid outputs out frame by frame and conditions sample by sample."""
    model = exactly(own_model)
    together = video_loss(model, [0, 1, 2])
    singles = [video_loss(model, [b]) for b in range(3)]
    assert together.loss is not None
    assert together.parts is not None
    for name, part in together.parts.items():
        mean = torch.stack([single.parts[name] for single in singles]).mean()  # type: ignore[index]
        assert close(part, mean, 1e-4), name
    assert close(video_loss(model, [2, 0, 1]).loss, together.loss, 1e-4)  # type: ignore[arg-type]
    assert not close(video_loss(model, [0, 1, 2], of=[1, 2, 0]).loss, together.loss, 1e-3)  # type: ignore[arg-type]


@torch.no_grad()
def test_clips_of_different_lengths_score_only_their_own_frames(own_model: X2SamModel) -> None:
    """B4: ... and a shorter clip's padding is scored against nothing."""
    model = exactly(own_model)
    config = model.config
    requests = [request(model, b).phrase(2).seg() for b in range(2)]
    frames = clips(config, 2, 3)
    wanted = [[targets(config, [0, 0], t) for t in range(3)], [targets(config, [0, 0], 5)]]
    mask = torch.tensor([[True, True, True], [True, False, False]])
    together = model(**collate(requests), frames=frames, frame_mask=mask, targets=wanted)
    long = model(**collate(requests[:1]), frames=frames[:1], targets=wanted[:1])
    short = model(**collate(requests[1:]), frames=frames[1:, :1], targets=wanted[1:])
    for name, part in together.parts.items():
        assert close(part, (3 * long.parts[name] + short.parts[name]) / 4, 1e-4), name
    padded = frames.clone()
    padded[1, 1:] = 7
    assert close(model(**collate(requests), frames=padded, frame_mask=mask, targets=wanted).loss, together.loss, 1e-6)


@torch.no_grad()
def test_what_the_answer_marks_does_not_replace_what_was_asked(
    model: X2SamModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B10: in the release, markers in a spoken explanation replaced the prompt's conditions."""
    config = model.config
    asked = request(model, 1).picture().phrase(3).words(2)
    said = [config.phrase_start_token_id, 5, config.phrase_end_token_id, config.seg_token_id]
    script = iter(said)
    rows = model.language.model.lm_head.weight.shape[0]

    def head(_: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(torch.tensor([next(script)]), rows).float()

    before = model.understand(**collate([asked])).guidance
    monkeypatch.setattr(model.language.model.lm_head, "forward", head)
    spoken = model.understand(**collate([asked]), max_new_tokens=len(said))
    assert spoken.input_ids[0, -len(said) :].tolist() == said
    assert spoken.guidance.has_seg.all()
    assert close(spoken.guidance.conditions, before.conditions, 1e-6)
    assert close(spoken.guidance.tokens, before.tokens, 1e-6)


@torch.no_grad()
def test_a_sample_without_conditions_keeps_its_place(own_model: X2SamModel) -> None:
    """B11: the release left it out, so that all later samples got the wrong conditions."""
    model = exactly(own_model)
    requests = [
        request(model, 1).picture().phrase(2).seg(),
        request(model, 2).picture().words(6).seg(),
        request(model, 3).picture().phrase(1).phrase(4).seg(),
        request(model, 4).picture().phrase(1),  # no <SEG>: nothing to be segmented
    ]
    guidance = model.understand(**collate(requests)).guidance
    assert guidance.num_conditions.tolist() == [1, 0, 2, 1]
    assert guidance.has_seg.tolist() == [True, True, True, False]
    assert share(guidance).num_conditions.tolist() == [1, 0, 2, 1]
    for row, single in enumerate(requests):
        alone = model.understand(**collate([single])).guidance
        count = int(alone.num_conditions[0])
        assert close(guidance.conditions[row, :count], alone.conditions[0, :count])
        assert close(guidance.seg[row], alone.seg[0])
    frames = clips(model.config, 4, 1)
    wanted = [[targets(model.config, c, b)] for b, c in enumerate(([0, 0], [], [1, 0], [0]))]
    together = model(**collate(requests), frames=frames, targets=wanted)
    singles = [
        model(**collate(requests[b : b + 1]), frames=frames[b : b + 1], targets=wanted[b : b + 1]) for b in range(4)
    ]
    assert singles[3].loss_segmentation is None
    for name in ("loss_mask", "loss_dice"):
        expected = sum(2 * singles[b].parts[name] for b in (0, 2)) / 4
        assert close(together.parts[name], expected, 1e-4)


@torch.no_grad()
def test_pictures_go_to_the_samples_that_show_them(model: X2SamModel) -> None:
    """B12: the release placed pictures by batch position, one a sample; text-only and many-picture samples broke it."""
    requests = [
        request(model, 1).words(9).phrase(2).seg(),
        request(model, 2).picture().words(2).picture(h=6).words(1).picture(w=8).seg(),
        request(model, 3).picture(t=2, video=True).words(3).picture().seg(),
        request(model, 4).picture(w=6).seg(),
    ]

    def read(batch: dict[str, Any]) -> Any:
        return model.language.embed(**{k: v for k, v in batch.items() if k != "attention_mask"})

    together = read(collate(requests))
    start = 0
    for row, single in enumerate(requests):
        alone = read(collate([single]))
        assert close(together.embeddings[row, : len(single.ids)], alone.embeddings[0])
        if alone.visual_mask is None:
            assert not together.visual_mask[row].any()
            continue
        assert torch.equal(together.visual_mask[row, : len(single.ids)], alone.visual_mask[0])
        count = int(alone.visual_mask.sum())
        for ours, theirs in zip(together.deepstack, alone.deepstack, strict=True):
            assert close(ours[start : start + count], theirs)
        start += count
    assert start == int(together.visual_mask.sum())


@pytest.mark.parametrize("whole", [False, True], ids=["autocast", "bfloat16 weights"])
def test_point_coordinates_are_float32(whole: bool, own_model: X2SamModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """B17: the release drew them in bfloat16, which knows 256 places from 0.5 to 1."""
    seen: list[Tensor] = []
    sample = losses.sample_points

    def watched(masks: Tensor, points: Tensor) -> Tensor:
        seen.append(points)
        out = sample(masks, points)
        assert masks.dtype == out.dtype == torch.float32
        return out

    monkeypatch.setattr(losses, "sample_points", watched)
    torch.manual_seed(0)
    if whole:
        own_model.to(torch.bfloat16)
    requests = [request(own_model, 1).phrase(2).seg()]
    with torch.autocast("cpu", torch.bfloat16, enabled=not whole):
        out = own_model(
            **collate(requests), frames=clips(own_model.config, 1, 1), targets=[[targets(own_model.config, [0, 0])]]
        )
    assert out.loss.isfinite()
    assert seen
    assert {points.dtype for points in seen} == {torch.float32}
    drawn = torch.cat([points.flatten() for points in seen])
    assert (drawn != drawn.bfloat16().float()).float().mean() > 0.9
