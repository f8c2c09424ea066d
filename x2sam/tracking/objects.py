"""Which object is which on one track: one owner of ids, of the conditions they belong to, and of who shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from x2sam.errors import InputError
from x2sam.types import Condition


@dataclass
class Claim:
    """What one prompt has of a track: its conditions' places among the track's, and the objects that are theirs."""

    places: tuple[int, ...]
    single: dict[int, int] = field(default_factory=dict)
    """The object of each condition that has one by nature, by the prompt's own count of conditions."""


@dataclass
class ObjectManager:
    """Ids are counted from 1, none is given twice, none of those that the caller chose."""

    conditions: tuple[Condition, ...] = ()
    """Of all prompts of the track, in the order in which they were asked."""
    next: int = 1
    taken: set[int] = field(default_factory=set)
    """Ids that callers chose."""
    claims: dict[int, Claim] = field(default_factory=dict)
    """By the prompt's number."""
    owners: dict[int, int | None] = field(default_factory=dict)
    """Which prompt shows an object, where that changed: another than the one that found it, or None at all."""

    def new(self) -> int:
        """The next id."""
        number = next(number for number in count(self.next) if number not in self.taken)
        self.next = number + 1
        return number

    def claim(self, ids: Sequence[int]) -> None:
        """Take ids that the caller chose. Raises InputError where one belongs to another object already."""
        if len(set(ids)) < len(ids):
            got = f"Got one object id for several regions: {sorted(ids)}"
            raise InputError(got, "a different id for each region", "Merge the regions that show one object")
        for number in ids:
            if number in self.taken or (number < self.next and number > 0):
                raise InputError(f"Got the object id {number}, which is another object's", "an id that is free")
        self.taken |= set(ids)

    def admit(self, prompt: int, conditions: Sequence[Condition]) -> None:
        """A prompt begins, with conditions of its own and the ids that the caller gave to its regions."""
        fixed = chosen_ids(conditions)
        self.claim(list(fixed.values()))
        first = len(self.conditions)
        self.conditions += tuple(conditions)
        self.claims[prompt] = Claim(tuple(range(first, len(self.conditions))), fixed)

    def hand_over(self, object_id: int, prompt: int, place: int) -> None:
        """Another prompt shows an object from now on."""
        self.claims[prompt] = Claim((place,), {0: object_id})
        self.taken.add(object_id)
        self.owners[object_id] = prompt

    def hide(self, object_id: int) -> None:
        """No prompt shows an object any more."""
        self.owners[object_id] = None

    def single(self, prompt: int, condition: int) -> int:
        """The object of a condition that has one."""
        known = self.claims[prompt].single
        if condition not in known:
            known[condition] = self.new()
        return known[condition]

    def known(self, prompt: int) -> Mapping[int, int]:
        """The objects of a prompt's conditions that have one each, as far as they were seen or given."""
        return self.claims[prompt].single

    def condition_of(self, prompt: int, object_id: int) -> int | None:
        """The condition whose one object this is, as the prompt counts them."""
        return next((c for c, number in self.claims[prompt].single.items() if number == object_id), None)

    def place(self, prompt: int, condition: int) -> int:
        """A prompt's condition as the track counts them."""
        return self.claims[prompt].places[condition]

    def shows(self, prompt: int, object_id: int) -> bool:
        """Whether a prompt shows an object that it finds."""
        return self.owners.get(object_id, prompt) == prompt

    def idle(self, prompt: int) -> bool:
        """Whether a prompt shows nothing any more, whatever it finds."""
        claim = self.claims[prompt]
        given = claim.single.values()
        return len(given) == len(claim.places) and not any(self.shows(prompt, number) for number in given)


def chosen_ids(conditions: Sequence[Condition]) -> dict[int, int]:
    """The ids that callers gave to regions, by condition."""
    given = {i: c.region.object_id for i, c in enumerate(conditions) if c.region is not None}
    return {i: number for i, number in given.items() if number is not None}
