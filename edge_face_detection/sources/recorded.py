"""Recordings as a source of frames: a video file, or pictures in a folder."""

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from edge_face_detection.opencv import cv2
from edge_face_detection.sources.capture import Capture, leave_jpegs_to_us
from edge_face_detection.sources.frame import Frame, Image, Jpeg, SourceError, to_bgr

__all__ = ["Pictures", "RecordedSource", "Recording", "VideoFile"]

DEFAULT_FRAMES_PER_SECOND = 30.0
# Timestamps further apart are a jump in the recording, not a still picture.
LONGEST_STEP_SECONDS = 10.0
# A damaged packet fails one grab; the frames behind it can still be read.
GRAB_ATTEMPTS = 10
# Where decoding is slower than the recording, not all may be skipped: after so long, a late frame is given.
LONGEST_SKIP_SECONDS = 1.0
UNREADABLE_WARNINGS = 10
# How soon a paused recording goes on.
WAKE_SECONDS = 0.05

_log = logging.getLogger(__name__)


class Recording(Protocol):
    """Frames in a row.

    `position` is the grabbed frame's distance from the first one, `step` how long it lasts, both in seconds.
    """

    description: str
    position: float
    step: float

    def rewind(self) -> None:
        """Go before the first frame. Raises SourceError when the recording is gone."""

    def grab(self) -> bool:
        """Go to the next frame; False at the end."""

    def retrieve(self) -> Image | Jpeg | None:
        """The grabbed frame, decoded or as a JPEG; None when that cannot be done."""

    def release(self) -> None: ...


class RecordedSource:
    """Frames of a recording.

    `realtime`: they come at the recording's own pace and, as from a camera, those are skipped whose time has
    passed. Otherwise every frame comes, as fast as it is taken. `loop`: it begins again at the end.
    """

    live = False
    reconnects = stalls = 0
    trouble: str | None = None
    is_well = True

    def __init__(self, recording: Recording, *, realtime: bool, loop: bool) -> None:
        self.description = recording.description
        self.frames_read = 0
        self.frames_skipped = 0
        self.frames_unreadable = 0
        self.paused = False
        self._is_playing = False
        self._recording = recording
        self._realtime = realtime
        self._loop = loop
        self._closed = threading.Event()

    @property
    def is_up(self) -> bool:
        return self._is_playing and not self.paused

    def frames(self) -> Iterator[Frame]:
        """The frames until the recording's end or `close()`. Raises SourceError when it has vanished."""
        pace = _Pace(self._closed)
        try:
            while not self._closed.is_set():
                readable = 0
                self._recording.rewind()
                while not self._closed.is_set() and self._recording.grab():
                    self._is_playing = True
                    number = self.frames_read
                    self.frames_read += 1
                    if not self._is_due(pace):
                        readable += 1
                        self.frames_skipped += 1
                        continue
                    captured_at, captured_monotonic = datetime.now(UTC), time.monotonic()
                    image = self._recording.retrieve()
                    if image is None:
                        self.frames_skipped += 1
                        self.frames_unreadable += 1
                        continue
                    readable += 1
                    yield Frame(image, number, captured_at, captured_monotonic)
                    pace.asked()
                if not self._loop or not readable:
                    return
                pace.begin_again(self._recording)
        finally:
            self._is_playing = False
            self._recording.release()

    def pause(self) -> None:
        """Stop where it is, until `resume()`."""
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def close(self) -> None:
        """End `frames()`, from whichever thread."""
        self._closed.set()

    def _is_due(self, pace: "_Pace") -> bool:
        """Wait for the grabbed frame's time; False when it is to be skipped."""
        if self._realtime and not pace.wait_for(self._recording):
            return False
        paused_at = time.monotonic()
        while self.paused and not self._closed.wait(WAKE_SECONDS):
            pass
        pace.put_off(time.monotonic() - paused_at)
        return not self._closed.is_set()


class _Pace:
    """Keeps a recording to the clock."""

    def __init__(self, closed: threading.Event) -> None:
        self._closed = closed
        self._began = time.monotonic()
        self._asked = self._began

    def asked(self) -> None:
        """The consumer wants its next frame."""
        self._asked = time.monotonic()

    def begin_again(self, recording: Recording) -> None:
        """The recording is at its end and will be played once more."""
        self.put_off(recording.position + recording.step)

    def put_off(self, seconds: float) -> None:
        self._began += seconds

    def wait_for(self, recording: Recording) -> bool:
        """Wait until the grabbed frame is due; False when it is to be skipped, its time being over."""
        now = time.monotonic()
        late = now - self._began - recording.position
        if late > recording.step and now - self._asked < LONGEST_SKIP_SECONDS:
            return False
        return not self._closed.wait(max(0.0, -late))


