"""Own data: a folder of annotations becomes tasks to train on, and trains."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from x2sam import cli
from x2sam.data.families.sample_jsonl import write
from x2sam.data.own import check_own, open_own
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


# --- what other people's tools write ----------------------------------------------------------------------------------


def exported(
    folder: Path, change: Callable[[dict[str, Any]], object] = lambda c: None, turned: int = 1, name: str = "a.json"
) -> Path:
    """Two stored pictures of 40x30 pixels with a cup at their left edge, annotated as they are stored."""
    folder.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = turned
    for i in (1, 2):
        pixels = np.full((30, 40, 3), 60, np.uint8)
        pixels[4:20, 2:10] = (220, 20, 20)
        Image.fromarray(pixels).save(folder / f"{i}.jpg", exif=exif, quality=95)
    outline = [2, 4, 10, 4, 10, 20, 2, 20]
    content = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 40, "height": 30} for i in (1, 2)],
        "categories": [{"id": 1, "name": "cup"}, {"id": 2, "name": "dog"}],
        "annotations": [{"id": i, "image_id": i, "category_id": i, "segmentation": [outline]} for i in (1, 2)],
    }
    change(content)
    (folder / name).write_text(json.dumps(content))
    return folder


def problems(folder: Path) -> list[str]:
    return [problem.text for problem in check_own(folder)]


@pytest.mark.parametrize("turned", [1, 5, 6, 7, 8])
@pytest.mark.parametrize("noted", ["stored", "shown"])
def test_masks_lie_on_photos_however_these_are_turned(tmp_path: Path, turned: int, noted: str) -> None:
    def shown(content: dict[str, Any]) -> None:
        """Annotated on the upright photo, where there is no telling what was drawn: all of it."""
        for image, annotation in zip(content["images"], content["annotations"], strict=True):
            image.update(width=30, height=40)
            annotation["segmentation"] = [[0, 0, 30, 0, 30, 40, 0, 40]]

    change = shown if noted == "shown" and turned > 1 else lambda c: None
    folder = exported(tmp_path, change, turned)
    assert problems(folder) == []
    sample = open_own(folder).sample("img_genseg", 0)
    mask = sample.objects[0].masks[0].decode()
    assert mask.shape == sample.frames[0].shape[:2] == ((40, 30) if turned > 1 else (30, 40))
    if noted == "stored":
        red = (sample.frames[0][..., 0] > 150) & (sample.frames[0][..., 1] < 90)
        assert (red & mask).sum() > 0.9 * (red | mask).sum()


@pytest.mark.parametrize(
    ("turned", "change", "said"),
    [
        (3, lambda c: None, "EXIF turns"),
        (
            1,
            lambda c: [i.update(width=30, height=40) for i in c["images"]],
            "2: 30x40 pixels, but 2.jpg has 40x30",
        ),
        (6, lambda c: [i.update(width=80, height=60) for i in c["images"]], "has 30x40"),
        (1, lambda c: c["annotations"][1].pop("segmentation"), "annotation 2"),
        (1, lambda c: c["annotations"][1].update(segmentation=[]), "annotation 2 of image 2: the mask []"),
        (1, lambda c: c["annotations"][1].update(segmentation=[[1, 2, 3, 4, 5, 6, 7]]), "polygon of 7 numbers"),
        (1, lambda c: c["annotations"][1].update(segmentation=None), "annotation 2"),
        (1, lambda c: c["categories"][0].update(name="()"), "category 1: the name '()'"),
        (1, lambda c: c["images"][1].update(file_name="gone.jpg"), "gone.jpg"),
        (1, lambda c: c["annotations"][1].update(category_id=9), "category 9"),
        (1, lambda c: c["annotations"][1].update(segmentation=[[60, 4, 70, 4, 70, 20]]), "object 2 has no pixel"),
        (1, lambda c: c["annotations"][1].update(segmentation=[[-9, 4, -2, 4, -2, 20]]), "object 2 has no pixel"),
        (1, lambda c: c["annotations"][1].update(segmentation=[[0.1, 0.1, 0.3, 0.1, 0.3, 0.6]]), "object 2 has no"),
    ],
)
def test_all_that_is_wrong_is_said_before_training(
    tmp_path: Path, turned: int, change: Any, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = exported(tmp_path / "data", change, turned)
    assert any(said in text for text in problems(folder)), problems(folder)
    with pytest.raises(SystemExit) as end:
        cli.main(["train", "finetune", "--data", str(folder), f"out={tmp_path / 'run'}"])
    err = capsys.readouterr().err
    assert end.value.code == 2
    assert said in err
    assert str(tmp_path / "data") in err
    assert not (tmp_path / "run").exists()


def test_no_region_is_drawn_on_an_outline_that_leaves_no_pixel(tmp_path: Path) -> None:
    """Beside the picture, or thinner than a pixel."""

    def change(content: dict[str, Any]) -> None:
        thin = [[60, 4, 70, 4, 70, 20], [5, 5, 5.1, 5, 5.1, 5.1]]
        content["annotations"] += [
            {**content["annotations"][0], "id": 7 + i, "segmentation": [outline]} for i, outline in enumerate(thin)
        ]

    data = open_own(exported(tmp_path, change))
    for index in range(6):
        assert {t.object_id for t in data.sample("img_intseg", index).objects} <= {1, 2}


def test_everything_wrong_in_a_record_is_said_at_once(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["images"][0].update(width=41)
        more = [{**content["annotations"][0], "id": 7, "segmentation": [[1, 2, 3]]}]
        content["annotations"] += [*more, {**content["annotations"][0], "id": 8, "category_id": 99}]

    told = problems(exported(tmp_path, change))
    for said in ("annotation 7 of image 1: a polygon of 3", "annotation 8 of image 1: the category 99", "41x30 pixels"):
        assert sum(said in text for text in told) == 1, told
    assert len(told) == 3


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["cup (red)", "cup (blue)"], {"cup red", "cup blue"}),
        (["Traffic-Light", "traffic_light"], {"traffic light"}),
        (["(unknown)", "dog"], {"unknown", "dog"}),
        (["cup", "cup"], {"cup"}),
        (["Straße", "犬"], {"straße", "犬"}),
    ],
)
def test_every_name_has_words_and_is_there_once(tmp_path: Path, names: list[str], labels: set[str]) -> None:
    rows = [{"id": i, "name": name} for i, name in enumerate(names, 1)]
    data = open_own(exported(tmp_path, lambda c: c.update(categories=rows)))
    found = set()
    for index in range(2):
        sample = data.sample("img_genseg", index)
        assert len(set(sample.prompt.labels)) == len(sample.prompt.labels)
        found |= set(sample.prompt.labels)
    assert found <= labels
    samples = [data.sample("img_genseg", index) for index in range(2)]
    assert {s.prompt.labels[t.condition] for s in samples for t in s.objects} == labels


def test_roots_of_exports_are_not_taught_as_absent(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["categories"] = [
            {"id": 0, "name": "things", "supercategory": "none"},
            {"id": 1, "name": "cup", "supercategory": "things"},
            {"id": 2, "name": "dog", "supercategory": "things"},
        ]

    data = open_own(exported(tmp_path, change))
    assert all("things" not in data.sample("img_genseg", i).prompt.labels for i in range(8))


@pytest.mark.parametrize(
    "outline",
    [
        [[[2, 4], [10, 4], [10, 20], [2, 20]]],
        [[2, 4], [10, 4], [10, 20], [2, 20]],
        [2, 4, 10, 4, 10, 20, 2, 20],
        [[2, 4, 10, 4, 10, 20, 2, 20], [2, 4, 10, 20]],
    ],
)
def test_outlines_in_the_forms_of_many_tools(tmp_path: Path, outline: Any) -> None:
    folder = exported(tmp_path, lambda c: [a.update(segmentation=outline) for a in c["annotations"]])
    assert problems(folder) == []
    assert open_own(folder).sample("img_genseg", 0).objects[0].masks[0].area == 8 * 16


def test_separators_of_windows(tmp_path: Path) -> None:
    exported(tmp_path / "images", name="annotations.json")
    content = json.loads((tmp_path / "images" / "annotations.json").read_text())
    (tmp_path / "images" / "annotations.json").unlink()
    for image in content["images"]:
        image["file_name"] = "images\\" + image["file_name"]
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    assert problems(tmp_path) == []
    assert open_own(tmp_path).lengths["img_genseg"] == 2


@pytest.mark.parametrize("name", ["val.json", "instances_val2017.json", "validation.json", "my-valid.json", "dev.json"])
def test_files_for_validation_by_any_usual_name(tmp_path: Path, name: str) -> None:
    exported(tmp_path, name="train.json")
    exported(tmp_path, lambda c: (c["images"].pop(), c["annotations"].pop()), name=name)
    exported(tmp_path, name="test.json")
    assert open_own(tmp_path).lengths["img_genseg"] == 2
    assert open_own(tmp_path, "val").lengths["img_genseg"] == 1


@pytest.mark.parametrize("parts", [("train", "valid", "test"), ("train", "val"), ("train", "validation")])
def test_a_folder_for_each_part(tmp_path: Path, parts: tuple[str, ...]) -> None:
    for part in parts:
        change = (lambda c: (c["images"].pop(), c["annotations"].pop())) if part.startswith("val") else (lambda c: None)
        exported(tmp_path / part, change, name="_annotations.coco.json")
    assert open_own(tmp_path).lengths["img_genseg"] == 2
    assert open_own(tmp_path, "val").lengths["img_genseg"] == 1


def test_the_layout_of_coco(tmp_path: Path) -> None:
    for part in ("train2017", "val2017"):
        exported(tmp_path / part, name=f"instances_{part}.json")
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (tmp_path / part / f"instances_{part}.json").rename(tmp_path / "annotations" / f"instances_{part}.json")
    assert open_own(tmp_path).lengths["img_genseg"] == open_own(tmp_path, "val").lengths["img_genseg"] == 2
    assert problems(tmp_path) == []


def command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, json lines, stderr."""
    code = 0
    try:
        cli.main(arguments)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    out, err = capsys.readouterr()
    return code, [json.loads(line) for line in out.splitlines() if line.startswith("{")], err


