"""What a run will take and what it costs, told before and after: counted memory, settings that fit, and the guard."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from x2sam import cli
from x2sam.errors import InputError
from x2sam.train import guard, heap
from x2sam.train.budget import Living, Trial, _halved, fit, parse_size
from x2sam.train.guard import Change, RefusedError
from x2sam.train.loop import Run, train

sys.path.insert(0, str(Path(__file__).parent))
from test_own_data import coco
from test_train import tiny_run

ONE_TASK = {"tasks": {"img_genseg": 1}, "updates": 1, "validation_samples": 0}


def test_living_tensors_are_counted_and_so_is_the_most_of_them() -> None:
    with Living() as living:
        kept = torch.zeros(1000)
        view = kept.view(10, 100)  # no new memory
        gone = kept + 1
        del gone
        more = view * 2
    assert (living.alive, living.peak) == (8000, 8000)
    del more
    assert living.alive == 4000


def test_parts_of_a_budget_are_those_of_the_run(tmp_path: Path) -> None:
    """Weights, gradients and optimiser equal what a run of one update holds; twice the batch takes more."""
    config = tiny_run(tmp_path, **ONE_TASK, image_batch=2)
    trial = Trial(config)
    budget = trial.budget()
    run = Run(config)
    run.run()
    trained = [p for p in run.model.parameters() if p.requires_grad]
    assert budget.trained == sum(p.numel() for p in trained)
    assert budget.weights == sum(t.numel() * t.element_size() for t in (*run.model.parameters(), *run.model.buffers()))
    state = run.optimizer.state_dict()["state"].values()
    held = sum(t.numel() * t.element_size() for s in state for t in s.values() if t.ndim)
    assert held == budget.optimiser == 2 * budget.gradients
    larger = trial.budget(tiny_run(tmp_path, **ONE_TASK, image_batch=4))
    assert larger.activations > budget.activations > 0
    assert sum(budget.modules.values()) == budget.trained


def test_settings_are_made_smaller_until_they_fit(tmp_path: Path) -> None:
    config = tiny_run(tmp_path, **ONE_TASK, image_batch=4, video_accumulation=1)
    samples = {c.image_batch * c.image_accumulation for c in _halved(config)}
    assert samples == {4}
    same, budget = fit(config, 2**40)
    assert same == config
    smaller, less = fit(config, budget.peak - budget.activations // 4)
    assert smaller.image_batch < 4
    assert less.peak < budget.peak
    with pytest.raises(InputError, match="at least"):
        fit(config, 2**20)
    assert parse_size("12GB") == parse_size("12 GiB".replace(" ", "")) == 12 * 2**30
    with pytest.raises(InputError):
        parse_size("12")


def test_a_dry_run_tells_and_trains_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coco(tmp_path / "mine")
    given = ["init=", "preset=tiny", "stage=all", "lora_rank=0", "threads=1", f"out={tmp_path / 'run'}"]
    words = ["train", "finetune", *given, "--data", str(tmp_path / "mine"), "--dry-run"]
    cli.app(words, standalone_mode=False)
    told = json.loads(capsys.readouterr().out)
    assert told["samples"]["train"] == {"img_genseg": 11, "img_intseg": 11}
    assert told["categories"] == ["cup", "spoon"]
    assert told["problems"] == 0
    assert told["peak_bytes"] == sum(told["parts"].values())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("most", "written"), [(-1, True), (50, True), (5, False)])
def test_a_model_that_lost_too_much_is_not_written(
    most: float, written: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores are given, so that the model surely forgot: a fifth of what it could of the world."""
    given = iter([{"own iou": 0.3, "world iou": 0.6}] + 3 * [{"own iou": 0.7, "world iou": 0.4}])
    monkeypatch.setattr(guard.Guard, "measure", lambda self, model: next(given))
    config: Any = tiny_run(tmp_path, **ONE_TASK, guard_samples=1, guard=most)
    if written:
        train(config)
    else:
        with pytest.raises(RefusedError, match=r"20\.0 points of world iou"):
            train(config)
    assert (tmp_path / "model").exists() == written
    assert not (tmp_path / "best").exists()
    assert json.loads((tmp_path / "guard.json").read_text())["verdicts"] == {"own iou": "better", "world iou": "worse"}


def test_the_guard_measures_its_own_sets(tmp_path: Path) -> None:
    """A run that does not learn keeps every score; a change of less than a point is none."""
    train(tiny_run(tmp_path, **ONE_TASK, guard_samples=1, guard=0, lr=0.0, weight_decay=0.0, world_size=64))
    told = json.loads((tmp_path / "guard.json").read_text())
    assert {name.split()[0] for name in told["before"]} == {"own", "world"}
    assert told["before"] == pytest.approx(told["after"])
    assert [Change("x", 0.5, 0.5 + d).verdict for d in (0.01, 0.011, -0.011)] == ["kept", "better", "worse"]


@pytest.mark.skipif(not heap._trim(), reason="glibc")
def test_free_memory_goes_back_to_the_system() -> None:
    """Blocks below one that is in use are kept by glibc, unless it is asked."""
    blocks = [bytes([n % 256]) * 100_000 for n in range(2000)]
    last, full = blocks.pop(), psutil.Process().memory_info().rss
    blocks.clear()
    heap.give_back()
    assert psutil.Process().memory_info().rss < full - 100e6
    del last
