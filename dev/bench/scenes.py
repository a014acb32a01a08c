"""Who is to be seen in the generated clips, and what they do there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["SCENES", "Person"]


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a look (0 to 4) and a script; not there before its first line and after its last."""

    look: int
    script: Sequence[tuple[float, float, float, float, float, float, float]]
    """Second; the face's middle as fractions of width and height; its side as a fraction of the height; tilt in
    degrees; how far it is turned away, and covered from the chin up, from 0 to 1. In between it goes evenly."""

    def pose(self, second: float) -> tuple[float, ...] | None:
        """The script's values at that time, without the second."""
        seconds, *values = zip(*self.script, strict=True)
        if not seconds[0] <= second <= seconds[-1]:
            return None
        return tuple(float(np.interp(second, seconds, row)) for row in values)


def _one(_height: int) -> list[Person]:
    """Comes in, draws near, turns away and back, is covered by a hand for a moment, leaves, comes back faster."""
    return [
        Person(
            0,
            [
                (0.3, -0.15, 0.50, 0.20, 0, 0.0, 0.0),
                (0.9, 0.35, 0.50, 0.20, 4, 0.0, 0.0),
                (1.7, 0.60, 0.45, 0.36, -6, 0.0, 0.0),
                (2.0, 0.62, 0.46, 0.36, -6, 0.0, 0.0),
                (2.3, 0.60, 0.46, 0.35, 0, 1.0, 0.0),
                (2.6, 0.57, 0.47, 0.34, 0, 1.0, 0.0),
                (2.9, 0.55, 0.48, 0.33, 2, 0.0, 0.0),
                (3.8, 0.35, 0.52, 0.24, 8, 0.0, 0.0),
                (4.0, 0.35, 0.52, 0.24, 8, 0.0, 1.0),
                (4.5, 0.36, 0.50, 0.24, 0, 0.0, 1.0),
                (4.7, 0.37, 0.50, 0.24, 0, 0.0, 0.0),
                (5.4, 0.50, 0.45, 0.16, 0, 0.0, 0.0),
                (5.7, 0.50, 0.45, 0.16, 40, 0.0, 0.0),
                (6.2, 0.50, 0.45, 0.16, 40, 0.0, 0.0),
                (6.5, 0.50, 0.45, 0.16, 0, 0.0, 0.0),
                (7.1, 1.15, 0.50, 0.18, 0, 0.0, 0.0),
            ],
        ),
        Person(
            0,
            [
                (7.7, 1.15, 0.40, 0.26, 0, 0.0, 0.0),
                (8.1, 0.60, 0.45, 0.26, -5, 0.0, 0.0),
                (8.5, 0.30, 0.45, 0.26, 5, 0.0, 0.0),
                (9.0, 0.60, 0.55, 0.30, 0, 0.0, 0.0),
                (9.5, 0.55, 0.50, 0.42, 0, 0.0, 0.0),
                (10.0, 0.50, 0.50, 0.42, 0, 0.0, 0.0),
            ],
        ),
    ]


def _several(height: int) -> list[Person]:
    """One far off, two that cross, and one that is in a shadow, comes and goes."""
    far = 54 / height
    return [
        Person(2, [(0.0, 0.50, 0.16, far, 0, 0, 0), (5.0, 0.60, 0.18, far, 5, 0, 0), (10.0, 0.42, 0.16, far, 0, 0, 0)]),
        Person(
            0,
            [
                (0.0, 0.18, 0.42, 0.15, 0, 0, 0),
                (2.0, 0.22, 0.45, 0.18, 5, 0, 0),
                (5.0, 0.80, 0.45, 0.16, -3, 0, 0),
                (10.0, 0.78, 0.42, 0.20, 0, 0, 0),
            ],
        ),
        Person(
            1,
            [
                (0.0, 0.82, 0.45, 0.17, 0, 0, 0),
                (2.0, 0.78, 0.50, 0.17, -5, 0, 0),
                (5.0, 0.22, 0.50, 0.18, 3, 0, 0),
                (7.0, 0.20, 0.50, 0.18, 0, 0, 0),
                (7.3, 0.20, 0.50, 0.18, 0, 1, 0),
                (7.8, 0.20, 0.50, 0.18, 0, 1, 0),
                (8.1, 0.20, 0.50, 0.18, 0, 0, 0),
                (10.0, 0.18, 0.48, 0.15, 0, 0, 0),
            ],
        ),
        *(
            Person(3, [(begin + second, 0.50, y, 0.16, 0, 0, 0) for second, y in ((0, 1.2), (0.5, 0.7), (end, 0.68))])
            for begin, end in ((0.5, 1.5), (5.5, 3.5))
        ),
    ]


def _visitors(_height: int) -> list[Person]:
    """Eight, one after the other, each for a second; every other one walks in, the rest are there at once."""
    places = [(0.3, 0.4, 0.2), (0.7, 0.5, 0.3), (0.5, 0.6, 0.15), (0.25, 0.5, 0.4)] * 2
    return [
        Person(
            number % 5,
            [
                *([(1.25 * number, x, 1.3, side, 0, 0, 0)] * (number % 2)),
                (1.25 * number + 0.3, x, y, side, 0, 0, 0),
                (1.25 * number + 1.15, x + 0.05, y, side * 1.1, 4, 0, 0),
            ],
        )
        for number, (x, y, side) in enumerate(places)
    ]


SCENES: dict[str, Callable[[int], list[Person]]] = {
    "one person": _one,
    "several people": _several,
    "coming and going": _visitors,
    "nobody": lambda _height: [],
}
"""Ten seconds each; takes the frame's height in pixels and gives the people, who stand before one another in order."""
