"""The prompted head: every prompt by itself, scores that mean what they say, and losses that teach it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from conftest import close, new_small_model, small_config
from torch import Tensor, nn

from x2sam.model.losses import Targets, prompted_losses
from x2sam.model.mask_decoder import Guidance
from x2sam.model.modeling import X2SamModel
from x2sam.model.prompt_maps import CARRIED, CHANNELS, NEAR, SINGLE
from x2sam.model.prompted_head import MASKS, PromptedHead, PromptedMasks, prediction_of, recalled
from x2sam.model.recognition import EVIDENCE, SUREST, Recognition, pooled

CELLS = 16


def inputs(prompts: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Maps (every second one a single click), answers, conditions and evidence."""
    random = torch.Generator().manual_seed(seed)
    maps = torch.rand(prompts, len(CHANNELS), CELLS, CELLS, generator=random)
    maps[:, SINGLE] = (torch.arange(prompts) % 2 == 0).float()[:, None, None]
    answers = 5 * torch.randn(prompts, 2, 2, generator=random)
    conditions = torch.randn(prompts, 32, generator=random)
    return maps, answers, conditions, torch.randn(prompts, EVIDENCE, generator=random)


def frames(model: X2SamModel, count: int) -> list[Tensor]:
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        features = model.encode(torch.randn(count, 3, 64, 64, generator=random))
        return head_of(model).look(features.maps(), features.recognition)


def head_of(model: X2SamModel) -> PromptedHead:
    assert model.prompted_head is not None
    return model.prompted_head


def parts(masks: PromptedMasks) -> dict[str, Tensor]:
    return {name: getattr(masks, name) for name in masks.__dataclass_fields__}


@torch.no_grad()
def test_prompts_of_a_batch_are_answered_one_by_one_each_on_its_own_frame(small_model: X2SamModel) -> None:
    head, looks, rows = head_of(small_model), frames(small_model, 3), [2, 0, 0, 1, 2]
    given = inputs(len(rows))
    given[0][1] = 0
    together = head(looks, torch.tensor(rows), *given)
    assert together.logits.shape == (5, MASKS, CELLS, CELLS)
    assert together.single.tolist() == [True, False, True, False, True]
    assert together.pointed.tolist() == [True, False, True, True, True]
    for i, row in enumerate(rows):
        frame = [look[row : row + 1] for look in looks]
        alone = head(frame, torch.tensor([0]), *(x[i : i + 1] for x in given))
        for name, value in parts(alone).items():
            assert close(parts(together)[name][i].float(), value[0].float(), 1e-4), name
    elsewhere = head(looks, torch.tensor([0, 0, 0, 1, 2]), *given)
    assert not close(elsewhere.logits[0], together.logits[0], 1e-2)
    assert close(elsewhere.logits[1:], together.logits[1:], 1e-4)


@torch.no_grad()
@pytest.mark.parametrize("what", ["maps", "answers", "conditions", "recognition"])
def test_all_that_is_said_and_drawn_counts(what: str, small_model: X2SamModel) -> None:
    head, looks = head_of(small_model), frames(small_model, 1)
    given = dict(zip(("maps", "answers", "conditions", "evidence"), inputs(1), strict=True))
    before = head(looks, torch.tensor([0]), **given)
    if what == "recognition":
        features = small_model.encode(torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)))
        looks = head.look(features.maps(), None)
    else:
        given[what] = given[what] + 0.5
    after = head(looks, torch.tensor([0]), **given)
    assert not close(after.logits, before.logits, 1e-2)
    assert not close(after.presence, before.presence, 1e-4)


def random_masks(single: list[bool], pointed: list[bool] | None = None, seed: int = 0) -> PromptedMasks:
    random = torch.Generator().manual_seed(seed)
    count = len(single)
    return PromptedMasks(
        torch.randn(count, MASKS, 4, 4, generator=random),
        2 * torch.randn(count, MASKS, generator=random),
        2 * torch.randn(count, generator=random),
        torch.tensor(pointed or [False] * count),
        torch.tensor(single),
        torch.randn(count, 16, generator=random),
    )


