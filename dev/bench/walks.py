"""Videos of one person each who comes in across the edge of the frame, stays, and goes out again.

Meanwhile the camera's focus comes and goes, and the head turns as in its clip. So the truth of each frame is known, and
so is which frames were good.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from dev.bench.composed import background
from dev.bench.people import paste, people
from edge_face_detection.faces.detector import Box
from edge_face_detection.opencv import cv2
from edge_face_detection.sources.frame import Image

__all__ = ["FRAMES", "IN_FOCUS", "IOU", "RATE", "SIZE", "Moment", "Walk", "walks"]

FRAMES, RATE, SIZE = 75, 30, (640, 480)
#: Blur of a face at 64 pixels that is still in focus (pixels, standard deviation).
IN_FOCUS = 0.4
#: From this intersection over union on a box is the face's.
IOU = 0.4
_WALKS, _COMING, _MOST_BLUR = 40, 20, 3.0


@dataclass(frozen=True, slots=True)
class Moment:
    """What is true of the face in one frame."""

    box: Box
    blur: float
    frontality: float

    @property
    def is_whole(self) -> bool:
        x, y, width, height = self.box
        return min(x, y, SIZE[0] - x - width, SIZE[1] - y - height) >= 0

    @property
    def is_good(self) -> bool:
        return self.is_whole and self.blur <= IN_FOCUS


@dataclass(frozen=True, slots=True)
class Walk:
    images: list[Image]
    moments: list[Moment]


def walks(clips: Path, half: str) -> Iterator[Walk]:
    """Those of which a frame is good, of the people of one half of the clips. Raises BenchmarkError."""
    for seed in range(_WALKS):
        walk = _walk(clips, half, seed)
        if any(moment.is_good for moment in walk.moments):
            yield walk


def _walk(clips: Path, half: str, seed: int) -> Walk:
    everyone = people(clips, half)
    rng = np.random.default_rng(seed + 5000 + 1000 * (half == "report"))
    person = everyone[rng.integers(len(everyone))]
    wall = cast("Image", cv2.GaussianBlur(background(rng, SIZE), (0, 0), 1.5))
    side = float(rng.uniform(60, 150))
    from_left, at = (
        bool(rng.integers(2)),
        np.array([rng.uniform(0.35, 0.65) * SIZE[0], rng.uniform(0.4, 0.6) * SIZE[1]]),
    )
    outside = -0.3 * side if from_left else SIZE[0] + 0.3 * side
    phase, pace = rng.uniform(0, 2 * math.pi), rng.uniform(25, 50)
    images, moments = [], []
    for number in range(FRAMES):
        share = min(1.0, number / _COMING, (FRAMES - 1 - number) / _COMING)
        index = number % (2 * len(person.views) - 2)
        view = person.views[min(index, 2 * len(person.views) - 2 - index)]
        image = wall.copy()
        box = paste(image, view, (outside + share * (at[0] - outside), float(at[1])), side)
        blur = _MOST_BLUR * max(0.0, math.sin(phase + number * 2 * math.pi / pace))
        if blur > 0.1:
            image = cast("Image", cv2.GaussianBlur(image, (0, 0), blur * side / 64))
        noise = rng.normal(0, 2, image.shape).astype(np.float32)
        images.append(np.clip(image + noise, 0, 255).astype(np.uint8))
        moments.append(Moment(box, blur, view.frontality))
    return Walk(images, moments)
