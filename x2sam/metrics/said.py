"""Descriptions by the names they say: whether the main thing is among them, and how much is not there."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from x2sam.metrics.base import Metric, ratio


class SaidNames(Metric):
    """How right a description is about what is there, word by word; grammar, colours and counts do not matter.

    A mention is a word with the names that it may stand for ("bike": bicycle, motorcycle). It is right if one of these
    is labelled in the picture or said by a person about it, and invented otherwise. Memory does not grow.
    """

    state = ("photos", "main", "any", "silent", "mentions", "invented")

    def __init__(self) -> None:
        self.photos = self.main = self.any = self.silent = self.mentions = self.invented = 0

    def update(self, said: Sequence[frozenset[str]], there: Sequence[str], told: Collection[str] = ()) -> None:
        """Count in one description: its mentions, the names that are labelled (the largest first), and those that
        people said."""
        labelled = frozenset(there)
        known = labelled | frozenset(told)
        self.photos += 1
        self.main += any(there[0] in names for names in said) if there else 0
        self.any += any(names & labelled for names in said)
        self.silent += not said
        self.mentions += len(said)
        self.invented += sum(not names & known for names in said)

    def compute(self) -> dict[str, float]:
        """``main`` and ``any``: shares of pictures whose largest, or any, labelled thing is said; ``silent``: of those
        about which no name is said; ``invented``: of mentions that are of nothing there."""
        return {
            "main": ratio(self.main, self.photos),
            "any": ratio(self.any, self.photos),
            "silent": ratio(self.silent, self.photos),
            "invented": ratio(self.invented, self.mentions),
        }
