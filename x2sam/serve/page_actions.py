"""What a visitor of the page may do with a medium: say, mark, talk, take away, go on.

Each is a generator that runs as one job (`store.Opened.change`): what it yields are its steps, and what it has done so
far is seen in the `Page` meanwhile.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any, Literal, TypeVar

from x2sam.decoding.candidates import rules_of
from x2sam.errors import InputError
from x2sam.requests import make_request
from x2sam.serve.jobs import SKIP
from x2sam.serve.page_marks import Mark, regions_of, wording
from x2sam.serve.page_state import Clock, Page, Said
from x2sam.tasks import COUNTERPARTS, get_task
from x2sam.tracking.session import answer_options
from x2sam.types import FrameResult

T = TypeVar("T")
Steps = Generator[Any, None, None]
Form = Literal["panoptic", "semantic", "instance"]
CATEGORY_FLOOR = 0.25
"""Least score that is kept of categories; below it are dozens of guesses for every pixel."""


def find(page: Page, text: str, task: str = "", form: Form = "panoptic", add: bool = False) -> Steps:
    """Look for what was said (nothing: describe the medium) in every frame, beginning anew unless ``add``."""
    if task and get_task(task).media != page.session.clip.kind:
        task = COUNTERPARTS[task]
    prompt = wording(text, task)
    page.talk.append(Said("you", text.strip() or "What is there?"))
    page.error, page.note = "", "Looking …"
    said: list[str] = []
    page.talk.append(Said("x2sam", ""))

    row = make_request(page.session.clip, prompt, None, task or None).task
    floor = CATEGORY_FLOOR if row.answer == "generic" else 0.0
    if add and page.track is not None:
        _hold(page)
        steps = page.track.adding(prompt, task=task or None, threshold=floor, form=form)
        yield from _change(page, (yield from _speak(page, said, steps)))
        _settle(page)
    else:
        page.forget()
        starting = page.session.tracking(prompt, None, task or None, form=form, threshold=floor)
        page.track = yield from _speak(page, said, starting)
        _settle(page)
    yield from _follow(page, show=True)
    page.talk[-1] = _answered(page, "".join(said))


def mark(page: Page, drawn: Mark, object_id: int | None = None) -> Steps:
    """A mark on a frame: a new object, or a correction of one that is there."""
    page.error, page.note, page.show = "", "Looking …", drawn.frame
    if object_id is None:
        if drawn.tool == "negative":
            raise InputError("Got a mark for what does not belong", "an object", "Choose one below the picture")
        object_id = 1 + max([*page.best(), *page.marks, *page.gone], default=0)
        yield from _begin(page, drawn, object_id)
    else:
        yield from _correct(page, drawn, object_id)
    page.marks.setdefault(object_id, []).append(drawn)
    page.selected = object_id
    yield from _follow(page, show=False)
    marked = page.results.get(drawn.frame)
    scores = [s.score for s in marked.segments if s.object_id == object_id] if marked else []
    page.least[object_id] = min([page.least.get(object_id, page.usual), *scores])
    page.note = summary(page)


def chat(page: Page, text: str) -> Steps:
    """Answer in words, knowing what was said before."""
    page.talk += [Said("you", text.strip()), Said("x2sam", "")]
    page.error, page.note = "", "Thinking …"
    said: list[str] = []

    messages = [*page.asked, {"role": "user", "content": text}]
    answer = yield from _speak(page, said, page.session.chatting(messages))
    page.asked = [*messages, {"role": "assistant", "content": answer.text or "…"}]
    if answer.frames:
        page.forget()
        page.answer, page.results = answer, {f.index: f for f in answer.frames}
        page.task, page.usual = get_task(answer.task), 0.0
    page.talk[-1] = _answered(page, answer.text) if answer.frames else Said("x2sam", answer.text or "…")
    page.note = ""


def drop(page: Page, object_id: int) -> Steps:
    """Take an object away."""
    yield from ()
    page.gone.add(object_id)
    page.marks.pop(object_id, None)
    page.selected = None if page.selected == object_id else page.selected
    page.revision += 1
    if page.track is not None and object_id in {s.object_id for r in page.results.values() for s in r.segments}:
        page.track.remove(object_id)


def go_on(page: Page) -> Steps:
    """Look at the frames that were left when somebody cancelled."""
    page.error = ""
    yield from _follow(page, show=True)


def _speak(page: Page, said: list[str], steps: Generator[Any, None, T]) -> Generator[Any, None, T]:
    """Show what is said while it is said."""
    while True:
        try:
            item = next(steps)
        except StopIteration as end:
            return end.value
        if isinstance(item, str):
            said.append(item)
            page.talk[-1] = Said("x2sam", "".join(said))
        yield SKIP


def _correct(page: Page, drawn: Mark, object_id: int) -> Steps:
    if object_id not in page.best() and object_id not in page.marks:
        raise InputError(f"Got the object {object_id}", "one that is there", "Choose one below the picture")
    if page.track is None:
        raise InputError("Got a correction of what an answer showed", "an object that was asked for")
    here = [m for m in page.marks.get(object_id, []) if m.frame == drawn.frame]
    _count(page, page.done - drawn.frame)
    yield from _change(page, page.track.correct(object_id, regions_of([*here, drawn]), frame=drawn.frame))


def _begin(page: Page, drawn: Mark, object_id: int) -> Steps:
    region = {**regions_of([drawn])[0], "frame": drawn.frame, "id": object_id, "name": f"object {object_id}"}
    if page.track is None:
        page.forget()
        page.track = page.session.track(regions=[region], threshold=0.0)
        _settle(page)
        return
    _hold(page)
    _count(page, page.done)
    yield from _change(page, page.track.add(regions=[region], backward=True))
    _settle(page)


def _settle(page: Page) -> None:
    """From which score the answers to what was asked last are shown."""
    assert page.track is not None
    page.task = page.track.states[-1].request.task
    page.usual = rules_of(page.task, answer_options({}, page.session.model.config)).threshold


def _hold(page: Page) -> None:
    """Objects that are there keep what they are shown from, whatever is asked next."""
    page.least = {**dict.fromkeys(page.best(), page.usual), **page.least}


def _change(page: Page, changed: Iterable[FrameResult]) -> Steps:
    for frame in changed:
        page.results[frame.index] = frame
        page.revision += 1
        yield SKIP


def _follow(page: Page, show: bool) -> Steps:
    """Go through the frames that are left; somebody may halt it after any of them."""
    assert page.track is not None
    _count(page, page.length - page.done)
    page.following = True
    try:
        for frame in page.track:
            if frame.index not in page.results:
                _found(page, frame, show)
                yield frame.index
            if page.halt:
                break
    finally:
        page.following = False
    objects = page.objects()
    if page.selected is None and len(objects) == 1:
        page.selected = objects[0]
    page.note = summary(page)


def _found(page: Page, frame: FrameResult, show: bool) -> None:
    page.results[frame.index] = frame
    if show:
        page.show = frame.index
    if page.clock is not None:
        page.clock.tick()
        page.note = page.clock.note(page.done, page.length)


def _count(page: Page, steps: int) -> None:
    page.clock = Clock(max(1, steps))


def summary(page: Page) -> str:
    """One sentence about what was found."""
    found = [s for r in page.results.values() for s in r.segments if s.object_id not in page.gone]
    sure = {s.object_id for s in found if page.sure(s)}
    if page.done < page.length:
        return f"Stopped after {page.done} of {page.length} frames."
    if not sure and found:
        best = max(s.score for s in found)
        return f"Nothing sure was found. The best guess scores {best:.2f}: lower “Surer than” to see it."
    if not sure:
        return "Nothing of it was found."
    return f"{len(sure)} object{'s' * (len(sure) > 1)} found."


def _answered(page: Page, text: str) -> Said:
    """What is said of what was found: the model's words, or the names and scores of the objects."""
    first: dict[str, int] = {}
    score: dict[int, float] = {}
    for segment in (s for r in page.results.values() for s in r.segments):
        score[segment.object_id] = max(segment.score, score.get(segment.object_id, 0.0))
        if page.sure(segment):
            first.setdefault(segment.label, segment.object_id)
    if text:
        return Said("x2sam", text, tuple(first.items()))
    if not first:
        return Said("x2sam", summary(page))
    words = ", ".join(f"{label} ({score[i]:.2f})" for label, i in first.items())
    return Said("x2sam", words, tuple(first.items()))
