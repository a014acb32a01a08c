"""A live camera as a source of frames: always the newest one, and back by itself after an outage."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime

from edge_face_detection.sources.camera import Camera
from edge_face_detection.sources.frame import Frame, Image, Jpeg, SourceError
from edge_face_detection.sources.reading import UNDECODABLE_FRAMES, Reading, undecodable
from edge_face_detection.sources.source import Source
from face_messages.service.backoff import Backoff

FIRST_RETRY_SECONDS = 0.5
LONGEST_RETRY_SECONDS = 10.0
# Up for so long, the camera counts as well again, and the next retry is a quick one.
STEADY_SECONDS = 10.0
# What opening may take. An opening's own time limits are shorter, and say more about the reason.
OPENING_SECONDS = 30.0
# What a camera's thread gets to let the camera go, before another one opens it.
LEAVING_SECONDS = 3.0
# How many threads may be stuck in the driver, and for how long one may be while the camera is away. What they hold
# is free again only when the process ends. A resolver of host names may take 90 s.
MOST_HUNG = 5
HUNG_SECONDS = 120.0
# A picture that stays the same may be the truth: it is doubted ever more rarely.
LONGEST_DOUBT_SECONDS = 3600.0
# What a camera's thread gets to end after closing. If it returns from C++ while the interpreter shuts down, Python
# ends it abruptly, and C++ answers that with abort().
CLOSING_SECONDS = 0.5
# How soon we see a stall, and a close() that a signal handler made just as this thread went to wait.
WAKE_SECONDS = 0.2
# A camera that comes and goes is reported no more often than this.
WARNING_INTERVAL_SECONDS = 30.0

_log = logging.getLogger(__name__)


class LiveSource(Source):
    """Frames of a live camera.

    A thread (`Reading`) reads the camera all the time and keeps only the newest frame: a slow consumer sees what is
    now, never a backlog. That thread may block in the camera's driver for ever. So a second thread watches it, and
    opens the camera anew when it ends or stalls: when it has given no frame for `stall_seconds`, or the same one over
    and over; 0 for never. A thread that blocks is left behind; nobody waits for it.
    """

    live = True

    def __init__(self, camera: Camera, *, stall_seconds: float = 10.0) -> None:
        super().__init__(camera.description)
        self._camera = camera
        self._stall_seconds = self._doubt_seconds = stall_seconds
        self._outage = _Outage(camera.description)
        self._was_up = False
        self._up_since = 0.0
        # Guards what follows, and the counts.
        self._changed = threading.Condition()
        self._newest: Frame | None = None
        self._failure: Exception | None = None
        self._watcher = threading.Thread(target=self._run, name="camera watcher", daemon=True)
        # The one whose frames count, and all whose threads have not ended.
        self._reading: Reading | None = None
        self._readings: list[Reading] = []

    @property
    def trouble(self) -> str | None:
        return str(self._failure) if self._failure else self._outage.reason

    def frames(self) -> Iterator[Frame]:
        """The newest frame each time one is asked for; waits while there is none, ends after `close()`.

        Raises SourceError when the camera's driver hangs, which only the end of the process may mend.
        """
        if self._watcher.ident is None:  # not started yet
            self._watcher.start()
        damaged = 0
        while True:
            self._wait(lambda: self._newest is not None or self._failure is not None, seconds=WAKE_SECONDS)
            with self._changed:
                if self._failure is not None:
                    raise self._failure
                frame, self._newest = self._newest, None
            if self._closed.is_set():
                return
            if frame is None:
                continue
            yield frame
            damaged = damaged + 1 if frame.is_damaged else 0
            if damaged >= UNDECODABLE_FRAMES:
                damaged = 0
                with self._changed:
                    if self._reading is not None:
                        self._reading.end = undecodable("damaged")

    def pause(self) -> None:
        with self._changed:
            self.paused = True
            self._is_running = self._was_up = False
            if self._newest is not None:
                self.frames_skipped += 1
                self._newest = None
            if self._reading is not None:
                self._reading.leave()
            self._changed.notify_all()

    def resume(self) -> None:
        with self._changed:
            self.paused = False
            self._changed.notify_all()

    def close(self) -> None:
        """As a Source's. The camera's threads get a moment to let it go."""
        deadline = time.monotonic() + CLOSING_SECONDS
        with self._changed:
            self._closed.set()
            self._changed.notify_all()
            readings = self._readings
        for reading in readings:
            reading.leave()
        for reading in readings:
            reading.join(max(0.0, deadline - time.monotonic()))

    def _run(self) -> None:
        try:
            self._watch_until_closed()
        except Exception as error:  # noqa: BLE001 - nobody waits for this thread: frames() raises it instead
            with self._changed:
                self._failure, self._reading = error, None
                self._is_running = self.is_well = False
                self._changed.notify_all()

    def _watch_until_closed(self) -> None:
        retries = Backoff(first=FIRST_RETRY_SECONDS, longest=LONGEST_RETRY_SECONDS)
        while self._wait(lambda: not self.paused):
            with self._changed:
                if self._closed.is_set():
                    return
                reading = self._reading = Reading(self._camera, self._take)
                self._readings = [*(r for r in self._readings if r.is_alive()), reading]
                reading.start()
            reason = self._reason_to_leave(reading)
            if self.is_up and time.monotonic() - self._up_since > STEADY_SECONDS:
                retries.reset()
            with self._changed:
                self._reading, self._is_running = None, False
            reading.leave()
            if reason is not None:
                self._outage.failed(reason)
                self._wait(lambda: self.paused, seconds=max(retries.next_delay(), reading.retry_after))
            if self.paused:
                self._outage.ended(silently=True)
                retries.reset()
            self._see_off(reading)

    def _reason_to_leave(self, reading: Reading) -> str | None:
        """Wait until the camera is not to be read any more; return why, or None where that was wanted."""
        while not (self._closed.is_set() or self.paused or reading.is_leaving):
            if isinstance(reading.end, Exception):
                raise reading.end
            if reason := reading.end or self._stall(reading):
                return reason
            reading.join(WAKE_SECONDS)
        return None

    def _stall(self, reading: Reading) -> str | None:
        """Why the camera is to be opened anew though its thread has not ended; None while all is well."""
        now, patience = time.monotonic(), self._stall_seconds
        if reading.opened_at is None:
            if now - reading.began_at < OPENING_SECONDS:
                return None
            reason = f"it could not be opened within {OPENING_SECONDS:.0f} s"
        elif not patience:
            return None
        elif now - reading.heard_at > patience:
            reason = f"no new frame for {patience:g} s (STALL_SECONDS)"
        elif now - reading.changed_at > self._doubt_seconds:
            reason = f"the very same picture for {self._doubt_seconds:g} s (STALL_SECONDS)"
            self._doubt_seconds = min(self._doubt_seconds * 2, max(LONGEST_DOUBT_SECONDS, patience))
        else:
            if reading.changed_at - reading.opened_at > patience:
                self._doubt_seconds = patience
            return None
        self.stalls += 1
        return reason

    def _see_off(self, reading: Reading) -> None:
        """Give it time to let the camera go. Raises SourceError when threads are stuck in the driver for good."""
        reading.join(LEAVING_SECONDS)
        if reading.is_alive() and not self._closed.is_set():
            _log.warning("Camera %s is not let go by its driver, which is left behind", self.description)
        hung = [time.monotonic() - reading.left_at for reading in self._readings if reading.is_alive()]
        if len(hung) > MOST_HUNG or min(max(hung, default=0.0), self._outage.seconds) > HUNG_SECONDS:
            raise SourceError(
                f"the driver of {self.description} hangs and holds the camera: only this program's end may free it."
                " If that happens again: plug it in anew, or try another port or cable"
            )

    def _take(self, reading: Reading, picture: Image | Jpeg | None, captured_at: datetime, seen_at: float) -> None:
        with self._changed:
            if reading is not self._reading or self.paused:
                return
            number = self.frames_read
            self.frames_read += 1
            if picture is None:
                self.frames_skipped += 1
                self.frames_unreadable += 1
                return
            if not self._is_running:
                self.reconnects += self._was_up
                self._is_running = self._was_up = True
                self._up_since = time.monotonic()
                self._outage.ended()
            if self._newest is not None:
                self.frames_skipped += 1
            self._newest = Frame(picture, number, captured_at, seen_at)
            self._newest.is_still = reading.gives_stills
            self._changed.notify_all()

    def _wait(self, until: Callable[[], bool], *, seconds: float | None = None) -> bool:
        """Wait, for so long at most; return whether the source is not closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed.is_set() or until(), seconds)
        return not self._closed.is_set()


class _Outage:
    """What the log says of a camera that is away: a line when it goes, and one when it is back."""

    def __init__(self, description: str) -> None:
        self._description = description
        self._since: float | None = None
        self._is_told = False
        self._told_at = float("-inf")
        #: Why the camera is away; None while it is not.
        self.reason: str | None = None

    @property
    def seconds(self) -> float:
        """How long it has lasted; 0 while there is none."""
        return 0.0 if self._since is None else time.monotonic() - self._since

    def failed(self, reason: str) -> None:
        self.reason = reason
        now = time.monotonic()
        if self._since is None:
            self._since = now
        if not self._is_told and now - self._told_at >= WARNING_INTERVAL_SECONDS:
            self._is_told, self._told_at = True, now
            _log.warning("Camera %s is down, retrying until it is back: %s", self._description, reason)

    def ended(self, *, silently: bool = False) -> None:
        if self._is_told and not silently:
            _log.info("Camera %s is up after %.1f s", self._description, self.seconds)
        self._since = self.reason = None
        self._is_told = False
