"""Names and places: the user's own are kept, no two results share one, and words are not mistaken for files."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from x2sam import cli
from x2sam.commands import runner
from x2sam.errors import InputError
from x2sam.masks import RLE
from x2sam.media.opening import open_media
from x2sam.names import cache_folder, stem_of
from x2sam.results.outputs import Outputs
from x2sam.results.result import Result
from x2sam.types import Condition, FrameResult, Prompt, Segment

PIXELS = np.zeros((6, 8, 3), np.uint8)
names = st.text(st.characters(codec=None), min_size=1, max_size=300)


def photo(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(PIXELS).save(path, format="PNG")
    return path


def result(path: Path) -> Result:
    clip = open_media(path)
    mask = np.zeros(clip.size, bool)
    mask[2:4, 2:6] = True
    found = tuple(
        FrameResult(i, None, *clip.size, (Segment(RLE.encode(mask), "dog", 0.9, 1, frame=i),))
        for i in range(clip.length or 1)
    )
    return Result("img_refseg", "", found, Prompt((Condition("dog"),)), clip)


def outputs(out: Path, *formats: str, inputs: int = 1, overwrite: bool = False) -> tuple[Outputs, list[str]]:
    said: list[str] = []
    return Outputs(str(out), formats, inputs, overwrite, said.append), said


# --- stems ------------------------------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(names)
def test_a_stem_can_be_stored_anywhere(name):
    stem = stem_of(name)
    assert stem
    assert len(stem.encode()) <= 181
    assert not set(stem) & set('\\/:*?"<>|\0\n')
    assert stem not in (".", "..")
    assert stem == stem.strip(" .")
    assert stem_of(stem + ".png") == stem, "and stays what it is"


@pytest.mark.parametrize(
    "name", ["my photo", "IMG (1)", "shot@2x", "x [1]", "😀", "été", "漢字", "a+b,c=d", "noending"]
)
def test_the_users_own_names_are_kept(name, tmp_path):
    assert stem_of(f"{name}.jpg") == name
    made = result(photo(tmp_path / f"{name}.png"))
    made.save(tmp_path / "c.json", "coco")
    made.save(tmp_path / "yolo", "yolo")
    made.save(tmp_path / "davis", "davis")
    assert json.loads((tmp_path / "c.json").read_text("utf-8"))["images"][0]["file_name"] == f"{name}.png"
    assert (tmp_path / "yolo" / f"{name}.txt").exists()
    assert (tmp_path / "davis" / f"{name}.png").exists()


def test_frames_of_one_stem_have_files_of_their_own(tmp_path):
    for name in ("a.png", "a.jpg", "b.png"):
        Image.fromarray(PIXELS).save(photo(tmp_path / "frames" / name))
    result(tmp_path / "frames").save(tmp_path / "yolo", "yolo")
    assert sorted(p.name for p in (tmp_path / "yolo").glob("*.txt")) == ["a.jpg.txt", "a.png.txt", "b.txt"]


def test_names_that_are_not_utf8_are_written_as_json_escapes(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    try:
        path = photo(tmp_path / name)
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    result(path).save(tmp_path / "c.json", "coco")
    assert json.loads((tmp_path / "c.json").read_text("utf-8"))["images"][0]["file_name"] == name


def test_without_a_home_there_is_a_cache(monkeypatch):
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert cache_folder().name == "x2sam"


# --- places -----------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(chosen=st.lists(st.sampled_from(["d/a.png", "e/a.png", "a.jpg", "A.png", "x (1).png", "x [1].png"]), min_size=1))
def test_no_two_results_of_a_run_share_a_place(tmp_path_factory, chosen):
    root = tmp_path_factory.mktemp("run")
    places, _ = outputs(root / "out", "result", "yolo", inputs=len(chosen))
    written: list[Path] = []
    for name in chosen:
        made = result(photo(root / name))
        written += places.write(made, places.plan(made.clip))
    assert len({str(path).lower() for path in written}) == 2 * len(chosen)
    assert all(path.exists() for path in written)


def test_nothing_is_written_over_unless_it_is_said(tmp_path):
    made = result(photo(tmp_path / "a.png"))
    for count, overwrite in ((1, False), (2, False), (2, True)):
        places, said = outputs(tmp_path / "out", "result", overwrite=overwrite)
        places.write(made, places.plan(made.clip))
        assert len(list((tmp_path / "out").iterdir())) == count
        assert bool(said) == (count == 2 and not overwrite)
    with pytest.raises(InputError, match="--overwrite"):
        outputs(tmp_path / "out" / "a.result.json", "result")
    outputs(tmp_path / "out" / "a.result.json", "result", overwrite=True)


def test_a_folder_that_holds_something_is_not_mixed_with(tmp_path):
    made = result(photo(tmp_path / "a.png"))
    for name in ("yolo", "davis"):
        places, _ = outputs(tmp_path / "labels", name)
        if name == "davis":
            with pytest.raises(InputError, match="exists"):
                places.plan(made.clip)
        else:
            assert places.write(made, places.plan(made.clip)) == [tmp_path / "labels"]


@pytest.mark.parametrize(
    ("out", "formats", "inputs", "said"),
    [
        ("a file", (), 1, "cannot be done"),
        ("a file/deeper", (), 1, "cannot be done"),
        ("one.png", (), 2, "one file"),
        ("x" * 300, (), 1, "cannot be done"),
        ("nul\0", (), 1, "cannot be done"),
        ("out", ("nothing",), 1, "'nothing'"),
    ],
)
def test_what_cannot_be_made_is_known_before_the_work(tmp_path, out, formats, inputs, said):
    (tmp_path / "a file").write_text("")
    with pytest.raises(InputError, match=said):
        outputs(tmp_path / out, *formats, inputs=inputs)


@pytest.mark.parametrize(
    ("out", "is_file"), [("a.png", True), ("run.v2", False), ("old.png", False), ("a.json/", False)]
)
def test_files_and_folders(tmp_path, out, is_file):
    (tmp_path / "old.png").mkdir()
    places = Outputs(f"{tmp_path}/{out}", (), 1, False, print)
    assert places.is_file is is_file


def test_a_format_that_does_not_fit_is_refused_before_the_work(tmp_path):
    clip = open_media(photo(tmp_path / "a.png"))
    for out, formats in (("out", ("ytvis",)), ("out.mp4", ()), ("out.json", ("overlay",))):
        places, _ = outputs(tmp_path / out, *formats)
        with pytest.raises(InputError):
            places.plan(clip)


# --- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "asked", "media", "prompts"),
    [
        (["photo.jpg", "dog"], False, ["photo.jpg"], ["dog"]),
        (["photo.jpg", "7"], False, ["photo.jpg"], ["7"]),
        (["0", "cup"], False, ["0"], ["cup"]),
        (["0", "1", "cup"], False, ["0", "1"], ["cup"]),
        (["photo.jpg", "St.Bernard"], False, ["photo.jpg"], ["St.Bernard"]),
        (["photo.jpg", "dog", "-p"], True, ["photo.jpg", "dog"], ["-p"]),
        (["photo.jpg", "b.jpg"], False, ["photo.jpg", "b.jpg"], []),
        (["photo.jpg", "dog/1.jpg"], False, ["photo.jpg", "dog/1.jpg"], []),
        (["dog", "cup"], False, ["dog"], ["cup"]),
        (["dog/*.jpg", "what is this?"], False, ["dog/1.jpg", "dog/2.jpg"], ["what is this?"]),
        (["photo.jpg", "w" * 5000], False, ["photo.jpg"], ["w" * 5000]),
        (["photo.jpg", "a\0b"], False, ["photo.jpg"], ["a\0b"]),
        (["photo.jpg", "~dog"], False, ["photo.jpg"], ["~dog"]),
        (["photo.jpg", "the man in photo.jpg"], False, ["photo.jpg"], ["the man in photo.jpg"]),
        (["photo.jpg", "[red] cup"], False, ["photo.jpg"], ["[red] cup"]),
        (["http://a.org/x", "dog"], False, ["http://a.org/x"], ["dog"]),
    ],
)
def test_media_and_words(tmp_path, monkeypatch, words, asked, media, prompts):
    monkeypatch.chdir(tmp_path)
    for name in ("photo.jpg", "b.jpg", "dog/1.jpg", "dog/2.jpg"):
        photo(tmp_path / name)
    assert runner.split_inputs(words, asked) == (media, prompts)


@settings(max_examples=100, deadline=None)
@given(st.lists(names, min_size=1, max_size=4), st.booleans())
def test_any_words_can_be_given(words, asked):
    media, prompts = runner.split_inputs(words, asked)
    assert media
    assert len(media) + len(prompts) >= len(words)


@pytest.mark.parametrize("name", ["~backup.png", "~", "a b.png", "100%.png"])
def test_files_with_names_that_mean_something_to_shells(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    photo(tmp_path / name)
    assert open_media(name).size == (6, 8)


def test_a_folder_of_everything_gives_a_line_for_each(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("a/1.png", "b/1.png", "b/2.png"):
        photo(tmp_path / name)
    (tmp_path / "b" / "notes.txt").write_text("no picture")
    (tmp_path / "b" / "empty.jpg").touch()
    (tmp_path / "b" / "folder").mkdir()
    with pytest.raises(SystemExit) as end:
        cli.main(["*/*", "dog", "-m", "tiny", "-o", "out", "-f", "result"])
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    assert end.value.code == 2
    assert len(lines) == 6
    assert [line["input"] for line in lines if "error" in line] == ["b/empty.jpg", "b/folder", "b/notes.txt"]
    assert len({place for line in lines for place in line.get("outputs", ())}) == 3
    assert "Traceback" not in err
    assert "1-2" in err, "the second is numbered, and it is said"


@pytest.mark.parametrize("name", ["a.png", "film.gif", "frames"])
def test_results_go_through_pickle(tmp_path, name):
    path = tmp_path / name
    if name == "film.gif":
        shades = [Image.new("L", (8, 6), level) for level in (0, 200)]
        shades[0].save(path, save_all=True, append_images=shades[1:], duration=100)
    else:
        photo(path / "1.png" if name == "frames" else path)
    made = result(path)
    copy = pickle.loads(pickle.dumps(made))
    assert copy.to_dict() == made.to_dict()
    assert np.array_equal(copy.clip.frame_at(0), made.clip.frame_at(0))
    copy.save(tmp_path / "cut", "cutouts")
    with pytest.raises(InputError, match="comes once"):
        pickle.dumps(open_media(iter([PIXELS])))
