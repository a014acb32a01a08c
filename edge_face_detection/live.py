"""A live camera as a source of frames: always the newest one, and back by itself after an outage."""

import logging
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from edge_face_detection.cameras import Camera, CameraError
from edge_face_detection.frames import Frame, to_bgr
from edge_face_detection.opencv import cv2
from face_messages.backoff import Backoff

__all__ = ["LiveSource"]

FIRST_RETRY_SECONDS = 0.5
LONGEST_RETRY_SECONDS = 10.0
# Up for so long, the camera counts as well again, and the next retry is a quick one.
STEADY_SECONDS = 10.0
# What a camera's thread gets to end after closing. Python ends abruptly a thread that returns from C++ while the
# interpreter shuts down, and C++ answers that with abort(): a camera that works must be let go before.
CLOSING_SECONDS = 0.5
# How soon a close() is seen that a signal handler made just as this thread went to wait.
WAKE_SECONDS = 0.2
# A camera that comes and goes is reported no more often than this.
WARNING_INTERVAL_SECONDS = 30.0
# Some cameras begin with broken frames, and radio links spoil a few; so many in a row are no accident.
UNDECODABLE_FRAMES = 100

_log = logging.getLogger(__name__)


class LiveSource:
    """Frames of a live camera.

    A thread of its own reads the camera all the time and keeps only the newest frame, so that a slow consumer
    sees what is now, never a backlog. That thread may block within the camera's driver for as long as it
    likes: `frames()` never waits for its end, and `close()` no longer than CLOSING_SECONDS.
    """

    live = True

    def __init__(self, camera: Camera) -> None:
        self.description = camera.description
        self.frames_read = 0
        self.frames_skipped = 0
        self.reconnects = 0
        self.is_up = False
        self._camera = camera
        self._outage = _Outage(camera.description)
        self._was_up = False
        self._up_since = 0.0
        self._changed = threading.Condition()
        self._newest: Frame | None = None
        self._failure: Exception | None = None
        self._closed = threading.Event()
        self._reader: threading.Thread | None = None

    def frames(self) -> Iterator[Frame]:
        """The newest frame each time one is asked for; waits while there is none, ends after `close()`."""
        if self._reader is None:
            self._reader = threading.Thread(target=self._run, name="camera", daemon=True)
            self._reader.start()
        while True:
            with self._changed:
                self._changed.wait_for(self._has_news, timeout=WAKE_SECONDS)
                if self._failure is not None:
                    raise self._failure
                frame, self._newest = self._newest, None
            if self._closed.is_set():
                return
            if frame is not None:
                yield frame

    def close(self) -> None:
        """End `frames()`, from whichever thread; the camera is let go as soon as its driver returns."""
        with self._changed:
            self._closed.set()
            self._changed.notify_all()
        if self._reader is not None:
            self._reader.join(CLOSING_SECONDS)

    def _has_news(self) -> bool:
        return self._newest is not None or self._failure is not None or self._closed.is_set()

    def _run(self) -> None:
        try:
            self._read_until_closed()
        except Exception as error:  # noqa: BLE001 - nobody waits for this thread: frames() raises it instead
            with self._changed:
                self._failure = error
                self._changed.notify_all()
        finally:
            self.is_up = False

    def _read_until_closed(self) -> None:
        retries = Backoff(first=FIRST_RETRY_SECONDS, longest=LONGEST_RETRY_SECONDS)
        while not self._closed.is_set():
            reason = self._read_until_lost()
            if self.is_up and time.monotonic() - self._up_since > STEADY_SECONDS:
                retries.reset()
            self.is_up = False
            if self._closed.is_set():
                return
            self._outage.failed(reason)
            self._closed.wait(retries.next_delay())

    def _read_until_lost(self) -> str:
        """Read from the camera for as long as it gives frames; return why it does so no longer."""
        try:
            capture = self._camera.open()
            try:
                return self._read(capture)
            finally:
                capture.release()
        except (CameraError, cv2.error) as error:
            return str(error).strip()

    def _read(self, capture: cv2.VideoCapture) -> str:
        undecodable = 0
        while not self._closed.is_set():
            if not capture.grab():
                return "it gives no more frames: unplugged, switched off, or its stream ended?"
            captured_at, captured_monotonic = datetime.now(UTC), time.monotonic()
            number = self.frames_read
            self.frames_read += 1
            decoded, image = capture.retrieve()
            if not decoded:
                self.frames_skipped += 1
                undecodable += 1
                if undecodable >= UNDECODABLE_FRAMES:
                    return "its frames cannot be decoded: choose another format or codec at the camera"
                continue
            undecodable = 0
            frame = Frame(to_bgr(image), number, captured_at, captured_monotonic)
            self._came_up()
            with self._changed:
                if self._newest is not None:
                    self.frames_skipped += 1
                self._newest = frame
                self._changed.notify_all()
        return "closed"

    def _came_up(self) -> None:
        if self.is_up:
            return
        if self._was_up:
            self.reconnects += 1
        self.is_up = self._was_up = True
        self._up_since = time.monotonic()
        self._outage.ended()


class _Outage:
    """Tells of an outage once when it begins and once when it is over."""

    def __init__(self, description: str) -> None:
        self._description = description
        self._since: float | None = None
        self._told = False
        self._last_warning = float("-inf")

    def failed(self, reason: str) -> None:
        now = time.monotonic()
        if self._since is None:
            self._since = now
        if not self._told and now - self._last_warning >= WARNING_INTERVAL_SECONDS:
            _log.warning("Camera %s is down, trying again until it is back: %s", self._description, reason)
            self._told = True
            self._last_warning = now

    def ended(self) -> None:
        if self._told and self._since is not None:
            away = time.monotonic() - self._since
            _log.info("Camera %s is up after %.1f s", self._description, away)
        self._since = None
        self._told = False
