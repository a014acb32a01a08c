"""The scripts of the generated clips: who is to be seen, and how they move.

They stand in scenes.csv, ten seconds each, people one behind the other. A line says where a person's face is at a
second: its middle as fractions of the frame's width and height, its side as a fraction of the height (above 1: in
pixels), its tilt in degrees, and how far it is turned away, and covered from the chin up, from 0 to 1.

* one person: comes in, draws near, turns away and back, is covered by a hand for a moment, leaves, comes back faster.
* several people: one far off, two that cross, and one that is in a shadow, comes and goes.
* coming and going: eight, one after the other, each for a second; every other one walks in, the rest appear at once.
* nobody
"""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np

from dev.stack.clip import Pose

__all__ = ["SCENES", "Person"]


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a look (0 to 4) and a script: seconds and poses. Not there before its first line or after its last.

    Between two lines all values change evenly.
    """

    look: int
    script: Sequence[tuple[float, ...]]

    def pose(self, second: float) -> Pose | None:
        seconds, *values = zip(*self.script, strict=True)
        if not seconds[0] <= second <= seconds[-1]:
            return None
        return Pose(*(float(np.interp(second, seconds, row)) for row in values))


def _people(scene: str, height: int) -> list[Person]:
    lines = csv.reader(Path(__file__).with_suffix(".csv").read_text().splitlines())
    people = []
    for (_, look), script in groupby((line for line in lines if line[0] == scene), key=lambda line: line[1:3]):
        poses = [[float(value) for value in line[3:]] for line in script]
        in_fractions = [(*p[:3], p[3] / height if p[3] > 1 else p[3], *p[4:]) for p in poses]
        people.append(Person(int(look), in_fractions))
    return people


SCENES: dict[str, Callable[[int], list[Person]]] = {
    scene: partial(_people, scene) for scene in ("one person", "several people", "coming and going", "nobody")
}
"""Takes the frame's height in pixels and gives the people, the last in front."""
