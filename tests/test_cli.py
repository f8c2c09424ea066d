"""The command line as a user runs it: output, exit codes, messages, speed of --help."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_processing import prompt_for

from x2sam import cli
from x2sam.media.video import VideoWriter
from x2sam.results.export import FORMATS
from x2sam.tasks import TASKS, Task

TINY = ["--model", "tiny", "--device", "cpu"]
LONG = " ".join(["the person in the orange suit"] * 10)
"""Longer than the name of a file may be."""


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two photos, a clip, and masks."""
    folder = tmp_path_factory.mktemp("media with spaces")
    noise = np.random.default_rng(0).integers(0, 256, (90, 140, 3), dtype=np.uint8)
    for name in ("one.png", "two.png"):
        Image.fromarray(noise).save(folder / name)
    with VideoWriter(folder / "clip.mp4", (96, 144), 10.0) as writer:
        for i in range(4):
            writer.write(np.roll(np.tile(noise[:48, :48], (2, 3, 1)), 4 * i, 1))
    mask = np.zeros((90, 140), np.uint8)
    mask[20:50, 30:80] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    Image.fromarray(np.pad(mask, ((0, 6), (0, 4)))).save(folder / "clip-mask.png")
    return folder


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, JSON lines on stdout, stderr."""
    code = 0
    try:
        cli.main([str(a) for a in arguments])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    out, err = capsys.readouterr()
    return code, [json.loads(line) for line in out.splitlines() if line.startswith("{")], err


@pytest.mark.parametrize("task", [t for t in TASKS.values() if not t.is_chat], ids=lambda t: t.name)
def test_every_task_runs(task: Task, media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = media / ("clip.mp4" if task.media == "video" else "one.png")
    words = [p for c in prompt_for(task).conditions if c.text for p in ("--prompt", c.text)]
    marks = ["--mask", media / ("clip-mask.png" if task.media == "video" else "mask.png")]
    asked = {"answer": [], "regions": marks}.get(task.conditions, words)
    code, lines, err = run([source, *asked, "--task", task.name, "--threshold", "0", "--out", tmp_path, *TINY], capsys)
    assert code == 0, err
    (line,) = lines
    assert (line["task"], line["frames"]) == (task.name, 4 if task.media == "video" else 1)
    assert line["found"] or task.generates
    assert all(Path(p).stat().st_size > 0 for p in line["outputs"])
    assert len(line["outputs"]) == 2
    closing = err.strip().splitlines()[-1]
    assert closing.startswith("cpu, float32; frames: ")
    assert "peak memory" in closing


@pytest.mark.parametrize("name", ["one.png", "clip.mp4"])
def test_chat_speaks_on_stdout(name: str, media: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(["chat", media / name, "What is this?", "--max-new-tokens", "5", *TINY], capsys)
    assert code == 0, err


def test_two_words_just_work(media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    code, lines, err = run([media / "one.png", "the rabbit"], capsys)
    assert code == 0, err
    assert lines[0]["task"] == "img_refseg"
    assert (tmp_path / "x2sam-out").is_dir()


def test_every_format_is_written(media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for source, kind in (("one.png", "image"), ("clip.mp4", "video")):
        formats = [name for name, row in FORMATS.items() if kind in row.media]
        wanted = [word for name in formats for word in ("--format", name)]
        code, lines, err = run(
            [media / source, "cat", "--threshold", "0", "-o", tmp_path / kind, *wanted, *TINY], capsys
        )
        assert code == 0, err
        assert len(lines[0]["outputs"]) == len(formats)
        assert all(Path(p).exists() for p in lines[0]["outputs"])


def test_globs_and_failures_leave_other_inputs_unharmed(
    media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.png").write_text("no picture")
    arguments = [media / "o*.png", tmp_path / "broken.png", media / "two.png", "the cat", "-o", tmp_path / "out", *TINY]
    code, lines, err = run(arguments, capsys)
    assert code == 2
    assert ["error" in line for line in lines] == [False, True, False]
    assert err.count("broken.png") >= 1
    assert {p.name.split(".")[0] for p in (tmp_path / "out").iterdir()} == {"one", "two"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.png", "the cat"], "missing.png"),
        (["{media}/one.png", "cat", "--task", "img_reffseg"], "Did you mean"),
        (["{media}/one.png", "--point", "12"], "x,y"),
        (["{media}/one.png", "--point", "900,10"], "900"),
        (["{media}/one.png", "--box", "1,2,3"], "x0,y0,x1,y1"),
        (["{media}/one.png", "cat", "--threshold", "2"], "threshold"),
        (["{media}/one.png", "cat", "--format", "jpeg2"], "jpeg2"),
        (["{media}/one.png", "cat", "--model", "no/such"], "no/such"),
        (["{media}/one.png", "cat", "--device", "tpu9"], "tpu9"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [a.replace("{media}", str(media)) for a in arguments]
    defaults = [] if "--model" in words else ["--model", "tiny"]
    code, _, err = run([*words, *defaults, "--out", str(tmp_path / "out")], capsys)
    assert code == 2
    told = [line for line in err.splitlines() if line.startswith("x2sam: ") and "random weights" not in line]
    assert len(told) == 1
    assert message in told[0]
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["the cat", "{media}/one.png"], 'Did you mean this?  x2sam "{media}/one.png" "the cat"'),
        (["evalute", "world"], "Did you mean this?  x2sam evaluate world"),
        (["{media}/onee.png", "the cat"], "Did you mean {media}/one.png?"),
        (["{media}/one.png", "cat", "--format", "foo"], "Got the format 'foo'"),
        (["{media}/one.png", "cat", "--task", "img_reffseg"], "Did you mean img_refseg"),
        (["{media}/one.png", "cat", "--task", "vid_refseg"], "Did you mean img_refseg?"),
        (["{media}/one.png", "--box", "1,2,3"], "x0,y0,x1,y1"),
        (["{media}/one.png", "--point", "900,10"], "900"),
        (["{media}/one.png", "--mask", "nowhere.png"], "Got --mask 'nowhere.png'"),
        (["{media}/one.png", "--mask", "m" * 300 + ".png"], "Got --mask 'mmm"),
        (["d" * 300 + "/one.png", "cat"], "which does not exist"),
        (["{media}/one.png", "cat", "--form", "panoptc"], "Did you mean panoptic?"),
        (["{media}/one.png", "cat", "--kind", "film"], "Got --kind film"),
        (["{media}/one.png", "cat", "--threshold", "2"], "threshold"),
        (["{media}/one.png", "cat", "--threads", "0"], "Got 0 threads"),
        (["{media}/one.png", "cat", "-o", "{media}/one.png/results"], "to write to"),
        (["chat", "missing.png", "What?"], "missing.png"),
        (["evaluate", "world/img_refsegg"], "img_refseg"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_can_be_judged_is_judged_before_a_model_is_loaded(
    arguments: list[str], message: str, media: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from x2sam.predictor import X2Sam

    monkeypatch.setattr(X2Sam, "from_pretrained", lambda *_, **__: pytest.fail("a model was loaded"))
    code, _, err = run([a.replace("{media}", str(media)) for a in arguments], capsys)
    assert code == 2
    assert message.replace("{media}", str(media)) in err
    assert err.count("x2sam: ") == 1


@pytest.mark.parametrize(
    ("words", "task", "names"),
    [
        (["the cat"], "img_refseg", ["the cat"]),
        (["cat, stuff: wall"], "img_genseg", ["cat", "wall"]),
        (["-p", "cat", "-p", "dog"], "img_genseg", ["cat", "dog"]),
        (["What is red, and round?"], "img_reaseg", ["What is red, and round?"]),
        (["the red, round cup", "--task", "img_refseg"], "img_refseg", ["the red, round cup"]),
        ([LONG], "img_refseg", [LONG]),
        (["橙色衣服的人" * 45], "img_refseg", ["橙色衣服的人" * 45]),
    ],
    ids=lambda words: str(words)[:40],
)
def test_a_dry_run_says_what_an_input_is_taken_for(
    words: list[str], task: str, names: list[str], media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    code, (line,), err = run([media / "one.png", *words, "--dry-run", "-o", out, "-f", "coco"], capsys)
    assert code == 0, err
    assert (line["kind"], line["size"], line["frames"]) == ("image", [140, 90], 1)
    assert (line["task"], line["names"]) == (task, names)
    assert line["outputs"] == [str(out / "one.coco.json")]
    assert not out.exists()


def test_quiet_says_nothing_but_results_and_verbose_says_more(
    media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [media / "one.png", "cat, dog", "-o", tmp_path, "-f", "coco", "--overwrite", *TINY]
    code, (line,), err = run([*words, "-q"], capsys)
    assert (code, err, line["task"]) == (0, "", "img_genseg")
    code, _, err = run([*words, "-v"], capsys)
    assert code == 0
    assert "taken for image, img_genseg, ['cat', 'dog']" in err
    assert "1 threads" in err


def test_help_shows_the_main_form_and_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"], capsys)[0] == 0
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    shown = capsys.readouterr().out
    assert shown.splitlines()[0].startswith("Usage: x2sam PHOTO_OR_FILM")
    assert shown.count("  x2sam ") >= 3
    assert set(cli.COMMANDS) == {line.split()[0] for line in shown.partition("Commands:")[2].splitlines() if line}
    for command in ("segment", "track"):
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
        shown = capsys.readouterr().out
        assert "Images, videos, folders of frames" in shown
        assert ("--kind" in shown) is (command == "segment")


def test_track_takes_a_picture_for_a_film(media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, (line,), err = run(["track", media / "clip.mp4", "the cat", "-o", tmp_path, *TINY], capsys)
    assert (code, line["task"], line["frames"]) == (0, "vid_refseg", 4), err


def test_shells_complete_commands_tasks_and_formats(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for words, wanted in (("x2sam eva", "evaluate"), ("x2sam a.png --task img_ref", "img_refseg")):
        monkeypatch.setenv("_X2SAM_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
        with pytest.raises(SystemExit):
            cli.main([])
        assert wanted in capsys.readouterr().out.split()


def test_ctrl_c_keeps_what_is_finished(
    media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from x2sam.tracking.session import Track

    advance = Track._advance

    def interrupted(self: Track, arrival: Any) -> Any:
        if arrival[0] == 2:
            raise KeyboardInterrupt
        return advance(self, arrival)

    monkeypatch.setattr(Track, "_advance", interrupted)
    code, lines, err = run([media / "clip.mp4", "cat", "-f", "result", "-o", tmp_path, *TINY], capsys)
    assert code == 130
    assert lines[0]["interrupted"]
    assert lines[0]["frames"] == 2
    assert json.loads(Path(lines[0]["outputs"][0]).read_text())["frames"][-1]["index"] == 1
    assert "keeping the 2 finished frames" in err


def test_help_does_not_load_the_network() -> None:
    code = "import sys; sys.argv=['x2sam','--help']\nfrom x2sam import cli\ntry: cli.main()\nexcept SystemExit: pass\n"
    code += "bad = {'torch', 'transformers', 'numpy', 'PIL', 'av'} & set(sys.modules); assert not bad, bad"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "segment" in done.stdout


def test_the_task_table_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, _ = run(["tasks", "--json"], capsys)
    assert code == 0
    assert [line["name"] for line in lines] == list(TASKS)


def test_a_wrong_recipe_names_the_right_ones(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(["train", "joint_nana"], capsys)
    assert code == 2
    assert "prompted_nano" in err


def test_the_world_can_be_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, err = run(["data", "preview", "world", "--out", tmp_path / "world.png", "--count", "1"], capsys)
    assert code == 0, err
    assert min(Image.open(lines[0]["outputs"][0]).size) > 300


def test_pull_converts_a_release(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The recorded release with an adapter, given the tokenizer that a base folder has."""
    import shutil

    from x2sam.model.modeling import X2SamModel
    from x2sam.released import config_from_components
    from x2sam.testing.golden import load_model

    golden = Path(__file__).parent / "data" / "golden" / "lora"
    base = tmp_path / "base"
    shutil.copytree(golden / "base_vlm", base)
    from x2sam.testing.tiny import byte_tokenizer

    byte_tokenizer().save_pretrained(base)
    config = config_from_components(json.loads((golden / "config.json").read_text()))
    config.save_pretrained(tmp_path / "config")
    out = tmp_path / "out"
    code, lines, err = run(
        [
            "pull",
            golden / "pytorch_model.bin",
            "--base",
            base,
            "--config",
            tmp_path / "config",
            "--out",
            out,
            "--dtype",
            "float32",
        ],
        capsys,
    )
    assert code == 0, err
    assert lines[0]["outputs"] == [str(out)]
    model, wanted = X2SamModel.from_pretrained(out), load_model(golden)
    for (name, ours), theirs in zip(model.state_dict().items(), wanted.state_dict().values(), strict=True):
        assert (ours == theirs).all(), name
    code, _, err = run(["pull", golden / "pytorch_model.bin", "--base", base, "--out", out], capsys)
    assert code == 2
    assert "holds a model already" in err