class VideoFile:
    """A video file, read by FFmpeg. Raises SourceError when there is no video in it that can be decoded."""

    def __init__(self, path: Path) -> None:
        self.description = str(path)
        # The leading slash keeps FFmpeg from taking a file named "concat:a.avi" for one of its protocols.
        self._path = str(path.absolute())
        self._told_broken = False
        self._may_be_raw = True
        if not self._is_readable():
            self._may_be_raw = False
            if not self._is_readable():
                raise SourceError(self._complaint())

    def _is_readable(self) -> bool:
        self.rewind()
        video = self._capture.video
        width, height = (int(video.get(name)) for name in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        picture = self.retrieve() if self.grab() else None
        self.release()
        if not isinstance(picture, Jpeg):
            return picture is not None
        # Another size: a JPEG for every other line, as of some capture cards.
        return picture.size == (width, height) and cv2.imdecode(picture.data, cv2.IMREAD_COLOR) is not None

    def rewind(self) -> None:
        video = cv2.VideoCapture(self._path, cv2.CAP_FFMPEG)
        # FFmpeg "plays" text files: https://ffmpeg.org/ffmpeg-formats.html#tty
        is_text = video.get(cv2.CAP_PROP_FOURCC) == cv2.VideoWriter.fourcc(*"ansi")
        if is_text or not video.isOpened():
            raise SourceError(self._complaint())
        self._capture = Capture(video, is_raw=self._may_be_raw and leave_jpegs_to_us(video))
        rate = video.get(cv2.CAP_PROP_FPS)
        self.step = 1 / rate if 0 < rate <= 1000 else 1 / DEFAULT_FRAMES_PER_SECOND
        self.position = -self.step
        self._first_timestamp: float | None = None
        self._claimed_seconds = max(0.0, video.get(cv2.CAP_PROP_FRAME_COUNT)) * self.step

    def grab(self) -> bool:
        if not any(self._capture.grab() for _ in range(GRAB_ATTEMPTS)):
            self._tell_if_broken()
            return False
        # Timestamps, since many recordings have no fixed rate, and some name a wrong one.
        timestamp = self._capture.video.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if self._first_timestamp is None:
            self._first_timestamp = timestamp
        step = timestamp - self._first_timestamp - self.position
        if 0 < step <= LONGEST_STEP_SECONDS:
            self.step = step
        self.position += self.step
        return True

    def retrieve(self) -> Image | Jpeg | None:
        return self._capture.retrieve()

    def release(self) -> None:
        self._capture.release()

    def _complaint(self) -> str:
        return (
            f"no video can be read from {self.description}: it is no video, broken, or its codec is unknown"
            " here. Convert it, for instance: ffmpeg -i <file> -c:v libx264 out.mp4"
        )

    def _tell_if_broken(self) -> None:
        read = self.position + self.step
        missing = self._claimed_seconds - read
        # Containers are not exact: a sound track may be a little longer than the pictures.
        if missing > max(1.0, self._claimed_seconds / 10) and not self._told_broken:
            self._told_broken = True
            _log.warning(
                "Video %s is broken or cut off: it claims %.1f s, of which %.1f s could be read",
                self.description,
                self._claimed_seconds,
                read,
            )


class Pictures:
    """Picture files, one a frame. Raises SourceError when none of them is a picture."""

    step = 1 / DEFAULT_FRAMES_PER_SECOND

    def __init__(self, description: str, paths: Sequence[Path]) -> None:
        self.description = description
        self.position = -self.step
        self._paths = paths
        self._index = -1
        self._unreadable = 0
        if not any(cv2.haveImageReader(str(path)) for path in paths):
            raise SourceError(f"no pictures in {description}: png, jpg, jpeg and bmp files are looked for there")

    def rewind(self) -> None:
        self._index = -1

    def grab(self) -> bool:
        self._index += 1
        self.position = self._index * self.step
        return self._index < len(self._paths)

    def retrieve(self) -> Image | None:
        path = str(self._paths[self._index])
        try:
            # IMREAD_COLOR makes BGR of 8 bits of grey pictures, of 16 bits and of those with alpha.
            image = cv2.imread(path, cv2.IMREAD_COLOR)
        except cv2.error as error:  # more pixels than OpenCV lets in
            self._tell_unreadable(path, str(error).strip())
            return None
        if image is None:
            self._tell_unreadable(path, "it is broken or no picture")
            return None
        return to_bgr(image)

    def release(self) -> None:
        """Nothing is held open."""

    def _tell_unreadable(self, path: str, reason: str) -> None:
        self._unreadable += 1
        if self._unreadable <= UNREADABLE_WARNINGS:
            _log.warning("Picture %s cannot be read and is skipped: %s", path, reason)
        if self._unreadable == UNREADABLE_WARNINGS:
            _log.warning("Further pictures of %s that cannot be read are skipped and only counted", self.description)
