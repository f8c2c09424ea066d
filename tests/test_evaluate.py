"""Evaluation: the truth scores full marks, wrong answers do not, and no way of running changes a digit."""

import dataclasses
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from x2sam.data.base import Records, lazy_frames
from x2sam.data.catalog import list_splits
from x2sam.errors import InputError
from x2sam.evaluate import report
from x2sam.evaluate.answers import VIEWS, Answer, AnswerFiles, View, answer, read_answer
from x2sam.evaluate.judges import JUDGES, judge, setting_of
from x2sam.evaluate.lmms import X2SamChat
from x2sam.evaluate.report import headline, markdown
from x2sam.evaluate.run import Score, evaluate
from x2sam.evaluate.splits import find_split, names_of, open_records
from x2sam.evaluate.submit import submit
from x2sam.masks import RLE
from x2sam.predictor import X2Sam
from x2sam.prompts import read_answer as read_phrases
from x2sam.types import Sample, Segment

SPLITS = names_of("world", all_tasks=True)
SIZE = 64


def records(name: str, count: int = 3) -> Records:
    return open_records(find_split(name), None, part="val", size=SIZE, frames=4, count=count)


def oracle(sample: Sample, index: int, broken: bool = False) -> Answer:
    """What a perfect model answers; ``broken``: with masks that are somewhere else."""
    phrases = tuple(p.text for p in read_phrases(sample.answer or "")[1]) if not sample.prompt.conditions else ()
    labels = sample.prompt.labels or phrases

    def segment(t: int, track) -> Segment:
        rle = track.masks[t]
        if broken:
            rle = RLE.encode(np.roll(~rle.decode(), 7, axis=0))
        thing = sample.prompt.conditions[track.condition].is_thing if sample.prompt.conditions else True
        return Segment(rle, labels[track.condition], 1.0, track.object_id, track.condition, t, thing)

    frames = tuple(
        tuple(segment(t, track) for track in sample.objects if track.masks[t] is not None)
        for t in range(len(sample.frames))
    )
    things = tuple(c.is_thing for c in sample.prompt.conditions)
    view = View(frames, phrases, sample.answer or "")
    return Answer(index, sample.sample_id, sample.prompt.labels, things, dict.fromkeys(VIEWS, view))


def scored(name: str, broken: bool = False) -> dict[str, float]:
    split, samples = find_split(name), list(records(name))
    answers = [oracle(sample, i, broken) for i, sample in enumerate(samples)]
    setting = setting_of(answers, "public")
    numbers: dict[str, float] = {}
    for metric in split.metrics:
        group = judge(metric).make(setting)
        for sample, said in zip(samples, answers, strict=True):
            judge(metric).score(group, sample, said, setting)
        for m in group:
            numbers = m.compute() | numbers
    return headline(Score(split, len(samples), numbers))


@pytest.mark.parametrize("name", SPLITS)
def test_the_truth_scores_full_marks_and_a_wrong_answer_does_not(name: str) -> None:
    perfect, wrong = scored(name), scored(name, broken=True)
    assert perfect
    for number, value in perfect.items():
        assert value == pytest.approx(0 if number == "IDSW" else 100), number
    main = next(iter(perfect))
    assert wrong[main] < 80  # what is absent, and found absent, stays right


def test_every_metric_of_every_split_has_a_judge_and_a_headline() -> None:
    for name in SPLITS:
        assert set(find_split(name).metrics) <= set(JUDGES)


def test_open_vocabulary_splits_hold_one_kind_of_novelty() -> None:
    for kind in ("combination", "category"):
        ids = [
            s.sample_id for s in records(f"world/img_ovseg/{'combinations' if kind == 'combination' else 'categories'}")
        ]
        assert all(f"new {kind}" in i for i in ids)


@pytest.fixture(scope="module")
def tiny() -> X2Sam:
    return X2Sam.from_pretrained("tiny")


def test_a_killed_run_goes_on_without_asking_again(tiny: X2Sam, tmp_path: Path, monkeypatch) -> None:
    split = find_split("world/img_refseg")
    whole = evaluate(tiny, split, records(split.name, 4), tmp_path / "whole")
    first = evaluate(tiny, split, records(split.name, 4), tmp_path / "parts", limit=2)
    assert first.samples == 2
    file = tmp_path / "parts" / "answers-0.jsonl"
    file.write_bytes(file.read_bytes() + b'{"index": 2, "id": "wor')  # killed in the middle of a line
    asked = []

    def counting(model, sample, index, *rest):
        asked.append(index)
        return answer(model, sample, index, *rest)

    monkeypatch.setattr("x2sam.evaluate.run.answer", counting)
    again = evaluate(tiny, split, records(split.name, 4), tmp_path / "parts")
    assert asked == [2, 3]
    assert again.numbers == whole.numbers
    evaluate(tiny, split, records(split.name, 4), tmp_path / "parts")
    assert asked == [2, 3]


