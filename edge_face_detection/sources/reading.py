"""One opening of a camera, in a thread of its own, since a camera's driver may block for ever."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from edge_face_detection.opencv import cv2
from edge_face_detection.sources.camera import Camera, CameraError, LiveCapture
from edge_face_detection.sources.frame import Image, Jpeg

# Some cameras begin with broken frames, and radio links spoil a few; so many in a row are no accident.
UNDECODABLE_FRAMES = 100
# A grab that failed after so long had only nothing to fetch yet: V4L2's waits for a second (see opencv.py).
SLOW_GRAB_SECONDS = 0.9
# We compare every eighth row of a decoded picture with the last one's. A clock in the picture covers more rows.
ROWS = 8


class Reading(threading.Thread):
    """Opens the camera and reads it until told to leave, or until the camera gives no more; then it lets it go.

    Nobody needs to wait for this thread. Times are those of `time.monotonic()`. `give` is called for each frame, with
    None for one that cannot be decoded, and both times at which it was seen.
    """

    def __init__(self, camera: Camera, give: Callable[["Reading", Image | Jpeg | None, datetime, float], None]) -> None:
        super().__init__(name="camera", daemon=True)
        self._camera = camera
        self._give = give
        self._last: bytes | None = None
        self._capture: LiveCapture | None = None
        #: Whether `leave()` was called.
        self.is_leaving = False
        #: When the camera was open; when it last answered, and with another picture. Both last until it is asked again.
        self.opened_at: float | None = None
        self.heard_at = self.changed_at = self.began_at = self.left_at = time.monotonic()
        #: Why it gives no more frames, or the mistake that ended it; and how long the camera wants to be left alone.
        self.end: str | Exception | None = None
        self.retry_after = 0.0

    @property
    def gives_stills(self) -> bool:
        return self._capture is not None and self._capture.gives_stills

    def leave(self) -> None:
        """Let the camera go as soon as its driver returns."""
        self.left_at = time.monotonic()
        self.is_leaving = True
        if self._capture is not None:
            self._capture.cancel()

    def run(self) -> None:
        try:
            self._capture = self._camera.open()
            try:
                self.opened_at = self.heard_at = self.changed_at = time.monotonic()
                self.end = self._read(self._capture)
            finally:
                self._capture.release()
        except (CameraError, cv2.error) as error:
            self.end = str(error).strip()
            self.retry_after = getattr(error, "retry_after", 0.0)
        except Exception as error:  # noqa: BLE001 - nobody waits for this thread: LiveSource raises it
            self.end = error

    def _read(self, capture: LiveCapture) -> str:
        unreadable, why_none = 0, ""
        while not self.is_leaving:
            asked_at = time.monotonic()
            if not capture.grab():
                if time.monotonic() - asked_at > SLOW_GRAB_SECONDS:
                    continue
                return "it gives no more frames: unplugged, switched off, or its stream ended?"
            seen_at = capture.seen_at
            captured_at = datetime.now(UTC) - timedelta(seconds=time.monotonic() - seen_at)
            self.heard_at = time.monotonic() + capture.rest_seconds
            if capture.is_same:
                self.changed_at = self.heard_at
                continue
            try:
                picture: Image | Jpeg | None = capture.retrieve()
                unreadable = 0
            except ValueError as error:
                picture, why_none = None, str(error)
                unreadable += 1
            if self._last is None:
                self.opened_at = self.heard_at  # the first picture is no change
            if self._is_new(picture):
                self.changed_at = self.heard_at
            self._give(self, picture, captured_at, seen_at)
            if unreadable >= UNDECODABLE_FRAMES:
                return undecodable(why_none)
        return "left"

    def _is_new(self, picture: Image | Jpeg | None) -> bool:
        """Whether the picture is another than the last one. No two of a sensor's are the same, for their noise."""
        if picture is None:
            return True
        last, self._last = self._last, (picture.data if isinstance(picture, Jpeg) else picture[::ROWS]).tobytes()
        return self._last != last


def undecodable(why: str) -> str:
    return f"its frames cannot be decoded ({why}): choose another format, codec or resolution at the camera"