def test_the_best_mask_is_as_likely_as_the_thing_itself_and_only_clicks_have_three() -> None:
    masks = random_masks([True, False, True, False], [False, False, True, True], seed=3)
    scores = masks.scores()
    there = torch.where(masks.pointed, 1.0, masks.presence.sigmoid())
    assert torch.allclose(scores.amax(1), there), "what is pointed at is there"
    clicks, quality = scores[masks.single], masks.quality[masks.single]
    assert torch.equal(clicks[:, 1:].argsort(1), quality[:, 1:].argsort(1)), "the others follow by their quality"
    assert bool((clicks[:, :1] > clicks[:, 1:]).all()), "the first is what a click usually means"
    assert bool((scores[masks.single] > 0).all())
    assert torch.allclose(scores[~masks.single][:, 0], there[~masks.single])
    assert not scores[~masks.single][:, 1:].any()


def padded_guidance() -> Guidance:
    """Two conditions, then one."""
    there = torch.tensor([[True, True, True], [True, False, True]])
    return Guidance(
        torch.randn(2, 3, 32, generator=torch.Generator().manual_seed(0)),
        *(there, torch.tensor([2, 1]), torch.zeros(2, 1, 32), torch.ones(2, 1, dtype=torch.bool)),
        *(torch.zeros(2, 1, 32), torch.ones(2, dtype=torch.bool)),
    )


def test_queries_hold_each_condition_s_masks_and_scores_and_absent_ones_never_answer() -> None:
    guidance, masks = padded_guidance(), random_masks([True, False, True])
    own = guidance.condition_mask[:, :-1].nonzero()
    prediction = prediction_of(masks, own, guidance)
    assert prediction.class_logits.shape == (2, 2 * MASKS, 3)
    chances = prediction.class_logits.softmax(-1)
    scores = masks.scores().clamp(1e-4, 0.99)
    for p, (row, column) in enumerate(own.tolist()):
        queries = slice(column * MASKS, (column + 1) * MASKS)
        assert torch.allclose(chances[row, queries, column], scores[p], atol=1e-6)
        assert torch.allclose(chances[row, queries, -1], 1 - scores[p], atol=1e-6)
        assert not chances[row, queries, 1 - column].any()
        assert torch.equal(prediction.mask_logits[row, queries], masks.logits[p])
        assert torch.equal(prediction.queries[row, queries], masks.token[p].expand(MASKS, -1))
    assert not chances[1, MASKS:, :-1].any()
    assert bool((prediction.mask_logits[1, MASKS:] < -10).all())
    half = prediction_of(
        replace(masks, **{n: v.half() for n, v in parts(masks).items() if v.is_floating_point()}), own, guidance
    )
    assert bool(half.class_logits.isfinite().all())


# --- losses --------------------------------------------------------------------------------------------------------


def box(top: int, left: int, side: int = 32) -> Tensor:
    """A square of a frame of 64 pixels, its edges on those of cells."""
    mask = torch.zeros(64, 64)
    mask[top : top + side, left : left + side] = 1
    return mask


def masks_that_say(logits: Tensor, single: bool, sure: float = 20.0) -> PromptedMasks:
    count = len(logits)
    quality = torch.full((count, MASKS), sure)
    presence, clicked = torch.full((count,), sure), torch.full((count,), single)
    return PromptedMasks(logits, quality, presence, torch.zeros_like(clicked), clicked, torch.zeros(count, 4))


TRUTH = F.avg_pool2d(box(8, 16)[None], 4)[0]
OWN = torch.tensor([[0, 0]])
WANTED = [Targets(torch.tensor([0]), box(8, 16)[None])]


@pytest.mark.parametrize("single", [False, True])
def test_perfect_masks_cost_nothing(single: bool) -> None:
    exact = (40 * TRUTH - 20).expand(1, MASKS, -1, -1)
    losses = prompted_losses(masks_that_say(exact, single), OWN, WANTED, small_config())
    assert all(loss < 1e-4 for loss in losses.values()), losses
    wrong = prompted_losses(masks_that_say(-exact, single), OWN, WANTED, small_config())
    assert wrong["loss_mask"] > 50
    assert wrong["loss_dice"] > 4
    assert wrong["loss_cls"] > 10, "it said that they were good"


