"""Recordings as a source of frames, at their own pace or as fast as they are taken."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TypeAlias

from edge_face_detection.sources.frame import Frame
from edge_face_detection.sources.picture_files import Pictures
from edge_face_detection.sources.source import Source
from edge_face_detection.sources.video_file import VideoFile

# If decoding is slower than the recording, a late frame is given after this time. Otherwise all would be skipped.
LONGEST_SKIP_SECONDS = 1.0
# How soon a paused recording goes on.
WAKE_SECONDS = 0.05
# How far apart stills are taken to be. A folder that plays at a pace may be a video. Otherwise there is no common time.
STILLS_PACED_SECONDS, STILLS_SECONDS = 1.0, 3600.0


Recording: TypeAlias = Pictures | VideoFile
"""Frames in a row: `rewind`, then `grab` and `retrieve` for each.

`position` is the grabbed frame's distance from the first one, `step` how long it lasts, both in seconds.
"""


class RecordedSource(Source):
    """Frames of a recording.

    `realtime`: frames come at the recording's own pace, and late ones are skipped, as with a camera. Otherwise every
    frame comes, as fast as it is taken. `loop`: it begins again at the end.
    """

    def __init__(self, recording: Recording, *, realtime: bool, loop: bool) -> None:
        super().__init__(recording.description)
        self._recording = recording
        self._realtime = realtime
        self._loop = loop
        # When the first frame was due, and when the consumer last asked for a frame.
        self._began = self._asked = 0.0
        # Pictures stand alone, and none is skipped.
        self._stills = isinstance(recording, Pictures)
        # What was played in earlier loops.
        self._played = 0.0

    def frames(self) -> Iterator[Frame]:
        """The frames until the recording's end or `close()`. Raises SourceError when it has vanished."""
        recording = self._recording
        self._began = self._asked = time.monotonic()
        try:
            while not self._closed.is_set():
                readable = 0
                recording.rewind()
                while not self._closed.is_set() and recording.grab():
                    self._is_running = True
                    number = self.frames_read
                    self.frames_read += 1
                    if not self._is_due():
                        readable += 1
                        self.frames_skipped += 1
                        continue
                    captured_at, captured_monotonic = datetime.now(UTC), time.monotonic()
                    image = recording.retrieve()
                    if image is None:
                        self.frames_skipped += 1
                        self.frames_unreadable += 1
                        continue
                    readable += 1
                    frame = Frame(image, number, captured_at, captured_monotonic)
                    frame.moment, frame.is_still = self._moment(number), self._stills
                    yield frame
                    self._asked = time.monotonic()
                # A loop in which nothing can be read would spin for ever.
                if not self._loop or not readable:
                    return
                self._began += recording.position + recording.step
                self._played += recording.position + recording.step
        finally:
            self._is_running = False
            recording.release()

    def _moment(self, number: int) -> float:
        if self._stills:
            return number * (STILLS_PACED_SECONDS if self._realtime else STILLS_SECONDS)
        return self._played + self._recording.position

    def _is_due(self) -> bool:
        """Wait for the grabbed frame's time; False when it is to be skipped."""
        if self._realtime:
            now = time.monotonic()
            late = now - self._began - self._recording.position
            may_skip = not self._stills and now - self._asked < LONGEST_SKIP_SECONDS
            if may_skip and late > self._recording.step:
                return False
            self._closed.wait(max(0.0, -late))
        paused_at = time.monotonic()
        while self.paused and not self._closed.wait(WAKE_SECONDS):
            pass
        self._began += time.monotonic() - paused_at
        return not self._closed.is_set()
