"""What is asked of a scene, by each way of asking: conditions, the objects that answer them, and words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from x2sam.data.scenes.appearance import COLOURS, TEXTURES
from x2sam.data.scenes.catalog import STUFF, THINGS
from x2sam.data.scenes.facts import coloured, is_a, is_clear, textured
from x2sam.data.scenes.knowledge import pose
from x2sam.data.scenes.language import Reference, refer, shuffled
from x2sam.data.scenes.scene import Entity, Kinds, Scene
from x2sam.data.scenes.telling import converse, describe
from x2sam.masks import RLE
from x2sam.regions import synthesize
from x2sam.tasks import Task
from x2sam.types import Condition, ObjectTrack, Prompt, Region, RegionKind


@dataclass(frozen=True)
class Asked:
    """The part of a sample that depends on the task."""

    prompt: Prompt
    objects: tuple[ObjectTrack, ...] = ()
    answer: str | None = None


def _track(entity: Entity, condition: int) -> ObjectTrack:
    return ObjectTrack(entity.object_id, condition, entity.masks)


def categories(scene: Scene, task: Task, kinds: Kinds, absent: float, rng: np.random.Generator) -> Asked | None:
    """Names with instances (all of them) among names without."""
    opened = task.paper.endswith("OV")
    wording = int(rng.integers(4)) if opened else 0
    names: dict[str, list[Entity]] = {}
    for entity in scene.entities:
        names.setdefault(_open_name(entity, scene, wording), []).append(entity)
    present = {e.category.name for e in scene.entities} | set(scene.shows)
    others = [n for n in (*(c.name for c in kinds.categories), *STUFF) if n not in present]
    negatives = shuffled(others, rng)[: int(rng.integers(0, 12))]
    if opened and wording:
        negatives += _near_misses(scene, kinds, names, wording, rng)
    is_thing = {name: entities[0].category.is_thing for name, entities in names.items()}
    order = shuffled([*names, *dict.fromkeys(negatives)], rng)
    conditions = tuple(Condition(n, is_thing=is_thing.get(n, n not in STUFF)) for n in order)
    tracks = tuple(_track(e, order.index(name)) for name, entities in names.items() for e in entities)
    return Asked(Prompt(conditions), tracks)


def _open_name(entity: Entity, scene: Scene, wording: int) -> str:
    """The category alone, or with its colour, its texture, or both; the same for all of a category, to part them."""
    alike = [e for e in scene.entities if e.category is entity.category]
    textured_all = all(e.look.texture for e in alike)
    texture = entity.look.texture if wording in (2, 3) and textured_all else None
    colour = entity.look.colour if wording in (1, 3) or (wording and not textured_all) else None
    return " ".join(w for w in (texture, colour, entity.category.name) if w)


def _near_misses(
    scene: Scene, kinds: Kinds, names: dict[str, list[Entity]], wording: int, rng: np.random.Generator
) -> list[str]:
    """The scene's own categories with other colours or textures, which nobody has."""
    found = []
    for entity in shuffled(scene.things, rng)[:3]:
        looks = COLOURS if wording == 1 else TEXTURES[1:]
        allowed = [a for a in looks if kinds.allows(entity.category, a)]
        word = str(rng.choice(allowed)) if allowed else ""
        claim = coloured(word) if wording == 1 else textured(word)
        reference = Reference(is_a(entity.category.name), (claim,))
        if word and wording != 3 and reference.misses(scene.entities):
            found.append(f"{word} {entity.category.name}")
    return [name for name in found if name not in names]


def expressions(scene: Scene, task: Task, kinds: Kinds, absent: float, rng: np.random.Generator) -> Asked | None:
    """One to four phrases, each of exactly one object or of none."""
    wanted = 1 + int(rng.integers(4))
    found: list[tuple[str, Entity | None]] = []
    targets = shuffled([e for e in scene.entities if is_clear(e)], rng)
    targets.sort(key=lambda e: not e.category.is_thing and rng.random() < 0.8)
    for _ in range(wanted):
        if rng.random() < absent:
            found.append((_nobody(scene, kinds, rng).text, None))
        elif targets:
            target = targets.pop(0)
            reference = refer(target, scene, rng)
            if reference:
                found.append((reference.text, target))
    return _each_one(found, None)


