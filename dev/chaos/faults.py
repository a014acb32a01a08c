"""Faults and their times, drawn from a seed, so that a run can be repeated."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    KILL = "kill -9"
    PAUSE = "pause"
    REFUSE = "refuse"
    SWALLOW = "swallow"
    LEAVE = "kill -9 for good, another joins later"
    RESTART = "restart in order"


#: Faults of each other kind for a kill. Kills weigh most: they are what loses messages.
_OTHERS = 1 / 4
# Shortest and longest, in seconds.
_SECONDS = {Kind.KILL: (0.0, 2.0), Kind.LEAVE: (2.0, 20.0)}
_OTHER_SECONDS = (0.5, 6.0)


@dataclass(frozen=True, slots=True)
class Fault:
    """`kind` happens to `part` at `at` and is mended after `seconds`; both in seconds."""

    at: float
    seconds: float
    kind: Kind
    part: str


def draw(
    seed: int,
    *,
    seconds: float,
    kills: int,
    processes: Sequence[str],
    links: Sequence[str],
    members: Sequence[str] = (),
    nodes: Sequence[str] = (),
) -> list[Fault]:
    """`kills` kills and a quarter as many of each other kind, at random times within `seconds`.

    Processes are killed and paused, links are cut; members of a group, which are processes as well, leave it for good.
    The nodes of a cluster, processes as well, are restarted as for an update.
    """
    chance = random.Random(seed)  # noqa: S311 - to be repeatable is the point
    faults = []
    for kind in Kind:
        parts = {Kind.KILL: processes, Kind.PAUSE: processes, Kind.LEAVE: members, Kind.RESTART: nodes}.get(kind, links)
        # In turn, so that each part gets its share of every kind; the times are random.
        first = chance.randrange(len(processes) * len(links))
        for i in range((kills if kind is Kind.KILL else round(kills * _OTHERS)) if parts else 0):
            length = _SECONDS.get(kind, _OTHER_SECONDS)
            part = parts[(first + i) % len(parts)]
            faults.append(Fault(chance.uniform(0, seconds), chance.uniform(*length), kind, part))
    return sorted(faults, key=lambda fault: fault.at)
