"""Bulk annotation: the digits of a plain loop, in shards that are there once, whatever dies or fails on the way."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("pyarrow")

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.memory import MemoryFileSystem

from x2sam import store
from x2sam.annotate import engines, finish, plan, sources, table, worker
from x2sam.annotate.command import annotate
from x2sam.annotate.engines import Resources
from x2sam.annotate.plan import Settings
from x2sam.annotate.split import pieces
from x2sam.errors import InputError, X2SamError
from x2sam.masks import RLE
from x2sam.media.video import VideoWriter
from x2sam.predictor import X2Sam

ALONE = Resources("cpu", threads=1)
NAMES = ("person", "dog")


def picture(seed: int, side: int = 48) -> np.ndarray:
    pixels = np.full((side, side + 8, 3), 40 * seed % 200, np.uint8)
    pixels[8 : 20 + seed, 5:30] = (200, 20 * seed, 30)
    return pixels


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures in two folders, one of them broken, and a film of two shots."""
    folder = tmp_path_factory.mktemp("media")
    (folder / "more").mkdir()
    for i in range(6):
        Image.fromarray(picture(i)).save(folder / ("more" if i > 3 else ".") / f"{i}.png")
    (folder / "2.png").write_bytes(b"no picture")
    with VideoWriter(folder / "film.mp4", (48, 56), 4) as film:
        for t in range(8):
            film.write(picture(1 if t < 5 else 4), t / 4)
    (folder / "notes.md").write_text("no medium")
    return folder


def settings(*given: Any, **changes: Any) -> Settings:
    return Settings(tuple(map(str, given)), **{"prompt": NAMES, "model": "tiny", "batch": 2, "shard": 3, **changes})


def rows(out: str) -> list[dict[str, Any]]:
    place = store.Store(out)
    return [row for shard in table.done_shards(place) for row in table.read_shard(place, shard)]


def shards(out: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted((out / "shards").iterdir())}