def questions(scene: Scene, task: Task, kinds: Kinds, absent: float, rng: np.random.Generator) -> Asked | None:
    """One to four questions that need some knowledge, each about one object or none."""
    found: list[tuple[str, Entity | None]] = []
    explanation = None
    for _ in range(1 + int(rng.integers(4))):
        posed = pose(scene, kinds, rng.random() < absent, rng)
        if posed and not any(text == posed.text or (e is not None and e is posed.target) for text, e in found):
            found.append((posed.text, posed.target))
            explanation = posed.explanation  # of the last, which is the one that is answered
    return _each_one(found, explanation if rng.random() < 0.5 else None)


def _each_one(found: list[tuple[str, Entity | None]], answer: str | None) -> Asked | None:
    if not found:
        return None
    tracks = tuple(_track(e, i) for i, (_, e) in enumerate(found) if e is not None)
    return Asked(Prompt(tuple(Condition(text) for text, _ in found)), tracks, answer)


def _nobody(scene: Scene, kinds: Kinds, rng: np.random.Generator) -> Reference:
    """A phrase of no entity: often a category of the scene in a colour that it has not."""
    near = [e.category.name for e in scene.things]
    while True:
        name = str(rng.choice(near)) if rng.random() < 0.6 else str(rng.choice([c.name for c in kinds.categories]))
        if name in scene.shows:
            continue
        words = [a for a in (*COLOURS, *TEXTURES[1:]) if kinds.allows(THINGS[name], a)]
        word = str(rng.choice(words))
        claim = coloured(word) if word in COLOURS else textured(word)
        reference = Reference(is_a(name), (claim,) if rng.random() < 0.8 else ())
        if reference.misses(scene.entities):
            return reference
        near = near if rng.random() < 0.9 else [c.name for c in kinds.categories]


def caption(scene: Scene, task: Task, kinds: Kinds, absent: float, rng: np.random.Generator) -> Asked | None:
    """A caption whose phrases are grounded."""
    told = describe(scene, rng)
    if told is None:
        return None
    text, groups = told
    return Asked(Prompt(), tuple(_track(e, i) for i, group in enumerate(groups) for e in group), text)


def regions(scene: Scene, task: Task, kinds: Kinds, absent: float, rng: np.random.Generator) -> Asked | None:
    """One to four visual prompts: each one object, or (grounded) every instance of what each shows."""
    clear = shuffled([e for e in scene.things if is_clear(e)], rng)
    if task.one_region:
        groups = [[e] for e in clear]
    else:
        names = dict.fromkeys(e.category.name for e in clear)
        groups = [[e for e in scene.things if e.category.name == name] for name in names if name != "blob"]
    groups = groups[: 1 + int(rng.integers(4))]
    if not groups:
        return None
    conditions = tuple(Condition(region=_mark(group, clear, task, rng)) for group in groups)
    tracks = tuple(_track(e, i) for i, group in enumerate(groups) for e in group)
    return Asked(Prompt(conditions), tracks)


def _mark(group: list[Entity], clear: list[Entity], task: Task, rng: np.random.Generator) -> Region:
    """Drawn on one of the group, on the first frame that shows it well (grounded: the first that shows a clear one)."""
    candidates = [e for e in group if any(e is c for c in clear)]
    firsts = [int(np.argmax(e.area >= min(0.002, e.area.max()))) for e in candidates]
    best = [i for i, first in enumerate(firsts) if first == min(firsts)]
    chosen = int(rng.choice(best))
    entity, frame = candidates[chosen], firsts[chosen]
    masks_only = task.media == "video" and task.one_region and rng.random() < 0.75
    kind: RegionKind = "mask" if masks_only else str(rng.choice(["point", "box", "scribble", "mask"]))  # type: ignore[assignment]
    rle = entity.masks[frame]
    assert rle is not None
    mask = rle.decode() if masks_only else synthesize(rle.decode(), kind, rng)
    return Region(RLE.encode(mask), kind, frame, entity.object_id, None)


def chat(scene: Scene, task: Task, kinds: Kinds, absent: float, rng: np.random.Generator) -> Asked | None:
    """A question about the scene and its answer."""
    pair = converse(scene, kinds, rng)
    return Asked(Prompt(text=pair[0]), answer=pair[1]) if pair else None