def test_a_failing_sample_scores_zero_is_reported_and_asked_again(tiny: X2Sam, tmp_path: Path, monkeypatch) -> None:
    split = find_split("world/img_intseg")
    samples = list(records(split.name, 2))
    bad = dataclasses.replace(samples[1], frames=(np.zeros((0, 5, 3), dtype=np.uint8),))
    mixed = Records(2, lambda i: (samples[0], dataclasses.replace(bad, objects=samples[1].objects))[i])
    score = evaluate(tiny, split, Records(2, lambda i: [samples[0], mixed[1]][i]), tmp_path)
    assert list(score.errors) == [samples[1].sample_id]
    assert len([a for a in AnswerFiles(tmp_path).read() if a.error]) == 1
    mended = evaluate(tiny, split, Records(2, lambda i: samples[i]), tmp_path)
    assert not mended.errors


def test_a_record_that_cannot_be_read_is_reported(tiny: X2Sam, tmp_path: Path) -> None:
    split = find_split("world/img_intseg")
    samples = records(split.name, 2)

    def make(index: int) -> Sample:
        if index == 1:
            raise ValueError("broken")
        return samples[0]

    score = evaluate(tiny, split, Records(2, make), tmp_path)
    assert "broken" in next(iter(score.errors.values()))


def test_answers_survive_the_file(tiny: X2Sam) -> None:
    sample = records("world/vid_genseg", 1)[0]
    record = answer(tiny, sample, 0, ["default"], "public", "x2sam")
    assert not record.get("error"), record
    back = read_answer(json.loads(json.dumps(record)))
    assert len(back.views["default"].frames) == len(sample.frames)
    assert back.labels == sample.prompt.labels


def test_two_processes_give_the_same_digits(tiny: X2Sam, tmp_path: Path) -> None:
    name = "world/img_refseg"
    code = (
        "import sys; from pathlib import Path; from x2sam.evaluate.command import run; from x2sam import X2Sam\n"
        f"s = run(['{name}'], None, X2Sam.from_pretrained('tiny'), Path(sys.argv[1]), limit=3, size={SIZE}, part='val')"
    )
    script = tmp_path / "run.py"
    script.write_text(code)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29733"]
    env = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launch, str(script), str(tmp_path / "two")], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    two = json.loads((tmp_path / "two" / "results.json").read_text())["splits"][name]
    split = find_split(name)
    one = evaluate(tiny, split, open_records(split, None, part="val", size=SIZE, count=3), tmp_path / "one", limit=3)
    assert two["numbers"] == {k: v for k, v in one.numbers.items() if v == v} | {
        k: None for k, v in one.numbers.items() if v != v
    }


def test_markdown_stands_beside_the_paper() -> None:
    split = dataclasses.replace(find_split("world/img_genseg"), name="img_genseg_coco_panoptic_val", metrics=("pq",))
    assert "PQ 50.0 (54.1)" in markdown([Score(split, 1, {"PQ": 0.5})])


def in_files(sample: Sample, folder: Path, name: str) -> Sample:
    """A sample whose frames are files, called ``name``."""
    folder.mkdir(parents=True)
    for t, frame in enumerate(sample.frames):
        Image.fromarray(frame).save(folder / f"{t * 5:05d}.png")
    return dataclasses.replace(sample, sample_id=name, frames=lazy_frames(sorted(folder.iterdir())))


def test_phrases_are_submitted_as_a_picture_of_each_frame(tmp_path: Path) -> None:
    sample = in_files(records("world/vid_refseg", 1)[0], tmp_path / "v", "clip/" + "0")
    split = dataclasses.replace(find_split("world/vid_refseg"), hidden=True)
    path = submit(split, Records(1, lambda i: sample), [oracle(sample, 0)], tmp_path, tmp_path)
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [f"Annotations/clip/0/{t * 5:05d}.png" for t in range(4)]
        for t, name in enumerate(archive.namelist()):
            pixels = np.asarray(Image.open(archive.open(name))) == 255
            truth = [track.masks[t] for track in sample.objects if track.condition == 0]
            assert pixels.sum() == sum(mask.area for mask in truth if mask)


