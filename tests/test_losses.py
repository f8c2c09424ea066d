"""Matching and losses against formulas written out plainly."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Request, collate
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from x2sam.config import X2SamConfig, tiny
from x2sam.errors import InputError
from x2sam.model import losses
from x2sam.model.losses import Layer, Targets, alignment_loss, layer_losses, match, sample_points, segmentation_losses
from x2sam.model.modeling import X2SamModel


def config(points: int = 0) -> X2SamConfig:
    made = tiny()
    made.train_points = points
    return made


def random_case(queries: int, counts: list[int], classes: int = 3, seed: int = 0) -> tuple[Layer, list[Targets]]:
    random = torch.Generator().manual_seed(seed)
    layer = Layer(
        torch.randn(len(counts), queries, classes + 1, generator=random),
        2 * torch.randn(len(counts), queries, 6, 6, generator=random),
    )
    return layer, [
        Targets(
            torch.randint(0, classes, (count,), generator=random),
            (torch.rand(count, 6, 6, generator=random) > 0.6).float(),
        )
        for count in counts
    ]


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def plain_bce(logits: Any, mask: Any) -> float:
    p = sigmoid(logits)
    return float(-(mask * np.log(p) + (1 - mask) * np.log(1 - p)).mean())


def plain_dice(logits: Any, mask: Any) -> float:
    p = sigmoid(logits)
    return float(1 - (2 * (p * mask).sum() + 1) / (p.sum() + mask.sum() + 1))


def plain_cost(layer: Layer, target: Targets, frame: int) -> Any:
    """2 x class + 5 x BCE + 5 x dice, pair by pair."""
    classes, masks = (t[frame].double().numpy() for t in (layer.class_logits, layer.mask_logits))
    probability = np.exp(classes) / np.exp(classes).sum(1, keepdims=True)
    cost = np.zeros((len(classes), len(target.classes)))
    for q, g in itertools.product(range(len(classes)), range(len(target.classes))):
        mask = target.masks[g].double().numpy()
        shape = 5 * plain_bce(masks[q], mask) + 5 * plain_dice(masks[q], mask)
        cost[q, g] = shape - 2 * probability[q, int(target.classes[g])]
    return cost


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.lists(st.integers(0, 5), min_size=1, max_size=3), st.integers(0, 1000))
def test_matching_is_the_cheapest_assignment(queries: int, counts: list[int], seed: int) -> None:
    """Against all assignments there are; also with more masks than queries, and with none."""
    layer, targets = random_case(queries, counts, seed=seed)
    for frame, (rows, columns) in enumerate(match(layer, targets, config())):
        cost = plain_cost(layer, targets[frame], frame)
        pairs = min(cost.shape)
        assert len(rows) == len(columns) == pairs == len(set(rows.tolist())) == len(set(columns.tolist()))
        best = min(
            (
                sum(cost[q, g] for q, g in zip(chosen, order, strict=True))
                for chosen in itertools.combinations(range(cost.shape[0]), pairs)
                for order in itertools.permutations(range(cost.shape[1]), pairs)
            ),
            default=0.0,
        )
        assert cost[rows.numpy(), columns.numpy()].sum() == pytest.approx(best, abs=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.integers(3, 6), st.lists(st.integers(0, 4), min_size=1, max_size=3), st.integers(0, 3), st.integers(0, 99))
def test_a_prompted_query_answers_for_its_own_condition(
    queries: int, counts: list[int], prompted: int, seed: int
) -> None:
    """For the nearest target, if it has any; the other queries are matched as if there were no such ones."""
    layer, targets = random_case(queries, counts, seed=seed)
    told = [replace(target, prompted=prompted) for target in targets]
    rest = Layer(layer.class_logits[:, prompted:], layer.mask_logits[:, prompted:])
    alone = match(rest, targets, config())
    for frame, (rows, columns) in enumerate(match(layer, told, config())):
        cost, classes = plain_cost(layer, targets[frame], frame), targets[frame].classes
        own = {q: g for q, g in zip(rows.tolist(), columns.tolist(), strict=True) if q < prompted}
        assert own.keys() == {k for k in range(prompted) if (classes == k).any()}
        for query, found in own.items():
            others = [g for g in range(len(classes)) if classes[g] == query]
            assert found in others
            assert cost[query, found] == pytest.approx(min(cost[query, g] for g in others), abs=1e-4)
        free = rows >= prompted
        assert (rows[free] - prompted).tolist() == alone[frame][0].tolist()
        assert columns[free].tolist() == alone[frame][1].tolist()


@pytest.mark.parametrize("counts", [[2, 3], [3, 0], [0, 0], [6, 1]], ids=str)
def test_losses_are_their_formulas(counts: list[int]) -> None:
    """No masks at all, more masks than queries: all are defined."""
    layer, targets = random_case(4, counts)
    matches = match(layer, targets, config())
    number = max(1, sum(counts))
    found = segmentation_losses(
        [[Layer(layer.class_logits[i], layer.mask_logits[i])] for i in range(len(counts))], targets, config()
    )
    bce, dice, entropy, weights = 0.0, 0.0, 0.0, 0.0
    for frame, (rows, columns) in enumerate(matches):
        wanted = {int(q): int(g) for q, g in zip(rows, columns, strict=True)}
        for q in range(4):
            scores = layer.class_logits[frame, q].double().numpy()
            name = int(targets[frame].classes[wanted[q]]) if q in wanted else 3
            weight = 1.0 if q in wanted else 0.1
            entropy += weight * (math.log(np.exp(scores).sum()) - scores[name])
            weights += weight
            if q in wanted:
                pair = (layer.mask_logits[frame, q].double().numpy(), targets[frame].masks[wanted[q]].double().numpy())
                bce += plain_bce(*pair)
                dice += plain_dice(*pair)
    assert found["loss_cls"].item() == pytest.approx(2 * entropy / weights, rel=1e-5)
    assert found["loss_mask"].item() == pytest.approx(5 * bce / number, rel=1e-5)
    assert found["loss_dice"].item() == pytest.approx(5 * dice / number, rel=1e-5)


def test_every_layer_is_matched_and_weighed_alike() -> None:
    layers = [random_case(4, [2, 1], seed=seed)[0] for seed in range(3)]
    targets = random_case(4, [2, 1])[1]
    frames = [[Layer(x.class_logits[i], x.mask_logits[i]) for x in layers] for i in range(2)]
    together = segmentation_losses(frames, targets, config())
    assert len(together) == 9
    for suffix, number in (("", 2), ("_0", 0), ("_1", 1)):
        alone = segmentation_losses([[frame[number]] for frame in frames], targets, config())
        for name, loss in alone.items():
            assert torch.equal(together[name + suffix], loss)
    assert segmentation_losses([], [], config()) == {}


def test_without_masks_the_graph_stays_whole() -> None:
    """A frame where nothing is to be found teaches only the classes, but every tensor has its gradient."""
    layer, targets = random_case(4, [0])
    inputs = Layer(layer.class_logits[0].requires_grad_(), layer.mask_logits[0].requires_grad_())
    sum(segmentation_losses([[inputs]], targets, config(points=16)).values()).backward()  # type: ignore[union-attr]
    assert inputs.class_logits.grad is not None
    assert inputs.class_logits.grad.abs().sum() > 0
    assert inputs.mask_logits.grad is not None
    assert not inputs.mask_logits.grad.any()


def test_conditions_that_do_not_exist_add_nothing() -> None:
    """A sample padded with two conditions has the loss of the sample without them."""
    layer, targets = random_case(5, [3])
    padding = torch.full((1, 5, 2), -1e6)
    padded = Layer(
        torch.cat([layer.class_logits[..., :-1], padding, layer.class_logits[..., -1:]], -1), layer.mask_logits
    )
    matches = match(layer, targets, config())
    assert [torch.equal(a, b) for a, b in zip(match(padded, targets, config())[0], matches[0], strict=True)] == [
        True
    ] * 2
    ours, theirs = (layer_losses(x, targets, matches, 3.0, config()) for x in (padded, layer))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_matching_survives_broken_predictions(bad: float) -> None:
    layer, targets = random_case(4, [2])
    layer.mask_logits[0, 1] = bad
    ((rows, _),) = match(layer, targets, config())
    assert 1 not in rows


def test_a_class_for_every_mask() -> None:
    with pytest.raises(InputError, match=r"2 classes for 3 masks.*one class for every mask"):
        Targets(torch.zeros(2, dtype=torch.long), torch.zeros(3, 4, 4))


# --- points -----------------------------------------------------------------------------------------------------------


def test_points_read_masks_at_pixel_centres() -> None:
    mask = torch.arange(12.0).view(1, 3, 4)
    centres = torch.tensor([[((x + 0.5) / 4, (y + 0.5) / 3) for y in range(3) for x in range(4)]])
    assert torch.allclose(sample_points(mask, centres), mask.flatten(1), atol=1e-5)
    between = torch.tensor([[[2 / 4, 1.5 / 3]]])
    assert sample_points(mask, between).item() == pytest.approx(5.5)


def test_most_loss_points_are_where_the_mask_is_uncertain() -> None:
    """Three in four are the least certain quarter of three times as many candidates; the rest is spread evenly."""
    torch.manual_seed(0)
    ramp = torch.linspace(-10, 10, 200).expand(2, 200, 200).contiguous()
    truth = (ramp > 0).float()
    logits, labels = losses._sample_for_loss(ramp, truth, config(points=4000))
    assert logits.shape == labels.shape == (2, 4000)
    uncertain, even = logits[:, :3000].abs(), logits[:, 3000:].abs()
    assert 2.2 < uncertain.max() < 2.8, "a quarter of the candidates lies within a quarter of the ramp"
    assert even.mean() == pytest.approx(5, abs=0.3)
    assert ((logits > 0) == (labels > 0.5)).float().mean() > 0.99


def test_points_estimate_every_pixel() -> None:
    torch.manual_seed(0)
    layer, targets = random_case(4, [3])
    exact, sampled = (
        losses._cost(layer.class_logits[0], layer.mask_logits[0], targets[0], config(points)) for points in (0, 20_000)
    )
    # Points lie between pixels too, where the two masks are interpolated: near, not equal.
    assert (exact - sampled).abs().mean() < 1.0
    assert torch.corrcoef(torch.stack([exact.flatten(), sampled.flatten()]))[0, 1] > 0.9


# --- words ------------------------------------------------------------------------------------------------------------


def supervised(model: X2SamModel) -> tuple[Tensor, Tensor]:
    """Normed states of two samples, and labels for the ends of both."""
    batch = collate(
        [Request(model.config, 1).picture().words(3).phrase(2).seg(), Request(model.config, 2).words(12).seg()]
    )
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    labels[0, :-3], labels[1, :5] = -100, -100
    return model.understand(**batch).normed, labels


def test_the_language_loss_is_the_usual_one(model: X2SamModel) -> None:
    normed, labels = supervised(model)
    logits = model.language.model.lm_head(normed)
    theirs = model.language.model.loss_function(logits, labels, vocab_size=logits.shape[-1])
    assert torch.allclose(model.language.loss(normed, labels), theirs, rtol=1e-6)
    assert torch.allclose(theirs, F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()))


def test_only_supervised_words_get_logits(model: X2SamModel) -> None:
    normed, labels = supervised(model)
    seen: list[torch.Size] = []
    hook = model.language.model.lm_head.register_forward_hook(lambda _, args, __: seen.append(args[0].shape))
    model.language.loss(normed, labels)
    nothing = model.language.loss(normed, torch.full_like(labels, -100))
    hook.remove()
    assert seen == [(int((labels[:, 1:] != -100).sum()), normed.shape[-1])]
    assert nothing.item() == 0
    assert nothing.requires_grad


def test_alignment_is_lowest_for_the_right_mask_under_the_right_name() -> None:
    masks = torch.zeros(2, 16, 16)
    masks[0, :8, :8] = masks[1, 8:, 8:] = 1
    target = Targets(torch.tensor([0, 2]), masks)
    right = torch.full((3, 16, 16), -20.0)
    right[0, :8, :8] = right[2, 8:, 8:] = 20.0
    swapped = right[[2, 1, 0]]
    silent = torch.full((3, 16, 16), -20.0)
    best, worst, nothing = (float(alignment_loss([(logits, target)])) for logits in (right, swapped, silent))
    assert best < 1e-3 < nothing < worst

    empty = Targets(torch.zeros(0, dtype=torch.long), torch.zeros(0, 16, 16))
    assert float(alignment_loss([(silent, empty)])) < 1e-3
