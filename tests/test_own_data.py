"""Own data: a folder of annotations becomes tasks to train on, and trains."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from x2sam.data.families.sample_jsonl import write
from x2sam.data.own import open_own
from x2sam.errors import DataError, InputError
from x2sam.masks import RLE
from x2sam.train.loop import train
from x2sam.train.recipes import resolve
from x2sam.types import Condition, ObjectTrack, Prompt, Sample

SIDE = 48


def square(x: int) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[10:30, x : x + 15] = True
    return mask


def coco(folder: Path, count: int = 12) -> None:
    """A COCO folder: every picture has a cup, every other one a spoon too; the last has nothing."""
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for i in range(count):
        pixels = np.full((SIDE, SIDE, 3), 40, np.uint8)
        images.append({"id": i, "file_name": f"{i}.png", "height": SIDE, "width": SIDE})
        for k in range(0 if i == count - 1 else 1 + i % 2):
            mask = square(3 + 22 * k)
            pixels[mask] = (200, 30 + 150 * k, 30)
            code = RLE.encode(mask).to_coco()
            annotations.append(
                {
                    "id": 10 * i + k + 1,
                    "image_id": i,
                    "category_id": k + 1,
                    "segmentation": code,
                    "iscrowd": 0,
                    "area": 1,
                }
            )
        Image.fromarray(pixels).save(folder / "images" / f"{i}.png")
    categories = [{"id": 1, "name": "cup"}, {"id": 2, "name": "spoon"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(content))


def test_a_coco_folder_serves_names_and_regions(tmp_path: Path) -> None:
    coco(tmp_path)
    data, held_out = open_own(tmp_path), open_own(tmp_path, "val")
    assert data.lengths == {"img_genseg": 11, "img_intseg": 11}
    assert held_out.lengths == {"img_genseg": 1, "img_intseg": 1}
    sample = data.sample("img_genseg", 1)
    assert set(sample.prompt.labels) == {"cup", "spoon"}
    assert {sample.prompt.labels[t.condition] for t in sample.objects} == {"cup", "spoon"}
    for index in range(11):
        marked = data.sample("img_intseg", index)
        assert marked.task == "img_intseg"
        for track in marked.objects:
            region = marked.prompt.conditions[track.condition].region
            assert region.object_id == track.object_id
            assert (region.mask & track.masks[0].decode()).any()
    again = open_own(tmp_path).sample("img_intseg", 3)
    assert again.prompt == data.sample("img_intseg", 3).prompt


def test_a_picture_with_nothing_on_it_is_still_asked_about(tmp_path: Path) -> None:
    coco(tmp_path)
    for seed in range(12):
        data = open_own(tmp_path, seed=seed)
        assert all(data.sample("img_genseg", i).prompt.labels for i in range(data.lengths["img_genseg"]))
        assert not data.sample("img_genseg", 10).objects


def test_json_lines_bring_their_own_tasks(tmp_path: Path) -> None:
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    samples = [
        Sample(
            str(i),
            task,
            [pixels],
            Prompt((Condition(text=f"thing {i}"),)),
            (ObjectTrack(1, 0, (RLE.encode(square(5)),)),),
        )
        for i, task in enumerate(["img_refseg", "img_reaseg", "img_refseg"])
    ]
    write(samples, tmp_path / "mine.jsonl")
    data = open_own(tmp_path)
    assert data.lengths == {"img_refseg": 2, "img_reaseg": 1}
    assert data.sample("img_refseg", 1).prompt.labels == ("thing 2",)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no annotations"):
        open_own(tmp_path)
    coco(tmp_path)
    (tmp_path / "images" / "0.png").unlink()
    with pytest.raises(DataError, match=r"the picture 0\.png is missing"):
        open_own(tmp_path)
    config = resolve("finetune", [f"source={tmp_path / 'nowhere'}", "init=", "preset=tiny"])
    with pytest.raises(InputError, match="a folder"):
        train(config)


def test_own_data_train(tmp_path: Path) -> None:
    coco(tmp_path / "data")
    config = resolve(
        "finetune",
        [
            *(
                f"source={tmp_path / 'data'}",
                f"out={tmp_path / 'run'}",
                "init=",
                "preset=tiny",
                "tasks=img_genseg,img_intseg",
            ),
            *("updates=2", "image_batch=2", "validate_every=0", "validation_samples=1", "workers=0", "lora_rank=2"),
        ],
    )
    folder = train(config)
    assert (folder / "model.safetensors").exists()
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert {"img_genseg", "img_intseg"} == set(log[-1]["validation"])
