"""What a face detector is: a frame in, faces out."""

from dataclasses import dataclass
from typing import Protocol

from edge_face_detection.frames import Image

__all__ = ["DetectorError", "Face", "FaceDetector"]


class DetectorError(Exception):
    """A detector that cannot be used; the message says what to install or to set."""


@dataclass(frozen=True, slots=True)
class Face:
    """Where a face is, in pixels of the frame and always inside it, and how sure that is: more is surer."""

    x: int
    y: int
    width: int
    height: int
    score: float


class FaceDetector(Protocol):
    def detect(self, image: Image) -> list[Face]:
        """The faces in the picture (H×W×3 uint8, BGR)."""
