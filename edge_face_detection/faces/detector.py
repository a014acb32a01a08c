"""What finds faces, and what is found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

from edge_face_detection.sources.frame import Frame, Image

__all__ = ["Box", "DetectorError", "Face", "FaceDetector", "Finder", "Sighting"]


class DetectorError(Exception):
    """A detector that cannot be used; the message says what to install or to set."""


@dataclass(frozen=True, slots=True)
class Face:
    """Where a face is, in pixels of the frame and always inside it, and how sure that is: more is surer.

    `track` is the same for a face as long as it is in view. `seen` is False where the face was not detected
    in this very frame but followed from the frames before; `score` is then that of its last detection.
    `frontality` is more the more the face looks at the camera, and compares only with others of its track.
    """

    x: int
    y: int
    width: int
    height: int
    score: float
    track: int = 0
    seen: bool = True
    frontality: float = 1.0

    @property
    def side(self) -> float:
        """Of the square with the same area."""
        return math.sqrt(self.width * self.height)


class FaceDetector(Protocol):
    @property
    def tracks(self) -> frozenset[int]:
        """The tracks that go on; one that is not among them has ended."""

    def faces(self, frame: Frame) -> list[Face]:
        """The faces in the next frame. Raises UnreadableFrameError."""


class Box(NamedTuple):
    """A rectangle, in pixels."""

    x: float
    y: float
    width: float
    height: float

    @classmethod
    def at(cls, x: float, y: float, width: float, height: float) -> Box:
        """Around its centre."""
        return cls(x - width / 2, y - height / 2, width, height)

    @property
    def side(self) -> float:
        """Of the square with the same area."""
        return math.sqrt(self.width * self.height)

    @property
    def centre(self) -> tuple[float, float]:
        return self.x + self.width / 2, self.y + self.height / 2

    def iou(self, other: Box) -> float:
        """Intersection over union: 0 for boxes apart, 1 for the same box."""
        across = min(self.x + self.width, other.x + other.width) - max(self.x, other.x)
        down = min(self.y + self.height, other.y + other.height) - max(self.y, other.y)
        if across <= 0 or down <= 0:
            return 0.0
        common = across * down
        return common / (self.width * self.height + other.width * other.height - common)


@dataclass(frozen=True, slots=True)
class Sighting:
    """A face in a picture that was looked at; `score` and `frontality` as of a Face."""

    box: Box
    score: float
    frontality: float


class Finder(Protocol):
    """A detector as the tracker uses it: roughly over the whole frame, thoroughly in a small part of it.

    All sides are those of a face, in pixels of the picture that is shown.
    """

    grey: ClassVar[bool]
    """Whether it wants its pictures in grey (H×W uint8) or in colour (H×W×3 uint8, BGR)."""
    scan_sides: ClassVar[Sequence[float]]
    """What `scan` is asked for, ascending; together they cover an octave."""
    reach: ClassVar[float]
    """How many times as large as such a side the faces are that the scan for it finds besides."""
    octave: ClassVar[float]
    """By what the picture is shrunk when the scan of these sides is done, for larger faces."""
    look_side: ClassVar[int]
    """`look` expects a face of about this side,"""
    look_span: ClassVar[float]
    """in a square picture of so many times that side."""

    def scan(self, picture: Image, smallest: float, largest: float) -> list[Box]:
        """Where faces of these `scan_sides` may be, each up to the next; missing none matters most."""

    def look(self, picture: Image, *, sure: bool) -> list[Sighting]:
        """The faces of about `look_side`; `sure`: for a new face, where a wrong one is worse than none."""
