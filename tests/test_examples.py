"""Things shown in other media, everything without a prompt, limits, and how sure it is that something is there."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from test_small_model import new_small_model

from x2sam import Prompt, X2Sam, example
from x2sam.cli import main
from x2sam.decoding import limits, presence
from x2sam.decoding.candidates import AnswerOptions, Candidate
from x2sam.errors import InputError, X2SamError
from x2sam.examples import parse_example
from x2sam.masks import RLE, iou_matrix
from x2sam.media.opening import open_media
from x2sam.model.mask_decoder import Prediction
from x2sam.results.result import Result
from x2sam.tasks import TASKS
from x2sam.tracking import everything
from x2sam.tracking.likeness import by_likeness
from x2sam.train.calibration import expected_error, fit
from x2sam.types import Condition, FrameResult, Segment, Shown

BOX = (20, 10, 90, 70)


@pytest.fixture(scope="module")
def model() -> X2Sam:
    return X2Sam.from_pretrained("tiny", device="cpu")


def picture(seed: int, size: tuple[int, int] = (90, 140)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def masks(result: Result) -> list[Any]:
    return [(s.rle, round(s.score, 4)) for s in result.segments]


# --- examples ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("same", "task"), [("kind", "img_vgdseg"), ("object", "img_intseg")])
def test_an_example_enters_where_a_region_does(model: X2Sam, same: str, task: str) -> None:
    """A region of the same picture says the same as it does there; what it is the task's column says."""
    photo = picture(1)
    by_example = model.segment(photo, like=example(photo, box=BOX), same=same, threshold=0.0)
    assert by_example.task == task
    assert by_example.found
    if same == "kind":
        by_region = model.segment(photo, regions=[BOX], task=task, threshold=0.0)
        assert masks(by_example) == masks(by_region)


def test_a_film_and_a_list_are_asked_by_the_same_set(model: X2Sam, tmp_path: Path) -> None:
    shown = model.examples([example(picture(1), box=BOX, name="bolt"), example(picture(2), point=(30, 40), name="nut")])
    alone = model.segment(picture(4), like=shown, threshold=0.0)
    assert set(alone.labels) <= {"bolt", "nut"}
    assert alone.presence.keys() == {"bolt", "nut"}
    path = shown.save(tmp_path / "parts.x2sam")
    again = [
        model.segment(picture(4), like=path, threshold=0.0),
        *model.segment([picture(4)], like=shown, threshold=0.0),
    ]
    assert all(masks(result) == masks(alone) for result in again)
    film = model.track([picture(4)] * 3, like=path, threshold=0.0, max_objects=1).finish()
    assert {span for spans in film.appearances.values() for span in spans} == {(0, 2)}
    named = model.segment(picture(4), ["a", "b"], like=shown, threshold=0.0)
    assert named.presence.keys() == {"a", "b"}


def test_a_running_track_takes_examples_and_saves_them(model: X2Sam, tmp_path: Path) -> None:
    frames = [picture(4)] * 4
    session = model.open(frames, kind="video")
    track = session.track(like=example(picture(1), box=BOX), threshold=0.0)
    next(iter(track))
    path = track.save(tmp_path / "state")
    rest = model.open(frames, kind="video").restore(path).finish()
    assert masks(rest) == masks(track.finish())


def nothing() -> np.ndarray:
    return np.zeros((90, 140), bool)


