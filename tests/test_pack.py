"""Data at rest: what is packed comes back the same, from anywhere, and a run on it ends in the same weights."""

from __future__ import annotations

import json
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem
from safetensors.torch import load_file

from x2sam import cli
from x2sam.data.base import Records
from x2sam.data.own import open_own
from x2sam.data.pack import PackedData, pack
from x2sam.data.world import World
from x2sam.errors import DataError, InputError
from x2sam.evaluate.splits import find_split, open_records
from x2sam.tasks import TASKS
from x2sam.train.loop import train
from x2sam.train.sources import open_source
from x2sam.types import Sample

sys.path.insert(0, str(Path(__file__).parent))
from test_own_data import coco
from test_train import tiny_run


def same(one: Sample, other: Sample) -> bool:
    pixels = len(one.frames) == len(other.frames) and all(map(np.array_equal, one.frames, other.frames))
    names = ("sample_id", "task", "prompt", "objects", "answer", "times", "ignore")
    return pixels and all(getattr(one, name) == getattr(other, name) for name in names)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_comes_back_the_same(task: str) -> None:
    """From memory, three to a tar, so that the last tar is not full."""
    world = World("train", size=(64, 64), frames=2)
    samples = Records(4, lambda index: world.sample(task, index))
    dest = f"memory://pack-{task}"
    assert pack({"train": {task: samples}}, dest, shard=3)["parts"] == {"train": {task: 4}}
    packed = PackedData(dest)
    assert all(same(packed.sample(task, i), samples[i]) for i in (3, 0, 2, 1))


def test_a_folder_of_own_data_is_packed_streamed_and_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coco(tmp_path / "mine")
    cli.app(["data", "pack", str(tmp_path / "mine"), "--out", str(tmp_path / "pack")], standalone_mode=False)
    head = json.loads(capsys.readouterr().out)
    assert head["parts"]["train"] == open_own(tmp_path / "mine").lengths
    with tarfile.open(tmp_path / "pack" / "shards" / "train.img_genseg.00000.tar") as tar:
        names = tar.getnames()
    assert names[:2] == ["00000000.json", "00000000.00000.png"]  # a reader for WebDataset takes them as they are
    split = find_split(f"packed:{tmp_path / 'pack'}#img_genseg")
    records = open_records(split, None)
    assert split.metrics
    assert all(map(same, records, open_own(tmp_path / "mine", "val").records["img_genseg"]))
    with pytest.raises(InputError, match="several tasks"):
        find_split(f"packed:{tmp_path / 'pack'}")
    with pytest.raises(DataError, match=r"no pack\.json"):
        open_source("memory://nowhere", "train", 64, 2)


def test_a_run_on_a_pack_goes_on_in_the_middle_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs, each stopped after three updates and gone on with: one on the folder, one on a pack in a store."""
    coco(tmp_path / "mine")
    data = {part: open_own(tmp_path / "mine", part).records for part in ("train", "val")}
    pack(data, "memory://trained", shard=5)
    read: list[int] = []
    real = MemoryFileSystem.cat_file
    monkeypatch.setattr(
        MemoryFileSystem, "cat_file", lambda self, path, *a, **k: read.append(1) or real(self, path, *a, **k)
    )
    tasks = {"img_genseg": 1, "img_intseg": 1}
    common = {"tasks": tasks, "image_batch": 1, "validation_samples": 0, "save_every": 3}
    models = []
    for name, source in {"folder": str(tmp_path / "mine"), "pack": "memory://trained"}.items():
        train(tiny_run(tmp_path / name, source=source, updates=3, **common))
        models.append(
            load_file(train(tiny_run(tmp_path / name, source=source, updates=5, **common)) / "model.safetensors")
        )
    assert read
    assert all(torch.equal(weight, models[1][name]) for name, weight in models[0].items())