def test_the_same_folder_is_checked_previewed_trained_on_and_evaluated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = tmp_path / "mine", tmp_path / "run"
    coco(data)
    code, (line,), err = command(["data", "check", str(data)], capsys)
    assert (code, line["problems"]) == (0, 0), err
    code, (line,), err = command(["data", "preview", str(data), "-o", str(tmp_path / "sheet.png")], capsys)
    assert code == 0, err
    assert min(Image.open(line["outputs"][0]).size) > 200
    settings = [f"out={run}", "init=", "preset=tiny", "updates=1", "image_batch=2", "workers=0", "lora_rank=2"]
    code, (line,), err = command(["train", "finetune", "--data", str(data), *settings, "validation_samples=1"], capsys)
    assert code == 0, err
    assert "img_genseg: 11 to train on, 1 to validate" in err
    assert "objects: cup 10, spoon 4" in err
    assert all(len(pair) == 2 for numbers in line["before_and_after"].values() for pair in numbers.values())
    assert Path(line["picture"]).exists()
    out = tmp_path / "scores"
    code, _, err = command(["evaluate", str(data), "--model", "tiny", "--out", str(out)], capsys)
    assert code == 0, err
    numbers = json.loads((out / "results.json").read_text())["splits"]
    assert set(numbers) == {"mine/img_genseg", "mine/img_intseg"}
    assert all(split["numbers"] and not split["errors"] for split in numbers.values())


def test_an_unknown_category_is_told_before_anything_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coco(tmp_path / "mine")
    file = tmp_path / "mine" / "annotations.json"
    content = json.loads(file.read_text())
    content["annotations"][3]["category_id"] = 77
    file.write_text(json.dumps(content))
    code, lines, err = command(["train", "finetune", "--data", str(tmp_path / "mine"), f"out={tmp_path / 'r'}"], capsys)
    assert (code, lines) == (2, [])
    assert "77" in err
    assert "nothing was trained" in err
    assert not (tmp_path / "r").exists()