@pytest.fixture(scope="session")
def whole(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happened to."""
    out = tmp_path_factory.mktemp("whole")
    report = annotate(str(out), settings(media), ALONE, finish.FORMATS, price=3600.0)
    assert (report["inputs"], report["shards"], report["left"], report["failures"]) == (7, 3, 0, 1)
    assert report["frames"] == 5 + 8
    speed = report["this_run"]
    assert speed["cost_per_thousand"] == pytest.approx(1000 * speed["worker_seconds"] / 7, rel=0.01)
    return out


def test_the_digits_are_those_of_a_plain_loop(media: Path, whole: Path) -> None:
    model = X2Sam.from_pretrained("tiny", device="cpu")
    found = rows(str(whole))
    assert [row["name"] for row in found if row["frame"] in (0, None)] == [
        *("0.png", "1.png", "2.png", "3.png", "film.mp4", "more/4.png", "more/5.png")
    ]
    for row in (row for row in found if row["kind"] == "image"):
        wanted = model.segment(media / row["name"], list(NAMES))
        assert [s.rle for s in wanted.segments] == [s.rle for s in table.frame_of(row).segments]
        assert [s["score"] for s in row["segments"]] == pytest.approx([s.score for s in wanted.segments], abs=1e-5)
    film = model.track(media / "film.mp4", list(NAMES)).finish()
    assert [table.frame_of(row) for row in found if row["kind"] == "video"] == list(film.frames)


def test_a_bad_file_is_a_row_of_the_table_of_failures(whole: Path) -> None:
    (row,) = [json.loads(line) for line in (whole / "failures.jsonl").read_text().splitlines()]
    assert row["input"].endswith("2.png")
    assert "neither a picture nor a video" in row["error"]


def test_formats_hold_what_the_shards_hold(whole: Path) -> None:
    found = [row for row in rows(str(whole)) if row["error"] is None]
    coco = json.loads((whole / "coco.json").read_text())
    assert len(coco["images"]) == len(found) == len({image["file_name"] for image in coco["images"]})
    assert len(coco["annotations"]) == sum(len(row["segments"]) for row in found)
    for annotation in coco["annotations"]:
        assert RLE.from_coco(annotation["segmentation"]).area == annotation["area"]
    assert [c["name"] for c in coco["categories"]] == list(NAMES)
    ytvis = json.loads((whole / "ytvis.json").read_text())
    assert [(v["length"], v["file_names"][-1]) for v in ytvis["videos"]] == [(8, "film/00007.jpg")]
    film = [row for row in found if row["kind"] == "video"]
    assert sum(s is not None for a in ytvis["annotations"] for s in a["segmentations"]) == sum(
        len(row["segments"]) for row in film
    )
    tasks = json.loads((whole / "labelstudio.json").read_text())
    assert [next(iter(task["data"].values())) for task in tasks][:3] == ["0.png", "1.png", "3.png"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_that_is_killed_goes_on(
    when: str, media: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before and after its second shard is in place; the shards are byte for byte those of one run."""
    write, work, worked = table.write_shard, worker.Annotator.shard, []

    def dies(place: Any, shard: int, content: Any) -> None:
        if shard != 1 or when == "after":
            write(place, shard, content)
        if shard == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(table, "write_shard", dies)
    with pytest.raises(KeyboardInterrupt):
        annotate(str(tmp_path), settings(media), ALONE)
    monkeypatch.setattr(table, "write_shard", write)
    monkeypatch.setattr(worker.Annotator, "shard", lambda self, n: worked.append(n) or work(self, n))
    Image.fromarray(picture(7)).save(media / "new.png")  # the plan was made before it came
    try:
        report = annotate(str(tmp_path), settings(media), ALONE)
    finally:
        (media / "new.png").unlink()
    assert worked == ([1, 2] if when == "before" else [2])
    assert report["inputs"] == 7
    assert shards(tmp_path) == shards(whole)


def test_stores_that_fail_lose_nothing(media: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every third answer is a 503, source and destination alike; then none comes at all; then all is well again."""
    monkeypatch.setattr(store, "WAITS", (0.0, 0.0))
    memory, calls, share = MemoryFileSystem(), [0], [3]
    for name, content in {"0.png": 0, "1.png": 1, "3.png": 3}.items():
        memory.pipe_file(f"/source/{name}", (media / name).read_bytes())
        del content
    memory.pipe_file("/source/2.png", b"no picture")
    for name in ("cat_file", "pipe_file", "ls", "info"):
        real = getattr(MemoryFileSystem, name)

        def shaky(self: Any, *given: Any, _real: Any = real, **named: Any) -> Any:
            calls[0] += 1
            if calls[0] % share[0] == 0:
                raise OSError("503 Slow Down")
            return _real(self, *given, **named)

        monkeypatch.setattr(MemoryFileSystem, name, shaky)
    asked = settings("memory://source")
    plan.make_plan(store.Store("memory://out"), asked)
    share[0] = 1
    with pytest.raises(X2SamError, match="no answer"):
        annotate("memory://out", asked, ALONE)
    share[0] = 3
    report = annotate("memory://out", asked, ALONE)
    assert (report["inputs"], report["left"], report["failures"]) == (4, 0, 1)
    ours, theirs = rows("memory://out"), rows(str(whole))[:4]
    assert [row["segments"] for row in ours] == [row["segments"] for row in theirs]


def test_what_can_be_a_source(media: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"{media / '0.png'}\n\n{media / 'film.mp4'}\n")
    lines = [{"image": str(media / "0.png"), "prompt": "the dog"}, {"path": "x.png", "task": "img_genseg"}]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    pq.write_table(pa.Table.from_pylist([{"url": "s3://a/b.jpg", "prompt": ["cat"]}]), tmp_path / "list.parquet")
    for source, wanted in {
        str(media / "*.png"): ["0.png", "1.png", "2.png", "3.png"],
        str(media / "more"): ["4.png", "5.png"],
        str(media / "0.png"): ["0.png"],
        str(tmp_path / "list.txt"): ["0.png", "film.mp4"],
        str(tmp_path / "list.jsonl"): ["0.png", "x.png"],
        str(tmp_path / "list.parquet"): ["b.jpg"],
    }.items():
        assert [item["name"] for item in sources.items([source])] == wanted, source
    asked = list(sources.items([str(tmp_path / "list.jsonl"), str(tmp_path / "list.parquet")]))
    assert [item.get("prompt") for item in asked] == ["the dog", None, ["cat"]]
    assert asked[1]["input"] == str(tmp_path / "x.png")
    (tmp_path / "list.jsonl").write_text('{"name": 3}\n')
    for source in (str(tmp_path / "list.jsonl"), str(tmp_path / "*.gif")):
        with pytest.raises(InputError):
            list(sources.items([source]))


def test_a_run_with_other_settings_is_refused(media: Path, whole: Path) -> None:
    with pytest.raises(InputError, match="prompt"):
        annotate(str(whole), settings(media, prompt=("cat",)), ALONE)


@pytest.mark.parametrize(("split", "wanted"), [("1", [[0, 4], [4, 8]]), ("shots", [[0, 5], [5, 8]]), ("9", [None])])
def test_films_are_cut_where_asked(split: str, wanted: list[Any], media: Path) -> None:
    item = {"input": str(media / "film.mp4"), "name": "film.mp4"}
    assert [piece.get("frames") for piece in pieces(item, split)] == wanted
    assert list(pieces({"input": "0.png", "name": "0.png"}, split)) == [{"input": "0.png", "name": "0.png"}]


def test_pieces_of_a_film_are_one_video_again(media: Path, tmp_path: Path) -> None:
    asked = settings(media / "film.mp4", split="shots", shard=1)
    annotate(str(tmp_path), asked, ALONE, ("ytvis",))
    found = rows(str(tmp_path))
    assert [row["frame"] for row in found] == list(range(8))
    assert [row["time"] for row in found] == pytest.approx([t / 4 for t in range(8)])
    assert [row["index"] for row in found] == [0] * 5 + [1] * 3
    (video,) = json.loads((tmp_path / "ytvis.json").read_text())["videos"]
    assert video["length"] == 8


@pytest.mark.slow
def test_ray_makes_the_same_shards(media: Path, whole: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    report = annotate(str(tmp_path), settings(media), Resources("cpu", 1, workers=2), engine="ray")
    assert report["left"] == 0
    assert shards(tmp_path) == shards(whole)


@pytest.mark.parametrize("address", ["", "ray://nowhere:1"])
def test_a_ray_that_does_not_start_is_said_in_a_sentence(address: str) -> None:
    """It raises plain exceptions, of many lines."""

    def init(*_: Any, **__: Any) -> None:
        raise Exception("The current node timed out during startup.\nThis could happen because ...")

    with pytest.raises(InputError, match=r"timed out during startup\.\).*--workers") as told:
        engines._init(SimpleNamespace(init=init), Resources("cpu", 1, workers=2, address=address))
    assert "\n" not in str(told.value)