def test_objects_are_submitted_as_palettes_of_their_ids(tmp_path: Path) -> None:
    sample = in_files(records("world/vid_objseg", 1)[0], tmp_path / "v", "clip")
    split = dataclasses.replace(find_split("world/vid_objseg"), hidden=True)
    path = submit(split, Records(1, lambda i: sample), [oracle(sample, 0)], tmp_path, tmp_path)
    wanted = {c.region.object_id for c in sample.prompt.conditions}
    with zipfile.ZipFile(path) as archive:
        ids = {int(i) for name in archive.namelist() for i in np.unique(np.asarray(Image.open(archive.open(name))))}
    assert ids == wanted | {0}


def test_tracks_are_submitted_with_the_ids_of_the_file(tmp_path: Path) -> None:
    sample = in_files(records("world/vid_genseg", 1)[0], tmp_path / "v", "17")
    rows = [{"id": 100 + i, "name": label} for i, label in enumerate(sample.prompt.labels)]
    (tmp_path / "valid.json").write_text(json.dumps({"categories": rows}))
    split = dataclasses.replace(find_split("world/vid_genseg"), options={"json": "valid.json"}, hidden=True)
    path = submit(split, Records(1, lambda i: sample), [oracle(sample, 0)], tmp_path, tmp_path)
    entries = json.loads(path.read_text())
    assert {e["video_id"] for e in entries} == {17}
    labels = sorted(100 + track.condition for track in sample.objects)
    assert sorted(e["category_id"] for e in entries) == labels
    assert all(len(e["segmentations"]) == 4 for e in entries)


def test_a_chat_harness_can_drive_our_chat(tiny: X2Sam) -> None:
    """Requests as lmms-eval makes them; the harness itself is not needed."""
    chat = X2SamChat("tiny")
    picture = Image.fromarray(np.zeros((40, 60, 3), np.uint8))
    chat.task_dict = {"mme": {"test": [{"pictures": [picture]}, {"pictures": []}, {"pictures": [picture, picture]}]}}
    settings = {"max_new_tokens": 4, "until": ["\n"]}
    requests = [
        SimpleNamespace(args=("<image>What?", settings, lambda d: d["pictures"], i, "mme", "test")) for i in range(3)
    ]
    answers = chat.generate_until(requests)
    assert len(answers) == 3
    assert answers[0] == tiny.chat(picture, "What?", max_new_tokens=4).text.split("\n")[0].strip()
    with pytest.raises(InputError, match="likelihoods"):
        chat.loglikelihood([])


def test_a_metric_that_cannot_be_computed_is_reported(tiny: X2Sam, tmp_path: Path, monkeypatch) -> None:
    """Captions need Java: without it the other numbers stand, and the run says so."""
    monkeypatch.setattr("shutil.which", lambda program: None)
    split = dataclasses.replace(find_split("world/img_refseg"), metrics=("referring", "captions"))
    score = evaluate(tiny, split, records(split.name, 1), tmp_path)
    assert "gIoU" in score.numbers
    assert "METEOR" not in score.numbers
    assert list(score.errors) == ["the metric captions"]


def test_every_row_of_the_catalog_can_be_scored() -> None:
    for split in list_splits():
        assert set(split.metrics) <= set(JUDGES), split.name
    assert set(report.PAPER) <= {split.name for split in list_splits()}


def test_the_released_protocol_takes_two_masks_of_one_id() -> None:
    """The release links greedily and may give two segments one id; V-VGD's released numbers do not look at ids."""
    sample = records("world/vid_vgdseg", 1)[0]
    said = oracle(sample, 0)
    same = tuple(tuple(dataclasses.replace(s, object_id=1) for s in frame) for frame in said.views["instance"].frames)
    said = dataclasses.replace(said, views={"instance": View(same)})
    setting = setting_of([said], "released")
    (metric,) = group = judge("vvgd").make(setting)
    judge("vvgd").score(group, sample, said, setting)
    assert metric.compute()["AP"] == pytest.approx(1)


def test_answers_of_another_protocol_or_world_are_not_mixed_in(tiny: X2Sam, tmp_path: Path) -> None:
    split = find_split("world/img_refseg")
    evaluate(tiny, split, records(split.name, 1), tmp_path, data={"size": SIZE})
    with pytest.raises(InputError, match=r"Got other settings \(protocol, identity\)"):
        evaluate(tiny, split, records(split.name, 1), tmp_path, "released", data={"size": SIZE})
    with pytest.raises(InputError, match=r"Got other settings \(data\)"):
        evaluate(tiny, split, records(split.name, 1), tmp_path, data={"size": 2 * SIZE})
