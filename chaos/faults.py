"""What goes wrong when: drawn from a seed, so that a run can be had again."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    KILL = "kill -9"
    PAUSE = "pause"
    REFUSE = "refuse"
    SWALLOW = "swallow"


#: Kills weigh most, since they are what loses messages.
_WEIGHTS = {Kind.KILL: 4, Kind.PAUSE: 1, Kind.REFUSE: 1, Kind.SWALLOW: 1}
_SECONDS = {Kind.KILL: (0.0, 2.0), Kind.PAUSE: (0.5, 6.0), Kind.REFUSE: (0.5, 6.0), Kind.SWALLOW: (0.5, 6.0)}


@dataclass(frozen=True, slots=True)
class Fault:
    """`kind` happens to `part` at `at` and is mended after `seconds`; both in seconds."""

    at: float
    seconds: float
    kind: Kind
    part: str


def draw(seed: int, *, seconds: float, kills: int, processes: Sequence[str], links: Sequence[str]) -> list[Fault]:
    """`kills` kills over all parts in turn, in random order and at random times, and other faults among them."""
    chance = random.Random(seed)  # noqa: S311 - to be repeatable is the point
    others = round(kills * sum(w for k, w in _WEIGHTS.items() if k is not Kind.KILL) / _WEIGHTS[Kind.KILL])
    kinds = [Kind.KILL] * kills + [(Kind.PAUSE, Kind.REFUSE, Kind.SWALLOW)[i % 3] for i in range(others)]
    faults = []
    for i, kind in enumerate(kinds):
        parts = processes if kind in (Kind.KILL, Kind.PAUSE) else links
        # In turn, so that each part gets its share of every kind; the times are random.
        part = parts[(i + seed) % len(parts)]
        faults.append(Fault(chance.uniform(0, seconds), chance.uniform(*_SECONDS[kind]), kind, part))
    return sorted(faults, key=lambda fault: fault.at)
