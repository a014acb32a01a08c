"""What finds faces, and what is found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

from edge_face_detection.sources.frame import Frame, Image

__all__ = ["Box", "DetectorError", "Face", "FaceDetector", "Finder", "Place", "Sighting"]


class DetectorError(Exception):
    """A detector that cannot be used; the message says what to install or to set."""


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
        """Side of the square with the same area."""
        return math.sqrt(self.width * self.height)

    @property
    def centre(self) -> tuple[float, float]:
        return self.x + self.width / 2, self.y + self.height / 2

    def inside(self, size: tuple[int, int]) -> Box:
        """The part that lies in a picture of that width and height."""
        left, top = (min(max(0.0, place), edge) for place, edge in zip(self[:2], size, strict=True))
        right, bottom = min(self.x + self.width, size[0]), min(self.y + self.height, size[1])
        return Box(left, top, max(0.0, right - left), max(0.0, bottom - top))

    def is_inside(self, size: tuple[int, int]) -> bool:
        """Whether all of it lies in a picture of that width and height."""
        return min(self.x, self.y, size[0] - self.x - self.width, size[1] - self.y - self.height) >= 0

    def iou(self, other: Box) -> float:
        """Intersection over union: 0 for boxes apart, 1 for the same box."""
        across = min(self.x + self.width, other.x + other.width) - max(self.x, other.x)
        down = min(self.y + self.height, other.y + other.height) - max(self.y, other.y)
        if across <= 0 or down <= 0:
            return 0.0
        common = across * down
        return common / (self.width * self.height + other.width * other.height - common)


@dataclass(frozen=True, slots=True)
class Face:
    """A face: whole pixels of the frame, always inside it, and the detector's score (higher is surer).

    `track` stays the same while the face is in view. `seen`: whether it was detected in this very frame. Otherwise it
    was followed, and `score` is that of its last detection. `frontality` is higher the more the face looks at the
    camera; it compares only within a track.
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
    def box(self) -> Box:
        return Box(self.x, self.y, self.width, self.height)

    @property
    def side(self) -> float:
        return self.box.side


class FaceDetector(Protocol):
    @property
    def tracks(self) -> frozenset[int]:
        """The tracks that go on; any other has ended."""

    def faces(self, frame: Frame) -> list[Face]:
        """The faces in the next frame. Raises UnreadableFrameError."""

    def frontality(self, frame: Frame, face: Face) -> float:
        """How frontal a face is that was seen in this frame, with more care than `faces` takes."""


class Place(NamedTuple):
    """Where a face may be, tilted clockwise by so many degrees."""

    box: Box
    tilt: float = 0.0


@dataclass(frozen=True, slots=True)
class Sighting:
    """A face in a picture that was looked at; `score` and `frontality` as in Face.

    `tilt`: degrees clockwise by which the picture was turned back when the finder saw it.
    """

    box: Box
    score: float
    frontality: float
    tilt: float = 0.0


class Finder(Protocol):
    """A detector as the tracker uses it: all of a picture that stands alone, a rough scan, a look at a small part.

    All sides are those of a face, in pixels of the picture that is shown.
    """

    grey: ClassVar[bool]
    """Whether pictures are in grey (H×W uint8) or in colour (H×W×3 uint8, BGR)."""
    scan_sides: ClassVar[Sequence[float]]
    """Sides that `scan` looks for, ascending; together they cover an octave."""
    reach: ClassVar[float]
    """A scan for side s also finds faces up to reach × s."""
    octave: ClassVar[float]
    """Factor by which the picture shrinks between scans of all sides, to find larger faces."""
    again: ClassVar[bool]
    """Whether in a video a find of `whole` is looked at again, since a wrong one would be found in many frames."""
    rough_side: ClassVar[int]
    """Side to which the smallest face is shrunk for a rough scan of a place that has changed."""
    look_side: ClassVar[int]
    """Side of the face that `look` expects."""
    look_span: ClassVar[float]
    """Side of the square picture that `look` gets, in units of `look_side`."""

    swells: ClassVar[bool]
    """Whether it may take a face for larger, the more of its surroundings it is shown."""

    tilts: ClassVar[Sequence[float]]
    """Degrees clockwise by which faces may be tilted that it sees only in a picture that is turned back."""

    def whole(self, picture: Image, smallest: float, *, is_still: bool) -> list[Sighting]:
        """All faces from that side up to the picture's own, with much care. `is_still`: with all the care there is, as
        nothing looks at it again.
        """

    def scan(self, picture: Image, smallest: float, largest: float) -> list[Box]:
        """Places of possible faces of these `scan_sides`. False ones cost time only; missed ones are lost."""

    def look(self, picture: Image, *, sure: bool, wary: bool = False) -> list[Sighting]:
        """The faces of about `look_side`; `sure`: for a new face, where a wrong one is worse than none. `wary`: it was
        turned by one of `tilts` and nothing was seen there before, so that a wrong one is likelier.
        """

    def frontality(self, picture: Image, box: Box) -> float | None:
        """As in Face, with more care than `look` takes, of the face in the middle of a picture as `look` gets it.

        None where the face is not seen.
        """
