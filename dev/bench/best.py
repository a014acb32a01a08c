"""`FACE_SELECTION=best`: is the picture that it picks of each track in focus, frontal and whole?

A person comes in across the edge of the frame, stays, and goes out again, while the camera's focus comes and goes and
the head turns as in its clip. So the truth of each frame is known, and so is which frames were good.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import numpy as np

from dev.bench.composed import background
from dev.bench.detecting import make_finder
from dev.bench.measure import Table
from dev.bench.people import paste, people
from edge_face_detection.faces.detector import Box
from edge_face_detection.faces.tracker import Tracker
from edge_face_detection.opencv import cv2
from edge_face_detection.pictures.best import REFRESH
from edge_face_detection.pictures.cutter import FaceCutter
from edge_face_detection.sources.frame import Frame, Image
from face_messages import FaceEvent

__all__ = ["run"]

_WALKS, _FRAMES, _COMING, _RATE, _SIZE = 40, 75, 20, 30, (640, 480)
# Blur of a face at 64 pixels: the most there is, and what is still in focus (pixels, standard deviation).
_MOST_BLUR, _IN_FOCUS = 3.0, 0.4
# How much less frontal a frame may be than the most frontal good one (0 to 1). From this IoU on a box is the face's.
_TURNED, _IOU = 0.15, 0.4


@dataclass(frozen=True, slots=True)
class _Moment:
    """What is true of the face in one frame."""

    box: Box
    blur: float
    frontality: float

    @property
    def is_whole(self) -> bool:
        x, y, width, height = self.box
        return min(x, y, _SIZE[0] - x - width, _SIZE[1] - y - height) >= 0


def run(clips: Path, half: str) -> Table:
    """Raises BenchmarkError."""
    walks = [walk for walk in (_walk(clips, half, seed) for seed in range(_WALKS)) if any(map(_is_good, walk[1]))]
    rows = []
    for name in ("haar", "yunet"):
        judged = [verdict for walk in walks for verdict in _judge(name, *walk)]
        shares = [sum(verdict[part] for verdict in judged) / max(1, len(judged)) for part in range(3)]
        every = sum(map(all, judged)) / max(1, len(judged))
        rows.append([f"DETECTOR={name}", str(len(judged)), *(f"{share:.3f}" for share in [*shares, every])])
    about = (
        f"Half {half!r}: {len(walks)} videos of {_FRAMES} frames, a person each, the best picture of each track. In"
        f" focus: at most {_IN_FOCUS} pixels of blur, of a face at 64 pixels. Frontal: at most {_TURNED} less than the"
        " most frontal frame that is in focus and whole."
    )
    return Table(
        "The best picture of a track", about, ["", "tracks", "in focus", "frontal", "whole", "all three"], rows
    )


def _is_good(moment: _Moment) -> bool:
    return moment.is_whole and moment.blur <= _IN_FOCUS


def _walk(clips: Path, half: str, seed: int) -> tuple[list[Image], list[_Moment]]:
    everyone = people(clips, half)
    rng = np.random.default_rng(seed + 5000 + 1000 * (half == "report"))
    person = everyone[rng.integers(len(everyone))]
    wall = cast("Image", cv2.GaussianBlur(background(rng, _SIZE), (0, 0), 1.5))
    side = float(rng.uniform(60, 150))
    from_left, at = (
        bool(rng.integers(2)),
        np.array([rng.uniform(0.35, 0.65) * _SIZE[0], rng.uniform(0.4, 0.6) * _SIZE[1]]),
    )
    outside = -0.3 * side if from_left else _SIZE[0] + 0.3 * side
    phase, pace = rng.uniform(0, 2 * math.pi), rng.uniform(25, 50)
    images, moments = [], []
    for number in range(_FRAMES):
        share = min(1.0, number / _COMING, (_FRAMES - 1 - number) / _COMING)
        index = number % (2 * len(person.views) - 2)
        view = person.views[min(index, 2 * len(person.views) - 2 - index)]
        image = wall.copy()
        box = paste(image, view, (outside + share * (at[0] - outside), float(at[1])), side)
        blur = _MOST_BLUR * max(0.0, math.sin(phase + number * 2 * math.pi / pace))
        if blur > 0.1:
            image = cast("Image", cv2.GaussianBlur(image, (0, 0), blur * side / 64))
        noise = rng.normal(0, 2, image.shape).astype(np.float32)
        images.append(np.clip(image + noise, 0, 255).astype(np.uint8))
        moments.append(_Moment(box, blur, view.frontality))
    return images, moments


def _judge(name: str, images: list[Image], moments: list[_Moment]) -> list[tuple[bool, bool, bool]]:
    """Of each track's picture: whether it is in focus, frontal, whole."""
    tracker = Tracker(make_finder(name), refresh=REFRESH)
    cutter = FaceCutter(tracker, edge_id="benchmark", camera_id="camera", margin=0.1, best_seconds=math.inf)
    events: list[FaceEvent] = []
    for number, image in enumerate(images):
        frame = Frame(image, number, datetime.now(UTC), number / _RATE)
        events += [event for event, _ in cutter.faces_in(frame)]
    events += [event for event, _ in cutter.finish()]
    frontal = max(moment.frontality for moment in moments if _is_good(moment))
    verdicts = []
    for event in events:
        assert event.facebox is not None
        assert event.frame is not None
        moment = moments[event.frame]
        overlap = Box(*map(float, event.facebox)).iou(moment.box.inside(_SIZE))
        if overlap == 0:
            continue  # something in the photograph: that is for the precision of the detector
        is_face = overlap >= _IOU
        is_frontal = moment.frontality >= frontal - _TURNED
        verdicts.append((is_face and moment.blur <= _IN_FOCUS, is_face and is_frontal, is_face and moment.is_whole))
    return verdicts