BAD = {
    "no region": (lambda: example(picture(1)), "without a region"),
    "empty": (lambda: example(picture(1), mask=nothing()), "empty|no pixel|nothing"),
    "outside": (lambda: example(picture(1), box=(500, 500, 600, 600)), "outside"),
    "another size": (lambda: example(picture(1), mask=np.ones((10, 10), bool)), "10x10|\\[10, 10\\]"),
    "several": (
        lambda: example(picture(1), mask=np.array([[0, 1], [2, 0]], np.uint8).repeat(45, 0).repeat(70, 1)),
        "2",
    ),
    "no such frame": (lambda: example(picture(1), box=BOX, frame=3), "frame 3"),
    "no example": (lambda: "what", "no set of examples"),
    "a number": (lambda: 7, "for examples"),
    "none": (list, "no example"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_example_is_told_in_a_sentence(model: X2Sam, case: str) -> None:
    make, said = BAD[case]
    with pytest.raises(InputError, match=said) as error:
        model.segment(picture(4), like=make())
    assert "\n" not in str(error.value)


def header(**changes: Any) -> dict[str, str]:
    told = {"version": 1, "model": "64/0", "things": [{"name": None, "words": ""}], **changes}
    return {"x2sam.examples": json.dumps(told)}


FILES: dict[str, tuple[Any, str]] = {
    "no safetensors": (b"parts", "no set of examples"),
    "another file": (({"a": torch.ones(1)}, {}), "no set of examples"),
    "newer": (({"0.look": torch.ones(1)}, header(version=2)), "version 2"),
    "older": (({"0.look": torch.ones(1)}, header(version=0)), "version 0"),
    "header": (({"0.look": torch.ones(1)}, {"x2sam.examples": "{"}), "damaged header"),
    "surplus": (({"9.look": torch.ones(1)}, header()), "does not hold"),
    "no things": (({"0.look": torch.ones(1)}, header(things=[])), "does not hold"),
    "not a number": (({"0.look": torch.tensor([torch.nan])}, header()), "does not hold"),
    "other model": (({"0.embedding": torch.ones(1, 64)}, header()), "another model"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_cannot_be_used_is_told_in_a_sentence(model: X2Sam, tmp_path: Path, case: str) -> None:
    content, said = FILES[case]
    path = tmp_path / "parts.x2sam"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        save_file(content[0], path, metadata=content[1])
    with pytest.raises(InputError, match=said) as error:
        model.segment(picture(4), like=str(path))
    assert "\n" not in str(error.value)


def test_what_is_unlike_is_answered_no_and_the_thing_as_before() -> None:
    recognition = new_small_model().recognition
    torch.manual_seed(0)
    mean, rivals = torch.randn(recognition.centre.shape), torch.randn(2, *recognition.centre.shape)
    rivals[1] = mean + 0.3 * rivals[1]  # nearly the same
    look = torch.cat([F.normalize(mean, dim=0), torch.tensor([0.5])])

    def answer(look: torch.Tensor, x: torch.Tensor) -> float:
        return float((recognition.scale * (look[:-1] @ x - look[-1])).detach())

    apart = recognition.unlike(look, mean, rivals[1:])
    assert answer(apart, mean) == pytest.approx(answer(look, mean), abs=1e-3)
    assert answer(look, rivals[1]) > 0 > answer(apart, rivals[1])
    assert answer(recognition.unlike(look, mean, rivals), mean) == pytest.approx(answer(look, mean), abs=1e-3)


def test_of_look_alikes_the_one_that_was_shown_is_surest() -> None:
    descriptors = torch.zeros(2, 4, 4)
    descriptors[0, :, :2], descriptors[1, :, 2:] = 1.0, 1.0
    logits = torch.full((1, 2, 4, 4), -20.0)
    logits[0, 0, :, :2], logits[0, 1, :, 2:] = 20.0, 20.0
    classes = torch.tensor([[[2.0, 0.0], [1.0, 0.0]]])  # the first is surer
    prediction = Prediction(classes, logits, torch.zeros(1, 2, 3))

    def winner(**shown: Any) -> int:
        found = by_likeness(prediction, descriptors, [Condition(example=Shown(**shown))])
        return int(found.class_logits[0, :, 0].argmax())

    left, right = torch.eye(2).split(1)
    assert winner(details=left) == 0
    assert winner(details=right) == 1
    assert winner(details=torch.cat([left, right]), rival_details=left) == 1


def test_the_command_line_takes_examples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = tmp_path / "a.png", tmp_path / "b.png"
    Image.fromarray(picture(1)).save(one)
    Image.fromarray(picture(4)).save(two)
    given = parse_example(f"{one}:box=20,10,90,70:name=bolt")
    assert (given.media, given.name, given.shape) == (str(one), "bolt", {"box": BOX})
    shown = ["--like", f"{one}:box=20,10,90,70:name=bolt"]
    main_ok([str(two), *shown, "--same", "object", "--dry-run"])
    assert json.loads(capsys.readouterr().out)["task"] == "img_intseg"
    main_ok(
        [str(two), *shown, "--threshold", "0", "--max-objects", "1", "-m", "tiny", "-o", str(tmp_path / "out"), "-q"]
    )
    line = json.loads(capsys.readouterr().out)
    assert [o["label"] for o in line["objects"]] == ["bolt"]
    assert line["presence"].keys() == {"bolt"}
    for wrong in ("nowhere.png:box=1,1,2,2", f"{one}:box=1,2", f"{one}:colour=red", f"{one}:frame=x:box=1,1,2,2"):
        with pytest.raises(SystemExit) as ended:
            main([str(two), "--like", wrong])
        assert ended.value.code == 2


def test_the_service_takes_examples(model: X2Sam) -> None:
    """A picture in the body, judged as every upload is; the answer is that of the facade."""
    pytest.importorskip("fastapi")
    from x2sam.serve import schemas
    from x2sam.serve.limits import Limits
    from x2sam.serve.routes import showing
    from x2sam.tracking.engine import listen

    class Taken:
        name, size, length, kind = "b.png", (90, 140), 1, "image"

        def open(self) -> Any:
            return open_media(picture(4))

    def body(**about: Any) -> schemas.SegmentIn:
        shown = {"media": as_base64(picture(1)), "box": list(BOX), "name": "bolt", **about}
        return schemas.SegmentIn(media="x", like=[shown], options={"threshold": 0.0, "max_objects": 1})

    given = schemas.examples(body(), Limits())
    result = listen(showing(model, Taken(), body(), given, Limits()))  # type: ignore[arg-type]
    assert result.labels == ["bolt"]
    own = model.segment(picture(4), like=example(picture(1), box=BOX, name="bolt"), threshold=0.0, max_objects=1)
    assert masks(result) == masks(own)
    with pytest.raises(InputError, match="no picture"):
        schemas.examples(body(media="QUJD"), Limits())
    with pytest.raises(InputError, match="frame 3"):
        schemas.examples(body(frame=3), Limits())


def as_base64(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def main_ok(words: list[str]) -> None:
    try:
        main(words)
    except SystemExit as ended:
        assert not ended.code  # noqa: PT017


# --- everything, limits, presence -------------------------------------------------------------------------------------


def test_everything_repeats_nothing_and_keeps_the_limits(model: X2Sam, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(everything, "STABLE", 0.0)
    monkeypatch.setattr(everything, "GRID", 3)
    found = model.segment(picture(4), everything=True)
    assert found.task == "everything"
    assert found.found
    assert list(found.scores) == sorted(found.scores, reverse=True)
    assert set(found.ids) == set(range(1, len(found.segments) + 1))
    few = model.segment(picture(4), everything=True, max_objects=2, min_area=10, within=(0, 0, 70, 45))
    assert len(few.segments) <= 2
    assert all(s.box[2] <= 70 and s.box[3] <= 45 and s.area >= 10 for s in few.segments)
    with pytest.raises(InputError, match="Got names for everything"):
        model.segment(picture(4), ["cat"], everything=True)
    film = model.track([picture(4)] * 2, everything=True, max_objects=2).finish()
    assert film.task == "vid_objseg"


def test_everything_is_drawn_click_by_click_where_a_model_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """nano: the masks are those of the clicks, and names are those that the features answer."""
    nano = X2Sam.from_pretrained("nano", device="cpu")
    monkeypatch.setattr(everything, "STABLE", 0.0)
    monkeypatch.setattr(everything, "GRID", 1)
    photo = picture(4)
    found = nano.segment(photo, everything=True)
    middle = nano.segment(photo, regions={"point": (70, 45)}, alternatives=3)
    ours, theirs = ([s.rle for s in result.segments] for result in (found, middle))
    assert ours
    assert iou_matrix(ours, theirs).max() > 0.8  # a click's own answer is one piece that holds the click
    named = nano.segment(photo, ["cat", "sky"], everything=True)
    assert set(named.labels) <= {"cat", "sky"}


def test_of_masks_that_overlap_the_surest_stays() -> None:
    masks = torch.zeros(3, 4, 4)
    masks[0, :2], masks[1, :2], masks[1, 2, 0], masks[2, 2:] = 1.0, 1.0, 1.0, 1.0
    kept = everything.distinct(masks, torch.tensor([0.5, 0.9, 0.7]))
    assert kept.scores.tolist() == pytest.approx([0.9, 0.7])
    assert len(everything.distinct(masks, torch.tensor([0.5, 0.9, 0.7]), most=1).scores) == 1


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [0, 1, 2]),
        ({"max_objects": 1}, [1, 2]),
        ({"min_area": 5}, [1, 2]),
        ({"within": (0, 0, 2, 4)}, [0, 1]),
    ],
)
def test_limits(options: dict[str, Any], kept: list[int]) -> None:
    boxes = [(0, 0, 2, 2), (0, 0, 2, 4), (2, 0, 4, 4)]  # x0, y0, x1, y1
    found = []
    for i, (x0, y0, x1, y1) in enumerate(boxes):
        mask = np.zeros((4, 4), bool)
        mask[y0:y1, x0:x1] = True
        found.append(
            Candidate(i, i // 2, 0.1 * (i + 1), RLE.encode(mask), RLE.encode(mask), torch.from_numpy(mask) * 1.0)
        )
    assert [c.query for c in limits.limited(found, AnswerOptions(**options))] == kept


@pytest.mark.parametrize(
    "wrong", [{"max_objects": 0}, {"min_area": -1}, {"within": (0, 0, 0, 5)}, {"within": 3}, {"within": (1, 2)}]
)
def test_limits_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(X2SamError, match=next(iter(wrong))):
        AnswerOptions(**wrong)


def test_scores_are_calibrated_by_the_kind_of_their_conditions() -> None:
    told = AnswerOptions(calibration=(("expressions/score", 2.0, -1.0),))
    scores = torch.tensor([[0.9], [0.0]])
    phrase, names = (presence.calibrated(scores, TASKS[n], told) for n in ("img_refseg", "img_genseg"))
    assert phrase[0].logit().item() == pytest.approx(torch.tensor(0.9).logit().item() / 2 - 1, abs=1e-4)
    assert phrase[1] == 0
    assert torch.equal(names, scores)
    assert torch.equal(presence.calibrated(scores, TASKS["img_refseg"], told, "presence"), scores)


def test_a_calibration_makes_sure_scores_come_true() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(4000) < 0.5
    logits = np.where(truth, 1.0, -1.0) + rng.normal(0, 1.5, 4000)
    scores = 1 / (1 + np.exp(-4 * logits))  # four times as sure as it may be
    temperature, bias = fit(scores, truth)
    told = 1 / (1 + np.exp(-(np.log(scores / (1 - scores)) / temperature + bias)))
    assert temperature == pytest.approx(4 * 1.5**2 / 2, rel=0.15)  # of two equal normals apart
    assert expected_error(told, truth) < 0.03 < expected_error(scores, truth)


def test_appearances_have_a_start_and_an_end() -> None:
    clip = open_media([picture(1)] * 5, kind="video")
    code = RLE.encode(np.ones((90, 140), bool))
    there = [True, True, False, True, False]
    frames = tuple(
        FrameResult(i, None, 90, 140, (Segment(code, "cat", 0.9, 1),) if seen else (), {0: 0.9 - 0.1 * i, 1: 0.2})
        for i, seen in enumerate(there)
    )
    result = Result("vid_refseg", "", frames, Prompt((Condition("cat"), Condition("dog"))), clip)
    assert result.appearances == {"cat": [(0, 1), (3, 3)], "dog": []}
    assert result.presence == {"cat": 0.9, "dog": 0.2}
    assert result.to_dict()["presence"] == {"cat": 0.9, "dog": 0.2}
