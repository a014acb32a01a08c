"""One opening of a camera, in a thread of its own, since a camera's driver may block for ever."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from edge_face_detection.opencv import cv2
from edge_face_detection.sources.camera import Camera, CameraError
from edge_face_detection.sources.capture import Capture
from edge_face_detection.sources.frame import Image, Jpeg

__all__ = ["UNDECODABLE", "UNDECODABLE_FRAMES", "Reading"]

# Some cameras begin with broken frames, and radio links spoil a few; so many in a row are no accident.
UNDECODABLE_FRAMES = 100
UNDECODABLE = "its frames cannot be decoded: choose another format or codec at the camera"
# A grab that failed after so long had only nothing to fetch yet: V4L2's waits for a second (see opencv.py).
SLOW_GRAB_SECONDS = 0.9
# Of a decoded picture every so many-th row is compared with the last picture's: a clock shown in it has more.
ROWS = 8


class Reading:
    """Opens the camera and reads it until told to leave, or until it gives no more.

    Nobody needs to wait for its thread. Times are those of `time.monotonic()`.

    Args:
        camera: opened and let go in the thread.
        give: called for each frame, with None for one that cannot be decoded, and when it was grabbed.
        wake: called when it has ended.

    """

    def __init__(
        self, camera: Camera, give: Callable[["Reading", Image | Jpeg | None, datetime], None], wake: Callable[[], None]
    ) -> None:
        self._camera = camera
        self._give = give
        self._wake = wake
        self._left = False
        self._last: bytes | None = None
        #: When the camera was open, the last frame came, and the last one that was not like the one before it.
        self.opened_at: float | None = None
        self.grabbed_at = self.changed_at = self.began_at = self.left_at = time.monotonic()
        #: Why it gives no more frames, or the mistake that ended it.
        self.end: str | Exception | None = None
        #: Whether the camera has been let go.
        self.is_over = False
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """Let the camera go as soon as its driver returns."""
        self.left_at = time.monotonic()
        self._left = True

    def join(self, seconds: float) -> None:
        """Wait for the end of its thread, for so long at most."""
        self._thread.join(seconds)

    def _run(self) -> None:
        try:
            self.end = self._read()
        except (CameraError, cv2.error) as error:
            self.end = str(error).strip()
        except Exception as error:  # noqa: BLE001 - nobody waits for this thread: whoever reads `end` raises it
            self.end = error
        self.is_over = True
        self._wake()

    def _read(self) -> str:
        capture = self._camera.open()
        try:
            self.opened_at = self.grabbed_at = self.changed_at = time.monotonic()
            return self._read_on(capture)
        finally:
            capture.release()

    def _read_on(self, capture: Capture) -> str:
        undecodable = 0
        while not self._left:
            asked_at = time.monotonic()
            if not capture.grab():
                if time.monotonic() - asked_at > SLOW_GRAB_SECONDS:
                    continue
                return "it gives no more frames: unplugged, switched off, or its stream ended?"
            captured_at, self.grabbed_at = datetime.now(UTC), time.monotonic()
            picture = capture.retrieve()
            if self._is_new(picture):
                self.changed_at = self.grabbed_at
            self._give(self, picture, captured_at)
            undecodable = undecodable + 1 if picture is None else 0
            if undecodable >= UNDECODABLE_FRAMES:
                return UNDECODABLE
        return "left"

    def _is_new(self, picture: Image | Jpeg | None) -> bool:
        """Whether the picture is another than the last one. No two of a sensor's are the same, for their noise."""
        if picture is None:
            return True
        last, self._last = self._last, (picture.data if isinstance(picture, Jpeg) else picture[::ROWS]).tobytes()
        return self._last != last
