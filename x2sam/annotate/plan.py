"""The plan of a run: which inputs make which shard, written once and read by whoever works, from anywhere.

    DEST/plan.json           settings, number of inputs and of shards; written last, so it is there when all is
    DEST/plan/inputs.jsonl   an input a line
    DEST/plan/offsets.bin    where each shard's lines begin, 8 bytes each

A run that goes on reads the plan that it began with, whatever has happened to the source since. A shard's inputs are
read by their place in the file, so nobody holds more of them than one shard.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from x2sam.annotate.sources import Item, items
from x2sam.annotate.split import pieces
from x2sam.errors import InputError
from x2sam.store import Store

PLAN, INPUTS, OFFSETS = "plan.json", "plan/inputs.jsonl", "plan/offsets.bin"


@dataclass(frozen=True)
class Settings:
    """What decides the digits of a run; a run that goes on must say the same."""

    sources: tuple[str, ...]
    prompt: tuple[str, ...] = ()
    """One is a phrase or a question, several are categories, none describes; a manifest's own go before."""
    task: str | None = None
    model: str = "auto"
    dtype: str = "auto"
    changes: dict[str, Any] = field(default_factory=dict)
    """Further arguments of `X2Sam.from_pretrained`."""
    options: dict[str, Any] = field(default_factory=dict)
    """Of the answer: ``threshold``, ``form`` and the like."""
    batch: int = 8
    """Pictures that share a pass."""
    shard: int = 64
    """Inputs of a shard."""
    every: int = 1
    """Of a film only every so many frames are decoded."""
    split: str = ""
    """Films are cut into pieces of so many seconds, or at ``shots``; empty: never."""


@dataclass(frozen=True)
class Plan:
    """What `make_plan` found or made."""

    settings: Settings
    inputs: int
    shards: int

    def read(self, store: Store, shard: int) -> tuple[int, list[Item]]:
        """The number of a shard's first input, and its inputs."""
        begin, end = np.frombuffer(store.read(OFFSETS, 8 * shard, 8 * shard + 16), dtype="<i8")
        lines = store.read(INPUTS, int(begin), int(end)).splitlines()
        return shard * self.settings.shard, [json.loads(line) for line in lines]


def make_plan(store: Store, settings: Settings) -> Plan:
    """Write the plan of a new run, or read that of the run in ``store``.

    Raises:
        InputError: the run in ``store`` was begun with other settings, or a source is not there.
    """
    try:
        found = json.loads(store.read(PLAN))
    except FileNotFoundError:
        return _write(store, settings)
    mine = json.loads(json.dumps(dataclasses.asdict(settings)))
    changed = [key for key in mine if mine[key] != found["settings"].get(key)]
    if changed:
        raise InputError(
            f"Got other settings ({', '.join(changed)}) than the run in {store.url} was begun with",
            "the same, to go on with it",
            "Choose another --out, or delete that one",
        )
    return Plan(settings, found["inputs"], found["shards"])


def _write(store: Store, settings: Settings) -> Plan:
    for name in ("batch", "shard", "every"):
        if getattr(settings, name) < 1:
            raise InputError(f"Got {name} {getattr(settings, name)}", "at least 1")
    offsets: list[int] = []

    def lines(path: Path) -> int:
        count = place = 0
        with path.open("wb") as file:
            for item in _pieces(settings):
                if count % settings.shard == 0:
                    offsets.append(place)
                place += file.write(json.dumps(item).encode() + b"\n")
                count += 1
        offsets.append(place)
        counts.append(count)
        return count

    counts: list[int] = []
    store.put(INPUTS, lines)
    store.write(OFFSETS, np.array(offsets, dtype="<i8").tobytes())
    plan = Plan(settings, counts[-1], len(offsets) - 1)
    head = {"settings": dataclasses.asdict(settings), "inputs": plan.inputs, "shards": plan.shards}
    store.write(PLAN, json.dumps(head, indent=2).encode())
    return plan


def _pieces(settings: Settings) -> Iterator[Item]:
    for item in items(settings.sources):
        yield from pieces(item, settings.split) if settings.split else [item]


def parse_split(text: str) -> str:
    """``--split`` as it is kept: ``shots``, or seconds."""
    if text and text != "shots":
        try:
            if float(text.removesuffix("s")) <= 0:
                raise ValueError
        except ValueError:
            raise InputError(f"Got --split {text}", "shots, or seconds such as 30") from None
        return text.removesuffix("s")
    return text


__all__: Sequence[str] = ("Plan", "Settings", "make_plan", "parse_split")