def test_of_what_is_absent_only_the_presence_counts() -> None:
    config = small_config()
    masks = random_masks([True, False, False], [False, False, True])
    for name in ("logits", "quality", "presence"):
        getattr(masks, name).requires_grad_()
    own = torch.tensor([[0, 1], [1, 0], [1, 1]])
    wanted = [
        Targets(torch.tensor([0]), box(0, 0)[None]),
        Targets(torch.zeros(0, dtype=torch.long), torch.zeros(0, 9, 9)),
    ]
    losses = prompted_losses(masks, own, wanted, config)
    assert losses["loss_mask"] == losses["loss_dice"] == 0
    expected = config.class_weight * F.binary_cross_entropy_with_logits(masks.presence[:2], torch.zeros(2))
    assert torch.allclose(losses["loss_cls"], expected)
    sum(losses.values()).backward()
    assert masks.presence.grad is not None
    assert (masks.presence.grad > 0).tolist() == [True, True, False], "what is pointed at is not asked for"
    assert all(value.grad is None or not value.grad.any() for value in (masks.logits, masks.quality))


def test_of_a_single_click_s_masks_the_first_and_the_best_learn_and_the_others_a_little() -> None:
    config = small_config()
    random = torch.Generator().manual_seed(2)
    guesses = torch.randn(MASKS, 16, 16, generator=random)
    guesses[1] += 2 * TRUTH - 1  # the best

    def gradients(order: list[int], single: bool) -> tuple[Tensor, Tensor]:
        logits = guesses[order][None].clone().requires_grad_()
        masks = replace(masks_that_say(logits, single, 0.0), quality=torch.zeros(1, MASKS, requires_grad=True))
        losses = prompted_losses(masks, OWN, WANTED, config)
        sum(losses.values()).backward()
        assert logits.grad is not None
        assert masks.quality.grad is not None
        return logits.grad[0], masks.quality.grad[0]

    full = []
    for i in range(MASKS):
        first, judged = gradients([i, (i + 1) % 3, (i + 2) % 3], single=False)
        assert not first[1:].any(), "without a click only the first mask answers"
        assert not judged[1:].any()
        full.append(first[0])
    shared, judged = gradients([0, 1, 2], single=True)
    for i, share in enumerate((0.4, 0.55, 0.05)):
        assert torch.allclose(shared[i], share * full[i], atol=1e-7)
    assert bool((judged != 0).all()), "how good each is, all three learn"


def test_half_of_what_was_carried_is_what_was_found_and_nothing_else_changes() -> None:
    torch.manual_seed(0)
    count = 400
    maps = torch.zeros(count, 2, len(CHANNELS), 4, 4)
    maps[:, 0, CARRIED, :2] = 1.0  # the second condition was seen nowhere before
    own = torch.tensor([(row, condition) for row in range(count) for condition in range(2)])
    found = torch.full((8, 8), -9.0)
    found[4:] = 9.0
    rows = torch.arange(count)
    before = {(row, condition): found for row in range(count) for condition in range(2)}
    now = recalled(maps, own, before, rows)
    swapped = now[:, 0, CARRIED, 3, 0] > 0.5
    assert 0.4 < swapped.float().mean() < 0.6
    assert bool((now[swapped, 0, CARRIED, 0] < 0.01).all())
    assert torch.equal(now[~swapped], maps[~swapped])
    assert torch.equal(now[:, 1], maps[:, 1])
    assert torch.equal(recalled(maps, own, {key: -found.abs() for key in before}, rows), maps), "nothing was found"


@torch.no_grad()
def test_evidence_counts_for_the_presence_of_what_is_only_named() -> None:
    """What is drawn is there, whatever the classifier calls it; masks do not change."""
    model = new_small_model()
    head, looks = head_of(model), frames(model, 1)
    head.evidence.weight.copy_(torch.tensor([[1.0, 0.0, 0.0, 2.0]]))
    maps, answers, conditions, _ = inputs(2)
    maps[0] = 0
    none, some = torch.zeros(2, EVIDENCE), torch.tensor([[3.0, 9.0, 9.0, -1.0]]).expand(2, -1)
    before, after = (head(looks, torch.tensor([0, 0]), maps, answers, conditions, x) for x in (none, some))
    assert close(after.presence - before.presence, torch.tensor([1.0, 0.0]))
    assert torch.equal(after.logits, before.logits)


