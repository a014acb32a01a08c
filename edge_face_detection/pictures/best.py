"""The best picture of each track."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

import numpy as np

from edge_face_detection.faces.detector import Face
from edge_face_detection.opencv import cv2
from edge_face_detection.pictures.crops import crop
from edge_face_detection.sources.frame import Frame, Image

__all__ = ["REFRESH", "BestShots", "Shot", "sharpness"]

#: Frames from one detection of a face to the next: only what is detected can be the best.
REFRESH = 4

# Pixels. Faces are compared at this size, so that a small face, which is enlarged, counts as blurred.
_SIDE = 64
# Size (pixels) and detail (see _detail) that count half. Webcam faces in focus have 0.03 to 0.04 of it. Among the shots
# of a track, what is in focus must count about the same, so that the most frontal one of these is taken.
_HALF_SIZE, _HALF_DETAIL, _HALF_OF_BEST = 80, 0.055, 0.03
# Of the smoothing before the Laplacian: standard deviation, in pixels.
_SMOOTH = 0.8
# What a face counts that is cut by the frame's edge: a whole one is better even if it is smaller or turned a little. So
# does one that comes as near to the edge as this (sides of the face), as boxes are not that exact.
_CUT, _EDGE = 0.3, 0.05
# Frontality counts as its square, since landmarks of turned faces lie too near to those of a frontal one. The first
# look at a face may tell this much too little of it. A shot that would be worse even so gets no second look.
_DOUBT = 0.15


@dataclass(frozen=True, slots=True)
class Shot:
    """A face cut out of its frame (H×W×3 uint8, BGR), with the frame's number, time, and size in pixels."""

    face: Face
    image: Image
    number: int
    captured_at: datetime
    framesize: tuple[int, int]

    @classmethod
    def of(cls, face: Face, frame: Frame, *, margin: float) -> Self:
        """Raises UnreadableFrameError."""
        return cls(face, crop(frame, face, margin=margin), frame.number, frame.captured_at, frame.size)


def sharpness(frame: Frame, face: Face) -> float:
    """How sharp a face is: 0 for a blurred one, around 0.4 for one in focus, always below 1.

    It is v / (v + 0.055), where v is the detail in the face.
    """
    detail = _detail(frame, face)
    return detail / (detail + _HALF_DETAIL)


def _detail(frame: Frame, face: Face) -> float:
    """The variance of the Laplacian as a fraction of the variance of the grey levels: light and contrast do not count.

    (LAPV in J. L. Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000.) It is that of the
    face at 64×64 pixels, smoothed a little, as otherwise a camera's noise would count as more than a lens out of focus.
    """
    grey = frame.view((face.x, face.y, face.width, face.height), (_SIDE, _SIDE), grey=True)
    contrast = float(np.var(grey))
    if contrast == 0:
        return 0.0
    smooth = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), _SMOOTH)
    return float(np.var(cv2.Laplacian(smooth, cv2.CV_32F))) / contrast


def _quality(frame: Frame, face: Face) -> float:
    """Size × detail × wholeness. The size is s / (s + 80) for a face of s pixels a side, the detail v / (v + 0.03)."""
    nearest = min(face.x, face.y, frame.size[0] - face.x - face.width, frame.size[1] - face.y - face.height)
    is_cut = nearest <= _EDGE * face.side
    wholeness = _CUT if is_cut else 1.0
    detail = _detail(frame, face)
    return face.side / (face.side + _HALF_SIZE) * detail / (detail + _HALF_OF_BEST) * wholeness


@dataclass(slots=True)
class _Candidate:
    began: float
    quality: float = -1.0
    shot: Shot | None = None


@dataclass(kw_only=True, eq=False)
class BestShots:
    """Keeps the best shot of each track, and gives it away when the track ends and after each `seconds`.

    What counts is size × detail × wholeness × frontality²: a product, so that no factor's unit matters within a
    track. Only frames in which the face was detected count. Holds one cut-out face a track and no frames. No I/O.
    """

    seconds: float
    margin: float
    #: As FaceDetector's: looks with care, where a shot may be the best one.
    frontality: Callable[[Frame, Face], float]
    _candidates: dict[int, _Candidate] = field(default_factory=dict, init=False)

    def next(self, frame: Frame, faces: Iterable[Face], tracks: frozenset[int]) -> list[Shot]:
        """The shots that are ready after the next frame, with its `faces` and the `tracks` that go on."""
        now = frame.captured_monotonic
        for face in faces:
            best = self._candidates.setdefault(face.track, _Candidate(began=now))
            if face.seen and (quality := self._judged(frame, face, at_least=best.quality)) > best.quality:
                best.quality, best.shot = quality, Shot.of(face, frame, margin=self.margin)
        ended = [number for number in self._candidates if number not in tracks]
        ready = [self._candidates.pop(number) for number in ended]
        for number, best in self._candidates.items():
            # The absolute value: a clock that was set back must not put it off for as long again.
            if abs(now - best.began) >= self.seconds:
                ready.append(best)
                self._candidates[number] = _Candidate(began=now)
        return [best.shot for best in ready if best.shot]

    def _judged(self, frame: Frame, face: Face, *, at_least: float) -> float:
        """The quality of this shot; of one that is surely worse than `at_least`, something below that."""
        quality = _quality(frame, face)
        if (most := quality * min(1.0, face.frontality + _DOUBT) ** 2) <= at_least:
            return most
        return quality * self.frontality(frame, face) ** 2

    def finish(self) -> list[Shot]:
        """The shots of all tracks, at the end of the frames."""
        shots = [best.shot for best in self._candidates.values() if best.shot]
        self._candidates.clear()
        return shots
