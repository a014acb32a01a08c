"""What a camera is, and what one gives once it is opened."""

import time
from abc import ABC, abstractmethod
from typing import Protocol

from edge_face_detection.opencv import MAX_PIXELS, cv2
from edge_face_detection.sources.frame import Image, Jpeg, to_bgr

MJPG = cv2.VideoWriter.fourcc(*"MJPG")


class CameraError(Exception):
    """A camera that cannot be used at the moment; the message says why and what to do.

    `retry_after`: the camera asked not to be tried again before, in seconds.
    """

    def __init__(self, message: str, *, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class LiveCapture(ABC):
    """An opened camera. One thread reads it."""

    #: When the grabbed picture was seen, on `time.monotonic()`.
    seen_at = 0.0
    #: Whether the camera only said that the picture is as before.
    is_same = False
    #: For how long we ask the camera for nothing, in seconds.
    rest_seconds = 0.0
    #: Whether its pictures come so far apart that each stands alone.
    gives_stills = False

    @abstractmethod
    def grab(self) -> bool:
        """Go to the next picture; False when there is none, or none yet. Raises CameraError."""

    @abstractmethod
    def retrieve(self) -> Image | Jpeg:
        """The grabbed picture. Raises ValueError, which says why there is none."""

    @abstractmethod
    def release(self) -> None:
        """Let the camera go."""

    @abstractmethod
    def cancel(self) -> None:
        """End a `grab()`, from whichever thread, where that can be done."""


class Camera(Protocol):
    @property
    def description(self) -> str:
        """What it is, without credentials."""

    def open(self) -> LiveCapture:
        """The camera, opened. Raises CameraError."""


class Capture(LiveCapture):
    """OpenCV's `video`, giving JPEGs where `is_raw`, or else decoded pictures."""

    def __init__(self, video: cv2.VideoCapture, *, is_raw: bool) -> None:
        self.video = video
        self.is_raw = is_raw

    def grab(self) -> bool:
        grabbed = self.video.grab()
        self.seen_at = time.monotonic()
        return grabbed

    def retrieve(self) -> Image | Jpeg:
        decoded, image = self.video.retrieve()
        if not decoded or image is None:  # a packet without data counts as decoded
            raise ValueError("no picture")
        return Jpeg(image.tobytes()) if self.is_raw else to_bgr(image)

    def release(self) -> None:
        self.video.release()

    def cancel(self) -> None:
        """Nothing: OpenCV cannot."""


def leave_jpegs_to_us(video: cv2.VideoCapture) -> bool:
    """Keep FFmpeg from decoding Motion-JPEG, for which it needs twice OpenCV's time; False if it is none."""
    return video.get(cv2.CAP_PROP_FOURCC) == MJPG and video.set(cv2.CAP_PROP_FORMAT, -1)


def size_complaint(video: cv2.VideoCapture) -> str | None:
    """Why its pictures are too large to be decoded; None if they are not."""
    width, height = (int(video.get(name)) for name in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    if width * height <= MAX_PIXELS:
        return None
    return f"its pictures have {width}x{height} pixels, more than {MAX_PIXELS // 10**6} megapixels"
