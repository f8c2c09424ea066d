"""The generated world: the same bytes everywhere, exact masks, phrases that mean what they should, held-back looks."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from x2sam.data.world import World
from x2sam.data.world.facts import Facts
from x2sam.data.world.preview import contact_sheet
from x2sam.data.world.questions import USES
from x2sam.data.world.scene import MIN_VISIBLE, Scene
from x2sam.data.world.vocabulary import COLOURS, GROUP_NOUNS, STUFF, TEXTURES, THINGS, held_back
from x2sam.errors import InputError
from x2sam.prompts import conversation
from x2sam.tasks import TASKS, get_task
from x2sam.types import Sample

SIZE = (96, 128)
NOUNS = sorted([*THINGS, *(c.plural for c in THINGS.values()), *GROUP_NOUNS, "object"], key=len, reverse=True)
ADJECTIVES = rf"(?:({'|'.join(TEXTURES[1:])}) )?(?:({'|'.join(COLOURS)}) )?"
LOOKS = re.compile(rf"\b{ADJECTIVES}({'|'.join(map(re.escape, NOUNS))})\b", re.IGNORECASE)
"""A noun with its adjectives."""


@pytest.fixture(scope="module")
def train() -> World:
    return World("train", SIZE, frames=5)


def digest(sample: Sample) -> str:
    whole = (sample.sample_id, sample.prompt, sample.objects, sample.answer, sample.times)
    return hashlib.sha256(repr(whole).encode() + b"".join(f.tobytes() for f in sample.frames)).hexdigest()


def words(sample: Sample) -> str:
    """Everything that is said in a sample."""
    texts = [c.text for c in sample.prompt.conditions if c.text]
    return " | ".join([*texts, sample.prompt.text, sample.answer or ""])


# --- the same everywhere ----------------------------------------------------------------------------------------------


def test_same_call_same_bytes_in_any_process_and_order(train: World):
    keys = [("img_refseg", 3), ("vid_objseg", 1), ("img_gcgseg", 0), ("vid_reaseg", 2)]
    forward = [digest(train.sample(*key)) for key in keys]
    assert len(set(forward)) == len(keys)
    code = (
        "from tests.test_world import *\n"
        f"w = World('train', {SIZE}, frames=5)\n"
        f"print(*(digest(w.sample(*key)) for key in {keys[::-1]}))"
    )
    root = __file__.rsplit("/tests/", 1)[0]
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert fresh.stdout.split()[::-1] == forward


@pytest.mark.parametrize("other", [{"split": "val"}, {"seed": 1}, {"frames": 4}, {"size": (96, 96)}])
def test_another_world_is_another(train: World, other: dict):
    assert digest(World(**{"size": SIZE, "frames": 5, **other}).sample("vid_genseg", 0)) != digest(
        train.sample("vid_genseg", 0)
    )


@pytest.mark.parametrize("wrong", [{"split": "dev"}, {"size": (32, 256)}, {"frames": 1}])
def test_refuses_a_world_that_cannot_be(wrong: dict):
    with pytest.raises(InputError):
        World(**wrong)


# --- every task -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("task_name", TASKS)
def test_every_task_gives_sound_samples(task_name: str, split: str):
    world, task = World(split, SIZE, frames=4), get_task(task_name)
    for index in (0, 3):
        sample, facts = world.explained(task_name, index)
        count = 4 if task.media == "video" else 1
        assert sample.task == task_name
        assert [(f.shape, f.dtype) for f in sample.frames] == [((*SIZE, 3), np.dtype(np.uint8))] * count
        assert sample.times is None if count == 1 else list(sample.times or ()) == sorted(set(sample.times or ()))
        conversation(task, sample.prompt, sample.answer)  # raises unless the prompt has what the task needs
        check_objects(sample, facts)
        check_regions(sample)
        if task.is_chat:
            assert sample.prompt.text.endswith(("?", "see."))
            assert sample.answer


def check_objects(sample: Sample, facts: Facts):
    spans = re.findall(r"<p>([^<>]+)</p>", sample.answer or "")
    assert (sample.answer or "").count("<p>") == (sample.answer or "").count("</p>") == len(spans)
    conditions = len(spans) if get_task(sample.task).conditions == "answer" else len(sample.prompt.conditions)
    assert {o.condition for o in sample.objects} <= set(range(conditions))
    if spans:
        assert {o.condition for o in sample.objects} == set(range(conditions))
    assert len({o.object_id for o in sample.objects}) == len(sample.objects)
    for t, frame in enumerate(sample.frames):
        total = np.zeros(SIZE, dtype=int)
        for thing in sample.objects:
            assert len(thing.masks) == len(sample.frames)
            owner = owned(facts.scene, thing.object_id, t)
            mask = thing.masks[t]
            if mask is None:
                assert owner.sum() < MIN_VISIBLE
            else:
                assert (mask.height, mask.width) == frame.shape[:2]
                assert (mask.decode() == owner).all()
                total += owner
        assert total.max(initial=0) <= 1
    assert all(any(o.masks) for o in sample.objects)


def owned(scene: Scene, object_id: int, t: int) -> np.ndarray:
    """The pixels of an object, by the rule that the ids follow."""
    if object_id >= 200:
        assert scene.stuff is not None
        return scene.stuff[t] == object_id - 199
    return scene.owners[t] == object_id


def check_regions(sample: Sample):
    task = get_task(sample.task)
    if task.conditions != "regions":
        return
    for i, condition in enumerate(sample.prompt.conditions):
        region = condition.region
        assert region is not None
        assert region.mask.any()
        mine = [o for o in sample.objects if o.condition == i]
        shown = [m.decode() for o in mine if (m := o.masks[region.frame]) is not None]
        assert any((m & region.mask).any() for m in shown)
        if task.one_region:
            (thing,) = mine
            assert thing.masks.index(next(m for m in thing.masks if m)) == region.frame
            assert region.object_id in (None, thing.object_id)
            assert (region.object_id is None) == (task.media == "image")
        else:
            assert mine


@pytest.mark.parametrize("task_name", ["img_genseg", "vid_genseg"])
def test_categories_are_complete_and_negatives_absent(train: World, task_name: str):
    for index in range(6):
        sample, facts = train.explained(task_name, index)
        texts = [c.text for c in sample.prompt.conditions]
        assert len(set(texts)) == len(texts)
        assert all(c.is_thing == (c.text not in STUFF) for c in sample.prompt.conditions)
        assert set(facts.category) - {None} <= set(texts)
        named = {1 + int(k): c for k, c in zip(facts.index, facts.category, strict=True) if c}
        assert {o.object_id: texts[o.condition] for o in sample.objects if o.object_id < 200} == named
        assert not set(texts) & facts.scene.depicted


@pytest.mark.parametrize("task_name", ["img_vgdseg", "vid_vgdseg"])
def test_a_region_stands_for_all_of_its_category(train: World, task_name: str):
    for index in range(6):
        sample, facts = train.explained(task_name, index)
        category = {1 + int(k): c for k, c in zip(facts.index, facts.category, strict=True)}
        for i in range(len(sample.prompt.conditions)):
            ids = {o.object_id for o in sample.objects if o.condition == i}
            kinds = {category.get(k, k) for k in ids}
            assert len(kinds) == 1
            assert ids == {k for k, c in category.items() if c in kinds} or ids == kinds


# --- held back --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task_name", TASKS)
def test_training_neither_shows_nor_names_what_is_held_back(train: World, task_name: str):
    for index in range(6):
        sample, facts = train.explained(task_name, index)
        for thing in facts.scene.things:
            assert thing.category is None or not held_back(thing.category, thing.colour, thing.texture)
        singular = {c.plural: c.name for c in THINGS.values()}
        for texture, colour, noun in LOOKS.findall(words(sample)):
            name = singular.get(noun.lower(), noun.lower())
            assert not held_back(name, colour.lower() or None, texture.lower() or None), words(sample)


@pytest.mark.parametrize("task_name", ["img_ovseg", "vid_ovseg"])
@pytest.mark.parametrize("split", ["val", "test"])
def test_open_vocabulary_shows_what_is_held_back(task_name: str, split: str):
    world = World(split, SIZE, frames=3)
    for index in range(4):
        sample = world.sample(task_name, index)
        texts = {sample.prompt.conditions[o.condition].text or "" for o in sample.objects if o.object_id < 200}
        assert ("new category" if index % 4 == 3 else "new combination") in sample.sample_id
        if index % 4 == 3:
            assert texts & set(world.held_out)
        else:
            for text in texts:
                ((texture, colour, noun),) = LOOKS.findall(text)
                assert noun not in world.held_out
                assert held_back(noun, colour or None) or held_back(noun, None, texture or None)


def test_every_word_is_seen_somewhere(train: World):
    assert len(THINGS) - len(train.held_out) >= 60
    assert len(COLOURS) >= 10
    assert len(TEXTURES) >= 6
    assert not set(train.categories) & set(train.held_out)
    for name in set(THINGS) - set(train.held_out):
        assert sum(held_back(name, colour) for colour in COLOURS) == 1
        assert sum(held_back(name, None, texture) for texture in TEXTURES) == 1
    for use in USES:
        assert use.yes | use.maybe <= set(THINGS)
        assert not use.yes & use.maybe


# --- phrases mean what they should ------------------------------------------------------------------------------------


class Judge:
    """Reads a phrase word by word and finds whom it means, by plain definitions on the pixels."""

    def __init__(self, facts: Facts) -> None:
        scene = facts.scene
        self.things = [(int(k), scene.things[k]) for k in facts.index]
        masks = np.stack([scene.owners == k + 1 for k, _ in self.things])  # [N, T, H, W]
        area = masks.sum(axis=(2, 3)).astype(float)
        self.seen = area >= MIN_VISIBLE
        self.size = np.array([a[s].mean() for a, s in zip(area, self.seen, strict=True)])
        rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
        with np.errstate(invalid="ignore"):
            x = (masks * columns).sum(axis=(2, 3)) / area
            y = (masks * rows).sum(axis=(2, 3)) / area
        self.at = np.stack([x, y], axis=-1) / min(SIZE)  # [N, T, 2]
        self.whole = scene.centre[:, facts.index].transpose(1, 0, 2) / min(SIZE)
        self.inside = scene.area[:, facts.index].T > 0
        self.hidden = scene.hidden[:, facts.index][:, :, facts.index].max(axis=0)

    def __call__(self, phrase: str) -> list[int]:
        """Indices of the things that ``the ...`` means."""
        match = re.fullmatch(
            r"the (?:(largest|smallest|leftmost|rightmost|topmost|lowest|fastest) )?"
            rf"{ADJECTIVES}({'|'.join(map(re.escape, NOUNS))})(?: (.+))?",
            phrase,
        )
        assert match, phrase
        best, texture, colour, noun, tail = match.groups()
        fits = [i for i in range(len(self.things)) if self.is_a(i, noun, colour, texture)]
        if tail and tail.startswith("closest to "):
            (anchor,) = self(tail.removeprefix("closest to "))
            others = [i for i in fits if i != anchor]
            return sorted(others, key=lambda i: float(np.linalg.norm(self.at[i, 0] - self.at[anchor, 0])))[:1]
        if tail:
            fits = [i for i in fits if self.holds(i, tail)]
        if best and fits:
            fits = [max(fits, key=lambda i: self.score(i, best))]
        return fits

    def is_a(self, i: int, noun: str, colour: str | None, texture: str | None) -> bool:
        thing = self.things[i][1]
        kind = THINGS[thing.category] if thing.category else None
        name = noun == "object" or (kind is not None and noun in (kind.name, kind.group))
        return name and colour in (None, thing.colour) and texture in (None, thing.texture)

    def score(self, i: int, best: str) -> float:
        x, y = np.nanmean(self.at[i], axis=0)
        speed = np.linalg.norm(np.diff(self.whole[i], axis=0), axis=1).sum()
        return float(
            {
                "largest": self.size[i], "smallest": -self.size[i], "leftmost": -x, "rightmost": x,
                "topmost": -y, "lowest": y, "fastest": speed,
            }[best]
        )  # fmt: skip

    def holds(self, i: int, tail: str) -> bool:
        sides = {"left": (0, -1), "right": (0, 1), "top": (1, -1), "bottom": (1, 1)}
        if match := re.fullmatch(r"(?:on|at) the (left|right|top|bottom)", tail):
            axis, sign = sides[match[1]]
            share = self.at[i, self.seen[i], axis] / (SIZE[1 - axis] / min(SIZE))
            return bool(((share if sign < 0 else 1 - share) < 0.45).all())
        ways = {"to the left": (0, -1), "to the right": (0, 1), "upwards": (1, -1), "downwards": (1, 1)}
        seen = np.flatnonzero(self.seen[i])
        step = self.whole[i, seen[-1]] - self.whole[i, seen[0]]
        if match := re.fullmatch("moving (to the left|to the right|upwards|downwards)", tail):
            axis, sign = ways[match[1]]
            return bool(sign * step[axis] > 0.08 and sign * step[axis] > abs(step[1 - axis]))
        first, last = self.seen[i, 0], self.seen[i, -1]
        events = {
            "standing still": np.ptp(self.whole[i], axis=0).max() < 0.03,
            "entering the picture": not first and last,
            "leaving the picture": first and not last,
            "that leaves and returns": first and last and not self.inside[i].all(),
        }
        return bool(events[tail]) if tail in events else self.relates(i, tail)

    def relates(self, i: int, tail: str) -> bool:
        words = "to the left of|to the right of|above|below|behind|in front of|larger than|smaller than|moving towards"
        match = re.fullmatch(f"({words}) (the .+)", tail)
        assert match, tail
        relation, anchor_phrase = match.groups()
        (anchor,) = self(anchor_phrase)
        if i == anchor:
            return False
        both = self.seen[i] & self.seen[anchor]
        apart = (self.at[i] - self.at[anchor])[both]
        sides = {"to the left of": (0, -1), "to the right of": (0, 1), "above": (1, -1), "below": (1, 1)}
        if relation in sides:
            axis, sign = sides[relation]
            return bool(both.any() and (sign * apart[:, axis] > 0.05).all())
        nearer = np.linalg.norm(self.whole[i] - self.whole[anchor], axis=1)
        return bool(
            {
                "behind": self.hidden[anchor, i] > 12,
                "in front of": self.hidden[i, anchor] > 12,
                "larger than": self.size[i] > 1.2 * self.size[anchor],
                "smaller than": 1.2 * self.size[i] < self.size[anchor],
                "moving towards": nearer[0] - nearer[-1] > 0.08,
            }[relation]
        )


def phrases(world: World, task_name: str, count: int) -> Iterator[tuple[Facts, str, list[int]]]:
    """Conditions with the things that they are annotated to mean."""
    for index in range(count):
        sample, facts = world.explained(task_name, index)
        place = {1 + int(k): i for i, k in enumerate(facts.index)}
        for c, condition in enumerate(sample.prompt.conditions):
            yield facts, str(condition.text), [place[o.object_id] for o in sample.objects if o.condition == c]


@pytest.mark.parametrize("task_name", ["img_refseg", "vid_refseg"])
def test_phrases_mean_their_target_alone(task_name: str):
    forms = set()
    for facts, text, annotated in phrases(World("train", SIZE, frames=4, absent=0.2), task_name, 40):
        assert Judge(facts)(text) == annotated, text
        assert len(annotated) <= 1
        forms |= set(re.findall("largest|most|left of|right of|above|closest|larger|behind|front|moving|leaving", text))
    assert len(forms) >= 6


@pytest.mark.parametrize("task_name", ["img_reaseg", "vid_reaseg"])
def test_questions_about_use_have_one_answer(task_name: str):
    uses = {use.question: use for use in USES}
    asked = 0
    for facts, text, annotated in phrases(World("train", SIZE, frames=3), task_name, 30):
        if text in uses:
            asked += 1
            assert [i for i, c in enumerate(facts.category) if c in uses[text].yes] == annotated
            assert not any(c in uses[text].maybe for c in facts.category)
    assert asked >= 10


@pytest.mark.parametrize("task_name", ["img_gcgseg", "vid_gcgseg"])
def test_spans_of_captions_mean_all_they_say(train: World, task_name: str):
    numbers = {"a": 1, "an": 1, "some": 1, "two": 2, "three": 3, "four": 4, "five": 5}
    singular = {c.plural: c.name for c in THINGS.values()}
    for index in range(15):
        sample, facts = train.explained(task_name, index)
        judge = Judge(facts)
        for i, span in enumerate(re.findall("<p>([^<>]+)</p>", sample.answer or "")):
            ids = [o.object_id for o in sample.objects if o.condition == i]
            if ids[0] >= 200:
                assert span.split()[-1] == STUFF[ids[0] - 200]
                continue
            count, _, looks = span.lower().partition(" ")
            ((texture, colour, noun),) = LOOKS.findall(looks)
            meant = judge(" ".join(("the", *filter(None, (texture, colour)), singular.get(noun, noun))))
            assert len(meant) == numbers[count], span
            assert sorted(ids) == sorted(judge.things[k][0] + 1 for k in meant)


@pytest.mark.parametrize("task_name", ["img_chat", "vid_chat"])
def test_counts_and_colours_in_answers_are_true(train: World, task_name: str):
    numbers = ["no", "one", "two", "three", "four", "five"]
    singular = {**{c.plural: c.name for c in THINGS.values()}, **{g + "s": g for g in GROUP_NOUNS}}
    checked = 0
    for index in range(25):
        sample, facts = train.explained(task_name, index)
        question, answer = sample.prompt.text, sample.answer or ""
        if match := re.fullmatch(r"How many ((?:\w+ )?)(.+) are there\?", question):
            colour = match[1].strip() if match[1].strip() in COLOURS else ""
            noun = question[len("How many ") : -len(" are there?")].removeprefix(colour).strip()
            phrase = f"the {colour} {singular[noun]}".replace("  ", " ")
            assert numbers.index(answer.split()[2]) == len(Judge(facts)(phrase)), (question, answer)
            checked += 1
        elif match := re.fullmatch(r"What colour is the (.+)\?", question):
            (k,) = Judge(facts)(f"the {match[1]}")
            assert answer == f"The {match[1]} is {facts.colour[k]}."
            checked += 1
    assert checked >= 4


@pytest.mark.parametrize(("absent", "least", "most"), [(0.0, 0, 0), (0.3, 0.18, 0.42), (1.0, 1, 1)])
def test_share_of_phrases_that_match_nothing(absent: float, least: float, most: float):
    world = World("train", (64, 64), absent=absent)
    found = [not annotated for _, _, annotated in phrases(world, "img_refseg", 50 if 0 < absent < 1 else 10)]
    assert least <= np.mean(found) <= most


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_clips_hold_what_following_needs(train: World):
    """Over some clips: things that come, go, are covered, grow and move; frames that differ."""
    seen = {"comes": 0, "goes": 0, "covered": 0, "moves": 0, "camera": 0}
    for index in range(20):
        sample, facts = train.explained("vid_objseg", index)
        seen["comes"] += bool((~facts.seen[0]).any())
        seen["goes"] += bool((~facts.seen[-1]).any())
        seen["covered"] += bool((facts.hidden > 20).any())
        seen["moves"] += bool((np.ptp(facts.centre, axis=0) > 0.1).any())
        seen["camera"] += not facts.scene.still_camera
        assert any((a != b).any() for a, b in zip(sample.frames, sample.frames[1:], strict=False))
    assert min(seen.values()) >= 4, seen


def test_contact_sheet_shows_every_task_asked_for(train: World):
    sheet = contact_sheet(train, ["img_refseg", "vid_vgdseg"], 1)
    taller = contact_sheet(train, ["img_refseg", "vid_vgdseg", "img_chat"], 1)
    assert sheet.mode == "RGB"
    assert taller.height > sheet.height
    assert len(np.unique(np.asarray(sheet).reshape(-1, 3), axis=0)) > 1000
