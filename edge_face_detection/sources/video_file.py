"""A video file as a recording, read by FFmpeg."""

from __future__ import annotations

import logging
from pathlib import Path

from edge_face_detection.opencv import cv2
from edge_face_detection.sources.address import shown_path
from edge_face_detection.sources.camera import Capture, leave_jpegs_to_us, size_complaint
from edge_face_detection.sources.frame import Image, Jpeg, SourceError

DEFAULT_FRAMES_PER_SECOND = 30.0
# Timestamps further apart are a jump in the recording, not a still picture.
LONGEST_STEP_SECONDS = 10.0
# A damaged packet fails one grab; the frames behind it can still be read.
GRAB_ATTEMPTS = 10

_log = logging.getLogger(__name__)


class VideoFile:
    """A Recording. Raises SourceError when there is no video in the file that can be decoded."""

    def __init__(self, path: Path) -> None:
        self.description = shown_path(path)
        # The leading slash keeps FFmpeg from taking a file named "concat:a.avi" for one of its protocols.
        self._path = path.absolute()
        self._told_broken = False
        self._may_be_raw = True
        if not self._is_readable():
            self._may_be_raw = False
            if not self._is_readable():
                raise self._complaint()

    def rewind(self) -> None:
        video = self._opened()
        # FFmpeg "plays" text files: https://ffmpeg.org/ffmpeg-formats.html#tty
        is_text = video.get(cv2.CAP_PROP_FOURCC) == cv2.VideoWriter.fourcc(*"ansi")
        if is_text or not video.isOpened():
            raise self._complaint()
        if complaint := size_complaint(video):
            raise SourceError(
                f"cannot read {self.description}: {complaint}. Make them smaller, for instance:"
                " ffmpeg -i <file> -vf scale=1920:-2 out.mp4"
            )
        # OpenCV turns a picture as its file says, but only where it also decodes it.
        is_turned = video.get(cv2.CAP_PROP_ORIENTATION_META) != 0
        self._capture = Capture(video, is_raw=self._may_be_raw and not is_turned and leave_jpegs_to_us(video))
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
        try:
            return self._capture.retrieve()
        except ValueError:
            return None

    def release(self) -> None:
        self._capture.release()

    def _opened(self) -> cv2.VideoCapture:
        try:
            str(self._path).encode()
        except UnicodeEncodeError:
            # OpenCV crashes on a name that is no UTF-8. The kernel gives the open file another name.
            with self._path.open("rb") as file:
                return cv2.VideoCapture(f"/proc/self/fd/{file.fileno()}", cv2.CAP_FFMPEG)
        return cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)

    def _is_readable(self) -> bool:
        self.rewind()
        video = self._capture.video
        size = int(video.get(cv2.CAP_PROP_FRAME_WIDTH)), int(video.get(cv2.CAP_PROP_FRAME_HEIGHT))
        picture = self.retrieve() if self.grab() else None
        self.release()
        if not isinstance(picture, Jpeg):
            return picture is not None
        # Another size: a JPEG for every other line, as of some capture cards.
        return picture.size == size and cv2.imdecode(picture.data, cv2.IMREAD_COLOR) is not None

    def _complaint(self) -> SourceError:
        return SourceError(
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