def test_a_few_updates_on_two_clicks_lower_the_loss() -> None:
    model = new_small_model()
    head, looks = head_of(model), frames(model, 1)
    maps = torch.zeros(2, len(CHANNELS), CELLS, CELLS)
    maps[0, NEAR : NEAR + 3, 3, 3] = maps[1, NEAR : NEAR + 3, 11, 11] = 1
    rows, own = torch.tensor([0, 0]), torch.tensor([[0, 0], [0, 1]])
    wanted = [Targets(torch.tensor([0, 1]), torch.stack([box(0, 0, 28), box(32, 32, 28)]))]
    optimizer = torch.optim.Adam(head.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        masks = head(looks, rows, maps, torch.zeros(2, 1, 1), torch.zeros(2, 32), torch.zeros(2, EVIDENCE))
        losses.append(sum(prompted_losses(masks, own, wanted, model.config).values()))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.4 * losses[0]


# --- recognition ---------------------------------------------------------------------------------------------------


@pytest.fixture
def recognition(small_model: X2SamModel) -> Recognition:
    assert small_model.recognition is not None
    return small_model.recognition


@torch.no_grad()
def test_looks_are_unit_vectors_and_a_level(recognition: Recognition) -> None:
    """Each meaning has its own level; examples have the one that is right for all."""
    meanings = torch.randn(2, 5, 96)
    looks = recognition.looks(meanings)
    examples = recognition.looks_of(torch.rand(3, 32, 2, 2), torch.ones(3, 64, 64))
    assert looks.shape == (2, 5, 33)
    for x in (looks, examples):
        assert torch.allclose(x[..., :-1].norm(dim=-1), torch.ones(x.shape[:-1]))
    assert torch.allclose(looks[..., -1], meanings @ recognition.level.weight[0] + recognition.level.bias)
    assert torch.equal(examples[:, -1:], recognition.level.bias.expand(3, 1))


@torch.no_grad()
def test_an_example_looks_like_what_is_under_its_mask(recognition: Recognition) -> None:
    features = torch.rand(2, 32, 4, 4)
    masks = torch.zeros(2, 64, 64, dtype=torch.bool)
    masks[0, :32, 16:32] = True  # cells (0, 1) and (1, 1)
    masks[1, 48:, 48:56] = True  # half of the last cell
    expected = torch.stack([features[0, :, :2, 1].mean(1), features[1, :, 3, 3]]) - recognition.centre
    assert torch.allclose(recognition.looks_of(features, masks)[:, :-1], F.normalize(expected, dim=-1), atol=1e-6)


@torch.no_grad()
def test_evidence_is_what_the_classifier_would_rather_call_the_picture(recognition: Recognition) -> None:
    """Of a look that is a name's own row: that name's share; of one between two names: half of each."""
    generator = torch.Generator().manual_seed(0)
    names, features = nn.Linear(32, 3), torch.rand(1, 32, 3, 3, generator=generator)
    rows = torch.linalg.qr(torch.randn(32, 3, generator=generator)).Q.T
    names.weight.copy_(4 * (rows - rows.mean(0)))
    unit = F.normalize(names.weight, dim=-1)
    between = F.normalize(unit[0] + unit[1], dim=-1)
    looks = torch.cat([torch.stack([unit[0], between]), torch.zeros(2, 1)], -1)[None]
    surest, whole, like, context = recognition.evidence(looks, recognition.view(features, names))[0].T
    cells = names(features[0].flatten(1).T).softmax(-1)
    shares = torch.stack([cells[:, 0], cells[:, :2].mean(-1)])
    assert close(surest, shares.topk(SUREST, -1).values.mean(-1).log(), 1e-3)
    picture = names(features.mean((2, 3))).softmax(-1)[0]
    assert close(whole, torch.stack([picture[0], picture[:2].mean()]).log(), 1e-3)
    assert close(like, torch.stack([unit[0] @ unit[0], between @ unit[0]]))
    assert close(context, recognition.context(looks[0, :, :-1], pooled(features))[0])


@torch.no_grad()
def test_answers_are_larger_where_the_features_are_like_the_look(recognition: Recognition) -> None:
    """What lies at a condition's level is neither."""
    features = torch.rand(1, 32, 4, 4)
    unit = F.normalize(torch.randn(1, 2, 32, generator=torch.Generator().manual_seed(0)), dim=-1)
    features[0, :, 1, 2] += 3 * unit[0, 0]
    features[0, :, 3, 0] += 3 * unit[0, 1]
    likeness = unit[0] @ features[0].flatten(1)  # [C, h*w]
    looks = torch.cat([unit, likeness[None, :, 5:6]], -1)
    answers = recognition(looks, features).flatten(2)
    assert answers.argmax(-1).tolist() == [[6, 12]]
    assert torch.allclose(answers[0, :, 5], torch.zeros(2), atol=1e-5)
    assert torch.allclose(answers[0], recognition.scale * (likeness - likeness[:, 5:6]), atol=1e-5)
